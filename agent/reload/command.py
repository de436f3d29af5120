"""Tell a reader with a command: an argument vector, in a process group of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from agent.errors import ReloadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.core.command import CommandReload
    from agent.core.generation import Generation

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

MOST_OUTPUT = 2048
"""Bytes of the end of the command's output that a failure shows."""

INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "JAVA_HOME")
"""What a command is given of the agent's environment; tokens and passwords may stand in the rest."""

_READ = 65_536


class CommandReloader:
    """Runs one command for one identity.

    The command finds the identity, its directory, and the generation's number, leaf and cause in
    `CERT_AGENT_IDENTITY`, `_DIRECTORY`, `_GENERATION`, `_FINGERPRINT` (SHA-256, hex) and `_CAUSE`
    (`leaf`, `anchors` or `files`).
    """

    def __init__(self, name: str, directory: Path, spec: CommandReload) -> None:
        self._name = name
        self._directory = directory
        self._spec = spec

    async def reload(self, generation: Generation) -> None:
        """Run the command and wait for its exit code; raise `ReloadError` unless that is 0.

        When its time is over, or this call is cancelled, the whole process group is ended. A
        process that a successful command leaves behind lives on; it must not need the command's
        output, which nobody reads any more.
        """
        with _Output() as output:
            process = await self._start(generation, output)
            output.close_writer()
            try:
                async with asyncio.timeout(self._spec.within.total_seconds()):
                    code = await process.wait()
            except TimeoutError:
                await _end(process)
                seconds = self._spec.within.total_seconds()
                raise self._failure(
                    f"was killed after {seconds:g} s",
                    output,
                    "see what it waits for, or give it more time with `within`",
                ) from None
            except BaseException:
                await _end(process)
                raise
            if code:
                how = f"ended with exit code {code}" if code > 0 else f"was ended by {_signal_name(-code)}"
                raise self._failure(how, output, "run it by hand as the agent's user and mend what it complains of")

    async def _start(self, generation: Generation, output: _Output) -> asyncio.subprocess.Process:
        program = self._program()
        try:
            return await asyncio.create_subprocess_exec(
                program,
                *self._spec.argv[1:],
                cwd=self._spec.directory,
                env=self._environment(generation),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output.writer,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            raise ReloadError(
                f"the reload command {program} of {self._name} cannot be started in {self._spec.directory}: {reason}",
                advice="give `command` a program that is there and that the agent's user may run",
            ) from error

    def _program(self) -> str:
        """Return the program: a bare name is sought on the PATH, a path counts from the command's folder."""
        program = self._spec.argv[0]
        return str(self._spec.directory / program) if "/" in program else program

    def _environment(self, generation: Generation) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return {
            "PATH": os.defpath,
            **inherited,
            "CERT_AGENT_IDENTITY": self._name,
            "CERT_AGENT_DIRECTORY": str(self._directory),
            "CERT_AGENT_GENERATION": str(generation.number),
            "CERT_AGENT_FINGERPRINT": generation.leaf.fingerprint,
            "CERT_AGENT_CAUSE": generation.cause.value,
        }

    def _failure(self, how: str, output: _Output, advice: str) -> ReloadError:
        said = output.text()
        what = f"the reload command {self._program()} of {self._name} {how}"
        return ReloadError(f"{what}; it said: {said}" if said else what, advice=advice)


class _Output:
    """The end of what a command writes.

    A pipe of our own, since asyncio's would have us wait for everyone who holds its other end, a
    daemon that the command started among them.
    """

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._writes = True
        self._tail = b""

    def __enter__(self) -> Self:
        """Read as the command writes, or it would stand still when the pipe is full."""
        asyncio.get_running_loop().add_reader(self._reader, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the pipe back."""
        asyncio.get_running_loop().remove_reader(self._reader)
        self.close_writer()
        os.close(self._reader)

    def close_writer(self) -> None:
        """Close our copy of the end that the command writes to, so that the end of all others is seen."""
        if self._writes:
            os.close(self.writer)
            self._writes = False

    def text(self) -> str:
        """Return the last words in one line, without what would steer a terminal."""
        self._read()
        words = self._tail.decode(errors="replace").strip()
        return "".join(letter if letter.isprintable() else " " for letter in words.replace("\n", " | "))

    def _read(self) -> None:
        with suppress(BlockingIOError):
            piece = os.read(self._reader, _READ)
            self._tail = (self._tail + piece)[-MOST_OUTPUT:]
            if not piece:
                asyncio.get_running_loop().remove_reader(self._reader)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process group: SIGTERM, a grace, SIGKILL for whoever is left, the leader or not."""
    with _killed_at_last(process.pid):
        _signal(process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await process.wait()
    await process.wait()


@contextmanager
def _killed_at_last(group: int) -> Iterator[None]:
    """Kill the group on the way out, also when the grace itself is cancelled."""
    try:
        yield
    finally:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
