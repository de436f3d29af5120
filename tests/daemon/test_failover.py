"""From one issuer to another, and to a second one while the first is down: the same guards as any new CA."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.configuration import IssuerAnchors
from agent.errors import IssuerRefusedError, IssuerUnavailableError
from tests.daemon.broker_world import DAY, HOUR, MINUTE
from tests.daemon.rotation_world import BY_ITSELF, NEW, OLD, PEER, TURNING, TurningWorld

if TYPE_CHECKING:
    from agent.core.configuration import Wanted
    from agent.errors import AgentError

BOTH = (IssuerAnchors("ca"), IssuerAnchors("second"))
WITH_SECOND = replace(TURNING, trust=BOTH, peer_trust=BOTH, failover="second")
DOWN = IssuerUnavailableError("connection refused")
URGENT = timedelta(hours=35)
"""Before the end of a leaf of thirty days, within its last twentieth."""


class TwoIssuers(TurningWorld):
    """A world with a second issuer, whose CA is the new one."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(
            replace(wanted, issuer="ca", trust=TURNING.trust, peer_trust=TURNING.peer_trust, failover=None)
        )
        self.second = self.add_ca("second", self.new)
        self.restart(wanted)

    def go_down(self, trouble: AgentError = DOWN) -> None:
        """Have the first issuer answer nobody."""
        self.ca.script = [trouble] * 100_000


async def two(wanted: Wanted = WITH_SECOND) -> TwoIssuers:
    """Return a world whose first generation is in use."""
    world = TwoIssuers(wanted)
    await world.keeper.turn()
    assert world.broker.start()
    await world.later(MINUTE)
    await world.later(MINUTE)
    assert world.status.settled
    return world


async def failed_over() -> TwoIssuers:
    """Return a world whose first issuer is down in the last twentieth, ten minutes on; peers trust both CAs."""
    world = await two()
    world.trust_both()
    world.go_down()
    world.now = world.current.leaf.not_after - URGENT
    await world.live_until(world.now + 10 * MINUTE)
    return world


# --- failing over ----------------------------------------------------------------------------


async def test_the_second_issuer_is_asked_while_the_first_is_down_in_the_last_twentieth() -> None:
    """Every peer trusts both CAs, so that a leaf of either will do."""
    world = await failed_over()
    assert (world.leaf, world.current.issuer, world.outages) == (NEW, "second", [])
    assert world.second.calls == 1


async def test_no_second_issuer_is_asked_before_the_last_twentieth() -> None:
    """The first may come back any day: no CA changes for an outage of hours."""
    world = await two()
    world.trust_both()
    world.go_down()
    at = world.status.renew_at
    assert at is not None
    world.now = at
    await world.live_until(world.now + 3 * HOUR)
    world.now = world.current.leaf.not_after - URGENT - 3 * HOUR
    await world.live_until(world.now + HOUR)
    assert world.second.calls == 0
    assert world.leaf == OLD


async def test_no_second_issuer_is_asked_where_the_first_refuses() -> None:
    """A refusal is a person's to mend: another CA is no way around it."""
    world = await two()
    world.trust_both()
    world.go_down(IssuerRefusedError("the role is unknown"))
    world.now = world.current.leaf.not_after - URGENT
    await world.live_until(world.now + HOUR)
    assert (world.second.calls, world.leaf) == (0, OLD)


async def test_no_second_issuer_is_asked_while_a_peer_does_not_trust_it() -> None:
    """The first one is asked on, and nobody pays for a leaf that cannot be used."""
    world = await two()
    world.go_down()
    world.now = world.current.leaf.not_after - URGENT
    calls = world.ca.calls
    await world.live_until(world.now + HOUR)
    assert (world.second.calls, world.leaf) == (0, OLD)
    assert world.ca.calls - calls > 50
    world.trust_both()
    await world.live_until(world.now + 10 * MINUTE)
    assert (world.leaf, world.outages) == (NEW, [])


async def test_no_second_issuer_is_asked_while_a_peer_cannot_be_asked() -> None:
    """Unknown is never yes, in the last twentieth neither."""
    world = await two()
    world.trust_both()
    world.peer.silent = "connection refused"
    world.go_down()
    world.now = world.current.leaf.not_after - URGENT
    await world.live_until(world.now + HOUR)
    assert (world.second.calls, world.leaf) == (0, OLD)
    told = "ca is down, and second is not asked in its place: kafka2:9093 (connection refused) is not shown to trust"
    assert any(told in one for one in world.status.concerns)
    assert world.rotation.awaited == (PEER,)
    await world.keeper.confirm(PEER, by="ann")
    await world.live_until(world.now + 3 * MINUTE)
    assert world.leaf == NEW


