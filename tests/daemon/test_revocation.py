"""What a proven renewal replaced is revoked, and nothing that a roll-back could still reach."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.errors import AgentError, IssuerRefusedError, IssuerUnavailableError
from tests.daemon.world import WANTED, World

if TYPE_CHECKING:
    from agent.core.configuration import Wanted

REVOKING = replace(WANTED, revoke=True)


async def renewed(times: int, wanted: Wanted = REVOKING) -> World:
    """Return a world whose leaf was renewed that often, each proven."""
    world = World(wanted)
    await world.keeper.turn()
    for _ in range(times):
        await world.keeper.renew()
    return world


async def test_a_leaf_is_revoked_when_its_generation_is_gone() -> None:
    """Three generations are kept: the fourth leaf has the first one revoked, and no other."""
    world = World(REVOKING)
    await world.keeper.turn()
    first = world.current.leaf
    await world.keeper.renew()
    await world.keeper.renew()
    assert world.ca.revoked == []
    await world.keeper.renew()
    assert world.ca.revoked == [first]
    assert world.status.counts.revocations == {"succeeded": 1}


async def test_nothing_is_revoked_unless_it_is_asked_for() -> None:
    """By default a replaced leaf lives to its end."""
    world = await renewed(5, WANTED)
    assert world.ca.revoked == []
    assert world.store.record.replaced == ()


async def test_nothing_is_revoked_that_no_handshake_has_replaced() -> None:
    """Without a listener to prove there is no word that the new leaf is in use."""
    world = await renewed(5, replace(REVOKING, prove=()))
    assert world.ca.revoked == []


async def test_nothing_is_revoked_while_the_listener_does_not_serve_the_new_leaf() -> None:
    """A listener that went down, or serves an old leaf, may need what was replaced."""
    world = await renewed(2)
    world.listener.down = True
    world.ca.revoked.clear()
    with pytest.raises(AgentError, match="not shown to be in use"):
        await world.keeper.renew()
    assert world.ca.revoked == []
    world.listener.down = False
    world.now += timedelta(minutes=30)
    await world.keeper.turn()
    assert len(world.ca.revoked) == 1


async def test_a_leaf_that_was_gone_back_to_is_not_revoked() -> None:
    """What is current again, and what is still kept, stays good."""
    world = await renewed(2)
    await world.keeper.roll_back(1)
    await world.keeper.renew()
    await world.keeper.renew()
    alive = {generation.leaf for generation in world.store.generations.values()}
    assert alive.isdisjoint(world.ca.revoked)


async def test_a_restart_forgets_no_leaf_that_is_to_be_revoked() -> None:
    """The list is on disk before the last generation that holds the leaf is pruned."""
    world = await renewed(2)
    first = world.store.generations[1].leaf
    assert first in {one.leaf for one in world.store.record.replaced}
    world.restart()
    await world.keeper.renew()
    assert world.ca.revoked == [first]


async def test_a_revocation_that_fails_is_tried_again_and_told() -> None:
    """A CA that is down is asked again by the ladder; a refusal, slowly; the identity is ready all the same."""
    world = await renewed(2)
    world.ca.revocations = [
        IssuerUnavailableError("connection refused", reason="network"),
        IssuerRefusedError("no such right", advice="give it", reason="access denied"),
    ]
    await world.keeper.renew()
    assert world.ca.revoked == []
    assert any("connection refused" in concern for concern in world.status.concerns)
    assert not world.status.not_ready
    world.now += timedelta(minutes=1)
    await world.keeper.turn()
    assert any("no such right" in concern for concern in world.status.concerns)
    world.now += timedelta(minutes=10)
    await world.keeper.turn()
    assert len(world.ca.revoked) == 1
    assert world.status.counts.revocations == {"failed": 2, "succeeded": 1}
    assert world.status.counts.issuer_errors == {"network": 1, "access denied": 1}


async def test_a_leaf_that_has_ended_is_not_revoked() -> None:
    """Nobody takes it any more."""
    world = await renewed(2)
    world.listener.down = True
    with pytest.raises(AgentError, match="not shown to be in use"):
        await world.keeper.renew()
    world.now += timedelta(days=40)
    world.listener.down = False
    await world.keeper.turn()
    world.now += timedelta(hours=1)
    await world.keeper.turn()
    assert all(leaf.not_after > world.now for leaf in world.ca.revoked)


async def test_a_leaf_of_another_ca_is_not_asked_of_this_one() -> None:
    """After a change of the issuer the old leaves are for nobody here to revoke."""
    world = await renewed(2)
    world.ca.name = "other"
    world.restart(replace(REVOKING, issuer="other"))
    for _ in range(4):
        await world.keeper.renew()
    issuers = {one.issuer for one in world.store.record.replaced}
    assert "ca" in issuers
    assert len(world.ca.revoked) == 1


async def test_one_refusal_holds_up_no_other_revocation() -> None:
    """A leaf that the CA does not know goes to the end of the list."""
    world = await renewed(2)
    refused = world.store.record.replaced[0].leaf
    world.ca.revocations = [IssuerRefusedError("unknown serial", reason="authority")]
    await world.keeper.renew()
    assert world.ca.revoked == []
    assert world.store.record.replaced[-1].leaf == refused
    world.now += timedelta(hours=3)
    await world.keeper.renew()
    await world.keeper.turn()
    assert refused in world.ca.revoked
    assert world.ca.revoked[0] != refused
