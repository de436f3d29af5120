"""Links and folders that change at one instant, and the words for a disk that fails."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
import re
import shutil
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.errors import MaterialError, StoreError
from agent.net.durable import sync_directory, write_new

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPORARY = ".new-"
"""What the names of unfinished files, links and folders begin with; a crash may leave them."""

UNFINISHED = re.compile(r"\..*\.[0-9a-f]{16}\.tmp")
"""What `net.durable` calls a file until it is whole."""

MOST_PRESERVED = 1000
"""Different contents of one name that are kept; more than any person lays down by hand."""

LARGEST_FILE = 8 * 1024 * 1024
"""Bytes; no store of ours comes near, and what is larger is not read."""

_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or raise the quota",
    errno.EACCES: "let the agent's user read and write there",
    errno.EPERM: "let the agent's user do it; another owner needs CAP_CHOWN",
    errno.EROFS: "mount it writable",
    errno.EIO: "see to the disk",
    errno.EMFILE: "raise the limit of open files (LimitNOFILE=)",
    errno.ENFILE: "raise the host's limit of open files",
    errno.ENOTDIR: "make it a directory",
    errno.EISDIR: "remove the directory: a file belongs there",
}


@contextmanager
def on_disk(doing: str, path: Path) -> Iterator[None]:
    """Raise what the disk refuses as a `StoreError` that says what was being done."""
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str | os.PathLike) else path
        raise StoreError(
            f"{doing} failed at {os.fspath(where)!s}: {error.strerror or type(error).__name__}",
            advice=_ADVICE.get(error.errno or 0, "see to the file system"),
        ) from error


def replace_link(path: Path, target: str) -> None:
    """Make `path` a link to `target` by one rename; there is no moment at which it is missing."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(target)
    try:
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def read_bounded(path: Path) -> bytes:
    """Read a regular file, through links.

    Raise `OSError` when the disk refuses, `MaterialError` for what is no regular file or is larger
    than anything of ours: a pipe would be waited for, a sparse file would fill the memory.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise MaterialError("it is no regular file")
        if status.st_size > LARGEST_FILE:
            raise MaterialError(f"it has {status.st_size} bytes, and nothing of ours has more than {LARGEST_FILE}")
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read(LARGEST_FILE)
    finally:
        os.close(descriptor)


def remove_orphans(directory: Path) -> None:
    """Remove what a crash has left unfinished in a directory."""
    for path in directory.iterdir():
        if not path.name.startswith(TEMPORARY) and not UNFINISHED.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def make_folders(path: Path) -> None:
    """Make a folder and those above it that are missing, for others to pass through whatever the umask."""
    if path.is_dir():
        return
    make_folders(path.parent)
    path.mkdir(mode=0o755, exist_ok=True)
    path.chmod(0o755)


def preserve(path: Path, folder: Path) -> None:
    """Give a file that is about to be replaced a second name in `folder`, once for each content."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for number in range(MOST_PRESERVED):
        name = folder / (path.name if number == 0 else f"{path.name}.{number}")
        if not os.path.lexists(name):
            _give_second_name(path, name)
            sync_directory(folder)
            return
        if name.samefile(path) or filecmp.cmp(name, path, shallow=False):
            return
    raise OSError(errno.EEXIST, f"{MOST_PRESERVED} files of that name are kept already", str(folder))


def _give_second_name(path: Path, name: Path) -> None:
    try:
        os.link(path, name, follow_symlinks=False)
    except OSError as error:
        # The kernel denies a second name to files of others (fs.protected_hardlinks), and some file systems to all.
        if error.errno not in (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        write_new(name, read_bounded(path), mode=0o600)
