"""Notice that a file of trust anchors has changed."""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import structlog
import watchfiles
from watchfiles._rust_notify import WatchfilesRustInternalError

from agent.trust.files import SUFFIXES, Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    Changes: TypeAlias = Generator[set[watchfiles.main.FileChange], None, None]
    State: TypeAlias = tuple[tuple[Path, Signature | None], ...]

LOOK = 5.0
"""Seconds between two looks at what the kernel has collected: twelve wake-ups a minute."""

QUIET = 0.2
"""Seconds without a change after which a file counts as written."""

MOST_QUIET = 25
"""How often that quiet is waited for; a file that never rests is told of all the same."""

AGAIN = 30.0
"""Seconds until the next try when the kernel has no watch for us; the paths are looked at as often."""


async def watch(paths: Iterable[Path], wake: Callable[[], None], *, look: float = LOOK) -> None:
    """Call `wake` within seconds of a change of a watched file or folder, until cancelled.

    What counts is what would be read: a path that appears, vanishes or leads elsewhere is a
    change, another file beside it is none. Every `look` seconds the kernel is asked.
    """
    files = _Files(paths, wake)
    await files.begin()
    said = ""
    while True:
        directories = await asyncio.to_thread(files.directories)
        try:
            with closing(_listen(place for place, _ in directories)) as changes:
                next(changes)
                # Compared once the watch is set, so that a change before it is not lost.
                await files.compare()
                while directories == await asyncio.to_thread(files.directories):
                    await _next(changes, look)
                    if await files.compare():
                        # A folder that was removed and made anew may have its old inode, and has no watch.
                        break
        except (OSError, WatchfilesRustInternalError) as error:
            if str(error) != said:
                said = str(error)
                structlog.get_logger().warning(
                    "files of trust anchors cannot be watched",
                    reason=said,
                    advice=f"they are looked at every {AGAIN:g} s; raise fs.inotify.max_user_watches or _instances",
                )
            await asyncio.sleep(AGAIN)
            await files.compare()


def _listen(directories: Iterable[Path]) -> Changes:
    """Have the kernel collect changes; each item is what it has collected so far, at once, and may be none.

    `watchfiles` means to be waited for in a thread that wakes up at each of its steps and cannot
    be cancelled between them. A step of zero and a time-out of a millisecond make it an answer
    without a wait, and the event loop's own timer does the waiting.
    """
    return watchfiles.watch(
        *directories,
        watch_filter=None,
        recursive=False,
        step=0,
        debounce=0,
        rust_timeout=1,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )


async def _next(changes: Changes, look: float) -> None:
    """Return at the next change of anything in the directories."""
    while True:
        await asyncio.sleep(look)
        if next(changes):
            return


class _Files:
    """The watched paths and their last state."""

    def __init__(self, paths: Iterable[Path], wake: Callable[[], None]) -> None:
        self._paths = tuple(sorted(set(paths)))
        self._wake = wake
        self._state: State = ()

    async def begin(self) -> None:
        """Take the state from which changes count."""
        self._state = await asyncio.to_thread(self._look)

    async def compare(self) -> bool:
        """Wake when the state is another than before, once it rests; return whether anything was seen to change."""
        state = await asyncio.to_thread(self._look)
        if state == self._state:
            return False
        for _ in range(MOST_QUIET):
            await asyncio.sleep(QUIET)
            before, state = state, await asyncio.to_thread(self._look)
            if before == state:
                break
        if state != self._state:
            self._state = state
            self._wake()
        return True

    def directories(self) -> frozenset[tuple[Path, int]]:
        """Return the directories in which a change of the paths shows, each with its inode.

        The file itself is not watched: a rename over it leaves the watch behind with the old one,
        and so it is with a directory that another has replaced. A link shows its change where it
        stands, the file that it leads to where that stands; what does not exist yet will show in
        the nearest directory that does.
        """
        wanted: set[Path] = set()
        for path in self._paths:
            real = Path(os.path.realpath(path))
            wanted |= {real, real.parent, path.parent}
            wanted |= {step.parent for step in (path, *path.parents) if _is_link(step)}
        return frozenset(filter(None, map(_nearest, wanted)))

    def _look(self) -> State:
        """Return what tells apart the states of the files that would be read."""
        return tuple((member, _signature(member)) for path in self._paths for member in (path, *_members(path)))


def _members(path: Path) -> list[Path]:
    try:
        return sorted(member for member in path.iterdir() if member.suffix.lower() in SUFFIXES)
    except OSError:  # a file, or nothing yet
        return []


def _signature(path: Path) -> Signature | None:
    try:
        status = path.stat()
    except OSError:  # not there, or not for us; the one who reads it says so
        return None
    if stat.S_ISDIR(status.st_mode):  # its members tell what has changed in it
        return Signature(status.st_dev, status.st_ino, 0, 0, 0)
    return Signature.of(status)


def _nearest(path: Path) -> tuple[Path, int] | None:
    for place in (path, *path.parents):
        try:
            status = place.stat()
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode):
            return place, status.st_ino
    return None


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:
        return False
