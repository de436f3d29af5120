"""A disk that refuses: every call of a renewal fails once, bytes are lost, room and descriptors run out.

Whatever fails, readers keep a whole generation, the log names what failed and what to do, and the agent goes
on by itself: the next `once` that is due ends the renewal, with the leaf that was paid for.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.breaking import view
from tests.breaking.disks import in_memory, need_mounts
from tests.breaking.harness import counted, name_of
from tests.breaking.scenes import scene as make_scene

if TYPE_CHECKING:
    from pathlib import Path

    from tests.breaking.harness import Ended, Nursery
    from tests.breaking.scenes import Scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LADDER = 1.7
"""Seconds after which the first step of the ladder of retries is due, with the jitter of one half."""

ERRORS = {
    "EIO": ("fsync", "rename", "symlink", "unlink", "unlinkat", "rmdir", "utimensat"),
    "EXDEV": ("rename",),
    "ENOSPC": ("write", "mkdir"),
    "EPERM": ("fchmod",),
    "EMFILE": ("openat",),
}
"""Errors, and the calls that meet them, each in its turn; of `openat` every eighth, and all that make a file."""


@pytest.mark.parametrize("error", ERRORS)
def test_one_call_that_fails_is_named_and_got_over(nursery: Nursery, quick_folder: Path, error: str) -> None:
    """The old generation stays whole, or the new one is; the next tries by itself end the renewal."""
    folder = quick_folder / f"error-{error}"
    scene = make_scene("renewal", nursery, folder)
    try:
        calls = nursery.calls(scene.again(), "renew")
        parked: list[tuple[str, bool, Path]] = []
        troubles: list[str] = []
        for call in ERRORS[error]:
            for n, line in _each(calls, call):
                scene.again()
                tracing = (f"trace={call}", f"inject={call}:error={error}:when={n}")
                ended = nursery.run(scene.host, "renew", tracing=tracing)
                doing = f"{error} of {line}"
                try:
                    _judge(scene, ended, getattr(errno, error))
                except AssertionError as trouble:
                    troubles.append(f"{doing}\n{trouble}")
                promised = view.is_demanded(scene.host)
                parked.append((doing, promised, scene.host.folder.rename(folder / f"parked-{len(parked)}")))
        assert parked
        time.sleep(LADDER)
        for doing, promised, place in parked:
            place.rename(scene.host.folder)
            try:
                _recover(nursery, scene, promised=promised)
            except AssertionError as trouble:
                troubles.append(f"after {doing}\n{trouble}")
            shutil.rmtree(scene.host.folder)
        assert not troubles, "\n\n".join(troubles)
    finally:
        shutil.rmtree(folder)


def _each(calls: list[str], name: str) -> list[tuple[int, str]]:
    lines = [line for line in calls if name_of(line) == name]
    return [
        (n, line)
        for n, line in enumerate(lines, 1)
        # What the lock itself meets is no matter of the store.
        if "/.lock" not in line and (name != "openat" or "O_CREAT" in line or n % 8 == 0)
    ]


def _judge(scene: Scene, ended: Ended, number: int) -> None:
    """Readers see what they saw, or all of the new; and what failed is said, with advice."""
    assert scene.before is not None
    left = view.look(scene.host)
    is_new = left.leaf not in scene.issued
    assert is_new or left.files == scene.before.files
    assert view.wide_secrets(scene.host) == []
    assert ended.code in (0, 1), ended
    assert "Traceback" not in ended.said, ended
    if ended.code == 0:
        assert is_new, ended
    else:
        assert os.strerror(number) in ended.said, ended
        assert _advice(ended), ended


def _advice(ended: Ended) -> list[str]:
    """Return what the log advises."""
    lines = [json.loads(line) for line in ended.errors.splitlines() if line.startswith("{")]
    told = [line["advice"] for line in lines if line.get("advice")]
    return told + re.findall(r"^cert-agent: .*: (\w.*)$", ended.errors, re.MULTILINE)


def _recover(nursery: Nursery, scene: Scene, *, promised: bool) -> None:
    """The fault has ended: the next run is all that it takes, with a renewal where one was noted as asked for."""
    had = view.issued(scene.host)
    before = view.look(scene.host)
    ended = nursery.run(scene.host, "once")
    assert ended.code == 0, ended
    after = view.look(scene.host)
    assert view.unfinished(scene.host) == []
    assert view.pending(scene.host) is None
    new = len((view.issued(scene.host) | had) - scene.issued)
    assert new <= 1, f"{new} leaves were issued"
    if promised:
        is_new = after.leaf not in scene.issued
        assert is_new, f"it is not renewed\n{ended}"
    else:
        assert str(after) == str(before)


@pytest.mark.parametrize("claimed", [1, 1 << 20], ids=["first-byte-lost", "all-lost"])
def test_bytes_that_were_not_written_are_found_before_the_switch(
    nursery: Nursery, quick_folder: Path, claimed: int
) -> None:
    """A write that claims more than it did makes no generation: it is read back before readers see it."""
    folder = quick_folder / f"short-{claimed}"
    scene = make_scene("renewal", nursery, folder)
    try:
        calls = nursery.calls(scene.again(), "renew")
        lines = _each(calls, "write")
        refused = 0
        for n, line in lines:
            scene.again()
            ended = nursery.run(scene.host, "renew", tracing=("trace=write", f"inject=write:retval={claimed}:when={n}"))
            left = view.look(scene.host)
            assert view.wide_secrets(scene.host) == []
            if "/.generations/" in line:
                refused += 1
                assert scene.before is not None
                is_old = left.files == scene.before.files
                assert is_old, f"{line}\n{ended}"
                assert ended.code == 1, f"{line}\n{ended}"
                told = "do not read back" in ended.said or "the manifest cannot be read" in ended.said
                assert told, f"{line}\n{ended}"
                assert _advice(ended)
            ended = nursery.run(scene.host, "renew")
            assert ended.code == 0, f"after {line}\n{ended}"
            assert view.look(scene.host).leaf not in scene.issued | {left.leaf}
        assert refused >= len(view.names(scene.host))
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("first", [1, 40, 80, 120])
def test_no_descriptor_left_is_named_and_got_over(nursery: Nursery, quick_folder: Path, first: int) -> None:
    """From some call on, no file can be opened any more."""
    folder = quick_folder / f"descriptors-{first}"
    scene = make_scene("renewal", nursery, folder)
    try:
        assert counted(nursery.calls(scene.again(), "renew"))["openat"] > first
        scene.again()
        tracing = ("trace=openat", f"inject=openat:error=EMFILE:when={first}+")
        ended = nursery.run(scene.host, "renew", tracing=tracing)
        assert ended.code == 1, ended
        _judge(scene, ended, errno.EMFILE)
        time.sleep(LADDER)
        ended = nursery.run(scene.host, "once")
        assert ended.code == 0, ended
        assert view.unfinished(scene.host) == []
        ended = nursery.run(scene.host, "renew")
        assert ended.code == 0, ended
        assert view.look(scene.host).leaf not in scene.issued
    finally:
        shutil.rmtree(folder)


# --- small disks ----------------------------------------------------------------------------


def _fill(disk: Path, *, blocks: bool) -> list[Path]:
    """Fill a disk; return the fillers, each of which gives one block or one inode back when it is removed."""
    fillers: list[Path] = []
    while True:
        filler = disk / f"filler-{len(fillers):04}"
        try:
            filler.touch()
            if blocks:
                filler.write_bytes(b"\0" * 4096)
        except OSError:
            filler.unlink(missing_ok=True)
            return fillers
        fillers.append(filler)


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_disk_with_too_little_room_keeps_what_is_current(nursery: Nursery, tmp_path: Path, what: str) -> None:
    """With room for nothing, for one block or inode, for two…: until a renewal has enough and says so."""
    need_mounts()
    options = ("size=600k", "nr_inodes=1000") if what == "bytes" else ("size=64m", "nr_inodes=120")
    with in_memory(tmp_path / "disk", *options) as disk:
        scene = make_scene("renewal", nursery, disk)
        shutil.rmtree(disk / "saved")
        fillers = _fill(disk, blocks=what == "bytes")
        assert len(fillers) > 20
        before, tried = scene.before, 0
        while True:
            ended = nursery.run(scene.host, "renew")
            tried += 1
            left = view.look(scene.host)
            assert before is not None
            assert view.wide_secrets(scene.host) == []
            if ended.code == 0:
                break
            assert left.leaf == before.leaf or left.leaf not in scene.issued, ended
            assert "No space left on device" in ended.said, ended
            assert "free some space" in ended.said or "cannot lock" in ended.said, ended
            assert view.unfinished(scene.host) == [], ended
            assert fillers, f"it fails with all the room that it ever had: {ended}"
            fillers.pop().unlink()
        assert left.leaf not in scene.issued
        assert tried > 3
        assert len(view.issued(scene.host) - scene.issued) == 1, "issued twice"


def test_a_disk_that_became_read_only_keeps_what_is_current(nursery: Nursery, tmp_path: Path) -> None:
    """Named with advice; writable again, the next run renews."""
    need_mounts()
    with in_memory(tmp_path / "disk", "size=16m") as disk:
        scene = make_scene("renewal", nursery, disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for verb in ("renew", "once", "rollback"):
            ended = nursery.run(scene.host, verb)
            assert ended.code == 1, ended
            assert "Read-only file system" in ended.said
            assert _advice(ended)
            assert view.look(scene.host) == scene.before
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        ended = nursery.run(scene.host, "renew")
        assert ended.code == 0, ended
        assert view.look(scene.host).leaf not in scene.issued
