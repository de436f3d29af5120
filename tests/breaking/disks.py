"""Small disks of our own: in memory, and file systems in an image that is copied as a power cut leaves it.

Whatever is mounted here is unmounted here; a loop device is let go with its mount.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.breaking.harness import ticks
from tests.tools import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

MEBIBYTE = 1 << 20


@contextmanager
def mounted(source: str, at: Path, *options: str, kind: str | None = None) -> Iterator[Path]:
    """Mount something for a while."""
    at.mkdir(exist_ok=True)
    typed = ["-t", kind] if kind else []
    _run("mount", *typed, "-o", ",".join(options), source, str(at))
    try:
        yield at
    finally:
        for _ in ticks(0.05):
            if subprocess.run(["umount", str(at)], check=False, capture_output=True).returncode == 0:
                break
        else:
            _run("umount", str(at))


def in_memory(at: Path, *options: str) -> AbstractContextManager[Path]:
    """Mount a disk in memory, of a size that `options` tell (tmpfs(5))."""
    return mounted("tmpfs", at, *options, kind="tmpfs")


@contextmanager
def workshop() -> Iterator[Path]:
    """Offer a folder in memory for images, below a short path, for sockets' names are short."""
    folder = Path(tempfile.mkdtemp(prefix="breaking-"))
    try:
        with in_memory(folder, "size=2g", "mode=0700"):
            yield folder
    finally:
        folder.rmdir()


@dataclass(frozen=True)
class FileSystem:
    """A kind of file system, and how it is made and mounted."""

    kind: str
    size: int
    options: tuple[str, ...] = ()
    copy_options: tuple[str, ...] = ()
    make: tuple[str, ...] = ()

    def format(self, image: Path) -> None:
        """Make one in a new, sparse file."""
        with image.open("wb") as stream:
            stream.truncate(self.size)
        _run(need(f"mkfs.{self.kind}"), *self.make, str(image))

    def mount(self, image: Path, at: Path) -> AbstractContextManager[Path]:
        """Mount an image; what its journal holds is replayed by that."""
        return mounted(str(image), at, "loop", *self.options, kind=self.kind)

    def mount_copy(self, image: Path, at: Path) -> AbstractContextManager[Path]:
        """Mount a copy beside its original."""
        return mounted(str(image), at, "loop", *self.options, *self.copy_options, kind=self.kind)


# What mkfs leaves to be done lazily, after the mount, would change the image behind our back.
_EAGER = ("-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0")
FILE_SYSTEMS = {
    "ext4": FileSystem("ext4", 24 * MEBIBYTE, make=_EAGER),
    "ext4-noauto_da_alloc": FileSystem("ext4", 24 * MEBIBYTE, ("noauto_da_alloc",), make=_EAGER),
    # A copy has the identity of its original, which xfs else refuses to mount twice.
    "xfs": FileSystem("xfs", 320 * MEBIBYTE, copy_options=("nouuid",), make=("-q", "-f")),
}


class Platter:
    """The image below a mounted file system, and what has reached it."""

    def __init__(self, image: Path, mount: Path) -> None:
        self._image = image
        device = mount.stat().st_dev
        self._counters = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
        self._commits = mount / "another-file"

    def written(self) -> tuple[str, str]:
        """Return counters that change with every write and every flush, once none is under way."""
        for _ in ticks():
            counters = self._counters.read_text().split()
            if counters[8] == "0":
                return counters[6], counters[15]
        raise AssertionError("the disk does not come to rest")

    def sync(self) -> None:
        """Bring all that was written so far to the disk."""
        _run("sync", "--file-system", str(self._commits.parent))

    def commit(self) -> None:
        """Have another file fsynced, which makes the journal durable, and not the data of other files."""
        with self._commits.open("ab", buffering=0) as stream:
            stream.write(b"x")
            os.fsync(stream.fileno())

    def cut(self, copy: Path) -> tuple[str, str]:
        """Copy what the power cut would leave; nothing is written meanwhile, or the copy is made again."""
        for _ in ticks():
            before = self.written()
            _run("cp", "--sparse=always", str(self._image), str(copy))
            if self.written() == before:
                return before
        raise AssertionError("the disk does not come to rest")


def need_mounts() -> None:
    """Skip aloud where nothing may be mounted; with `CI=true` it is an error."""
    with tempfile.TemporaryDirectory() as folder:
        _need(in_memory(Path(folder) / "mount", "size=64k"), "a disk in memory cannot be mounted")


def need_loops() -> None:
    """Skip aloud where a file system in a file may not be mounted; with `CI=true` it is an error."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image"
        FILE_SYSTEMS["ext4"].format(image)
        _need(FILE_SYSTEMS["ext4"].mount(image, Path(folder) / "mount"), "a file system in a file cannot be mounted")


def _need(mount: AbstractContextManager[Path], reason: str) -> None:
    try:
        with mount:
            return
    except RuntimeError as error:
        reason = f"{reason}: {error}"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _run(*command: str) -> None:
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {ended.stderr.strip()}")
