"""The real agent killed at every system call that changes the disk, and then started again.

What stands on disk is the same from one call that changes it to the next. So killing before each of
those, from the first to the last, shows every state that a kill can leave: they are swept without a
gap, in their order, and a last run shows that there is none beyond. Calls that only look (`stat`, `read`,
`close`…) add no state: they are tried with a stride. Readers are asked after each kill; the next
run of the agent, and what it makes of the state, once for each state.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.breaking import view
from tests.breaking.harness import CHANGING, KILLED, counted, name_of
from tests.breaking.scenes import scene as make_scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.breaking.harness import Nursery
    from tests.breaking.scenes import Scene
    from tests.e2e.host import Host

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STRIDE = 25
"""Of the calls that only look, each of so many is tried."""

RENEWED = 3
"""After each of so many recoveries the next renewal is tried too: all have come to the same state."""

SHARES = {"renewal": 4, "rollback": 1, "first": 3, "adoption": 3}
"""Into how many tests a sweep is dealt out, so that they run side by side."""

FEWEST = {"renewal": 60, "rollback": 8, "first": 60, "adoption": 40}
"""Calls by which a verb changes the disk, at least: a sweep that found fewer has looked in the wrong place."""

MOST_TROUBLES = 5
"""After so many the rest of a sweep is of no more use."""


@dataclass(frozen=True)
class Point:
    """Where a run is killed: before the n-th call of a name."""

    call: str
    n: int
    line: str

    @property
    def tracing(self) -> tuple[str, ...]:
        """How strace is told."""
        return (f"trace={self.call}", f"inject={self.call}:signal=KILL:when={self.n}")


def points(calls: Sequence[str]) -> list[Point]:
    """Return where a verb with these calls is killed, in their order."""
    so_far: Counter[str] = Counter()
    found, passed = [], 0
    for line in calls:
        name = name_of(line)
        so_far[name] += 1
        if name not in CHANGING and "O_CREAT" not in line:
            passed += 1
            if passed % STRIDE:
                continue
        found.append(Point(name, so_far[name], line))
    return found


@pytest.mark.parametrize(
    ("name", "share"), [(name, share) for name, shares in SHARES.items() for share in range(shares)]
)
def test_killed_at_any_call_it_is_all_old_or_all_new(
    nursery: Nursery, quick_folder: Path, tmp_path: Path, name: str, share: int
) -> None:
    """Readers, orphans, modes and what was issued, right after each kill and after the next run."""
    folder = quick_folder / f"kill-{name}-{share}"
    scene = make_scene(name, nursery, folder)
    try:
        calls = nursery.calls(scene.again(), scene.verb)
        sweep = points(calls)
        assert len([one for one in sweep if one.call in CHANGING]) >= FEWEST[name]
        first, past = (len(sweep) * end // SHARES[name] for end in (share, share + 1))
        troubles: list[str] = []
        recovered: set[frozenset[str]] = set()
        for number, point in enumerate(sweep[first:past], first):
            host = scene.again()
            ended = nursery.run(host, scene.verb, tracing=point.tracing)
            try:
                assert ended.code == KILLED, f"it was not killed: {ended}"
                check(nursery, scene, recovered)
            except AssertionError as error:
                troubles.append(f"{scene.verb} killed before {point.line}\n{error}")
                shutil.copytree(host.folder, tmp_path / str(number), symlinks=True)
            if len(troubles) == MOST_TROUBLES:
                break
        assert not troubles, "\n\n".join(troubles)
        if past == len(sweep):
            check_that_there_are_no_more(nursery, scene, calls)
    finally:
        shutil.rmtree(folder)


def check_that_there_are_no_more(nursery: Nursery, scene: Scene, calls: Sequence[str]) -> None:
    """A run that would be killed at one more call of any kind comes to its end."""
    totals = {name: total for name, total in counted(calls).items() if name in CHANGING}
    killing = [f"inject={name}:signal=KILL:when={total + 1}" for name, total in totals.items()]
    ended = nursery.run(scene.again(), scene.verb, tracing=["trace=" + ",".join(totals), *killing])
    assert ended.code == 0, ended


def check(nursery: Nursery, scene: Scene, recovered: set[frozenset[str]]) -> None:
    """Judge what a kill has left; and, for a state that was not seen before, what the agent makes of it."""
    host, before = scene.host, scene.before
    if before is None:
        view.each_whole(host)
    else:
        left = view.look(host)
        # An adoption keeps the leaf, and may render it anew.
        same = left.leaf != before.leaf or left.files == before.files or scene.is_adoption
        assert same, "the files changed, and their leaf did not"
    assert view.wide_secrets(host) == []
    state = _state(host)
    if state in recovered:
        return
    recovered.add(state)
    had, waiting, root = view.issued(host), view.pending(host), _root(host)

    ended = nursery.run(host, "once")
    assert ended.code == 0, ended
    after = view.look(host)
    assert view.unfinished(host) == []
    assert view.wide_secrets(host) == []
    assert view.pending(host) is None
    assert root in (None, _root(host)), "the CA was made twice"
    _check_issued(scene, had, waiting, after)
    if len(recovered) % RENEWED:
        return

    ended = nursery.run(host, "renew")
    assert ended.code == 0, ended
    assert view.look(host).leaf not in had | {after.leaf}, "the next renewal did not renew"


def _check_issued(scene: Scene, had: frozenset[bytes], waiting: dict[str, Any] | None, after: view.View) -> None:
    """Nothing was asked for twice.

    An answer that was on disk is made use of, and a key that was on disk is asked for again with
    the same token, which makes one certificate of two questions where a CA bills for them.
    """
    new = len((view.issued(scene.host) | had) - scene.issued)
    assert new <= scene.issues, f"{new} leaves were issued"
    if waiting is None:
        return
    answer = view.pending_leaf(waiting)
    if answer is not None:
        made_use = after.leaf == answer
        assert made_use, "the pending answer was thrown away"
    else:
        made_use = view.public_key(after.leaf) == view.pending_key(waiting)
        assert made_use, "the pending key was thrown away"


def _state(host: Host) -> frozenset[str]:
    """Return what there is on disk, but for keys, names and instants that are drawn anew in each run."""
    found = []
    for path in host.folder.rglob("*"):
        status = path.lstat()
        name = re.sub(r"\.[0-9a-f]{16}\.tmp$", ".tmp", str(path.relative_to(host.folder)))
        content: object = path.readlink() if path.is_symlink() else status.st_size > 0
        if path.name == ".state.json":
            content = path.read_text()
        elif path.name == ".pending":
            waiting = view.pending(host)
            content = waiting is not None and bool(waiting["answer"])
        found.append(f"{name} {status.st_mode:o} {content}")
    return frozenset(found)


def _root(host: Host) -> bytes | None:
    path = host.folder / "ca" / "root.pem"
    return path.read_bytes() if path.exists() else None
