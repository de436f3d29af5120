"""Whole cycles with a Kafka broker in memory: what it says before a switch, or does not say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.core.configuration import PrincipalPolicy
from agent.core.evidence import Verdict
from agent.core.generation import Adoptable, Cause
from agent.errors import AgentError, ReaderRefusedError
from tests.daemon.broker_world import (
    FEWER,
    HOUR,
    MINUTE,
    MORE,
    RESTARTED,
    SECOND,
    SOON,
    a_world,
    fall_due,
    of,
    only,
    settled,
    told,
)
from tests.daemon.memory_broker import SPEC, UNOPENED
from tests.daemon.world import OF_BROKER, WANTED, World
from tests.material import Ca, make_key, make_request

# --- a renewal ---------------------------------------------------------------------------------


async def test_a_renewal_is_judged_switched_told_proven_and_settled() -> None:
    """The broker is asked about the staged generation, and every listener is shown to use it."""
    world = await a_world()
    fall_due(world)
    world.broker.asked.clear()
    world.broker.alters.clear()
    await world.keeper.turn()
    assert world.broker.asked == world.broker.alters == [2]
    assert world.switches == [1, 2]
    assert world.broker.serves == {world.current.leaf.fingerprint}
    status = world.status
    assert (status.health, status.settled, status.concerns) == ("pass", True, ())
    assert status.counts.preflights["accepted"] == 1
    assert [listener.verdict for listener in status.listeners] == [Verdict.PROVEN] * 2
    assert status.broker is not None
    assert (status.broker.opinion, status.broker.took) == ("accepted", timedelta(0))


async def test_a_first_look_is_close_and_a_later_one_is_not() -> None:
    """Every thread is met three times for a proof; what is proven is only glanced at."""
    world = await a_world()
    looks = [world.broker.closely]
    await world.live_until(world.now + 10 * MINUTE)
    looks.append(world.broker.closely)
    await world.keeper.renew()
    assert [*looks, world.broker.closely] == [True, False, True]


async def test_a_broker_that_answers_slowly_is_proven_late() -> None:
    """The threads take over one after the other; the proof waits for the last, and says how long it took."""
    world = await a_world()
    world.broker.takes = 2 * SECOND
    await world.keeper.renew()
    assert settled(world)
    assert world.status.broker is not None
    assert world.status.broker.took == 12 * SECOND


async def test_a_thread_that_lags_behind_all_patience_refutes() -> None:
    """One network thread of one listener that serves the old leaf is enough to go back."""
    world = await a_world()
    world.broker.takes = HOUR
    with pytest.raises(AgentError, match="rolled back"):
        await world.keeper.renew()
    assert world.switches == [1, 2, 1]


# --- refused before the switch -----------------------------------------------------------------


async def test_a_refused_candidate_is_never_switched_to_and_costs_no_second_leaf() -> None:
    """The broker's words are told and counted, and the same leaf is offered again at the slow pace of refusals."""
    world = await a_world()
    world.broker.unreadable = UNOPENED
    fall_due(world)
    start = world.now
    await world.live_until(start + 2 * HOUR)
    assert world.switches == [1]
    assert world.ca.calls == 2
    status = world.status
    assert status.generation == 1
    assert status.settled
    assert any(UNOPENED in finding for finding in status.findings)
    assert any("a candidate was refuted" in concern and UNOPENED in concern for concern in status.concerns)
    assert status.health == "warn"
    assert status.counts.refusals["the broker's verdict"] == 2 * status.counts.preflights["refused"]
    assert 4 <= status.counts.preflights["refused"] <= 9
    assert status.broker is not None
    assert status.broker.opinion == "refused"
    assert set(world.store.generations) == {1}
    world.broker.unreadable = ""
    await world.live_until(world.now + 2 * HOUR)
    assert len(world.switches) == 2
    assert world.ca.calls == 2
    assert (world.status.health, world.status.findings) == ("pass", ())


