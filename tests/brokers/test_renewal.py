"""A real broker takes each new certificate without a restart, and the agent has shown it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from agent.core.evidence import Verdict
from agent.core.generation import Cause
from agent.core.rotation import Stage
from agent.settings import load
from agent.wiring.local_ca_desk import rotate
from tests.brokers.host import LISTENERS, BrokerHost, broker_host
from tests.servers.kafka_jars import NEWEST, OLDEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.core.status import IdentityStatus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[BrokerHost]:
    """Return a host whose broker has not been started."""
    with broker_host(tmp_path) as host:
        yield host


def expect_in_use(host: BrokerHost, status: IdentityStatus) -> None:
    """Every listener was seen to serve the current leaf, and the broker has accepted it before."""
    assert status.leaf is not None
    assert status.settled
    assert not status.not_ready
    assert [listener.address for listener in status.listeners] == list(LISTENERS)
    assert {listener.fingerprint for listener in status.listeners} == {status.leaf.fingerprint}
    assert {listener.verdict for listener in status.listeners} == {Verdict.PROVEN}
    assert {listener.looked_at for listener in status.listeners} == {host.node.address(name) for name in LISTENERS}


@pytest.mark.parametrize(
    ("kind", "version"), [("PKCS12", NEWEST), ("JKS", NEWEST), ("PEM", NEWEST), ("PKCS12", OLDEST)]
)
async def test_renewal_is_accepted_switched_told_and_proven(tmp_path: Path, kind: str, version: str) -> None:
    """The process stays the same, the store is another, and a broker that starts comes up with it."""
    with broker_host(tmp_path, kind=kind, version=version) as host:
        keeper = await host.up()
        pid = host.node.pid
        await keeper.renew()
        status = host.status(keeper)
        expect_in_use(host, status)
        assert status.generation == 2
        assert status.broker is not None
        assert status.broker.opinion == "accepted"
        assert status.broker.node_id == 1
        assert status.broker.took is not None
        assert status.principal == "CN=kafka1,OU=Brokers,O=MyOrg"
        assert status.restart is None
        assert host.node.pid == pid
        assert host.node.running
        # What was set dynamically is the path that server.properties names: whoever starts finds one store.
        await asyncio.to_thread(host.node.restart)
        await keeper.turn()
        expect_in_use(host, await host.settled(host.keeper()))


async def test_new_ca_comes_in_three_generations_each_proven(host: BrokerHost) -> None:
    """Anchors, then the leaf, then fewer anchors: never two at once, and each known to be in use before the next."""
    keeper = await host.up()
    (old,) = host.status(keeper).anchors
    await rotate(load(host.folder / "cert-agent.yaml", {}, "kafka1"), "local")
    keeper = host.keeper()
    status = await host.settled(keeper)
    assert status.generation == 4
    assert status.counts.publications == {Cause.ANCHORS: 2, Cause.LEAF: 1}
    assert status.counts.preflights == {"accepted": 3}
    assert not status.counts.rollbacks
    assert len(status.anchors) == 1
    assert old not in status.anchors
    assert status.rotation is not None
    assert status.rotation.stage is Stage.STEADY
    expect_in_use(host, status)


async def test_roll_back_by_hand_is_told_and_proven_too(host: BrokerHost) -> None:
    """The generation before is asked about, switched to and served, and its leaf is held."""
    keeper = await host.up()
    first = host.status(keeper).leaf
    await keeper.renew()
    await keeper.roll_back()
    status = host.status(keeper)
    assert status.generation == 1
    assert status.leaf == first
    expect_in_use(host, status)


async def test_two_listeners_with_one_kept_by_somebody_else(tmp_path: Path) -> None:
    """A listener that is not in the settings keeps its store, and is not looked at."""
    with broker_host(tmp_path) as host:
        told = host.reload()
        del told["listeners"]["INTERNAL"]
        host.settings["identities"]["broker"]["reload"] = [told]
        keeper = await host.up()
        await keeper.renew()
        status = host.status(keeper)
        assert status.settled
        assert [listener.address for listener in status.listeners] == ["MTLS"]
