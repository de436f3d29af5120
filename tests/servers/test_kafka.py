"""The brokers that other tests are run against, and the load that is put on them."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from tests.judges.identities import JKS, PASSWORD, PEM, PKCS12, Identity, make_identity
from tests.servers.kafka import KafkaNode, Listener, started_broker, started_cluster, stores
from tests.servers.kafka_jars import NEWEST, OLDEST
from tests.servers.load import java_load, librdkafka_load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.servers.load import Load

# The first test of a run waits until Maven has fetched what a broker is made of.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SILENT = logging.getLogger("tests.librdkafka")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False

RULES = r"RULE:^CN=(\w+)\..*$/übrig\/$1/L, DEFAULT"


@pytest.fixture(scope="module", name="identity")
def make(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Return an identity with files of every format."""
    identity = make_identity(tmp_path_factory.mktemp("tls"))
    for group in (PKCS12, PEM, JKS):
        identity.put(group)
    return identity


def lines(identity: Identity, kind: str) -> dict[str, str]:
    """Return what Java is told of the stores of a format."""
    there = identity.directory
    match kind:
        case "PKCS12":
            return stores(kind, there / "keystore.p12", there / "truststore.p12", PASSWORD)
        case "JKS":
            return stores(kind, there / "keystore.jks", there / "truststore.jks", PASSWORD)
        case _:
            return stores(kind, there / "combined.pem", there / "ca.pem")


def client(identity: Identity, address: str) -> dict[str, Any]:
    """Return what librdkafka is told to log in with the identity."""
    there = identity.directory
    return {
        "bootstrap.servers": address,
        "security.protocol": "ssl",
        "ssl.ca.location": str(there / "ca.pem"),
        "ssl.certificate.location": str(there / "combined.pem"),
        "ssl.key.location": str(there / "combined.pem"),
    }


@pytest.fixture(scope="module", name="node")
def start(identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNode]:
    """Start a broker with a listener for each format, and one that asks for no client certificate."""
    listeners = [
        Listener("INTERNAL", lines(identity, "PKCS12")),
        Listener("OPEN_PEM", lines(identity, "PEM"), client_auth="none"),
        Listener("PEM", lines(identity, "PEM")),
        Listener("JKS", lines(identity, "JKS")),
    ]
    properties = {"listener.name.pem.ssl.principal.mapping.rules": RULES}
    with started_broker(tmp_path_factory.mktemp("broker"), listeners, properties=properties) as node:
        yield node


def put(settings: dict[str, Any], topic: str, *values: bytes) -> None:
    """Send records; one that is not acknowledged fails the test."""
    producer = Producer(settings, logger=SILENT)
    refused: list[object] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: refused.append(error) if error else None)
    assert producer.flush(30) == 0
    assert not refused


def got(settings: dict[str, Any], topic: str, count: int) -> list[bytes | None]:
    """Return the first records of a topic."""
    consumer = Consumer(settings | {"group.id": "got"}, logger=SILENT)
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return [message.value() for message in consumer.consume(count, timeout=30)]
    finally:
        consumer.close()


@pytest.mark.parametrize("listener", ["INTERNAL", "PEM", "JKS"])
def test_records_go_round_through_each_format(node: KafkaNode, identity: Identity, listener: str) -> None:
    """Client and broker prove themselves to each other, and what was sent comes back."""
    settings = client(identity, node.address(listener))
    put(settings, listener, b"one", b"two")
    assert got(settings, listener, 2) == [b"one", b"two"]


def test_client_certificates_are_asked_for_as_told(node: KafkaNode, identity: Identity) -> None:
    """A client without one is let in where none is asked for, and nowhere else."""
    for listener, inside in {"OPEN_PEM": True, "PEM": False}.items():
        settings = client(identity, node.address(listener))
        for key in ("ssl.certificate.location", "ssl.key.location"):
            del settings[key]
        assert answers(settings, 5 if inside else 1) is inside


def answers(settings: dict[str, Any], within: float) -> bool:
    """Tell whether the broker answers a client so soon."""
    try:
        AdminClient(settings, logger=SILENT).list_topics(timeout=within)
    except KafkaException:
        return False
    return True


