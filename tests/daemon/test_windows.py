"""Maintenance windows in whole cycles: what waits for one, what never does, and what happens at its edges."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.generation import Cause, Damage, FileDamage
from agent.core.window import Window
from tests.daemon.broker_world import DAY, HOUR, MINUTE
from tests.daemon.rotation_world import NEW, OLD, TURNING, TurningWorld, begun
from tests.daemon.world import WANTED, World
from tests.material import NOW, Ca

if TYPE_CHECKING:
    from datetime import datetime

NIGHTLY = (Window("0 2 * * *", 2 * HOUR),)
"""From two to four in the night, by UTC; the tests begin at noon."""

AT_TWO = (NOW + DAY).replace(hour=2)
SERVED = replace(WANTED, windows=NIGHTLY)
TURNED = replace(TURNING, windows=NIGHTLY)


async def served() -> World:
    """Return a world whose first leaf is in use; it waited for no window, since nobody had anything to lose."""
    world = World(SERVED)
    await world.keeper.turn()
    assert world.status.settled
    return world


def next_opening(now: datetime) -> datetime:
    """Return when it opens next."""
    at = now.replace(hour=2, minute=0, second=0, microsecond=0)
    return at if now < at else at + DAY


async def test_a_first_certificate_waits_for_no_window() -> None:
    """A host that is set up at noon works at noon."""
    world = await served()
    assert world.now == NOW
    assert world.current.cause is Cause.LEAF


async def test_a_renewal_waits_for_the_opening_and_is_done_then() -> None:
    """The CA is asked in the window, and the sentence says when that is."""
    world = await served()
    first = world.current.leaf
    at = world.status.renew_at
    assert at is not None
    world.now = at if at.hour not in (2, 3) else at.replace(hour=12)
    opening = next_opening(world.now)
    plan = await world.keeper.turn()
    assert "a maintenance window opens then" in str([step.why for step in plan.steps])
    rotation = world.status.rotation
    assert rotation is not None
    assert rotation.opens_at == opening
    await world.live_until(opening)
    assert (world.current.leaf, world.ca.calls) == (first, 1)
    await world.live_until(opening + MINUTE)
    assert (world.current.leaf != first, world.ca.calls) == (True, 2)
    rotation = world.status.rotation
    assert rotation is not None
    assert rotation.opens_at is None


async def test_new_anchors_wait_for_the_opening() -> None:
    """An approved root is told of at once and written in the window."""
    world = await begun(TURNED)
    world.list_new()
    await world.later(MINUTE)
    await world.keeper.approve(world.new.certificate.fingerprint, by="ann")
    world.now = AT_TWO - 10 * MINUTE
    await world.live_until(AT_TWO - MINUTE)
    assert (world.trusted, world.state_of(NEW)) == ({OLD}, "entering")
    assert world.rotation.opens_at == AT_TWO
    await world.live_until(AT_TWO)
    assert world.trusted == {OLD}
    await world.live_until(AT_TWO + MINUTE)
    assert world.trusted == {OLD, NEW}


async def test_a_leaf_in_hand_waits_for_the_opening() -> None:
    """It was issued in one window, the peers came to trust it after that, and it becomes current in the next."""
    world = await begun(TURNED)
    world.flip()
    world.now = AT_TWO
    await world.live_until(AT_TWO + 2 * HOUR - MINUTE)
    assert (world.trusted, world.leaf, world.in_hand) == ({OLD, NEW}, OLD, NEW)
    world.now = AT_TWO + 2 * HOUR
    world.trust_both()
    await world.live_until(world.now + 3 * HOUR)
    assert world.leaf == OLD
    world.now = AT_TWO + DAY
    await world.live_until(world.now + MINUTE)
    assert (world.leaf, world.outages) == (NEW, [])


async def test_an_issue_for_another_ca_waits_for_the_opening() -> None:
    """Nothing is asked of the CA outside of it."""
    world = await begun(TURNED)
    world.list_new()
    world.now = AT_TWO
    await world.keeper.turn()
    await world.keeper.approve(world.new.certificate.fingerprint, by="ann")
    assert world.trusted == {OLD, NEW}
    world.now = AT_TWO + 3 * HOUR
    world.flip()
    calls = world.ca.calls
    await world.live_until(world.now + 2 * HOUR)
    assert (world.ca.calls, world.in_hand) == (calls, None)
    world.now = AT_TWO + DAY
    await world.keeper.turn()
    assert (world.ca.calls, world.in_hand) == (calls + 1, NEW)


async def test_an_old_anchor_leaves_in_a_window_alone() -> None:
    """A person lets it go by day, and it is gone in the night."""
    world = await begun(replace(TURNED, rotation=replace(TURNED.rotation, soak=timedelta(0))))
    world.trust_both()
    world.flip()
    world.now = AT_TWO
    await world.live_until(AT_TWO + 10 * MINUTE)
    assert world.leaf == NEW
    world.peer.uses = {world.ids[NEW]}
    world.now = AT_TWO + 4 * HOUR
    await world.keeper.turn()
    await world.keeper.retire(world.old.certificate.fingerprint, by="ann", force=False)
    await world.live_until(world.now + HOUR)
    assert world.trusted == {OLD, NEW}
    world.now = AT_TWO + DAY
    await world.later(MINUTE)
    assert world.trusted == {NEW}


async def test_damaged_files_are_put_back_outside_of_a_window() -> None:
    """What readers use stays what it was."""
    world = await served()
    world.store.damages = (FileDamage("tls.crt", Damage.MISSING),)
    await world.keeper.turn()
    assert (world.current.cause, world.now) == (Cause.FILES, NOW)


async def test_a_window_that_ends_in_mid_switch_holds_up_no_reload_and_no_proof() -> None:
    """What was begun is brought to its end: a listener that was not told is told, and looked at."""
    world = await served()
    first = world.current.leaf
    at = world.status.renew_at
    assert at is not None
    world.now = next_opening(at) + 2 * HOUR - MINUTE
    world.listener.reload_trouble = "the unit is being restarted"
    await world.keeper.turn()
    assert world.current.leaf != first
    assert not world.status.settled
    world.listener.reload_trouble = ""
    await world.live_until(world.now + 10 * MINUTE)
    assert world.status.settled


async def test_a_roll_back_waits_for_no_window() -> None:
    """A listener that does not take the new leaf is given the old one back at once; the next try is in a window."""
    world = await served()
    first = world.current
    at = world.status.renew_at
    assert at is not None
    opening = next_opening(at)
    world.now = opening + 2 * HOUR - timedelta(seconds=1)
    world.listener.reload_trouble = "the unit is being restarted"
    await world.keeper.turn()
    world.listener.reload_trouble, world.listener.deaf = "", True
    world.now = opening + 2 * HOUR + MINUTE
    await world.keeper.turn()
    assert world.current == first
    world.listener.deaf = False
    await world.live_until(opening + DAY)
    assert world.current == first
    await world.live_until(opening + DAY + MINUTE)
    assert world.current.leaf != first.leaf


async def test_the_emergency_lane_waits_for_no_window() -> None:
    """A leaf in its last twentieth is renewed when it can be."""
    world = await served()
    first = world.current.leaf
    world.ca.anchor_trouble = ""
    world.now = (first.not_after - timedelta(hours=35)).replace(hour=12)
    assert world.now > first.not_after - timedelta(hours=36)
    await world.keeper.turn()
    assert world.current.leaf != first


async def test_a_person_who_asks_for_a_renewal_waits_for_no_window() -> None:
    """They know what they do; the window is for what goes by itself."""
    world = await served()
    first = world.current.leaf
    await world.keeper.renew()
    assert world.current.leaf != first


async def test_of_two_windows_the_next_one_counts() -> None:
    """Each has its own times; a change waits for whichever opens first."""
    world = await begun(replace(TURNED, windows=(*NIGHTLY, Window("0 14 * * *", HOUR))))
    other = Ca.root("CN=Another", not_before=NOW - HOUR)
    world.ca.extra_anchors = (other.certificate,)
    await world.live_until(NOW + 2 * HOUR)
    assert world.trusted == {OLD}
    await world.live_until(NOW + 2 * HOUR + MINUTE)
    assert len(world.current.anchors) == 2


async def test_peers_are_asked_outside_of_windows_too() -> None:
    """Looking changes nothing, and a broken state is told of at any hour."""
    world = await begun(TURNED)
    assert isinstance(world, TurningWorld)
    world.flip()
    asked = world.witness.asked
    await world.live_until(world.now + HOUR)
    assert world.witness.asked - asked >= 10
