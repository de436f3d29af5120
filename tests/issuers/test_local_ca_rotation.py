"""The embedded CA's roots one after another: by a person, by age, and broken off at every step."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import IssuerRefusedError, TrustError
from agent.issuers.local import files as local_files
from agent.keystores import pem
from tests.issuers.local_cas import MONTH, WITHIN, YEAR, Clock, chains, files, folder, issue, local_ca, trusted
from tests.material import NOW

REPOSITORY = Path(__file__).parents[2]
OLD = NOW + 8.2 * YEAR
"""A moment in the last fifth of a root that was made at NOW."""

DAY = timedelta(days=1, minutes=1)

KILLER = Path(__file__).with_name("local_ca_killer.py")


async def test_rotation_gives_new_leaves_a_new_root_and_keeps_the_old_one_trusted(tmp_path: Path) -> None:
    """A running agent notices: its next leaf is of the new root, its own now; the old one is listed, its leaf good."""
    ca = local_ca(tmp_path)
    before = await issue(ca)
    (old,) = await ca.anchors()
    made = folder(tmp_path).rotate(NOW, within=WITHIN)
    assert await ca.anchors() == (made.root,)
    assert await ca.listed() == (old,)
    anchors = (made.root, old)
    assert made.root != old
    assert made.root.subject != old.subject
    after = await issue(ca)
    assert after.certificates[1] == made.intermediate.certificate
    assert chains(before, anchors, NOW)
    assert chains(after, anchors, NOW)
    assert not chains(before, anchors[:1], NOW)
    assert not chains(after, (old,), NOW)
    assert sorted(files(tmp_path)) == ["intermediate.pem", f"retired/{old.fingerprint}.pem", "root.pem"]


async def test_key_of_a_retired_root_is_gone(tmp_path: Path) -> None:
    """What is kept of it is its certificate: nobody signs with it again."""
    await local_ca(tmp_path).anchors()
    folder(tmp_path).rotate(NOW, within=WITHIN)
    (retired,) = (tmp_path / "retired").iterdir()
    assert b"PRIVATE KEY" not in retired.read_bytes()


async def test_retiring_forgets_the_old_roots(tmp_path: Path) -> None:
    """After two rotations three roots are trusted; then the last alone, and a running agent notices that too."""
    ca = local_ca(tmp_path)
    first = (await ca.anchors())[0]
    before = await issue(ca)
    second = folder(tmp_path).rotate(NOW, within=WITHIN).root
    third = folder(tmp_path).rotate(NOW, within=WITHIN).root
    assert await ca.anchors() == (third,)
    assert set(await ca.listed()) == {first, second}
    assert set(folder(tmp_path).retire(NOW, within=WITHIN)) == {first, second}
    assert await ca.anchors() == (third,)
    assert await ca.listed() == ()
    assert not chains(before, await ca.anchors(), NOW)
    assert folder(tmp_path).retire(NOW, within=WITHIN) == ()


async def test_retired_root_that_has_ended_is_no_anchor(tmp_path: Path) -> None:
    """A truststore need not hold what verifies nothing."""
    clock = Clock()
    ca = local_ca(tmp_path, clock)
    await ca.anchors()
    clock.now = NOW + 7 * YEAR
    root = folder(tmp_path).rotate(clock.now, within=WITHIN).root
    assert len(await ca.listed()) == 1
    clock.now = NOW + 10.1 * YEAR
    assert await ca.anchors() == (root,)
    assert await ca.listed() == ()
    assert folder(tmp_path).retire(clock.now, within=WITHIN) == ()


@pytest.mark.parametrize("step", ["rotate", "retire"])
def test_rotation_without_a_ca_is_told_and_makes_nothing(tmp_path: Path, step: str) -> None:
    """The first use makes the CA, no verb does."""
    with pytest.raises(IssuerRefusedError, match="no local CA"):
        getattr(folder(tmp_path / "ca"), step)(NOW, within=WITHIN)
    assert not (tmp_path / "ca").exists()
    (tmp_path / "ca").mkdir()
    with pytest.raises(IssuerRefusedError, match="no local CA"):
        getattr(folder(tmp_path / "ca"), step)(NOW, within=WITHIN)
    assert files(tmp_path) == {}


async def test_rotation_helps_a_root_that_has_ended(tmp_path: Path) -> None:
    """What the refusal advises works."""
    await local_ca(tmp_path).anchors()
    late = NOW + 11 * YEAR
    with pytest.raises(IssuerRefusedError, match="ended on"):
        await issue(local_ca(tmp_path, late))
    folder(tmp_path).rotate(late, within=WITHIN)
    ca = local_ca(tmp_path, late)
    assert chains(await issue(ca), await ca.anchors(), late)


async def test_root_is_followed_by_another_in_the_last_fifth_of_its_life(tmp_path: Path) -> None:
    """First the new root is listed beside the old one; a day later it signs, and the old one is listed still."""
    clock = Clock()
    ca = local_ca(tmp_path, clock)
    (old,) = await ca.anchors()
    clock.now = NOW + 7.9 * YEAR
    assert await trusted(ca) == (old,)
    clock.now = OLD
    before = await issue(ca)
    assert await ca.anchors() == (old,)
    anchors = await ca.listed()
    assert anchors[0].not_after > OLD + 9 * YEAR
    assert chains(before, (old,), OLD)
    clock.now = OLD + DAY
    after = await issue(ca)
    assert await ca.anchors() == anchors
    assert await ca.listed() == (old,)
    assert chains(after, anchors, clock.now)
    assert not chains(after, (old,), clock.now)
    assert chains(before, await ca.listed(), clock.now)
    assert sorted(files(tmp_path)) == ["intermediate.pem", f"retired/{old.fingerprint}.pem", "root.pem"]


async def test_root_at_its_very_end_is_followed_at_once(tmp_path: Path) -> None:
    """An agent that was down for two years does not wait another day."""
    await local_ca(tmp_path).anchors()
    late = NOW + timedelta(days=3652 - 1)
    ca = local_ca(tmp_path, late)
    issued = await issue(ca, lifetime=MONTH)
    assert issued.remarks == ()
    assert chains(issued, await ca.anchors(), late)
    assert len(await ca.listed()) == 1


async def test_successor_is_forgotten_when_the_clock_was_wrong(tmp_path: Path) -> None:
    """A clock that was years ahead leaves no anchor of the future."""
    (root,) = await local_ca(tmp_path).anchors()
    await local_ca(tmp_path, OLD).anchors()
    assert await trusted(local_ca(tmp_path)) == (root,)
    assert "successor.pem" not in files(tmp_path)


async def test_rotation_by_hand_takes_no_root_that_was_made_before(tmp_path: Path) -> None:
    """Who rotates since the keys were read wants none of them, not the announced one either."""
    (root,) = await local_ca(tmp_path, NOW).anchors()
    announced = await local_ca(tmp_path, OLD).listed()
    assert len(announced) == 1
    made = folder(tmp_path).rotate(OLD, within=WITHIN)
    assert made.root not in announced
    assert await trusted(local_ca(tmp_path, OLD)) == (made.root, root)


async def test_ca_that_is_still_to_be_made_lists_nothing(tmp_path: Path) -> None:
    """Whoever only looks is told that there is none when it asks for the own anchors."""
    assert await local_ca(tmp_path / "ca", read_only=True).listed() == ()
    assert not (tmp_path / "ca").exists()


async def test_read_only_ca_renews_nothing(tmp_path: Path) -> None:
    """Whoever only looks sees the anchors that there are, and changes none."""
    anchors = await local_ca(tmp_path).anchors()
    before = files(tmp_path)
    assert await trusted(local_ca(tmp_path, OLD, read_only=True)) == anchors
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
async def test_retired_root_that_cannot_be_read_is_told(tmp_path: Path, content: bytes) -> None:
    """To pass it over would take an anchor from every truststore, unnoticed."""
    await local_ca(tmp_path).anchors()
    folder(tmp_path).rotate(NOW, within=WITHIN)
    (retired,) = (tmp_path / "retired").iterdir()
    retired.unlink()
    retired.write_bytes(content)
    with pytest.raises(TrustError, match="cannot be used") as caught:
        await local_ca(tmp_path).anchors()
    assert "once no leaf of that root is in use" in caught.value.advice
    with pytest.raises(TrustError, match="cannot be used"):
        await local_ca(tmp_path).listed()
    retired.unlink()
    assert len(await trusted(local_ca(tmp_path))) == 1


async def test_folder_of_retired_roots_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """It is not taken for an empty one."""
    ca = local_ca(tmp_path)
    await ca.anchors()
    (tmp_path / "retired").write_text("in the way")
    with pytest.raises(TrustError, match=r"cannot read the local CA's .*retired"):
        await ca.anchors()
    assert ca.status().reason == "disk"


async def test_successor_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Nothing was signed with it, so it may be removed."""
    await local_ca(tmp_path).anchors()
    await local_ca(tmp_path, OLD).anchors()
    (tmp_path / "successor.pem").unlink()
    (tmp_path / "successor.pem").write_bytes(b"")
    with pytest.raises(TrustError, match=r"successor\.pem cannot be used") as caught:
        await local_ca(tmp_path, OLD).anchors()
    assert "remove it" in caught.value.advice


