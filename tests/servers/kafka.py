"""Real nodes of Kafka on KRaft, each broker and controller at once, with the listeners that a test asks for."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.servers.kafka_jars import CLUSTER_ID, NEWEST, environment, fetched, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.servers.kafka_jars import Jars

UP_WITHIN = 120.0
"""Seconds; a node alone takes three of them on two cores that have nothing else to do."""

STOPPED_WITHIN = 15.0
"""Seconds from SIGTERM to SIGKILL: a node that has lost the quorum does not end by itself within a minute."""

SMALL = {
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "num.network.threads": "3",
    "num.io.threads": "4",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": "8388608",
    "log.segment.bytes": "67108864",
    "controlled.shutdown.max.retries": "1",
}
"""Less of everything that a broker for thousands has, and no wait that is for machines which are far apart."""


def stores(kind: str, keystore: Path, truststore: Path, password: str | None = None) -> dict[str, str]:
    """Return the `ssl.*` lines, without a prefix, for two files of a kind (`PKCS12`, `JKS`, `PEM`).

    `password` is that of both; None for PEM, which Kafka refuses to be told one for.
    """
    lines = {
        "ssl.keystore.type": kind,
        "ssl.keystore.location": str(keystore),
        "ssl.truststore.type": kind,
        "ssl.truststore.location": str(truststore),
    }
    if password is not None:
        lines |= {"ssl.keystore.password": password, "ssl.truststore.password": password}
    return lines


@dataclass(frozen=True)
class Listener:
    """A listener with its own `ssl.*` lines, which are written with its prefix.

    `client_auth` is `required`, `requested`, `none`, or None to leave it unsaid.
    """

    name: str
    lines: Mapping[str, str] = field(default_factory=dict)
    protocol: str = "SSL"
    client_auth: str | None = "required"

    def properties(self) -> dict[str, str]:
        """Return the lines of server.properties."""
        prefix = f"listener.name.{self.name.lower()}."
        lines = {prefix + key: value for key, value in self.lines.items()}
        if self.client_auth is not None and self.protocol.endswith("SSL"):
            lines[f"{prefix}ssl.client.auth"] = self.client_auth
        return lines


CONTROLLER = Listener("CONTROLLER", protocol="PLAINTEXT")
"""The listener between controllers; without TLS, so that its principal is `User:ANONYMOUS`."""


@dataclass
class KafkaNode:
    """A node with its directory, which holds its data, its `server.properties` and its `kafka.log`.

    `properties` is written anew at each start, so what is changed in it holds from the next one on.
    """

    directory: Path
    number: int
    jars: Jars
    ports: Mapping[str, int]
    properties: dict[str, str]
    heap: str = "320m"
    quick: bool = True
    user: str | None = None
    _said: int = field(default=0, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The process that runs now, or ran last."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process runs; a paused one does."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that it has said since its first start."""
        return self._log_file.read_text(errors="replace")

    @property
    def _said_since_start(self) -> str:
        return self._log_file.read_bytes()[self._said :].decode(errors="replace")

    @property
    def _log_file(self) -> Path:
        return self.directory / "kafka.log"

    def address(self, listener: str) -> str:
        """Return where a listener is to be reached, as `host:port`; the host is that of `advertised.listeners`."""
        found = re.search(rf"\b{listener}://([^,]+)", self.properties["advertised.listeners"])
        assert found, f"there is no listener {listener}"
        return found.group(1)

    def start(self) -> None:
        """Start the process and wait until all listeners accept connections; on the same data and ports as before."""
        self.spawn()
        self.wait_until_up()

    def spawn(self) -> None:
        """Start the process and wait for nothing."""
        assert not self.running, "it runs already"
        configuration = self.directory / "server.properties"
        configuration.touch(mode=0o600)
        if self.user is not None:
            for path in (self.directory, *self.directory.rglob("*")):
                shutil.chown(path, self.user)
        configuration.write_text("".join(property_line(key, value) for key, value in self.properties.items()), "ascii")
        with self._log_file.open("ab") as log:
            self._said = log.tell()
            self._process = subprocess.Popen(
                self.jars.command("Node", configuration, heap=self.heap, quick=self.quick),
                cwd=self.directory,
                stdin=subprocess.PIPE,  # Node.java: it ends when this process does
                stdout=log,
                stderr=log,
                env=environment(self.directory),
                start_new_session=True,
                user=self.user,
            )

    def wait_until_up(self, within: float = UP_WITHIN) -> None:
        """Wait until all listeners accept connections; a process that has ended fails the test with its log."""
        ends = time.monotonic() + within
        while not (all(map(_accepts, self.ports.values())) and "Kafka Server started" in self._said_since_start):
            assert self.running, f"node {self.number} has ended: {self.log[-3000:]}"
            assert time.monotonic() < ends, f"node {self.number} is not up: {self.log[-3000:]}"
            time.sleep(0.05)

    def stop(self, within: float = STOPPED_WITHIN) -> None:
        """End it politely, after so many seconds by force."""
        if self.running:
            assert self._process is not None
            self._process.terminate()
            try:
                self._process.wait(within)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reap()

    def kill(self) -> None:
        """End it as a machine that is lost, paused or not."""
        if self.running:
            assert self._process is not None
            self._process.kill()
        self._reap()

    def restart(self) -> None:
        """Stop it politely and start it again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Have it answer nothing: its sockets accept connections, as the kernel does that."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()


@dataclass
class KafkaCluster:
    """Nodes that are all broker and controller; numbered from 1 on."""

    nodes: list[KafkaNode]

    def bootstrap(self, listener: str) -> str:
        """Return the addresses of a listener of all nodes, for `bootstrap.servers`."""
        return ",".join(node.address(listener) for node in self.nodes)

    def start(self) -> None:
        """Start those that do not run, side by side: none is up before most are."""
        started = [node for node in self.nodes if not node.running]
        for node in started:
            node.spawn()
        for node in started:
            node.wait_until_up()

    def kill(self) -> None:
        """End all by force."""
        for node in self.nodes:
            node.kill()

    def leader(self) -> KafkaNode:
        """Return the node whose controller was elected last, by what they say in their logs."""
        elected = [(epoch, node.number) for node in self.nodes for epoch in _epochs_led(node.log)]
        return self.nodes[max(elected)[1] - 1]


@contextmanager
def started_broker(
    directory: Path,
    listeners: Sequence[Listener],
    *,
    version: str = NEWEST,
    properties: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[KafkaNode]:
    """Start one node below `directory` and kill it at the end, whatever the test does.

    The first listener is the one between brokers. `properties` are put last into server.properties.
    Options are those of `made_nodes`.
    """
    (node,) = made_nodes(directory, lambda _number: listeners, 1, version=version, properties=properties, **options)
    try:
        node.start()
        yield node
    finally:
        node.kill()


@contextmanager
def started_cluster(
    directory: Path,
    listeners: Callable[[int], Sequence[Listener]],
    size: int = 3,
    *,
    version: str = NEWEST,
    properties: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[KafkaCluster]:
    """Start a cluster below `directory` and kill it at the end; `listeners` tells those of a node by its number.

    Topics have a replica on each node, and a record is acknowledged by most of them.
    """
    replicated = {
        "default.replication.factor": str(size),
        "min.insync.replicas": str(size // 2 + 1),
        "offsets.topic.replication.factor": str(size),
        "transaction.state.log.replication.factor": str(size),
        "transaction.state.log.min.isr": str(size // 2 + 1),
    }
    nodes = made_nodes(
        directory, listeners, size, version=version, properties=replicated | dict(properties or {}), **options
    )
    cluster = KafkaCluster(nodes)
    with ExitStack() as stack:
        stack.callback(cluster.kill)
        cluster.start()
        yield cluster


def made_nodes(
    directory: Path,
    listeners: Callable[[int], Sequence[Listener]],
    size: int = 1,
    *,
    version: str = NEWEST,
    properties: Mapping[str, str] | None = None,
    controller: Callable[[int], Listener] = lambda _number: CONTROLLER,
    host: str = "localhost",
    heap: str = "320m",
    quick: bool = True,
    user: str | None = None,
) -> list[KafkaNode]:
    """Make nodes that have been formatted and not been started; whoever starts one ends it.

    All bind to the loopback address. `host` is what the brokers' listeners are advertised with. Not `quick`
    is for those that reload often: they start slower, and open a PKCS12 store several times faster once warm.
    `user` is whom the processes run as, which only root can choose; it must reach `directory`.
    """
    jars = fetched(version)
    numbers = range(1, size + 1)
    names = {number: [listener.name for listener in (*listeners(number), controller(number))] for number in numbers}
    free = iter(free_ports(sum(map(len, names.values()))))
    ports = {number: {name: next(free) for name in names[number]} for number in numbers}
    voters = ",".join(f"{number}@localhost:{ports[number][controller(number).name]}" for number in numbers)
    nodes = []
    for number in numbers:
        place = directory / f"node{number}"
        place.mkdir(parents=True)
        _format(place / "data", number, jars)
        lines = _properties(
            place / "data", number, listeners(number), controller(number), ports=ports[number], host=host
        )
        lines |= {"controller.quorum.voters": voters} | dict(properties or {})
        nodes.append(KafkaNode(place, number, jars, ports[number], lines, heap, quick, user))
    return nodes


def _properties(
    data: Path,
    number: int,
    listeners: Sequence[Listener],
    controller: Listener,
    *,
    ports: Mapping[str, int],
    host: str,
) -> dict[str, str]:
    every = (*listeners, controller)
    lines = SMALL | {
        "process.roles": "broker,controller",
        "node.id": str(number),
        "log.dirs": str(data),
        "controller.listener.names": controller.name,
        "listeners": ",".join(f"{listener.name}://127.0.0.1:{ports[listener.name]}" for listener in every),
        "advertised.listeners": ",".join(f"{listener.name}://{host}:{ports[listener.name]}" for listener in listeners),
        "listener.security.protocol.map": ",".join(f"{listener.name}:{listener.protocol}" for listener in every),
        "inter.broker.listener.name": listeners[0].name,
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
    }
    for listener in every:
        lines |= listener.properties()
    return lines


def _format(data: Path, number: int, jars: Jars) -> None:
    """Format the storage as StorageTool does, which takes a JVM: two files, of which one tells who the node is."""
    data.mkdir()
    shutil.copyfile(jars.bootstrap, data / "bootstrap.checkpoint")
    identifier = base64.urlsafe_b64encode(b"\1" + os.urandom(15)).decode().rstrip("=")
    (data / "meta.properties").write_text(
        f"version=1\ncluster.id={CLUSTER_ID}\nnode.id={number}\ndirectory.id={identifier}\n"
    )


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _epochs_led(log: str) -> list[int]:
    return [int(epoch) for epoch in re.findall(r"Completed transition to Leader\(.*?\bepoch=(\d+)", log)]


def property_line(key: str, value: str) -> str:
    """Return a line of a properties file, in ASCII whatever the value holds."""
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n")
    if escaped.startswith(" "):
        escaped = "\\" + escaped
    units = escaped.encode("utf-16-be")
    signs = (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
    return f"{key}=" + "".join(chr(sign) if sign < 128 else rf"\u{sign:04x}" for sign in signs) + "\n"
