"""Whoever puts back what was refused has nothing more to be told of."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.core.generation import Damage, FileDamage
from agent.core.record import Tries
from agent.errors import IssuerRefusedError
from tests.daemon.world import WANTED, World
from tests.material import Ca, make_request

OTHER = replace(WANTED, request=make_request("CN=kafka2.example.com"))
DAMAGE = (FileDamage("tls.key", Damage.UNREADABLE),)
HOUR = timedelta(hours=1)


@pytest.fixture
async def world() -> World:
    """Return a world that is settled."""
    world = World()
    await world.keeper.turn()
    assert world.status.settled
    return world


async def test_a_refused_request_is_forgotten_with_the_settings_that_asked_for_it(world: World) -> None:
    """A CA that does not sign another name is nobody's concern once the name is what it was."""
    world.ca.script = [IssuerRefusedError("not that name")] * 9
    await world.restart(OTHER).turn()
    assert any("not that name" in concern for concern in world.status.concerns)
    await world.keeper.turn()
    assert world.status.tries["issuing"].count == 1
    await world.restart(WANTED).turn()
    assert (world.status.concerns, world.status.tries["issuing"]) == ((), Tries())
    assert world.store.record.issuing == Tries()


async def test_a_refuted_leaf_is_forgotten_with_the_settings_that_asked_for_it(world: World) -> None:
    """So are the findings on it."""
    stranger = Ca.root("CN=Stranger")
    world.ca.script = [lambda pending, key: (stranger.leaf(pending.request, key),)]
    await world.restart(OTHER).turn()
    assert world.status.findings
    await world.keeper.turn()
    assert world.status.findings
    await world.restart(WANTED).turn()
    assert (world.status.concerns, world.status.findings) == ((), ())


async def test_files_that_could_not_be_written_are_forgotten_once_they_need_not_be(world: World) -> None:
    """In the same process, whose findings are in memory alone."""
    world.store.damages, world.store.staged_damages = DAMAGE, [DAMAGE] * 9
    await world.keeper.turn()
    assert world.status.findings
    assert world.status.tries["publishing"].count == 1
    await world.keeper.turn()
    assert world.status.findings
    world.store.damages = ()
    await world.keeper.turn()
    assert (world.status.concerns, world.status.findings) == ((), ())
    assert world.status.tries["publishing"] == Tries()


async def test_what_is_still_wanted_is_not_forgotten(world: World) -> None:
    """A renewal that is due keeps its ladder of tries from turn to turn."""
    world.ca.script = [IssuerRefusedError("no")] * 99
    at = world.status.renew_at
    assert at is not None
    world.now = at
    await world.live_until(world.now + 2 * HOUR)
    assert world.status.tries["issuing"].count >= 2
