"""A certificate that was ordered is not ordered twice: what is known of the order outlives the process."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from agent.core.generation import Order
from agent.errors import AgentError, IssuerRefusedError, IssuerUnavailableError, OrderLostError
from tests.daemon.world import WANTED, World
from tests.material import NOW

if TYPE_CHECKING:
    from agent.core.certificate import Certificate
    from agent.core.generation import Pending
    from agent.keystores.material import PrivateKey

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


@pytest.mark.parametrize(
    "failure",
    [
        IssuerUnavailableError("in progress", reason="in progress"),
        IssuerRefusedError("GetCertificate is denied", reason="access denied"),
        IssuerRefusedError("the CA is disabled", reason="authority"),
    ],
)
async def test_a_person_who_renews_takes_up_an_order_that_stands(failure: AgentError) -> None:
    """Neither one that is merely waited for nor one whose right was just mended is paid for again."""
    world = World()
    world.ca.orders = [ORDER]
    world.ca.script = [failure]
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


async def test_an_order_that_is_left_behind_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Another issuer is wanted by now; what was paid for there stays in the log and with the next leaf."""
    world = World()
    world.ca.orders = [ORDER]
    world.ca.script = [IssuerUnavailableError("in progress", reason="in progress")]
    await world.keeper.turn()
    world.ca.name = "other"
    world.restart(replace(WANTED, issuer="other"))
    world.now += timedelta(minutes=1)
    await world.keeper.turn()
    told = f"an order at ca was left behind, and may have been paid for: {ORDER.receipt}"
    assert told in capsys.readouterr().out
    assert any(told in concern for concern in world.status.concerns)


@pytest.mark.slow
async def test_a_refuted_leaf_that_is_billed_is_ordered_ever_more_rarely() -> None:
    """A template that does not fit makes each leaf wrong: not thousands are paid for until the old one ends."""
    world = World()
    await world.keeper.turn()
    end = world.current.leaf.not_after

    def lie(pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
        other = replace(pending.request, subject=x509.Name.from_rfc4514_string("CN=other"))
        leaf = world.ca.intermediate.leaf(other, key, not_before=world.now.replace(microsecond=0))
        return leaf, world.ca.intermediate.certificate

    paid = 0
    while world.now < end + timedelta(days=2):
        world.ca.orders, world.ca.script = [ORDER], [lie]
        before = world.ca.calls
        plan = await world.keeper.turn()
        paid += world.ca.calls - before
        world.now = max(plan.wake_at, world.now + timedelta(hours=1))
    assert 5 <= paid <= 25
    failure = world.store.record.issuing.failure
    assert failure is not None
    assert "cert-agent renew" in failure.advice
    world.ca.orders, world.ca.script = [ORDER], []
    await world.keeper.renew()
    assert world.current.number == 2
