"""Files that are old or new, whole."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.net.durable import write_durably, write_new, write_once

REPOSITORY = Path(__file__).parents[2]


def test_write_durably_replaces_the_content_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """The new bytes are at the path, and no temporary file stays."""
    path = tmp_path / "state.json"
    write_durably(path, b"old", mode=0o600)
    write_durably(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("mode", [0o400, 0o444, 0o640, 0o600])
def test_write_durably_sets_the_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    """The mode is the one that is asked for, also where the umask would take some of it."""
    before = os.umask(0o077)
    try:
        write_durably(tmp_path / "key", b"x", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == mode


def test_write_durably_that_cannot_rename_leaves_what_was_there(tmp_path: Path) -> None:
    """A folder is in the way: the error is the system's, the folder stays, no temporary file does."""
    target = tmp_path / "key"
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        write_durably(target, b"secret", mode=0o600)
    assert target.is_dir()
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_write_durably_that_cannot_write_leaves_what_was_there(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: the old bytes stay, no temporary file does."""
    path = tmp_path / "store"
    write_durably(path, b"old", mode=0o600)
    script = (
        "import resource, signal, sys, pathlib\n"
        "from agent.net.durable import write_durably\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    write_durably(pathlib.Path(sys.argv[1]), b'n' * 100_000, mode=0o600)\n"
        "except OSError as error:\n"
        "    sys.exit(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", script, str(path)], cwd=REPOSITORY, env={"PYTHONPATH": "."}, check=False
    )
    assert done.returncode == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


def test_write_new_refuses_a_path_that_is_taken_by_a_link(tmp_path: Path) -> None:
    """A link that somebody put in the way is not followed, and what it points to is not made."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_new(link, b"secret", mode=0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["link"]


def test_write_durably_is_never_seen_half(tmp_path: Path) -> None:
    """A reader that loops while a large file is replaced sees whole versions and nothing else."""
    path = tmp_path / "store"
    versions = [bytes([number]) * 200_000 for number in range(8)]
    write_durably(path, versions[0], mode=0o600)
    torn: list[int] = []
    reads = 0
    done = threading.Event()

    def read() -> None:
        nonlocal reads
        while not done.is_set():
            content = path.read_bytes()
            reads += 1
            if content not in versions:
                torn.append(len(content))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5):
        for version in versions:
            write_durably(path, version, mode=0o600)
    done.set()
    reader.join()
    assert torn == []
    assert reads > 0


def test_write_once_leaves_what_is_there(tmp_path: Path) -> None:
    """Whoever is first has made it for both, whole, and nothing is left beside it."""
    path = tmp_path / "password"
    write_once(path, b"first", mode=0o400)
    write_once(path, b"second", mode=0o400)
    assert path.read_bytes() == b"first"
    assert path.stat().st_mode & 0o777 == 0o400
    assert [one.name for one in tmp_path.iterdir()] == ["password"]


def test_write_once_removes_what_a_killed_try_has_left(tmp_path: Path) -> None:
    """A password that nobody uses does not stay; one that somebody may be writing this minute does."""
    old, young = tmp_path / f".password.{'a' * 16}.tmp", tmp_path / f".password.{'b' * 16}.tmp"
    for one in (old, young, tmp_path / f".other.{'a' * 16}.tmp"):
        one.write_bytes(b"left")
    os.utime(old, (0, 0))
    os.utime(tmp_path / f".other.{'a' * 16}.tmp", (0, 0))
    write_once(tmp_path / "password", b"secret", mode=0o400)
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        f".other.{'a' * 16}.tmp", f".password.{'b' * 16}.tmp", "password",
    ]  # fmt: skip


def test_write_once_tells_what_the_disk_refuses(tmp_path: Path) -> None:
    """A folder that is not there is the caller's to tell of."""
    with pytest.raises(FileNotFoundError):
        write_once(tmp_path / "nowhere" / "password", b"secret", mode=0o400)
