"""The witness at a real cluster: what brokers say of themselves, whom they take, and who their controllers are."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.anchors import ca_id
from agent.core.configuration import RotationPolicy
from agent.core.evidence import Verdict
from agent.core.kafka_spec import Cluster
from agent.kafka.admin import admin
from agent.keystores import pem
from agent.net.processes import started_at
from agent.wire.visit import Visitor
from tests.peers.cluster import BROKER, LISTENERS, KnownStore, Scene, by_name
from tests.servers.kafka import Listener, started_cluster, stores
from tests.wire.listeners import NOW, Identity, combined, make_ca

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.credentials import Credentials
    from agent.core.testimony import Peers
    from agent.peers.witness import PeerWitness
    from tests.servers.kafka import KafkaCluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

OLD_CA, NEW_CA, STRANGE_CA = make_ca("CN=Old Root,O=Prüfstelle"), make_ca("CN=New Root"), make_ca("CN=Nobody")
OLD_ID, NEW_ID, STRANGE_ID = (ca_id(ca.certificate) for ca in (OLD_CA, NEW_CA, STRANGE_CA))
KNOWN = tuple(ca.certificate for ca in (OLD_CA, NEW_CA, STRANGE_CA))
PROVEN, REFUTED = Verdict.PROVEN, Verdict.REFUTED
NUMBERS = (1, 2)


def shown_by(identity: Identity) -> Credentials:
    """Return what the agent shows for an identity, which trusts all that is known."""
    return replace(identity.credentials, anchors=KNOWN)


CURRENT, CANDIDATE, STRANGER = (shown_by(Identity.of(ca)) for ca in (OLD_CA, NEW_CA, STRANGE_CA))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Two nodes with TLS between controllers too: node 1 trusts both CAs, node 2 only the old one.

    Where brokers meet both are trusted, so that they go on.
    """
    folder = tmp_path_factory.mktemp("witnessed")
    keystore = combined(Identity.of(OLD_CA), folder)
    truststores = {"old": folder / "old.pem", "both": folder / "both.pem"}
    truststores["old"].write_bytes(pem.encode([OLD_CA.certificate]))
    truststores["both"].write_bytes(pem.encode([OLD_CA.certificate, NEW_CA.certificate]))
    both, old = (stores("PEM", keystore, truststores[name]) for name in ("both", "old"))

    def listeners(number: int) -> list[Listener]:
        clients = both if number == 1 else old
        return [Listener("INTERNAL", both), Listener("CLIENTS", clients), Listener("ONEWAY", both, client_auth="none")]

    with started_cluster(
        folder / "kafka", listeners, len(NUMBERS), controller=lambda _number: Listener("CONTROLLER", both)
    ) as started:
        yield started


def witness_at(cluster: KafkaCluster, *, is_broker: bool, listener: str = "CLIENTS", **policy: object) -> PeerWitness:
    """Return a witness with everything that is real: of broker 1, or of a client."""
    main = Cluster("main", (cluster.nodes[0].address(listener),), within=timedelta(seconds=20))
    rotation = RotationPolicy(peers=(), cluster=main, **policy)  # type: ignore[arg-type]
    scene = Scene(rotation, replace(BROKER, cluster=main, listeners=LISTENERS) if is_broker else None)
    scene.store = KnownStore(CURRENT)
    witness = scene.witness()
    witness._tools = replace(witness._tools, visitor=Visitor(lambda: NOW), login=admin, clock=lambda: NOW)
    return witness


def listener(cluster: KafkaCluster, number: int, name: str = "") -> str:
    """Return the name of a listener for people."""
    address = cluster.nodes[number - 1].address(name or "CLIENTS")
    return f"{address} (node {number}{' ' if name else ''}{name})"


async def test_client_sees_whom_each_broker_takes(cluster: KafkaCluster) -> None:
    """At the one endpoint of each that the metadata names: by its names and by the canary, which say the same."""
    peers = await witness_at(cluster, is_broker=False).testify((CURRENT, CANDIDATE), KNOWN)
    found = by_name(peers)
    assert (set(found), peers.unknown) == ({listener(cluster, 1), listener(cluster, 2)}, "")
    assert found[listener(cluster, 1)].trusts == {OLD_ID: PROVEN, NEW_ID: PROVEN, STRANGE_ID: REFUTED}
    assert found[listener(cluster, 2)].trusts == {OLD_ID: PROVEN, NEW_ID: REFUTED, STRANGE_ID: REFUTED}
    assert found[listener(cluster, 2)].why == "it has refused a leaf of CN=New Root"
    assert {one.uses for one in peers.testimonies} == {frozenset({OLD_ID})}