def test_values_reach_kafka_as_they_were_given(node: KafkaNode, identity: Identity) -> None:
    """Backslashes and what is not ASCII are written so that Java reads them back."""
    settings = client(identity, node.address("PEM"))
    assert configured(settings, "listener.name.pem.ssl.principal.mapping.rules") == RULES


def configured(settings: dict[str, Any], key: str) -> str | None:
    """Return what the broker says of one key of its configuration."""
    asked = ConfigResource(ConfigResource.Type.BROKER, "1")
    admin = AdminClient(settings, logger=SILENT)  # without a name it would be gone before the answer is there
    value: str | None = admin.describe_configs([asked], request_timeout=30)[asked].result(30)[key].value
    return value


def test_paused_broker_answers_once_it_goes_on(node: KafkaNode, identity: Identity) -> None:
    """Its sockets accept connections all the while."""
    settings = client(identity, node.address("PEM"))
    node.pause()
    try:
        with socket.create_connection(("127.0.0.1", node.ports["PEM"]), timeout=5):
            assert not answers(settings, 1)
        assert node.running
    finally:
        node.resume()
    assert answers(settings, 60)


def test_restarted_broker_has_its_records(node: KafkaNode, identity: Identity) -> None:
    """It comes up on the same data and ports, and heeds what was changed in its properties."""
    settings = client(identity, node.address("PEM"))
    put(settings, "kept", b"before")
    before = node.pid
    node.properties["log.retention.hours"] = "167"
    node.kill()
    assert not node.running
    node.start()
    assert node.pid != before
    put(settings, "kept", b"after")
    assert got(settings, "kept", 2) == [b"before", b"after"]
    assert node.log.count("Kafka Server started") >= 2
    assert configured(settings, "log.retention.hours") == "167"


def test_broker_of_the_line_before_comes_up_and_leaves_nothing_behind(identity: Identity, tmp_path: Path) -> None:
    """Kafka 3.9 runs from the same parts; neither process nor port is left, although it is paused at the end."""
    both = [Listener("INTERNAL", lines(identity, "PKCS12")), Listener("MTLS", lines(identity, "PEM"))]
    with started_broker(tmp_path / "kafka", both, version=OLDEST) as node:
        assert f"Kafka version: {OLDEST}" in node.log
        settings = client(identity, node.address("MTLS"))
        put(settings, "old", b"record")
        assert got(settings, "old", 1) == [b"record"]
        node.pause()
    assert not Path(f"/proc/{node.pid}").exists()
    for port in node.ports.values():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


ORPHAN = """
import sys, time
from pathlib import Path
from tests.servers.kafka import Listener, started_broker
with started_broker(Path(sys.argv[1]), [Listener("PLAIN", protocol="PLAINTEXT")]) as node:
    print(node.pid, flush=True)
    time.sleep(600)
"""


def test_broker_ends_with_the_tests_that_started_it(tmp_path: Path) -> None:
    """Even where they were killed and could tell it nothing."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", ORPHAN, str(tmp_path / "kafka")]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        pid = int(tests.stdout.readline())
        os.kill(pid, 0)
        tests.kill()
    ends = time.monotonic() + 30
    while _lives(pid):
        assert time.monotonic() < ends, "the broker outlives the tests"
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    """Tell whether a process that is no child of ours runs; one that nobody has reaped does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_cluster_survives_its_leader(identity: Identity, tmp_path: Path) -> None:
    """Three nodes speak TLS with each other, controllers too; another one leads once the leader is lost."""
    tls = lines(identity, "PEM")

    def listeners(_number: int) -> list[Listener]:
        return [Listener("INTERNAL", tls), Listener("MTLS", tls)]

    def controller(_number: int) -> Listener:
        return Listener("CONTROLLER", tls)

    with started_cluster(tmp_path / "cluster", listeners, controller=controller) as cluster:
        settings = client(identity, cluster.bootstrap("MTLS"))
        put(settings, "kept", b"before")
        first = cluster.leader()
        first.kill()
        put(settings, "kept", b"after")
        assert cluster.leader() is not first
        cluster.start()
        assert all(node.running for node in cluster.nodes)
        assert got(settings, "kept", 2) == [b"before", b"after"]


