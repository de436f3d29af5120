"""Whole cycles with a Kafka broker in memory: what its listeners show after a switch, and the way back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.core.files import ClientAuth
from agent.core.generation import Cause
from agent.errors import AgentError
from tests.daemon.broker_world import (
    HOUR,
    MINUTE,
    MORE,
    SECOND,
    SOON,
    a_world,
    fall_due,
    of,
    only,
    settled,
)
from tests.daemon.memory_broker import SPEC, UNOPENED
from tests.material import Ca

# --- refuted after the switch ------------------------------------------------------------------


async def test_a_store_that_is_silently_dropped_is_rolled_back_from_and_tried_again() -> None:
    """Success is no evidence: the proof finds it, the roll-back is told and proven too, the candidate waits."""
    world = await a_world(of(replace(SPEC, preflight=False)))
    world.broker.drops = "Failed to load SSL keystore"
    world.broker.alters.clear()
    with pytest.raises(AgentError, match="rolled back"):
        await world.keeper.renew()
    assert world.switches == [1, 2, 1]
    assert world.broker.faults == ["Failed to load SSL keystore"]
    assert world.broker.alters == [2, 1]
    assert settled(world)
    assert world.status.generation == 1
    assert world.status.counts.rollbacks == {"refuted": 1}
    assert world.status.tries["switching"].count == 1
    assert any("was refuted by a listener" in concern for concern in world.status.concerns)
    await world.live_until(world.now + 2 * HOUR)
    assert world.ca.calls == 2
    assert world.switches[-1] == 1
    assert 5 <= world.switches.count(2) <= 30
    world.broker.drops = ""
    await world.live_until(world.now + HOUR)
    assert world.switches[-1] == 2
    assert settled(world)
    assert world.status.health == "pass"
    assert world.ca.calls == 2


async def test_a_roll_back_is_not_settled_before_it_is_proven() -> None:
    """The old leaf may be gone from some threads already."""
    world = await a_world()
    world.broker.takes = 7 * SECOND  # four of six threads in the time of one look
    with pytest.raises(AgentError, match="rolled back"):
        await world.keeper.renew()
    assert world.switches == [1, 2, 1]
    assert len(world.broker.serves) <= 2
    await world.live_until(world.now + SOON)
    assert settled(world)
    assert world.broker.serves == {world.current.leaf.fingerprint}


async def test_no_roll_back_that_kafka_would_not_take() -> None:
    """One listener has taken more SANs and the other has not: there is no way back, so the agent holds and tells."""
    world = await a_world()
    world.broker.inter_broker = "CLIENTS"
    world.restart(MORE)
    refusal, first = world.broker.refusal, True

    def only_the_first(name: str, old: Any, new: Any) -> str:
        nonlocal first
        if name == "CLIENTS" and old.number == 1 and len(world.switches) > 1 and first:
            return "out of memory"
        return refusal(name, old, new)

    world.broker.refusal = only_the_first  # type: ignore[method-assign]
    await world.keeper.turn()
    await world.live_until(world.now + SOON)
    assert world.switches == [1, 2]
    assert not settled(world)
    assert world.status.health == "fail"
    assert len(world.broker.serves) == 2
    first = False
    await world.live_until(world.now + SOON)
    assert world.switches == [1, 2]
    assert settled(world)
    assert world.ca.calls == 2


async def test_a_listener_that_no_longer_serves_what_was_proven_is_told_again_and_not_rolled_back_from() -> None:
    """The files have not changed, so nothing is to be gone back to."""
    world = await a_world()
    await world.keeper.renew()
    world.broker.loaded["CLIENTS"] = [world.store.generations[1]] * 3
    world.broker.taken["CLIENTS"] = world.store.generations[1]
    await world.live_until(world.now + SOON)
    assert world.switches == [1, 2]
    assert world.broker.serves == {world.current.leaf.fingerprint}
    assert world.status.health == "pass"


# --- anchors -----------------------------------------------------------------------------------


async def test_new_anchors_and_a_due_leaf_are_two_generations_each_proven_before_the_next() -> None:
    """Kafka refuses both at once between brokers, so the leaf of a new CA comes after its anchor is known."""
    world = await a_world()
    new = Ca.root("CN=New Root")
    fall_due(world)
    world.ca.extra_anchors = (new.certificate,)
    world.ca.intermediate = new.intermediate("CN=New Intermediate")
    world.broker.alters.clear()
    await world.keeper.turn()
    await world.live_until(world.now + SOON)
    causes = [world.store.generations[number].cause for number in (1, 2, 3)]
    assert causes == [Cause.LEAF, Cause.ANCHORS, Cause.LEAF]
    assert world.switches == [1, 2, 3]
    assert world.broker.alters == [2, 3]
    assert world.broker.faults == []
    assert world.store.generations[2].leaf == world.store.generations[1].leaf
    assert world.store.generations[3].anchors == world.store.generations[2].anchors
    assert settled(world)
    assert world.broker.serves == {world.current.leaf.fingerprint}
    assert len(world.broker.knows.pop()) == 2


async def test_anchors_that_are_silently_dropped_are_rolled_back_from_and_do_not_loop() -> None:
    """The leaf is the same, so the names of the CAs that the listener takes tell; it is tried again at a pace."""
    world = await a_world(of(replace(SPEC, preflight=False)))
    world.broker.drops = "Failed to load SSL truststore"
    world.ca.extra_anchors = (Ca.root("CN=New Root").certificate,)
    await world.keeper.turn()
    assert world.switches == [1, 2, 1]
    assert settled(world)
    await world.live_until(world.now + 2 * HOUR)
    assert 5 <= world.switches.count(2) <= 30
    assert set(world.store.generations) == {1, 2}
    assert world.ca.calls == 1
    world.broker.drops = ""
    await world.live_until(world.now + HOUR)
    assert world.switches[-1] == 2
    assert settled(world)
    assert len(world.broker.knows.pop()) == 2


async def test_an_anchor_that_the_leaf_in_use_needs_is_not_taken_away() -> None:
    """Its source shows it no more, and the leaf in use is still of it: what is shown instead is trusted beside it."""
    world = await a_world()
    other = Ca.root("CN=Other").certificate
    world.ca.anchors = only(other)  # type: ignore[method-assign]
    await world.live_until(world.now + SOON)
    assert set(world.current.anchors) == {world.ca.root.certificate, other}
    assert world.status.counts.refusals == {}
    assert world.broker.faults == []
    assert settled(world)


async def test_a_refused_change_of_anchors_does_not_keep_a_leaf_from_being_published() -> None:
    """Each has its turn: what the one waits for may be the other."""
    world = await a_world()
    new = Ca.root("CN=New Root")
    world.ca.extra_anchors = (new.certificate,)
    await world.keeper.turn()
    assert settled(world)
    # The old anchor is taken away too early, and the leaf that would do without it is due.
    world.ca.intermediate = new.intermediate("CN=New Intermediate")
    world.ca.anchors = only(new.certificate)  # type: ignore[method-assign]
    fall_due(world)
    await world.live_until(world.now + 2 * HOUR)
    assert world.current.anchors == (new.certificate,)
    assert world.current.leaf.issuer == world.ca.intermediate.certificate.subject
    assert settled(world)
    assert world.ca.calls == 2


async def test_a_listener_that_asks_for_no_certificate_is_proven_by_its_leaf() -> None:
    """Nobody meets its truststore."""
    world = await a_world(asks=ClientAuth.NONE)
    world.ca.extra_anchors = (Ca.root("CN=New Root").certificate,)
    await world.keeper.turn()
    assert world.switches == [1, 2]
    assert settled(world)


async def test_a_new_key_of_a_ca_with_the_same_name_is_proven_by_a_leaf_that_is_taken() -> None:
    """The names of the CAs cannot tell the two apart; a leaf of the new one can."""
    world = await a_world()
    twin = Ca.root()
    assert twin.certificate.subject == world.ca.root.certificate.subject
    world.ca.extra_anchors = (twin.certificate,)
    await world.keeper.turn()
    assert world.switches == [1, 2]
    assert not settled(world)
    assert any("do not tell" in why for why in world.status.not_ready)


async def test_a_wanted_identity_that_a_listener_drops_is_not_paid_for_again() -> None:
    """It was issued, refuted and rolled back from: nothing is asked of the CA for what a proof lacks."""
    world = await a_world(of(replace(SPEC, preflight=False)))
    world.broker.drops = "Failed to load SSL keystore"
    world.restart(replace(MORE, reload=world.wanted.reload))
    await world.live_until(world.now + 2 * HOUR)
    assert world.ca.calls == 2
    assert world.current.number == 1
    world.broker.drops = ""
    await world.live_until(world.now + SOON)
    assert world.current.number == 2
    assert settled(world)


async def test_a_written_leaf_that_is_refused_after_a_crash_is_thrown_away_and_offered_again() -> None:
    """A crash before the switch leaves a whole generation; one that is refused holds up nothing that goes before it."""
    world = await a_world()
    world.store.fails_to_switch = 1
    with pytest.raises(RuntimeError, match="killed"):
        await world.keeper.renew()
    assert set(world.store.generations) == {1, 2}
    world.broker.unreadable = UNOPENED
    world.restart()
    await world.live_until(world.now + 10 * MINUTE)
    assert set(world.store.generations) == {1}
    assert world.store.pending is not None
    assert UNOPENED in world.status.findings[0]
    world.broker.unreadable = ""
    await world.live_until(world.now + SOON)
    assert world.current.number > 2
    assert settled(world)
    assert world.ca.calls == 2


async def test_a_way_back_leads_to_what_is_served() -> None:
    """A generation that was refuted before is no place to go back to while a proven one is there."""
    world = await a_world(of(replace(SPEC, preflight=False)))
    world.broker.drops = UNOPENED
    for _ in range(2):
        with pytest.raises(AgentError, match="rolled back"):
            await world.keeper.renew()
    assert world.switches == [1, 2, 1, 3, 1]
    assert settled(world)
