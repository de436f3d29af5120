"""The power cut after each step on the disk: the image is copied, mounted, and read as its readers would.

The real agent renews on a file system of its own and is stopped (SIGSTOP) after every call that
changes the disk. The image below is what the disk has by then: copied, and its journal replayed by a mount,
it is what the host finds after the power came back. Once it is taken as it is, and once after another
file of the same disk was fsynced: that commits the journal, and so all renames so far, and not the
bytes of files that nobody fsynced. This is what makes empty files, as the last test shows, where
fsync is a lie.

Not shown here: a disk that reorders what was written between two flushes, or that lies about them.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.breaking import view
from tests.breaking.disks import FILE_SYSTEMS, Platter, need_loops, workshop
from tests.breaking.harness import CHANGING
from tests.breaking.scenes import at, new_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.breaking.disks import FileSystem
    from tests.breaking.harness import Ended, Nursery
    from tests.e2e.host import Host

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FEWEST_STEPS = 60
"""Calls by which a renewal changes the disk, at least."""

FEWEST_IMAGES = 8
"""Images that differ, at least; fewer would mean that nothing was synced on the way."""

RECOVERED = 3
"""On each of so many images the agent is started too; readers look at all of them."""

LYING = "inject=fsync,fdatasync:retval=0"
"""fsync is not done and says that it was."""


@dataclass
class Cuts:
    """A renewal on a file system, and the power cuts in it."""

    nursery: Nursery
    system: FileSystem
    folder: Path
    host: Host
    platter: Platter
    steps: int = 0
    images: int = 0

    def renew(self, judge: Callable[[Host, str], None], *, committing: bool, lying: bool = False) -> Ended:
        """Renew, and have what each cut leaves judged."""
        stopping = [f"?{name}" for name in (*CHANGING, "openat") if not (lying and name in ("fsync", "fdatasync"))]
        child = self.nursery.start(self.host, "renew", gate=True)
        seen = None
        try:
            try:
                child.attach(
                    "trace=" + ",".join(f"?{name}" for name in (*CHANGING, "openat")),
                    "signal=none",
                    f"inject={','.join(stopping)}:signal=STOP",
                    *([LYING] if lying else []),
                )
            finally:
                child.go()
            while child.stopped():
                call = child.last_call()
                if not call.startswith("openat") or "O_CREAT" in call:
                    self.steps += 1
                    if committing:
                        self.platter.commit()
                    if self.platter.written() != seen:
                        seen = self._cut(judge, call)
                child.resume()
        except BaseException:
            child.kill()
            raise
        finally:
            ended = child.wait()
        self._cut(judge, "the end")
        return ended

    def _cut(self, judge: Callable[[Host, str], None], call: str) -> tuple[str, str]:
        copy, mount = self.folder / "copy", self.folder / "c"
        seen = self.platter.cut(copy)
        self.images += 1
        with self.system.mount_copy(copy, mount):
            judge(at(mount / "h", self.host), call)
        return seen


@contextmanager
def cuts(nursery: Nursery, kind: str) -> Iterator[Cuts]:
    """Have three generations stand on a file system, all of it synced."""
    need_loops()
    system = FILE_SYSTEMS[kind]
    with workshop() as folder:
        image = folder / "image"
        system.format(image)
        with system.mount(image, folder / "m") as mount:
            host = new_host(mount / "h")
            for verb in ("once", "renew", "renew"):
                ended = nursery.run(host, verb)
                assert ended.code == 0, ended
            platter = Platter(image, mount)
            platter.sync()
            yield Cuts(nursery, system, folder, host, platter)


@pytest.mark.parametrize("committing", [False, True], ids=["as-it-is", "journal-committed"])
@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_after_a_power_cut_it_is_all_old_or_all_new(nursery: Nursery, kind: str, committing: bool) -> None:
    """Never empty, never mixed, no key that others may read; the agent finds it whole, and goes on."""
    with cuts(nursery, kind) as disk:
        before = view.look(disk.host)
        found: list[bytes] = []
        troubles: list[str] = []

        def judge(host: Host, call: str) -> None:
            try:
                left = view.look(host)
                found.append(left.leaf)
                assert view.wide_secrets(host) == []
                if left.leaf == before.leaf:
                    assert left.files == before.files
                if len(found) % RECOVERED:
                    return
                ended = nursery.run(host, "once")
                assert ended.code == 0, ended
                view.look(host)
                assert view.unfinished(host) == []
                assert view.pending(host) is None
            except AssertionError as error:
                troubles.append(f"cut after {call}\n{error}")

        ended = disk.renew(judge, committing=committing)
        assert ended.code == 0, ended
        assert not troubles, "\n\n".join(troubles[:5])
        assert disk.steps >= FEWEST_STEPS
        assert disk.images >= FEWEST_IMAGES
        after = view.look(disk.host).leaf
        assert found == [before.leaf] * found.count(before.leaf) + [after] * found.count(after)
        assert before.leaf in found
        assert found[-1] == after, "what was said to be done did not survive"


@pytest.mark.parametrize("kind", ["ext4-noauto_da_alloc", "xfs"])
def test_without_fsync_this_very_test_sees_torn_files(nursery: Nursery, kind: str) -> None:
    """The proof of the proof: where fsync says that it was done and was not, files are empty or missing."""
    with cuts(nursery, kind) as disk:
        torn: list[str] = []

        def judge(host: Host, call: str) -> None:
            try:
                view.look(host)
            except view.TornError as error:
                torn.append(f"{call}: {error}")

        ended = disk.renew(judge, committing=True, lying=True)
        assert ended.code == 0, ended
        assert any("is empty" in one for one in torn), torn
