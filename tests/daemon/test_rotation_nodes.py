"""Controllers that speak TLS in a CA rotation: a Raft client keeps the stores of its process's start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.rotation import Stage
from agent.errors import AgentError
from tests.daemon.broker_world import DAY, HOUR, MINUTE
from tests.daemon.memory_peers import MemoryPeer
from tests.daemon.rotation_world import BY_ITSELF, NEW, OLD, TurningWorld, begun

if TYPE_CHECKING:
    from agent.core.restart import RestartDue

OWN, OTHER = "node 1", "node 2"
ELSEWHERE = "only its own host can tell when its process was started"
TEXT, OLD_TEXT = "CN=New Root,O=MyOrg", "CN=Test Root,O=MyOrg"


async def with_nodes(*, tls_controllers: bool = False) -> TurningWorld:
    """Return a world with two nodes: this host's own, whose start is seen, and another, which a person vouches for.

    The issuer has flipped, and all peers trust both CAs.
    """
    world = await begun(BY_ITSELF)
    world.broker.tls_controllers = tls_controllers
    own = MemoryPeer(OWN, is_node=True, started_at=world.broker.started_at)
    world.witness.others = [world.peer, own, MemoryPeer(OTHER, is_node=True, silent=ELSEWHERE)]
    world.trust_both()
    world.flip()
    await world.later(MINUTE)
    assert (world.trusted, world.leaf, world.in_hand) == ({OLD, NEW}, OLD, NEW)
    return world


async def restart_own(world: TurningWorld) -> None:
    """Restart this host's node, and let the agent see it."""
    world.now += MINUTE
    world.broker.stop()
    assert world.broker.start()
    world.witness.others[1].started_at = world.broker.started_at
    await world.later(6 * MINUTE)


def due(world: TurningWorld) -> RestartDue:
    """Return the restart that is told of."""
    restart = world.status.restart
    assert restart is not None
    return restart


async def test_a_leaf_of_a_new_ca_waits_until_every_node_was_restarted_since_the_anchor() -> None:
    """Else it looks perfect until the active controller dies: the Raft clients of the others refuse the new leaf."""
    world = await with_nodes()
    await world.later(DAY)
    assert (world.leaf, world.rotation.awaited) == (OLD, (OWN, OTHER))
    assert f"is not shown to be restarted since it trusts {TEXT}" in world.rotation.why
    with pytest.raises(AgentError, match="no word goes against that"):
        await world.keeper.confirm(OWN, by="ann")
    await restart_own(world)
    assert (world.leaf, world.rotation.awaited) == (OLD, (OTHER,))
    await world.keeper.confirm(OTHER, by="ann")
    assert (world.leaf, world.outages) == (NEW, [])


async def test_a_restart_before_the_anchor_came_is_none() -> None:
    """What counts is the moment at which the truststore with the new CA became current."""
    world = await with_nodes()
    switched = world.store.switched_at
    assert switched is not None
    world.witness.others[1].started_at = switched - MINUTE
    await world.keeper.confirm(OTHER, by="ann")
    await world.later(10 * MINUTE)
    assert (world.leaf, world.rotation.awaited) == (OLD, (OWN,))
    world.witness.others[1].started_at = switched + MINUTE
    await world.later(10 * MINUTE)
    assert world.leaf == NEW


async def test_the_old_anchor_waits_until_every_node_was_restarted_since_its_new_leaf() -> None:
    """A Raft client shows the leaf of its start: the old CA's, for as long as the process runs."""
    world = await with_nodes()
    await restart_own(world)
    await world.keeper.confirm(OTHER, by="ann")
    world.peer.uses = {world.ids[NEW]}
    await world.later(3 * DAY)
    await world.later(3 * DAY)
    assert world.trusted == {OLD, NEW}
    assert (world.stage, world.rotation.awaited) == (Stage.LEAF_REISSUED, (OWN, OTHER))
    assert f"is not shown to be restarted since its leaf is of {TEXT}" in world.rotation.why
    await restart_own(world)
    await world.keeper.confirm(OTHER, by="ann")
    await world.later(HOUR)
    assert world.trusted == {OLD, NEW}
    await world.later(DAY)
    assert (world.trusted, world.outages) == ({NEW}, [])


async def test_the_restart_that_a_rotation_waits_for_is_told_with_its_date() -> None:
    """Since the anchor came, and until the leaf in use ends: an alert on that date comes in time."""
    world = await with_nodes()
    assert (due(world).since, due(world).by) == (world.store.switched_at, world.current.leaf.not_after)
    assert due(world).why.endswith(f"is not shown to be restarted since it trusts {TEXT}")
    assert due(world).generation == world.current.number
    told = f"nodes are to be restarted by {due(world).by.isoformat()}: {due(world).why}"
    assert told in world.status.concerns
    await restart_own(world)
    assert due(world).why.startswith(f"{OTHER} ({ELSEWHERE}) is not shown to be restarted")
    await world.keeper.confirm(OTHER, by="ann")
    world.peer.uses = {world.ids[NEW]}
    await world.later(10 * MINUTE)
    assert (due(world).since, due(world).by) == (world.store.switched_at, world.current.leaf.not_after)
    assert due(world).why.endswith(f"is not shown to be restarted since its leaf is of {TEXT}")
    await restart_own(world)
    await world.keeper.confirm(OTHER, by="ann")
    assert world.status.restart is None
    assert not any("are to be restarted" in one for one in world.status.concerns)


async def test_no_restart_is_told_of_while_the_rotation_waits_for_something_else() -> None:
    """Whoever restarts a cluster for nothing does so twice."""
    world = await begun(BY_ITSELF)
    world.witness.others = [world.peer, MemoryPeer(OTHER, is_node=True, silent=ELSEWHERE)]
    assert world.status.restart is None
    world.flip()
    await world.later(MINUTE)
    assert "is not shown to trust" in world.rotation.why
    assert world.status.restart is None


async def test_what_the_own_node_lacks_is_told_before_what_the_rotation_waits_for() -> None:
    """The broker's own restart has an earlier date, and is what this host can do."""
    world = await with_nodes(tls_controllers=True)
    assert "the controllers' Raft client keeps the stores" in due(world).why
    await restart_own(world)
    await world.later(6 * MINUTE)
    assert due(world).why.startswith(f"{OTHER} ")


async def test_a_word_for_a_node_outlives_the_process_and_not_the_question() -> None:
    """It was given for the anchor, and says nothing of the leaf."""
    world = await with_nodes()
    await restart_own(world)
    await world.keeper.confirm(OTHER, by="ann")
    world.restart()
    world.peer.uses = {world.ids[NEW]}
    await restart_own(world)
    assert (world.leaf, world.trusted, world.rotation.awaited) == (NEW, {OLD, NEW}, (OTHER,))
    await world.later(3 * DAY)
    await world.later(3 * DAY)
    assert world.trusted == {OLD, NEW}
