"""The files of an embedded CA: written by one rename, under a lock, and kept to the agent's user."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from typing import TYPE_CHECKING, TypeAlias

from agent.errors import IssuerUnavailableError
from agent.net.durable import sync_directory, write_new

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from pathlib import Path

KEY_MODE = 0o400
"""Of a file with a private key: nobody writes it, it is replaced."""

LARGEST_FILE = 64 * 1024
"""Bytes; a key and a certificate are six thousand at most."""

LOCK_STEP = 0.02
"""Seconds between two tries for the lock, which is held for some milliseconds once in years."""

Owner: TypeAlias = tuple[int, int]
"""User and group by number, -1 for the process's own."""

OWN: Owner = (-1, -1)


def owner_beside(path: Path) -> Owner:
    """Return whom a file beside `path` is to belong to.

    A person who calls a verb as root must not take the CA away from the agent's user.
    """
    if os.geteuid() != 0:
        return OWN
    try:
        found = path.stat()
    except FileNotFoundError:
        return OWN
    return found.st_uid, found.st_gid


def put(path: Path, content: bytes, *, mode: int, owner: Owner) -> None:
    """Put `content` at `path` by one rename, and return when it would survive a power cut; raise `OSError`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    write_new(temporary, content, mode=mode, owner=owner)
    try:
        move(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_folder(path: Path, owner: Owner) -> None:
    """Make a folder, if it is not there, that belongs to `owner` from the start; raise `OSError`."""
    if path.is_dir():
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    temporary.mkdir(mode=0o700)
    if owner != OWN:
        os.chown(temporary, *owner)
    move(temporary, path)


def move(source: Path, target: Path) -> None:
    """Rename within a folder so that it would survive a power cut; raise `OSError`."""
    source.replace(target)
    sync_directory(target.parent)


def remove(path: Path) -> None:
    """Remove a file, if it is there, so that it would survive a power cut; raise `OSError`."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def read(path: Path) -> bytes | None:
    """Return what a file holds, a byte more than `LARGEST_FILE` at most; None when it is not there."""
    try:
        with path.open("rb") as stream:
            return stream.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        return None


def sweep(directory: Path) -> None:
    """Remove what a crash left: what never got its name. Only who holds the lock writes here."""
    for orphan in directory.glob(".*.tmp"):
        if orphan.is_dir():
            orphan.rmdir()
        else:
            orphan.unlink(missing_ok=True)


def tighten(path: Path) -> None:
    """Make a key file of an earlier version, 0600, what it is now.

    A wider mode was set by somebody, who may share the CA with a group: it is told of, not changed.
    """
    # Whoever may not change it keeps what there is: a key that is read as before is no failure.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_mode & 0o777 == 0o600:
                os.fchmod(descriptor, KEY_MODE)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, owner: Owner, within: timedelta) -> Iterator[None]:
    """Hold the lock file `path`, made for `owner` where there is none; wait for it at most `within`.

    Raise `IssuerUnavailableError` when another process has it all that time, `OSError` without a folder.
    """
    give_up = time.monotonic() + within.total_seconds()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if owner != OWN:
            os.fchown(descriptor, *owner)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    raise IssuerUnavailableError(
                        f"another process holds the local CA's lock in {path.parent}",
                        advice="see what it is doing; it is tried again",
                        reason="time-out",
                    ) from None
                time.sleep(LOCK_STEP)
        yield
    finally:
        os.close(descriptor)
