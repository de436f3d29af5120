"""Writing a file so that it is old or new, whole, whatever happens to the host."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


LEFT_BEHIND = 60.0
"""Seconds after which nobody is still writing a small file."""


def write_durably(path: Path, content: bytes, *, mode: int) -> None:
    """Put `content` at `path` by one rename, and return when it would survive a power cut; it blocks.

    The bytes go to a new file beside it, which has `mode` (whatever the umask) before it has any
    content. Raise `OSError` when the disk fails it: what was at `path` is then still there, and
    nothing is left beside it, unless only the folder's fsync failed after the rename.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    write_new(temporary, content, mode=mode)
    try:
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def write_once(path: Path, content: bytes, *, mode: int) -> None:
    """Make the file `path` whole and durably, unless something is there by then; it blocks.

    Raise `OSError` when the disk fails it; there is then nothing, or all of it. What an earlier try
    that was killed left beside it is removed.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > LEFT_BEHIND:
                left.unlink()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    write_new(temporary, content, mode=mode)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
    sync_directory(path.parent)


def write_new(
    path: Path, content: bytes, *, mode: int, owner: tuple[int, int] = (-1, -1), modified: int | None = None
) -> None:
    """Make the file `path` with `content`, and fsync it, not its folder; it blocks.

    `owner` is user and group by number, -1 for the process's own; owner and mode are set before
    there is anything to read. `modified` is the time of its last change to be told, in nanoseconds
    since 1970; None leaves the clock's.
    Raise `FileExistsError` when something, be it a dangling link, is there already, `OSError` when
    the disk fails it; the file is then removed again.
    """
    # Nobody but the owner may open it before its mode is set: a mode can be wider, an open file cannot be taken back.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode & 0o700)
    try:
        try:
            if owner != (-1, -1):
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            remaining = memoryview(content)
            while remaining:
                remaining = remaining[os.write(descriptor, remaining) :]
            if modified is not None:
                os.utime(descriptor, ns=(modified, modified))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` survive a power cut; it blocks, and raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