async def test_the_rule_and_the_words_of_the_broker_are_both_told() -> None:
    """Lost SANs are named by our replay and by Kafka, and what mends them with them."""
    world = await a_world()
    world.restart(FEWER)
    await world.keeper.turn()
    await world.keeper.turn()
    assert world.switches == [1]
    failure = world.status.tries["publishing"].failure
    assert failure is not None
    assert failure.refused
    assert "lacks SANs that are in use (DNSName localhost)" in failure.what
    assert "Keystore SubjectAltNames do not match" in failure.what
    assert "a restart of the broker" in failure.advice
    due = told(world)
    assert due is not None
    assert due.by == world.current.leaf.not_after
    assert any("the broker is to be restarted by" in concern for concern in world.status.concerns)


async def test_a_person_is_told_of_a_refusal_at_once() -> None:
    """`renew` ends with the broker's reason."""
    world = await a_world()
    world.broker.unreadable = UNOPENED
    with pytest.raises(AgentError, match="Failed to load") as caught:
        await world.keeper.renew()
    assert "files that the broker can read" in caught.value.advice


async def test_more_sans_are_taken() -> None:
    """Kafka wants a superset."""
    world = await a_world()
    world.restart(MORE)
    await world.keeper.turn()
    assert world.switches == [1, 2]
    assert settled(world)


async def test_fewer_sans_are_taken_where_server_properties_allow_it() -> None:
    """`ssl.allow.san.changes` is the broker's to know."""
    world = await a_world(allows_sans=True)
    world.restart(FEWER)
    await world.keeper.turn()
    assert world.switches == [1, 2]
    assert settled(world)


# --- unknown -----------------------------------------------------------------------------------


async def test_a_broker_that_is_down_is_switched_for_and_settles_once_it_is_back() -> None:
    """To hold the renewal would have it start with the older leaf."""
    world = await a_world()
    world.broker.stop()
    fall_due(world)
    await world.live_until(world.now + SOON)
    assert world.switches == [1, 2]
    assert not settled(world)
    assert world.status.counts.preflights["unknown"] == 2
    assert world.broker.start()
    assert not settled(world)
    await world.live_until(world.now + SOON)
    assert settled(world)
    assert world.ca.calls == 2


async def test_a_refused_login_is_no_refusal_and_nothing_is_done_before_it_is_mended() -> None:
    """The verdict is unknown, the switch is made, the reload fails: never a wrong done."""
    world = await a_world()
    world.broker.login = "SSL handshake failed"
    with pytest.raises(AgentError, match="not shown to be in use: SSL handshake failed"):
        await world.keeper.renew()
    assert world.switches == [1, 2]
    await world.live_until(world.now + SOON)
    assert not settled(world)
    assert world.broker.serves == {world.store.generations[1].leaf.fingerprint}
    assert world.status.broker is not None
    assert world.status.broker.unknown == "SSL handshake failed"
    world.broker.login = ""
    await world.live_until(world.now + SOON)
    assert settled(world)
    assert world.switches == [1, 2]
    assert world.broker.serves == {world.current.leaf.fingerprint}


async def test_a_broker_that_is_restarted_in_the_middle_comes_up_with_what_is_current() -> None:
    """Between the switch and the reload it may be started at any moment."""
    world = await a_world()
    world.broker.login = "timed out"
    with pytest.raises(AgentError, match="timed out"):
        await world.keeper.renew()
    world.broker.stop()
    assert world.broker.start()
    world.broker.login = ""
    await world.live_until(world.now + SOON)
    assert settled(world)
    assert world.switches == [1, 2]


async def test_without_a_verdict_our_own_replay_refuses() -> None:
    """What the rules say of the leaf in use is known without the broker."""
    world = await a_world()
    world.broker.login = "timed out"
    world.restart(FEWER)
    await world.live_until(world.now + SOON)
    assert world.switches == [1]
    assert world.status.counts.refusals["Kafka's SANs"] >= 1


async def test_a_leaf_of_a_new_ca_waits_for_a_broker_that_is_down() -> None:
    """The new anchor is written for its next start; nothing shows that it is in use before that."""
    world = World(OF_BROKER)
    await world.keeper.turn()
    world.ca.intermediate = (new := Ca.root("CN=New Root")).intermediate("CN=New Intermediate")
    world.ca.anchors = only(new.certificate)  # type: ignore[method-assign]
    with pytest.raises(AgentError, match="not renewed yet"):
        await world.keeper.renew()
    await world.live_until(world.now + 2 * HOUR)
    assert world.switches == [1, 2]
    assert world.current.anchors == tuple(
        sorted((world.ca.root.certificate, new.certificate), key=lambda one: one.fingerprint)
    )
    assert any("not shown to be in use" in concern for concern in world.status.concerns)
    assert world.broker.start()
    await world.live_until(world.now + SOON)
    assert world.current.leaf.issuer == world.ca.intermediate.certificate.subject
    assert world.current.anchors == (new.certificate,)
    assert settled(world)
    assert world.broker.faults == []


