"""Processes under measure: started, looked at through /proc, and ended by their own pid."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PATIENCE = 30.0
"""Seconds that anything may take to come up; far beyond what is measured."""

_TICK = os.sysconf("SC_CLK_TCK")


class Process:
    """A running process; every figure is that of the process and all of its threads."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.pid = popen.pid
        self.started = time.perf_counter()
        self._popen = popen
        self._log = log

    def resident_mb(self) -> float:
        """Return what is resident now, in MB of 1,048,576 bytes, as `top` counts."""
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return _field(text, "VmRSS") / 1024

    def wake_ups(self) -> int:
        """Return how often a thread gave up the processor to wait, since the start."""
        count = 0
        for status in Path(f"/proc/{self.pid}/task").glob("*/status"):
            try:
                count += _field(status.read_text(encoding="ascii"), "voluntary_ctxt_switches")
            except (FileNotFoundError, ProcessLookupError):
                continue  # the thread has just ended
        return count

    def cpu_ms(self) -> float:
        """Return the processor time used since the start, in milliseconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / _TICK

    def wait_for(self, condition: Callable[[], bool], what: str, *, within: float = PATIENCE) -> float:
        """Return the seconds from the start until `condition` holds; raise when it never does."""
        while not condition():
            elapsed = time.perf_counter() - self.started
            if self._popen.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self._popen.returncode} before {what}:\n{self.tail()}")
            if elapsed > within:
                raise RuntimeError(f"{self.name}: {what} took more than {within:.0f} s:\n{self.tail()}")
            time.sleep(0.001)
        return time.perf_counter() - self.started

    def stop(self) -> float:
        """End it with SIGTERM, with SIGKILL if that does not help; return the seconds that it took."""
        begun = time.perf_counter()
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            try:
                self._popen.wait(10)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        return time.perf_counter() - begun

    def tail(self) -> str:
        """Return the end of what it wrote."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])


@contextmanager
def running(
    name: str, argv: Sequence[str], directory: Path, *, environment: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """Start a process in `directory`, which also takes its log; it is ended however the block is left."""
    log = directory / f"{name.replace(' ', '-')}.log"
    with log.open("ab") as output:
        popen = subprocess.Popen(
            argv,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": os.environ["PATH"], "HOME": str(directory), **(environment or {})},
        )
    process = Process(name, popen, log)
    try:
        yield process
    finally:
        process.stop()


def _field(status: str, name: str) -> int:
    for line in status.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ProcessLookupError(name)
