"""Reading a small file that somebody else writes: whole, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import MaterialError

if TYPE_CHECKING:
    from pathlib import Path


def read_at_most(path: Path, most: int, *, unreadable: str, too_large: str) -> bytes:
    """Return what a file holds; it blocks.

    Raise `MaterialError` with the one or the other advice where it cannot be read or has more than
    `most` bytes.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise MaterialError(f"cannot read {path}: {error.strerror or error}", advice=unreadable) from error
    if len(content) > most:
        raise MaterialError(f"{path} is larger than {most} bytes", advice=too_large)
    return content
