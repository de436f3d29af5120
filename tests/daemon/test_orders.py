"""A certificate that was ordered is not ordered twice: what is known of the order outlives the process."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.core.generation import Order
from agent.errors import AgentError, IssuerRefusedError, IssuerUnavailableError, OrderLostError
from tests.daemon.world import World
from tests.material import NOW

ORDER = Order(asked_at=NOW, receipt="arn:of:a:certificate")


async def test_an_order_is_on_disk_when_the_answer_does_not_come() -> None:
    """A process that starts anew takes up the key, the token and the order."""
    world = World()
    world.ca.orders = [Order(asked_at=NOW), ORDER]
    world.ca.script = [IssuerUnavailableError("in progress", reason="in progress")]
    await world.keeper.turn()
    assert world.store.pending is not None
    assert world.store.pending.order == ORDER
    token = world.store.pending.token
    world.restart()
    world.now += timedelta(minutes=1)
    await world.keeper.turn()
    assert world.current.number == 1
    assert list(world.keys) == [token]


async def test_an_order_that_the_ca_lost_is_placed_anew_with_another_token() -> None:
    """The same token would get the same failure."""
    world = World()
    world.ca.orders = [ORDER]
    world.ca.script = [OrderLostError("the CA failed the order", reason="order failed")]
    await world.keeper.turn()
    assert world.store.pending is None
    world.now += timedelta(minutes=1)
    await world.keeper.turn()
    assert world.current.number == 1
    assert len(world.keys) == 2


async def test_a_person_who_renews_places_an_order_in_doubt_anew() -> None:
    """`cert-agent renew` is the answer to the question whether to pay again."""
    world = World()
    world.ca.orders = [Order(asked_at=NOW)]
    world.ca.script = [IssuerRefusedError("nobody can tell", reason="in doubt")]
    await world.keeper.turn()
    assert world.store.pending is not None
    await world.keeper.renew()
    assert len(world.keys) == 2
    assert world.store.pending is None


async def test_a_person_who_renews_takes_up_an_order_that_stands() -> None:
    """An order that is merely waited for is not thrown away."""
    world = World()
    world.ca.orders = [ORDER]
    world.ca.script = [IssuerUnavailableError("in progress", reason="in progress")]
    await world.keeper.turn()
    await world.keeper.renew()
    assert len(world.keys) == 1


async def test_no_order_is_placed_that_cannot_be_noted() -> None:
    """With a full disk nothing is paid for."""
    world = World()
    await world.keeper.turn()
    world.now += timedelta(days=25)

    def fill() -> None:
        world.store.full = "no space left on device"

    world.ca.orders = [Order(asked_at=NOW)]
    fill()
    with pytest.raises(AgentError, match="no space left"):
        await world.keeper.renew()
    assert world.store.pending is None
    assert world.current.number == 1