async def test_rotations_beside_running_agents_fail_nobody(tmp_path: Path) -> None:
    """Two agents issue and ask for anchors while a person rotates ten times: each leaf has an anchor at each moment."""
    await local_ca(tmp_path).anchors()
    done = threading.Event()

    def rotate() -> None:
        try:
            for _ in range(10):
                folder(tmp_path).rotate(NOW, within=WITHIN)
        finally:
            done.set()

    async def live() -> int:
        ca, number = local_ca(tmp_path), 0
        while not done.is_set():
            issued = await issue(ca)
            assert chains(issued, await trusted(ca), NOW)
            number += 1
        return number

    _, *numbers = await asyncio.gather(asyncio.to_thread(rotate), live(), live())
    assert min(numbers) > 0
    assert len(await trusted(local_ca(tmp_path))) == 11


def test_rotation_between_two_reads_is_no_corruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has read the old root finds the new intermediate beside it, and reads again."""
    folder(tmp_path).make(NOW, within=WITHIN)
    read = local_files.read
    rotated: list[object] = []

    def interrupted(path: Path) -> bytes | None:
        content = read(path)
        if path.name == "root.pem" and not rotated:
            rotated.append(path)
            rotated.append(folder(tmp_path).rotate(NOW, within=WITHIN).root)
        return content

    monkeypatch.setattr(local_files, "read", interrupted)
    found = folder(tmp_path).read()
    assert found is not None
    assert found.root == rotated[1]


# --- broken off at every step ---------------------------------------------------------------


async def break_off(target: Path, source: Path, verb: str, how: str, now: Clock) -> list[Path]:
    """Break a verb off at each of its steps, each time in a new copy of a folder, and return the copies."""
    command = [sys.executable, "-B", str(KILLER), str(source), str(target), verb, how, now().isoformat()]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=REPOSITORY, env={"PYTHONPATH": "."}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    number = json.loads(done.stdout)
    return [target / str(one) for one in range(number)]


async def _prepared(directory: Path, verb: str) -> Clock:
    """Have a CA at the moment when the verb would do most; return the clock."""
    if verb == "first":
        await asyncio.to_thread(directory.mkdir)
        return Clock()
    await local_ca(directory).anchors()
    if verb == "rotate":
        return Clock()
    await local_ca(directory, NOW + 4.1 * YEAR).anchors()
    if verb == "announce":
        return Clock(OLD)
    await local_ca(directory, OLD).anchors()
    return Clock(OLD + DAY)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "fail"])
@pytest.mark.parametrize("verb", ["first", "rotate", "announce", "succeed"])
async def test_broken_off_at_any_step_leaves_a_ca_that_works(tmp_path: Path, verb: str, how: str) -> None:
    """Killed, or with a disk that fails, before each thing that is done to the folder: old or new, and whole."""
    source = tmp_path / "source"
    clock = await _prepared(source, verb)
    before = await issue(local_ca(source, clock, read_only=True)) if verb != "first" else None
    old = (await local_ca(source, clock, read_only=True).anchors())[0] if verb != "first" else None
    left: set[bool] = set()
    copies = await break_off(tmp_path / "copies", source, verb, how, clock)
    assert len(copies) > (5 if verb in ("first", "announce") else 15)
    for copy in copies:
        if (copy / "root.pem").exists():
            left.add(pem.decode((copy / "root.pem").read_bytes()) == (old,))
        ca = local_ca(copy, clock)
        after = await issue(ca)
        assert chains(after, await ca.anchors(), clock())
        anchors = await trusted(ca)
        assert before is None or chains(before, anchors, clock())
        assert old is None or old in anchors
        # Nothing of it is in the way of the next one, which also leaves nothing behind.
        made = folder(copy).rotate(clock(), within=WITHIN)
        assert await ca.anchors() == (made.root,)
        assert chains(after, await trusted(ca), clock())
        assert {name for name in files(copy) if not name.startswith("retired/")} == {"root.pem", "intermediate.pem"}
        assert not [name for name in files(copy) if name.endswith(".tmp")]
    assert left == {"first": {False}, "announce": {True}}.get(verb, {True, False})


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "fail"])
async def test_retiring_broken_off_at_any_step_can_be_done_again(tmp_path: Path, how: str) -> None:
    """The roots that are left are still trusted, the current one always."""
    source = tmp_path / "source"
    await local_ca(source).anchors()
    folder(source).rotate(NOW, within=WITHIN)
    root = folder(source).rotate(NOW, within=WITHIN).root
    counts = set()
    for copy in await break_off(tmp_path / "copies", source, "retire", how, Clock()):
        anchors = await trusted(local_ca(copy))
        assert anchors[0] == root
        counts.add(len(anchors))
        folder(copy).retire(NOW, within=WITHIN)
        assert await trusted(local_ca(copy)) == (root,)
    assert counts == {3, 2, 1}
