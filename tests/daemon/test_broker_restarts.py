"""Whole cycles with a Kafka broker in memory: what only a restart of it brings into use."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.core.generation import Cause
from agent.core.kafka_spec import KafkaBrokerReload, NodeRole
from agent.core.restart import CONTROLLER_ONLY, RAFT_CLIENT
from agent.errors import AgentError
from tests.daemon.broker_world import (
    DAY,
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
    settled,
    told,
)
from tests.daemon.memory_broker import SPEC, UNOPENED
from tests.daemon.world import OF_BROKER

# --- what only a restart brings into use ------------------------------------------------------


async def test_an_expired_leaf_that_is_served_is_a_restart_due_and_never_done() -> None:
    """Kafka has the old shake hands with the new, so only a start takes the new leaf: it is there for it."""
    world = await a_world()
    end = world.current.leaf.not_after
    world.now = end + DAY
    await world.keeper.turn()
    await world.live_until(world.now + SOON)
    assert world.current.leaf.not_after > world.now
    assert not settled(world)
    assert world.status.health == "fail"
    due = told(world)
    assert due is not None
    assert due.by == end
    assert world.ca.calls == 2
    assert len(set(world.switches)) == 2
    world.broker.stop()
    assert world.broker.start()
    await world.live_until(world.now + SOON)
    assert settled(world)
    assert world.status.health == "pass"
    assert told(world) is None


async def test_an_expired_leaf_is_switched_from_although_the_broker_says_no() -> None:
    """Reached by another listener, it refuses by the expired one; a start needs the new leaf all the same."""
    world = await a_world(in_plain=True)
    world.now = world.current.leaf.not_after + DAY
    await world.keeper.turn()
    assert len(world.switches) == 2
    assert not settled(world)
    assert told(world) is not None
    world.now += SECOND
    world.broker.stop()
    assert world.broker.start()
    await world.live_until(world.now + SOON)
    assert settled(world)


async def test_a_broker_that_cannot_start_with_its_expired_leaf_is_given_a_new_one() -> None:
    """Kafka does not start with it between brokers, so that to wait for the broker would be to wait for ever."""
    world = await a_world()
    world.now = world.current.leaf.not_after + DAY
    world.broker.stop()
    assert not world.broker.start()
    await world.keeper.turn()
    assert world.broker.start()
    await world.live_until(world.now + SOON)
    assert settled(world)
    assert world.status.health == "pass"


async def test_a_controller_alone_is_never_told_and_waits_for_its_restart() -> None:
    """It reads its stores when it starts; until then the old leaf is no proof against the new one."""
    spec = KafkaBrokerReload(None, (replace(SPEC.listeners[0], address="localhost:9093"),), role=NodeRole.CONTROLLER)
    world = await a_world(of(spec))
    with pytest.raises(AgentError, match="not shown to be in use"):
        await world.keeper.renew()
    first, second = world.store.generations[1], world.store.generations[2]
    await world.live_until(world.now + SOON)
    assert world.switches == [1, 2]
    assert world.broker.alters == []
    status = world.status
    assert not status.settled
    assert status.restart is not None
    assert (status.restart.by, status.restart.why) == (first.leaf.not_after, CONTROLLER_ONLY)
    world.broker.stop()
    world.broker.start()
    await world.live_until(world.now + SOON)
    assert settled(world)
    assert told(world) is None
    assert world.broker.serves == {second.leaf.fingerprint}


async def test_tls_controllers_have_a_restart_due_from_the_switch_until_a_later_start() -> None:
    """The Raft client keeps what the process started with, so the oldest leaf's end is the date."""
    world = await a_world(tls_controllers=True)
    first = world.current.leaf
    assert told(world) is None
    await world.keeper.renew()
    assert settled(world)
    due = told(world)
    assert due is not None
    assert (due.by, due.why) == (first.not_after, RAFT_CLIENT)
    assert world.status.health == "warn"
    world.now += DAY
    await world.keeper.renew()
    due = told(world)
    assert due is not None
    assert (due.by, due.since) == (first.not_after, world.now)
    world.broker.hides_start = True
    world.broker.stop()
    world.now += SECOND
    world.broker.start()
    await world.live_until(world.now + SOON)
    assert told(world) is not None
    world.broker.hides_start = False
    await world.live_until(world.now + SOON)
    assert told(world) is None
    assert world.status.health == "pass"


async def test_other_files_of_the_same_leaf_need_no_restart_of_the_raft_client() -> None:
    """What it has loaded stays good."""
    world = await a_world(tls_controllers=True)
    world.store.layout = world.broker.opens = "other"
    await world.keeper.turn()
    assert world.current.cause is Cause.FILES
    assert settled(world)
    assert told(world) is None


async def test_a_restart_that_is_due_is_known_to_the_next_process() -> None:
    """It is noted, not remembered."""
    world = await a_world(tls_controllers=True)
    await world.keeper.renew()
    noted = world.status.restart
    world.restart()
    await world.keeper.turn()
    assert world.status.restart == noted is not None


