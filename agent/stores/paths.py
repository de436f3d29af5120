"""The paths that readers open: links of ours to what is current, and what else may stand in their place."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.errors import StoreError
from agent.stores.atomic import on_disk, preserve, replace_link

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

CURRENT = ".current"
FOUND = ".found"
"""The link to the current generation, and the folder of what stood where links of ours are now."""


def refuse_strangers(directory: Path, names: Iterable[str], ours: Collection[str]) -> None:
    """Raise `StoreError` for what the agent neither made nor can take the place of; `ours` once had links of ours.

    That is a link of somebody else's where none of ours has been, and a directory. It is asked
    before a CA is, so that nothing is paid for that could not be put in its place.
    """
    for name in names:
        path = directory / name
        target = link(path)
        if target is None:
            if path.is_dir():
                raise StoreError(f"{path} is a directory", advice="move it away: a file of the store belongs there")
        elif target != f"{CURRENT}/{name}" and name not in ours:
            raise StoreError(
                f"{path} is a link to {target} that the agent has not made",
                advice="move it away if the agent is to keep that path, or name another file",
            )
    for name, kind in ((CURRENT, stat.S_IFLNK), (FOUND, stat.S_IFDIR)):
        path = directory / name
        if os.path.lexists(path) and stat.S_IFMT(path.lstat().st_mode) != kind:
            raise StoreError(f"{path} is not what the agent has made", advice="move it away: the agent makes its own")


def keep_found(directory: Path, names: Iterable[str]) -> None:
    """Give every plain file that stands at one of the paths a second name in `.found`, before anything is switched."""
    for name in names:
        path = directory / name
        if link(path) is None and path.exists():
            preserve(path, directory / FOUND)


def put_links(directory: Path, names: Collection[str]) -> None:
    """Make the paths lead to what is current, each by one rename; links of ours that are wanted no longer go."""
    for name in names:
        target = f"{CURRENT}/{name}"
        if link(directory / name) != target:
            replace_link(directory / name, target)
    for entry in directory.iterdir():
        if entry.name not in names and link(entry) == f"{CURRENT}/{entry.name}":
            entry.unlink()


def switched_at(directory: Path) -> datetime:
    """Return when what is current became so: the rename of the link is a change of it (inode(7), ctime)."""
    path = directory / CURRENT
    with on_disk("reading a link", path):
        return datetime.fromtimestamp(path.lstat().st_ctime, UTC)


def link(path: Path) -> str | None:
    """Return the text of a link; None for whatever is none."""
    return os.readlink(path) if path.is_symlink() else None  # noqa: PTH115 - the text of the link, not a path
