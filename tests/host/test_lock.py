"""The lock of a directory, held by real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import BusyError, StoreError
from agent.host.lock import DirectoryLock

ROOT = Path(__file__).parents[2]

HOLD = """
import sys, time
from pathlib import Path
from agent.host.lock import DirectoryLock
with DirectoryLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(30)
"""


def hold(directory: Path) -> subprocess.Popen[str]:
    """Start a process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_kept_out_and_told_by_whom(tmp_path: Path) -> None:
    """The holder's pid is named; once it was killed the lock is free, whatever its file says."""
    process = hold(tmp_path / "ssl")
    try:
        with pytest.raises(BusyError, match=f"process {process.pid}") as caught:
            DirectoryLock(tmp_path / "ssl").acquire()
        assert caught.value.advice
    finally:
        process.kill()
        process.communicate()
    with DirectoryLock(tmp_path / "ssl"):
        assert (tmp_path / "ssl" / ".lock").stat().st_mode & 0o777 == 0o600


def test_a_lock_is_held_once_in_a_process_too(tmp_path: Path) -> None:
    """Two keepers of one directory would be two writers; after a release it is free."""
    first, second = DirectoryLock(tmp_path), DirectoryLock(tmp_path)
    first.acquire()
    with pytest.raises(BusyError):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_a_directory_that_cannot_be_locked_is_told(tmp_path: Path) -> None:
    """A file in its place, or a link as the lock, is no directory of ours."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot lock"):
        DirectoryLock(tmp_path / "file").acquire()
    (tmp_path / ".lock").symlink_to("/etc/passwd")
    with pytest.raises(StoreError, match="cannot lock"):
        DirectoryLock(tmp_path).acquire()
