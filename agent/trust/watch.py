"""Notice that a file of trust anchors has changed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from watchfiles import watch as watch_directories

from agent.trust.files import Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from watchfiles.main import FileChange

LOOK = 5.0
"""Seconds between two looks at what the kernel has collected: twelve wake-ups a minute."""

QUIET = 0.2
"""Seconds without a change after which a file counts as written."""

MOST_QUIET = 25
"""How often that quiet is waited for; a file that never rests is told of all the same."""

AGAIN = 30.0
"""Seconds until the next try when the kernel has no watch for us; paths are looked at as often."""


async def watch(paths: Iterable[Path], wake: Callable[[], None]) -> None:
    """Call `wake` within seconds of a change of a watched file or folder, until cancelled.

    What counts is what would be read: a path that appears, vanishes or leads elsewhere is a
    change, another file in the same directory is none. The directories are watched, not the
    files: a rename over a file leaves its watch behind with the old one.
    """
    watched = tuple(sorted(set(paths)))
    log = structlog.get_logger()
    state = await asyncio.to_thread(_state, watched)
    while True:
        directories = await asyncio.to_thread(_directories, watched)
        try:
            changes = _open(directories)
        except OSError as error:
            log.warning("files cannot be watched; they are looked at now and then", reason=str(error))
            changes = None
        try:
            # Looked at after the watch was set: what changed before it is not lost.
            while (now := await _settled(watched)) == state and await _changed(changes):
                if directories != await asyncio.to_thread(_directories, watched):
                    break
        finally:
            if changes is not None:
                changes.close()
        if now != state:
            state = now
            wake()
