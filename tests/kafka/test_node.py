"""Which broker is meant where no node id is given: known for sure, or asked for."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from agent.core.broker import ConfigValue, Node, Source
from agent.core.certificate import Sans
from agent.core.kafka_spec import BrokerListener, KafkaBrokerReload, StoreFile
from agent.errors import KafkaError
from agent.kafka.admin import admin
from agent.kafka.node import find_node

if TYPE_CHECKING:
    from tests.kafka.place import Place

STORE = StoreFile("keystore.p12", PurePosixPath("/ssl/keystore.p12"))
ELSEWHERE = ("192.0.2.7", "kafka.invalid", "2001:db8::7")


@dataclass
class Known:
    """A cluster that is known by heart: its brokers, each with one listener, MTLS, at its endpoint."""

    brokers: tuple[Node, ...]
    described: list[int] = field(default_factory=list)

    async def nodes(self) -> tuple[Node, ...]:
        """Return them all."""
        return self.brokers

    async def describe(self, node_id: int) -> dict[str, ConfigValue]:
        """Return where the listener of one is."""
        self.described.append(node_id)
        (port,) = (node.port for node in self.brokers if node.id == node_id)
        return {"listeners": ConfigValue(f"MTLS://:{port}", Source.STATIC)}


def wanted(address: str | None = None, name: str = "MTLS", node_id: int | None = None) -> KafkaBrokerReload:
    """Return settings with one listener."""
    return KafkaBrokerReload(None, (BrokerListener(name, STORE, None, address),), node_id)


async def test_node_id_of_the_settings_is_taken_without_a_question() -> None:
    """What the operator has written down needs no broker that is up."""
    assert await find_node(Known(()), wanted(node_id=0), Sans()) == 0


async def test_broker_is_found_by_the_address_of_a_listener() -> None:
    """One of the addresses that the settings give is where it is advertised."""
    cluster = Known((Node(1, "kafka1.invalid", 9092), Node(2, "kafka2.invalid", 9092)))
    assert await find_node(cluster, wanted("kafka2.invalid:9092"), Sans()) == 2
    assert cluster.described == [2]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.1.1"])
async def test_broker_of_this_machine_is_found(host: str) -> None:
    """A name that leads here is this machine's; one that leads elsewhere, or nowhere, is not."""
    others = [Node(number, name, 9092) for number, name in enumerate(ELSEWHERE)]
    assert await find_node(Known((*others, Node(9, host, 9092))), wanted(), Sans()) == 9


async def test_broker_at_an_address_of_this_machine_is_found() -> None:
    """Packets to an own address start from it, without any being sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        own = probe.getsockname()[0]
    cluster = Known((Node(1, "192.0.2.7", 9092), Node(2, own, 9092)))
    assert await find_node(cluster, wanted(), Sans()) == 2


async def test_broker_is_found_by_the_sans_of_the_identity() -> None:
    """They name one of those that are up."""
    cluster = Known((Node(1, "kafka1.invalid", 9092), Node(2, "kafka2.invalid", 9092)))
    assert await find_node(cluster, wanted(), Sans.of(dns=("kafka2.invalid",))) == 2


@pytest.mark.parametrize(
    ("brokers", "what"),
    [
        ((), "none of the brokers that are up can be told to be the one that is meant: none;"),
        ((Node(1, "kafka1.invalid", 9092),), "the one that is meant: 1 at kafka1.invalid:9092;"),
        (
            (Node(1, "localhost", 9092), Node(2, "localhost", 9093)),
            "several brokers could be meant: 1 at localhost:9092, 2 at localhost:9093",
        ),
    ],
)
async def test_broker_is_not_guessed(brokers: tuple[Node, ...], what: str) -> None:
    """None that could be meant, and several, are told with their ids, and nothing is asked of them."""
    cluster = Known(brokers)
    with pytest.raises(KafkaError) as caught:
        await find_node(cluster, wanted(), Sans())
    assert what in caught.value.what
    assert "set `node_id`" in caught.value.advice
    assert caught.value.reason == "node id"
    assert cluster.described == []


@pytest.mark.parametrize(
    ("settings", "doubt"),
    [
        (wanted("localhost:9093"), "its listener MTLS is not at localhost:9093"),
        (wanted(name="OTHER"), "it has no listener OTHER"),
    ],
)
async def test_broker_that_does_not_fit_the_settings_is_not_taken(settings: KafkaBrokerReload, doubt: str) -> None:
    """The one that is up on this machine may be another's, while the one that is meant is down."""
    with pytest.raises(KafkaError) as caught:
        await find_node(Known((Node(1, "localhost", 9092),)), settings, Sans())
    assert caught.value.what == f"broker 1 at localhost:9092 is the one that could be meant, but {doubt}"


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_real_broker_is_found(place: Place) -> None:
    """It is asked at one listener and known by the address of another."""
    settings = wanted(place.node.address("INTERNAL"))
    settings = KafkaBrokerReload(None, (*settings.listeners, BrokerListener("INTERNAL", STORE, None)))
    async with admin(place.cluster(), place.agent) as client:
        assert await find_node(client, wanted(place.node.address("MTLS")), Sans()) == 1
        with pytest.raises(KafkaError, match="its listener MTLS is not at"):
            await find_node(client, settings, Sans())
