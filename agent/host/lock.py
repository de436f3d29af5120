"""The lock of a directory: no second process ever touches a store."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from agent.errors import BusyError, StoreError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

NAME = ".lock"


class DirectoryLock:
    """An advisory lock (flock) on `.lock` in a directory; the kernel gives it back when the process ends, however."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock; raise `BusyError` when another process has it, `StoreError` when it cannot be taken at all.

        The directory is made when it is missing.
        """
        path = self._directory / NAME
        try:
            self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreError(
                f"cannot lock {self._directory}: {error.strerror}",
                advice="let the agent's user write there",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise BusyError(
                f"{self._directory} is kept by {who}",
                advice="act through that agent (cert-agent status), or stop it first",
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise StoreError(f"cannot lock {self._directory}: {error.strerror}", advice="see to the disk") from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it back; the file stays, since removing it would let two processes hold two locks."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        """Take it."""
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        self.release()