# --- the principal -----------------------------------------------------------------------------


OTHER = replace(OF_BROKER, request=make_request("CN=kafka1.example.com,OU=Kafka,O=MyOrg"))


async def test_a_renewal_that_changes_the_principal_is_refused() -> None:
    """ACLs hang on it, whether Kafka would take the store or not."""
    world = await a_world()
    world.restart(OTHER)
    await world.live_until(world.now + SOON)
    assert world.switches == [1]
    assert world.status.counts.refusals["principal"] >= 1
    assert any("OU=Kafka" in finding for finding in world.status.findings)
    assert world.status.principal == "CN=kafka1.example.com,OU=Brokers,O=MyOrg"


async def test_a_principal_that_may_change_is_asked_of_the_broker_alone() -> None:
    """The operator allows it; Kafka's own rule of the subject stays."""
    world = await a_world()
    world.restart(replace(OTHER, principal=PrincipalPolicy(may_change=True)))
    await world.live_until(world.now + SOON)
    assert world.switches == [1]
    assert "principal" not in world.status.counts.refusals
    assert world.status.counts.refusals["Kafka's subject"] >= 1


async def test_a_guarded_client_is_held_and_an_allowed_one_is_renewed() -> None:
    """The rules of the settings guard an identity that no broker is told of, too."""
    world = World(WANTED)
    await world.keeper.turn()
    other = replace(WANTED, request=OTHER.request, principal=PrincipalPolicy("RULE:.*OU=(.*),O=.*/$1/"))
    world.restart(other)
    await world.live_until(world.now + SOON)
    assert world.switches == [1]
    assert world.status.counts.preflights == {"refused": world.status.counts.refusals["principal"]}
    world.restart(replace(other, principal=PrincipalPolicy("RULE:CN=(.*?),.*/$1/")))
    await world.live_until(world.now + SOON)
    assert len(world.switches) == 2
    assert world.current.request == OTHER.request
    assert settled(world)
    assert world.ca.calls == 2


async def test_another_name_goes_in_where_it_is_allowed_and_restarted() -> None:
    """Both the operator's word and a restart are needed."""
    world = await a_world(of(replace(SPEC, restart=RESTARTED)))
    world.restart(replace(OTHER, reload=world.wanted.reload, principal=PrincipalPolicy(may_change=True)))
    await world.live_until(world.now + SOON)
    assert world.broker.commands == 1
    assert settled(world)
    assert world.status.principal == "CN=kafka1.example.com,OU=Kafka,O=MyOrg"


# --- by hand, and the first life ---------------------------------------------------------------


async def test_a_roll_back_by_hand_is_asked_of_the_broker() -> None:
    """What it would silently drop is refused, and what it takes is switched to."""
    world = await a_world()
    await world.keeper.renew()
    world.broker.asked.clear()
    await world.keeper.roll_back()
    assert world.broker.asked == [1]
    assert world.current.number == 1
    assert settled(world)
    world.broker.unreadable = UNOPENED
    with pytest.raises(ReaderRefusedError, match="Failed to load"):
        await world.keeper.roll_back(2)
    assert world.current.number == 1


async def test_an_adopted_generation_is_not_asked_about() -> None:
    """The broker reads the files already."""
    world = World(OF_BROKER)
    key = make_key()
    chain = (world.ca.intermediate.leaf(world.wanted.request, key), world.ca.intermediate.certificate)
    world.store.adoptable = Adoptable(("tls.pem", "ca.crt"), chain, (("ca.crt", (world.ca.root.certificate,)),))
    await world.keeper.turn()
    assert world.current.cause is Cause.ADOPTED
    assert world.broker.asked == []
    assert world.broker.start()
    await world.live_until(world.now + SOON)
    assert settled(world)
    assert world.broker.asked == []