async def test_a_second_issuer_whose_ca_nobody_shows_is_never_asked() -> None:
    """What it would give leaves of is not known: `trust` has to name it, and the status says so."""
    unnamed = replace(WITH_SECOND, trust=TURNING.trust, peer_trust=TURNING.peer_trust)
    world = await two(unnamed)
    world.trust_both()
    world.go_down()
    end = world.current.leaf.not_after
    world.now = end - HOUR
    await world.live_until(end - 30 * MINUTE)
    assert world.second.calls == 0
    told = "which CA second gives leaves of is not known: name it in `trust`"
    assert any(told in one for one in world.status.concerns)


async def test_both_issuers_are_asked_by_turns_while_both_are_down() -> None:
    """Whichever answers first ends it."""
    world = await two()
    world.trust_both()
    world.go_down()
    world.second.script = [DOWN] * 100_000
    world.now = world.current.leaf.not_after - URGENT
    before = world.ca.calls
    await world.live_until(world.now + 30 * MINUTE)
    first, second = world.ca.calls - before, world.second.calls
    assert second > 10
    assert abs(first - second) <= 1
    world.ca.script = []
    await world.live_until(world.now + 10 * MINUTE)
    assert (world.leaf, world.current.issuer) == (OLD, "ca")


async def test_it_goes_back_to_the_first_issuer_when_that_answers() -> None:
    """A leaf of the second was an emergency's: the first one's CA is what the settings name."""
    world = await failed_over()
    assert world.leaf == NEW
    world.ca.script = []
    await world.live_until(world.now + HOUR)
    assert (world.leaf, world.current.issuer, world.outages) == (OLD, "ca", [])
    assert world.trusted == {OLD, NEW}


async def test_a_leaf_of_the_second_issuer_stays_while_the_first_is_down() -> None:
    """It is renewed there while that lasts, in its own last twentieth."""
    world = await failed_over()
    calls = world.second.calls
    await world.live_until(world.now + 3 * HOUR)
    assert (world.leaf, world.second.calls) == (NEW, calls)
    world.now = world.current.leaf.not_after - URGENT
    await world.live_until(world.now + 10 * MINUTE)
    assert (world.leaf, world.second.calls) == (NEW, calls + 1)


async def test_a_failover_survives_the_end_of_the_process() -> None:
    """Whose turn it is stands in the notes, and the leaf of the second issuer in its generation."""
    world = await two()
    world.forgets = True
    world.trust_both()
    world.go_down()
    world.now = world.current.leaf.not_after - URGENT
    for _ in range(5):
        await world.later(MINUTE)
    assert (world.leaf, world.outages) == (NEW, [])


# --- from one issuer to another --------------------------------------------------------------


ONE = replace(BY_ITSELF, trust=BOTH, peer_trust=BOTH)
OTHER = replace(ONE, issuer="second")


@pytest.mark.parametrize("way", ["there", "back"])
async def test_another_issuer_in_the_settings_is_a_rotation_like_any(way: str) -> None:
    """The leaf waits for the peers, the old anchor for the last leaf; the way back is the same way."""
    first, then = (ONE, OTHER) if way == "there" else (OTHER, ONE)
    old, new = (OLD, NEW) if way == "there" else (NEW, OLD)
    world = TwoIssuers(first)
    world.peer.trusts = world.peer.uses = {world.ids[old]}
    await world.keeper.turn()
    world.broker.start()
    await world.later(MINUTE)
    assert (world.leaf, world.trusted) == (old, {OLD, NEW})
    world.restart(then)
    await world.later(HOUR)
    assert (world.leaf, world.in_hand) == (old, new)
    assert f"{PEER} is not shown to trust" in world.rotation.why
    world.peer.trusts = {*world.ids.values()}
    await world.later(10 * MINUTE)
    assert (world.leaf, world.outages) == (new, [])
    world.peer.uses = {world.ids[new]}
    world.restart(replace(then, trust=(IssuerAnchors(then.issuer),)))
    await world.later(HOUR)
    assert world.trusted == {OLD, NEW}
    await world.later(DAY)
    assert (world.trusted, world.outages) == ({new}, [])


async def test_a_change_of_issuer_that_is_taken_back_changes_nothing() -> None:
    """The settings name the first one again before any peer trusted the second."""
    world = TwoIssuers(ONE)
    await world.keeper.turn()
    world.broker.start()
    await world.later(MINUTE)
    world.restart(OTHER)
    await world.later(HOUR)
    assert world.in_hand == NEW
    world.restart(ONE)
    world.trust_both()
    await world.later(HOUR)
    assert (world.leaf, world.outages) == (OLD, [])
    await world.later(DAY)
    assert world.leaf == OLD


async def test_another_issuer_of_the_same_ca_is_no_rotation() -> None:
    """Another mount or role over one root: nobody's trust changes."""
    world = TwoIssuers(ONE)
    world.second.turn_to(world.old)
    await world.keeper.turn()
    world.broker.start()
    await world.later(MINUTE)
    world.restart(OTHER)
    world.peer.silent = "connection refused"
    await world.later(MINUTE)
    at = world.status.renew_at
    assert at is not None
    world.now = at
    await world.later(MINUTE)
    assert (world.leaf, world.current.issuer) == (OLD, "second")
