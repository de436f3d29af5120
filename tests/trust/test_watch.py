"""Changes of watched paths, as editors, Kubernetes and careless people make them."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import watchfiles

from agent.trust import watch as watching
from agent.trust.watch import watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LOOK = 0.02


@pytest.fixture(autouse=True)
def _shorter_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files rest sooner, for the tests' sake."""
    monkeypatch.setattr(watching, "QUIET", 0.05)


class Watched:
    """Counts how often it is woken."""

    def __init__(self) -> None:
        self.woken = 0
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Note it."""
        self.woken += 1
        self._event.set()

    async def wait(self) -> None:
        """Wait for the next time."""
        async with asyncio.timeout(10):
            await self._event.wait()
        self._event.clear()

    async def stays_quiet(self) -> bool:
        """Whether nothing wakes it for a good while."""
        before = self.woken
        await asyncio.sleep(20 * LOOK + 2 * watching.QUIET)
        return self.woken == before


@asynccontextmanager
async def _watching(*paths: Path) -> AsyncIterator[Watched]:
    watched = Watched()
    task = asyncio.create_task(watch(paths, watched.wake, look=LOOK))
    await asyncio.sleep(0.2)
    try:
        yield watched
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def _replace(path: Path, content: str) -> None:
    new = path.with_name(".new")
    new.write_text(content)
    new.replace(path)


@pytest.mark.slow
async def test_watch_notices_each_rename_over_a_file(tmp_path: Path) -> None:
    """A file that is replaced, and replaced again, wakes each time; what else happens beside it does not."""
    file = tmp_path / "ca.pem"
    file.write_text("one")
    async with _watching(file) as watched:
        (tmp_path / "other.pem").write_text("another file")
        assert await watched.stays_quiet()
        for content in ("two", "three"):
            _replace(file, content)
            await watched.wait()


@pytest.mark.slow
async def test_watch_wakes_once_for_a_file_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change is told when the file rests, not at each piece."""
    monkeypatch.setattr(watching, "QUIET", 0.3)
    file = tmp_path / "ca.pem"
    file.write_text("")
    async with _watching(file) as watched:
        for _ in range(10):
            with file.open("a") as open_file:
                open_file.write("a piece\n")
            await asyncio.sleep(0.03)
        await watched.wait()
        assert await watched.stays_quiet()
    assert watched.woken == 1


@pytest.mark.slow
async def test_watch_notices_what_changes_in_a_folder(tmp_path: Path) -> None:
    """A certificate or a store that comes or goes counts, another kind of file does not."""
    async with _watching(tmp_path) as watched:
        (tmp_path / "README").write_text("words")
        assert await watched.stays_quiet()
        (tmp_path / "ca.crt").write_text("one")
        await watched.wait()
        (tmp_path / "ca.crt").unlink()
        await watched.wait()
        for name in ("ca.p12", "ca.jks"):
            (tmp_path / name).write_text("a store")
            await watched.wait()


async def test_watch_waits_for_a_path_that_does_not_exist(tmp_path: Path) -> None:
    """A path whose folders do not exist yet is noticed when it comes."""
    file = tmp_path / "ca.d" / "more" / "ca.pem"
    async with _watching(file) as watched:
        file.parent.mkdir(parents=True)
        await asyncio.sleep(10 * LOOK)
        file.write_text("one")
        await watched.wait()


async def test_watch_survives_a_folder_that_vanishes(tmp_path: Path) -> None:
    """A folder that is removed and made anew is watched on, in its new life."""
    folder = tmp_path / "ca.d"
    folder.mkdir()
    (folder / "ca.pem").write_text("one")
    async with _watching(folder) as watched:
        shutil.rmtree(folder)
        await watched.wait()
        folder.mkdir()
        await watched.wait()
        (folder / "ca.pem").write_text("two")
        await watched.wait()
        (folder / "ca.pem").write_text("three")
        await watched.wait()


async def test_watch_survives_a_folder_that_is_exchanged(tmp_path: Path) -> None:
    """A folder that another takes the place of, between two looks, is watched on."""
    folder, spare = tmp_path / "ca.d", tmp_path / "spare"
    for place in (folder, spare):
        place.mkdir()
        (place / "ca.pem").write_text(place.name)
    async with _watching(folder) as watched:
        folder.rename(tmp_path / "old")
        spare.rename(folder)
        await watched.wait()
        (folder / "ca.pem").write_text("new")
        await watched.wait()


async def test_watch_follows_links(tmp_path: Path) -> None:
    """A link that leads elsewhere, above the file, is a change; so is one of the file that it leads to."""
    for name in ("1", "2"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "ca.crt").write_text(name)
    (tmp_path / "mount").mkdir()
    link = tmp_path / "mount" / "current"
    link.symlink_to("../data/1")
    async with _watching(link / "ca.crt") as watched:
        (tmp_path / "mount" / "new").symlink_to("../data/2")
        (tmp_path / "mount" / "new").rename(link)
        await watched.wait()
        _replace(tmp_path / "data" / "2" / "ca.crt", "three")
        await watched.wait()


async def test_watch_does_without_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has no watch left, the paths are looked at now and then."""

    def refuse(*_paths: Path, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(watchfiles, "watch", refuse)
    monkeypatch.setattr(watching, "AGAIN", LOOK)
    file = tmp_path / "ca.pem"
    async with _watching(file) as watched:
        file.write_text("one")
        await watched.wait()


async def test_watch_ends_at_once_when_cancelled(tmp_path: Path) -> None:
    """A cancelled watch does not wait for its next look."""
    task = asyncio.create_task(watch([tmp_path], Watched().wake))
    await asyncio.sleep(0.2)
    task.cancel()
    async with asyncio.timeout(1):
        with pytest.raises(asyncio.CancelledError):
            await task