async def test_a_roll_back_takes_its_restart_with_it_and_leaves_an_earlier_one() -> None:
    """The process has what was gone back to, or has lacked it since before."""
    world = await a_world(tls_controllers=True)
    world.broker.drops = "Failed to load SSL keystore"
    with pytest.raises(AgentError, match="rolled back"):
        await world.keeper.renew()
    assert told(world) is None
    world.broker.drops = ""
    await world.live_until(world.now + SOON)
    assert world.current.number == 2
    noted = world.status.restart
    assert noted is not None
    world.broker.drops = "Failed to load SSL keystore"
    with pytest.raises(AgentError, match="rolled back"):
        await world.keeper.renew()
    assert world.current.number == 2
    assert world.status.restart == noted


async def test_a_roll_back_by_hand_is_one_more_change_that_the_raft_client_lacks() -> None:
    """It was started with what the person goes back from."""
    world = await a_world(tls_controllers=True)
    await world.keeper.renew()
    second = world.current.leaf
    world.now += MINUTE
    world.broker.stop()
    world.broker.start()
    await world.live_until(world.now + SOON)
    assert told(world) is None
    await world.keeper.roll_back()
    due = told(world)
    assert due is not None
    assert (due.generation, due.by, due.why) == (1, second.not_after, RAFT_CLIENT)


# --- the restart command -----------------------------------------------------------------------


async def test_the_restart_command_runs_once_for_a_generation_after_its_proof() -> None:
    """What the running process can use is proven first; then the Raft client gets its own."""
    world = await a_world(of(replace(SPEC, restart=RESTARTED)), tls_controllers=True)
    for number in (2, 3):
        await world.keeper.renew()
        await world.live_until(world.now + SOON)
        assert world.broker.commands == number - 1
        assert told(world) is None
        assert settled(world)
        assert world.broker.raft == world.current
    assert world.status.counts.restarts == {"succeeded": 2}
    assert world.switches == [1, 2, 3]


async def test_a_restart_command_that_fails_is_told_and_not_run_again() -> None:
    """One that is killed for its slowness may have restarted the broker all the same: nobody does so twice unasked."""
    world = await a_world(of(replace(SPEC, restart=RESTARTED)), tls_controllers=True)
    world.broker.command = ["exit code 1"] * 3
    await world.keeper.renew()
    assert any("exit code 1" in concern for concern in world.status.concerns)
    await world.live_until(world.now + SOON)
    world.restart()
    await world.live_until(world.now + SOON)
    assert world.broker.commands == 1
    assert told(world) is not None
    assert settled(world)


async def test_a_person_who_restarts_the_broker_spares_it_the_command() -> None:
    """A process that was started since is left alone."""
    world = await a_world(of(replace(SPEC, restart=RESTARTED)), tls_controllers=True)
    world.broker.command = ["exit code 1"] * 100
    await world.keeper.renew()
    world.now += MINUTE
    world.broker.stop()
    world.broker.start()
    world.now += MINUTE
    commands = world.broker.commands
    await world.live_until(world.now + SOON)
    assert world.broker.commands == commands
    assert told(world) is None
    assert world.status.health == "pass"


async def test_a_new_process_of_the_agent_looks_before_it_restarts_a_broker() -> None:
    """What was due when it ended may have been done meanwhile."""
    world = await a_world(of(replace(SPEC, restart=RESTARTED)), tls_controllers=True)
    world.broker.command = ["exit code 1"]
    await world.keeper.renew()
    world.now += MINUTE
    world.broker.stop()
    world.broker.start()
    world.now += MINUTE
    world.restart()
    await world.live_until(world.now + SOON)
    assert world.broker.commands == 1
    assert told(world) is None


async def test_a_refusal_that_a_restart_mends_goes_in_by_the_command() -> None:
    """Fewer SANs are what a running process cannot take, and a new one can."""
    world = await a_world(of(replace(SPEC, restart=RESTARTED)))
    world.restart(replace(FEWER, reload=world.wanted.reload))
    await world.keeper.turn()
    await world.live_until(world.now + SOON)
    assert world.switches == [1, 2]
    assert world.broker.commands == 1
    assert settled(world)
    assert told(world) is None
    assert world.status.health == "pass"


async def test_an_expired_leaf_goes_out_by_the_command() -> None:
    """Where one is configured, nobody has to come."""
    world = await a_world(of(replace(SPEC, restart=RESTARTED)))
    world.now = world.current.leaf.not_after + DAY
    await world.keeper.turn()
    await world.live_until(world.now + SOON)
    assert world.broker.commands == 1
    assert settled(world)
    assert world.status.health == "pass"


async def test_a_command_that_restarts_nothing_is_found_out_and_not_run_for_ever() -> None:
    """What counts is what the listeners serve."""
    world = await a_world(of(replace(SPEC, restart=RESTARTED)))
    world.broker.lies = True
    world.restart(replace(FEWER, reload=world.wanted.reload))
    await world.live_until(world.now + 3 * HOUR)
    assert world.broker.commands == 1
    assert not settled(world) or world.status.generation == 1
    assert world.ca.calls == 2
    assert told(world) is not None


