"""The locks of all identities' directories: no second process ever touches a store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.host.lock import DirectoryLock

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Locks:
    """Holds one lock a directory; all of a set are taken or none."""

    def __init__(self) -> None:
        self._held: dict[Path, DirectoryLock] = {}

    async def take(self, directories: Iterable[Path]) -> None:
        """Take those that are not held yet; raise `BusyError` or `StoreError`, and then take none."""
        await asyncio.to_thread(self._take, frozenset(directories) - self._held.keys())

    def keep_only(self, directories: Iterable[Path]) -> None:
        """Give back all others."""
        for directory in self._held.keys() - frozenset(directories):
            self._held.pop(directory).release()

    def release(self) -> None:
        """Give back all."""
        self.keep_only(())

    def _take(self, directories: frozenset[Path]) -> None:
        taken: dict[Path, DirectoryLock] = {}
        try:
            for directory in sorted(directories):
                lock = DirectoryLock(directory)
                lock.acquire()
                taken[directory] = lock
        except BaseException:
            for lock in taken.values():
                lock.release()
            raise
        self._held |= taken
