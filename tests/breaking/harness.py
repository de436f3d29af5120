"""The real agent as a process that is traced, hindered and killed at a chosen system call.

A `Nursery` forks the agent's verbs from a process that has everything imported, some twenty
milliseconds each. `strace` is attached to the one thread that touches the store (`-p THREAD`,
without `-f`) while it waits at its gate, so that the first call that is counted is the first of the
agent's own, and the N-th of two runs is the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.host import ROOT, Host
from tests.tools import need

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KILLED = -signal.SIGKILL
PATIENCE = 30.0
"""Seconds in which anything happens on a machine that is busy."""

CHANGING = (
    "mkdir", "mkdirat", "rmdir", "rename", "renameat", "renameat2", "unlink", "unlinkat",
    "symlink", "symlinkat", "link", "linkat", "creat", "write", "pwrite64", "writev", "ftruncate", "fallocate",
    "copy_file_range", "sendfile",
    "chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat", "lchown", "utimensat", "fsync", "fdatasync",
    "sync_file_range", "fsetxattr", "setxattr", "flock",
)  # fmt: skip
"""Calls that change the disk, or what of it would survive."""

LOOKING = (
    "open", "openat", "openat2", "close", "read", "pread64", "getdents64", "readlink", "readlinkat",
    "stat", "lstat", "newfstatat", "fstat", "statx", "access", "faccessat", "faccessat2",
)  # fmt: skip
"""Calls that touch a file and change nothing; `openat` also makes files."""


@dataclass(frozen=True)
class Ended:
    """How a verb ended: its exit code or signal, and what it said."""

    code: int
    output: str
    errors: str

    def __str__(self) -> str:
        """Return all of it, for an assertion."""
        return f"{self.code}\n{self.output}\n{self.errors}"

    @property
    def said(self) -> str:
        """All that it said, to a person and to the log."""
        return self.output + self.errors


@dataclass
class Child:
    """A verb at work."""

    nursery: Nursery
    pid: int
    thread: int
    folder: Path
    strace: subprocess.Popen[bytes] | None = None

    @property
    def trace(self) -> Path:
        """What strace saw."""
        return self.folder / "trace"

    def attach(self, *expressions: str) -> None:
        """Have the thread that touches the store traced, by strace expressions such as `inject=fsync:error=EIO`."""
        command = [need("strace"), "-q", "-y", "-s", "80", "-o", str(self.trace), "-p", str(self.thread)]
        self.strace = subprocess.Popen(
            [*command, *(part for one in expressions for part in ("-e", one))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        status = Path(f"/proc/{self.pid}/task/{self.thread}/status")
        for _ in ticks():
            if f"TracerPid:\t{self.strace.pid}\n" in status.read_text():
                return
            if self.strace.poll() is not None:
                break
        self.strace.kill()
        _, errors = self.strace.communicate()
        raise AssertionError(f"strace is not attached: {errors.decode()}")

    def go(self) -> None:
        """Open the gate."""
        self.nursery.tell(go=self.pid)

    def wait(self) -> Ended:
        """Wait for the end of the verb, and of strace with it."""
        status = self.nursery.tell(wait=self.pid)["status"]
        if self.strace is not None:
            _, errors = self.strace.communicate(timeout=PATIENCE)
            assert self.strace.returncode in (0, 1, KILLED), errors.decode()
        return Ended(status, (self.folder / "output").read_text(), (self.folder / "errors").read_text())

    def last_call(self) -> str:
        """Return the line of the call that was made last."""
        lines = [line for line in self.trace.read_text().splitlines() if re.match(r"\w+\(", line)]
        return lines[-1] if lines else ""

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def stopped(self) -> bool:
        """Wait until it has stopped at a SIGSTOP; return false when it has ended instead.

        The thread that was stopped has left its system call by then: the other thread, which nobody
        traces, stops only after it.
        """
        for _ in ticks(0.0002):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
                if state in "TZ":
                    return state == "T"
        raise AssertionError("the agent neither stops nor ends")

    def resume(self) -> None:
        """Let it run on to its next stop; it is no longer stopped when this returns (kill(2) wakes it)."""
        os.kill(self.pid, signal.SIGCONT)


class Nursery:
    """A process that forks the agent; ended, with every child, by its pid."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        # What a forked and killed process would note of its coverage is broken off half-way.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        self._log = (folder / "nursery.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.breaking.forks"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._answer()

    def tell(self, **command: Any) -> dict[str, int]:
        """Give a command, and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, (self._folder / "nursery.log").read_text()
        answer: dict[str, int] = json.loads(line)
        return answer

    def start(self, host: Host, *verb: str, gate: bool = False) -> Child:
        """Start a verb; with `gate` it waits before it touches the store until it is told to go."""
        self._made += 1
        folder = self._folder / f"child-{self._made}"
        folder.mkdir()
        arguments = [*verb, "--config", str(host.config)]
        started = self.tell(verb=arguments, output=str(folder / "output"), errors=str(folder / "errors"), gate=gate)
        return Child(self, started["pid"], started["thread"], folder)

    def run(self, host: Host, *verb: str, tracing: Sequence[str] = ()) -> Ended:
        """Run a verb to its end, traced from the first call when expressions are given."""
        child = self.start(host, *verb, gate=bool(tracing))
        try:
            if tracing:
                try:
                    child.attach(*tracing)
                finally:
                    child.go()
            return child.wait()
        finally:
            shutil.rmtree(child.folder)

    def calls(self, host: Host, *verb: str) -> list[str]:
        """Run a verb, and return the lines of all its calls that touch files, in their order."""
        child = self.start(host, *verb, gate=True)
        try:
            child.attach("trace=" + ",".join(f"?{name}" for name in (*CHANGING, *LOOKING)), "signal=none")
        finally:
            child.go()
        ended = child.wait()
        assert ended.code == 0, ended
        return [line for line in child.trace.read_text().splitlines() if re.match(r"\w+\(", line)]

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


def ticks(pause: float = 0.001) -> Iterator[None]:
    """Come round every `pause` seconds until the patience is at its end."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        yield
        time.sleep(pause)


def name_of(call: str) -> str:
    """Return the name of a call in a line of strace."""
    return call.partition("(")[0]


def counted(calls: Sequence[str]) -> Counter[str]:
    """Return how often each call was made."""
    return Counter(map(name_of, calls))
