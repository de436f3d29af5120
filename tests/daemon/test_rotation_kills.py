"""A whole CA rotation in which the process is killed at any call that leaves it, and a new one goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.core.rotation import Stage
from tests.daemon.broker_world import DAY, HOUR, MINUTE
from tests.daemon.rotation_world import BY_ITSELF, NEW, OLD, TURNING, TurningWorld, begun, reissued

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent.core.configuration import Wanted

CALLS = frozenset(
    {
        *("begin", "keep_order", "keep_answer", "drop_pending", "stage", "switch", "discard", "save"),
        *("issue", "judge", "reload", "look", "testify", "credentials", "candidate"),
    }
)
"""What the daemon does to the world, or has it do."""


class KilledError(BaseException):
    """What ends a process at once, for a test."""


class Fate:
    """Counts the calls of a world, ends the process right before one of them, and notes every outage."""

    def __init__(self, world: TurningWorld, kills_at: int | None) -> None:
        self._world = world
        self._kills_at = kills_at
        self.calls: list[str] = []
        self.outages: list[str] = []
        self.has_struck = False
        world.wrap = lambda edge: Mortal(edge, self)
        world.restart()

    async def meet(self, name: str, call: Callable[..., Awaitable[Any]], *args: Any, **named: Any) -> Any:
        """Let a call happen, or end the process before it."""
        self.calls.append(name)
        if len(self.calls) - 1 == self._kills_at:
            self.has_struck = True
            raise KilledError
        result = await call(*args, **named)
        self.outages += self._world.outages
        return result

    async def surely(self, step: Callable[[], Awaitable[Any]]) -> None:
        """Do a step; where the process is killed in it, a new one does it once more."""
        struck = self.has_struck
        try:
            await step()
        except BaseException:  # a group of tasks wraps what ends one of them
            if struck or not self.has_struck:
                raise
            self._world.restart()
            await step()


class Mortal:
    """An edge whose calls may be the last that the process makes."""

    def __init__(self, edge: Any, fate: Fate) -> None:
        self._edge = edge
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        """Return what the edge has; its calls may be the last."""
        value = getattr(self._edge, name)
        if name not in CALLS:
            return value

        async def call(*args: Any, **named: Any) -> Any:
            return await self._fate.meet(name, value, *args, **named)

        return call


async def rotate(wanted: Wanted, kills_at: int | None) -> tuple[TurningWorld, Fate]:
    """Go from the first sight of a new root to the last of the old one, with one kill on the way."""
    world = await begun(wanted)
    fate = Fate(world, kills_at)

    async def some_time() -> None:
        for _ in range(3):
            await world.later(3 * MINUTE)

    async def retire() -> None:
        if OLD in world.trusted and wanted is TURNING:
            await world.keeper.retire(world.old.certificate.fingerprint, by="ann", force=False)

    world.list_new()
    await fate.surely(some_time)
    await fate.surely(lambda: world.keeper.approve(world.new.certificate.fingerprint, by="ann"))
    await fate.surely(some_time)
    world.flip()
    await fate.surely(some_time)
    world.trust_both()
    await fate.surely(some_time)
    world.peer.uses = {world.ids[NEW]}
    await fate.surely(some_time)
    await fate.surely(lambda: world.later(DAY + HOUR))
    await fate.surely(retire)
    await fate.surely(some_time)
    return world, fate


async def killed_at(wanted: Wanted, at: int) -> None:
    """Kill the process before one call, and see that the rotation ends as it does without."""
    world, fate = await rotate(wanted, at)
    assert fate.has_struck
    assert fate.outages == [], f"killed before call {at}, {fate.calls[at]}"
    assert (world.leaf, world.trusted, world.in_hand) == (NEW, {NEW}, None), f"killed before {at}, {fate.calls[at]}"
    assert world.status.settled
    assert world.stage is Stage.STEADY
    # A leaf that was given and never written down is asked for once more, with the token of the first.
    assert world.ca.calls <= 3
    assert world.store.pending is None


async def test_a_rotation_that_nobody_disturbs_ends() -> None:
    """What the kills are compared with: two leaves in all, and each step in its turn."""
    for wanted in (TURNING, BY_ITSELF):
        world, fate = await rotate(wanted, None)
        assert (world.leaf, world.trusted, world.ca.calls, world.switches) == (NEW, {NEW}, 2, [1, 2, 3, 4])
        assert fate.outages == []
        assert {"begin", "keep_answer", "stage", "switch", "save", "issue", "judge", "testify"} <= set(fate.calls)
        assert len(fate.calls) < COUNT


COUNT = 170
"""More calls than a rotation makes."""


@pytest.mark.parametrize("at", range(0, COUNT, 17))
async def test_a_rotation_that_is_killed_on_its_way_ends_all_the_same(at: int) -> None:
    """Some of the calls, for every day."""
    world, fate = await rotate(TURNING, at)
    if not fate.has_struck:
        pytest.skip("a rotation makes fewer calls")
    assert (world.leaf, world.trusted, fate.outages) == (NEW, {NEW}, [])


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_rotation_that_is_killed_before_any_call_ends_all_the_same() -> None:
    """Between any two steps: nobody is shut out meanwhile, and nothing is paid for twice in vain."""
    _, fate = await rotate(TURNING, None)
    for at in range(len(fate.calls)):
        await killed_at(TURNING, at)


async def go_back(kills_at: int | None) -> tuple[TurningWorld, Fate]:
    """Go back to the old CA once the leaf is of the new one, with one kill on the way."""
    world = await reissued(TURNING)
    fate = Fate(world, kills_at)

    async def abort() -> None:
        if not world.store.record.rotation.abort:
            await world.keeper.abort(by="ann")

    await fate.surely(lambda: world.later(MINUTE))
    await fate.surely(abort)
    for _ in range(2):
        await fate.surely(lambda: world.later(6 * MINUTE))
    return world, fate


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_way_back_that_is_killed_before_any_call_ends_all_the_same() -> None:
    """The word is on disk or it is not: who gave it and saw no answer gives it again."""
    _, undisturbed = await go_back(None)
    for at in range(len(undisturbed.calls)):
        world, fate = await go_back(at)
        assert fate.has_struck
        told = f"killed before call {at}, {fate.calls[at]}"
        assert (world.leaf, world.trusted, world.ca.calls, fate.outages) == (OLD, {OLD, NEW}, 2, []), told
        assert world.status.settled, told