async def test_the_word_of_a_command_ends_nothing_while_the_old_process_is_in_sight() -> None:
    """The Raft client is on no listener, so the start of the process is all that tells."""
    world = await a_world(of(replace(SPEC, restart=RESTARTED)), tls_controllers=True)
    world.broker.lies = True
    await world.keeper.renew()
    await world.live_until(world.now + SOON)
    assert world.broker.commands == 1
    assert settled(world)
    assert told(world) is not None
    world.broker.hides_start = True
    await world.keeper.renew()
    assert world.broker.commands == 2
    assert told(world) is None


async def test_nothing_is_restarted_for_a_generation_that_the_broker_takes_as_it_is() -> None:
    """What an earlier one waited for is over once a later one is in use."""
    world = await a_world(of(replace(SPEC, restart=RESTARTED)))
    world.broker.command = ["exit code 1"] * 100
    world.restart(replace(FEWER, reload=world.wanted.reload))
    await world.keeper.turn()
    assert told(world) is not None
    commands = world.broker.commands
    world.restart(replace(MORE, reload=world.wanted.reload))
    await world.live_until(world.now + SOON)
    assert world.broker.commands == commands
    assert settled(world)
    assert told(world) is None


async def test_a_command_that_is_not_configured_never_runs() -> None:
    """Whatever is due."""
    world = await a_world(tls_controllers=True)
    await world.keeper.renew()
    for _ in range(80):
        await world.keeper.turn()
        world.now += 12 * HOUR
    assert world.broker.commands == 0
    assert told(world) is not None


async def test_a_changed_store_password_waits_for_a_restart() -> None:
    """A running broker opens stores with the password that it was started with."""
    world = await a_world()
    world.store.layout = "another password"
    await world.live_until(world.now + SOON)
    assert world.switches == [1]
    assert told(world) is not None
    failure = world.status.tries["publishing"].failure
    assert failure is not None
    assert UNOPENED in failure.what
    assert "password and type as they were" in failure.advice


async def test_a_broker_that_cannot_go_back_waits_for_a_restart() -> None:
    """It took more SANs too late: what is current again is refused by its own rules, and only a start brings it in."""
    world = await a_world()
    world.broker.takes = 2 * MINUTE
    world.restart(MORE)
    await world.keeper.turn()
    assert world.switches == [1, 2, 1]
    world.broker.takes = timedelta(0)
    world.broker.loaded = {name: [world.store.generations[2]] * 3 for name in world.broker.loaded}
    world.restart(OF_BROKER)
    await world.live_until(world.now + SOON)
    status = world.status
    assert (status.generation, status.health) == (1, "fail")
    assert status.restart is not None
    assert "lacks SANs that are in use" in status.restart.why
    assert status.restart.by == world.store.generations[2].leaf.not_after
    world.broker.stop()
    world.broker.start()
    await world.live_until(world.now + SOON)
    assert settled(world)
    assert told(world) is None


async def test_a_lag_that_nobody_knew_of_at_the_switch_is_told_at_the_proof() -> None:
    """Where the login was refused all the while, that the controllers speak TLS is learnt late."""
    world = await a_world(tls_controllers=True)
    first = world.current.leaf
    world.broker.login = "refused"
    world.restart()
    world.now += MINUTE
    with pytest.raises(AgentError, match="refused"):
        await world.keeper.renew()
    assert told(world) is None
    world.broker.login = ""
    await world.live_until(world.now + SOON)
    assert settled(world)
    due = told(world)
    assert due is not None
    assert (due.by, due.why, due.generation) == (first.not_after, RAFT_CLIENT, 2)


async def test_a_broker_that_cannot_be_told_is_looked_at_all_the_same() -> None:
    """Why the login is refused may be what it serves; that its leaf has ended since is seen, and told."""
    world = await a_world()
    first = world.current.leaf
    fall_due(world)
    world.broker.login = "refused"
    await world.keeper.turn()
    assert world.current.number == 2
    assert told(world) is None
    world.now = first.not_after + MINUTE
    await world.live_until(world.now + SOON)
    due = told(world)
    assert due is not None
    assert due.by == first.not_after
    assert "serves a leaf that expired" in due.why


async def test_what_a_process_cannot_take_is_switched_to_once_its_leaf_has_ended() -> None:
    """It is to be restarted in any case, and must not find the old leaf then."""
    world = await a_world()
    end = world.current.leaf.not_after
    world.restart(FEWER)
    await world.live_until(world.now + SOON)
    assert world.switches == [1]
    world.now = end + HOUR
    await world.live_until(world.now + 2 * HOUR)
    assert world.current.request == FEWER.request
    due = told(world)
    assert due is not None
    assert due.by == end
    world.broker.stop()
    assert world.broker.start()
    await world.live_until(world.now + SOON)
    assert settled(world)
    assert told(world) is None