def java(node: KafkaNode, identity: Identity) -> dict[str, str]:
    """Return what a Java client is told to log in with the identity."""
    settings = {"bootstrap.servers": node.address("PEM"), "security.protocol": "SSL"}
    return settings | lines(identity, "PKCS12")


def librdkafka(node: KafkaNode, identity: Identity) -> dict[str, str]:
    """Return the same for librdkafka."""
    return client(identity, node.address("PEM"))


if TYPE_CHECKING:
    Settings = Callable[[KafkaNode, Identity], dict[str, str]]
    Loads = Callable[..., AbstractContextManager[Load]]

BOTH = pytest.mark.parametrize(
    ("loads", "settings"),
    [pytest.param(java_load, java, id="java"), pytest.param(librdkafka_load, librdkafka, id="librdkafka")],
)


def test_load_loses_nothing_over_a_restart(node: KafkaNode, identity: Identity, tmp_path: Path) -> None:
    """Java's clients and librdkafka's are made anew all the while, and see the broker go and come back."""
    with ExitStack() as stack:
        running = [
            stack.enter_context(java_load(tmp_path / "java", java(node, identity), "java", remake=1)),
            stack.enter_context(librdkafka_load(tmp_path / "other", librdkafka(node, identity), "other", remake=1)),
        ]
        for load in running:
            load.wait_until_flowing()
        time.sleep(3)
        node.restart()
        time.sleep(1)
        for load in running:
            report = load.stop()
            assert report.whole, report
            assert report.made > 4, report
            assert report.sent > 100, report


@BOTH
def test_load_tells_failed_and_doubled_records(
    node: KafkaNode, identity: Identity, tmp_path: Path, loads: Loads, settings: Settings
) -> None:
    """A record that stands twice in the log, and records that the broker does not take, are told."""
    given = settings(node, identity)
    topic = f"troubled-{loads.__name__}"
    admin = AdminClient(client(identity, node.address("PEM")), logger=SILENT)
    # The number 0 as each of them writes it, before the load does.
    put(client(identity, node.address("PEM")), f"{topic}-twice", b"0" if loads is librdkafka_load else bytes(8))
    with loads(tmp_path / "twice", given, f"{topic}-twice") as load:
        load.wait_until_flowing()
        report = load.stop()
    assert (report.doubled, report.lost, report.failed, report.whole) == (1, 0, 0, False), report
    narrow = NewTopic(f"{topic}-narrow", 1, 1, config={"max.message.bytes": "1"})
    admin.create_topics([narrow], request_timeout=30)[narrow.topic].result(30)
    with loads(tmp_path / "narrow", given, narrow.topic) as load:
        with pytest.raises(AssertionError, match="failing"):
            load.wait_until_flowing()
        report = load.stop()
    assert report.failed > 0, report
    assert (report.sent, report.read, report.whole) == (0, 0, False), report
    assert "send: " in report.errors[0]


@BOTH
def test_load_tells_lost_records(
    node: KafkaNode, identity: Identity, tmp_path: Path, loads: Loads, settings: Settings
) -> None:
    """What was acknowledged and is never read counts as lost: here for a consumer that begins at the end."""
    late = settings(node, identity) | {"auto.offset.reset": "latest"}
    with loads(tmp_path / "load", late, f"lost-{loads.__name__}", patience=2) as load:
        load.wait_until_flowing()
        report = load.stop()
    assert report.lost > 0, report
    assert (report.sent, report.doubled, report.whole) == (report.read + report.lost, 0, False), report


@BOTH
def test_load_that_nobody_stops_ends_with_the_test(
    node: KafkaNode, identity: Identity, tmp_path: Path, loads: Loads, settings: Settings
) -> None:
    """Its process is gone after the context; one that has ended by itself is told."""
    with loads(tmp_path / "load", settings(node, identity), f"left-{loads.__name__}") as load:
        load.wait_until_flowing()
    assert load._process.returncode == -signal.SIGKILL
    with loads(tmp_path / "killed", settings(node, identity), f"left-{loads.__name__}") as load:
        load._process.kill()
        with pytest.raises(AssertionError):
            load.wait_until_flowing()


def test_newest_is_what_is_started(node: KafkaNode) -> None:
    """A broker that is asked for without a version is the newest that is tested against."""
    assert f"Kafka version: {NEWEST}" in node.log