async def test_names_tell_without_a_canary(cluster: KafkaCluster) -> None:
    """Only the current leaf is shown, and the brokers' logs know of no failure."""
    said = [len(node.log) for node in cluster.nodes]
    peers = await witness_at(cluster, is_broker=False).testify((CURRENT,), KNOWN)
    assert by_name(peers)[listener(cluster, 1)].trusts[NEW_ID] is PROVEN
    assert by_name(peers)[listener(cluster, 2)].trusts[NEW_ID] is REFUTED
    for node, length in zip(cluster.nodes, said, strict=True):
        assert not re.search("(?i)failed authentication", node.log[length:])


async def test_listener_without_client_authentication_meets_no_client(cluster: KafkaCluster) -> None:
    """It is found by its name, and blocks nothing."""
    peers = await witness_at(cluster, is_broker=False, of_cluster=("oneway",)).testify((CURRENT, CANDIDATE), KNOWN)
    assert set(by_name(peers)) == {listener(cluster, number, "ONEWAY") for number in NUMBERS}
    assert all((one.meets, one.uses) == (False, frozenset({OLD_ID})) for one in peers.testimonies)


async def test_broker_sees_every_listener_of_the_other_and_the_nodes(cluster: KafkaCluster) -> None:
    """The controllers' too, which take client certificates; when the own process was started is seen here."""
    peers = await witness_at(cluster, is_broker=True).testify((CURRENT, CANDIDATE), KNOWN)
    found = by_name(peers)
    controller = f"localhost:{cluster.nodes[1].ports['CONTROLLER']} (node 2 CONTROLLER)"
    others = {listener(cluster, 2, name) for name in ("INTERNAL", "CLIENTS", "ONEWAY")}
    assert set(found) == {*others, controller, "node 1", "node 2"}
    assert found[controller].trusts == {OLD_ID: PROVEN, NEW_ID: PROVEN, STRANGE_ID: REFUTED}
    assert found[listener(cluster, 2, "INTERNAL")].trusts[NEW_ID] is PROVEN
    assert found[listener(cluster, 2, "CLIENTS")].trusts[NEW_ID] is REFUTED
    assert found[listener(cluster, 2, "ONEWAY")].meets is False
    assert {one.peer: one.trusts[NEW_ID] for one in peers.own} == {
        listener(cluster, 1, name): PROVEN for name in ("INTERNAL", "CLIENTS")
    }
    own, other = found["node 1"], found["node 2"]
    assert own.is_node
    assert other.is_node
    assert other.started_at is None
    real = started_at(cluster.nodes[0].pid)
    assert own.started_at is not None
    assert real is not None
    assert abs(own.started_at - real) < timedelta(seconds=1)


async def test_login_that_is_refused_leaves_the_peers_unknown(cluster: KafkaCluster) -> None:
    """A leaf of a CA that no broker trusts opens no door, and the diagnosis says so."""
    witness = witness_at(cluster, is_broker=True)
    witness._tools = replace(witness._tools, login_store=KnownStore(STRANGER))
    peers: Peers = await witness.testify((STRANGER,), KNOWN)
    assert "main" in peers.unknown
    assert "certificate" in peers.unknown
    assert not peers.testimonies


async def test_broker_that_goes_down_stays_a_peer(cluster: KafkaCluster) -> None:
    """A cluster of which one node is killed names it no more; its listeners are unknown then, and it is a node."""
    witness = witness_at(cluster, is_broker=False)
    assert len((await witness.testify((CURRENT,), KNOWN)).testimonies) == len(NUMBERS)
    cluster.nodes[1].pause()
    try:
        peers = await witness.testify((CURRENT,), KNOWN)
        found = by_name(peers)[listener(cluster, 2)]
    finally:
        cluster.nodes[1].resume()
    assert (found.trusts, found.uses, found.meets) == ({}, None, True)
    assert "no TLS handshake within" in found.why
