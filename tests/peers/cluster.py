"""A cluster that is known by heart, and a visitor that knows what every listener shows."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from agent.core.broker import ConfigValue, Node, Source
from agent.core.configuration import RotationPolicy, Wanted
from agent.core.credentials import Credentials
from agent.core.evidence import Served, Verdict
from agent.core.files import PemFiles
from agent.core.generation import Cause, Disk, Generation
from agent.core.kafka_spec import BrokerListener, Cluster, KafkaBrokerReload, StoreFile
from agent.errors import KafkaError
from agent.keystores import private_key
from agent.peers.witness import PeerWitness, Tools
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from agent.core.certificate import Certificate
    from agent.core.testimony import Peers, Testimony
    from agent.kafka.node import Asked

OLD, NEW = Ca.root("CN=Old"), Ca.root("CN=New")
KNOWN = (OLD.certificate, NEW.certificate)
BOTH = frozenset(ca.certificate.subject.public_bytes() for ca in (OLD, NEW))

CLUSTER = Cluster("main", ("kafka1:9092",))


def credentials_of(ca: Ca, **request: Any) -> Credentials:
    """Have a leaf made, with its key."""
    key = make_key()
    return Credentials(private_key.to_der(key), (ca.leaf(make_request(**request), key),), KNOWN)


CURRENT, CANDIDATE = credentials_of(OLD), credentials_of(NEW)


def lines(number: int, **changes: str) -> dict[str, str]:
    """Return the configuration of a broker with two TLS listeners and one without; `__` stands for a dot in a key."""
    found = {
        "listeners": "INTERNAL://:9091,CLIENTS://:9092,PLAIN://:9090",
        "advertised.listeners": ",".join(
            f"{name}://kafka{number}:{port}" for name, port in (("INTERNAL", 9091), ("CLIENTS", 9092), ("PLAIN", 9090))
        ),
        "listener.security.protocol.map": "INTERNAL:SSL,CLIENTS:SSL,PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
        "ssl.client.auth": "required",
        "controller.listener.names": "CONTROLLER",
    }
    return found | {key.replace("__", "."): value for key, value in changes.items()}


@dataclass
class KnownCluster:
    """Its brokers by id, each with its configuration or why it does not tell; `logins` are what was shown.

    `refuses` is why nobody is let in, `hangs` that nobody is answered.
    """

    brokers: dict[int, Mapping[str, str] | KafkaError] = field(
        default_factory=lambda: {number: lines(number) for number in (1, 2, 3)}
    )
    refuses: Exception | None = None
    hangs: bool = False
    logins: list[Credentials | None] = field(default_factory=list)
    described: list[int] = field(default_factory=list)
    is_open: bool = False

    async def nodes(self) -> tuple[Node, ...]:
        """Return those that are up, at their listener for clients."""
        if self.hangs:
            await asyncio.sleep(600)
        return tuple(Node(number, f"kafka{number}", 9092) for number in self.brokers)

    async def describe(self, node_id: int) -> Mapping[str, ConfigValue]:
        """Return how one is configured."""
        self.described.append(node_id)
        broker = self.brokers[node_id]
        if isinstance(broker, KafkaError):
            raise broker
        return {key: ConfigValue(value, Source.STATIC, value) for key, value in broker.items()}

    @asynccontextmanager
    async def login(self, _cluster: Cluster, credentials: Credentials | None) -> AsyncIterator[Asked]:
        """Let the agent in."""
        self.logins.append(credentials)
        if self.refuses is not None:
            raise self.refuses
        self.is_open = True
        try:
            yield self
        finally:
            self.is_open = False


Shows = dict[str, Any]
"""What a listener shows: fields of `Served`, or `down`."""


@dataclass
class KnownVisitor:
    """What every listener shows, by its address; one that is not named asks for certificates and takes all.

    `takes` are the issuers of the leaves that a listener takes. `slow` is how long each takes, in seconds.
    """

    shows: dict[str, Shows] = field(default_factory=dict)
    slow: float = 0.0
    visits: list[tuple[str, Certificate | None]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def shown_to(self, address: str) -> list[Certificate | None]:
        """Return the leaves that were shown to a listener."""
        return [leaf for where, leaf in self.visits if where == address]

    async def visit(
        self,
        listener: str,
        address: str,
        *,
        proven: Callable[[Served], bool],
        times: int,
        within: timedelta,
        shown: Credentials | None,
    ) -> Served:
        """Return what is known of it."""
        assert times == 1
        assert timedelta(0) <= within <= timedelta(seconds=5)
        self.visits.append((address, shown.leaf if shown else None))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.slow)
        self.at_once -= 1
        shows: Shows = {"leaf": CURRENT.leaf, "acceptable": BOTH, "takes": (OLD, NEW)} | self.shows.get(address, {})
        if shows.get("down"):
            return Served(listener, NOW, None, trouble="nothing listens there", address=address, is_down=True)
        leaf, acceptable, takes = shows["leaf"], shows["acceptable"], shows["takes"]
        took = Verdict.UNKNOWN
        if acceptable is not None and shown is not None:
            is_taken = shown.leaf.issuer in {ca.certificate.subject for ca in takes}
            took = Verdict.PROVEN if is_taken else Verdict.REFUTED
        served = Served(
            listener, NOW, leaf.fingerprint, leaf.not_after, leaf=leaf, acceptable=acceptable, took_leaf=took
        )
        assert proven(served)
        return replace(served, chain=(leaf,), address=address)


@dataclass
class KnownStore:
    """The store of the identity that logs in."""

    current: Credentials | None = CURRENT

    async def read(self) -> Disk:
        """Return the current generation."""
        if self.current is None:
            return Disk()
        made = Generation(7, Cause.LEAF, make_request(), "ca", self.current.chain, KNOWN, NOW, NOW, "", ())
        return Disk(made)

    async def credentials(self, number: int) -> Credentials:
        """Return what is shown."""
        assert number == 7
        assert self.current is not None
        return self.current


KEYSTORE = StoreFile("tls.pem", PurePosixPath("/ssl/tls.pem"))
TRUSTSTORE = StoreFile("ca.pem", PurePosixPath("/ssl/ca.pem"))
LISTENERS = (BrokerListener("INTERNAL", KEYSTORE, TRUSTSTORE), BrokerListener("CLIENTS", KEYSTORE, TRUSTSTORE))
BROKER = KafkaBrokerReload(CLUSTER, LISTENERS, node_id=1)


@dataclass
class Scene:
    """A witness with all that it sees; `policy` is that of the identity, `spec` is None for a client."""

    policy: RotationPolicy = field(default_factory=lambda: RotationPolicy(peers=()))
    spec: KafkaBrokerReload | None = None
    cluster: KnownCluster = field(default_factory=KnownCluster)
    visitor: KnownVisitor | None = field(default_factory=KnownVisitor)
    store: KnownStore = field(default_factory=KnownStore)
    within: timedelta = timedelta(seconds=20)
    cgroup: Path = Path("/nowhere")

    @classmethod
    def of_client(cls, **policy: Any) -> Scene:
        """Return that of an identity without a broker, which asks the cluster."""
        return cls(RotationPolicy(**{"peers": (), "cluster": CLUSTER, **policy}))

    @classmethod
    def of_broker(cls, **policy: Any) -> Scene:
        """Return that of broker 1."""
        return cls(RotationPolicy(**{"peers": (), **policy}), BROKER)

    def witness(self) -> PeerWitness:
        """Make the witness."""
        wanted = Wanted(
            "app",
            Path("/ssl"),
            "ca",
            make_request(),
            (PemFiles(combined="tls.pem"),),
            reload=(self.spec,) if self.spec else (),
            rotation=self.policy,
        )
        tools = Tools(self.store, self.visitor, lambda: NOW, self.cluster.login, self.cgroup, self.within)
        return PeerWitness(wanted, tools)

    async def testify(self, *shown: Credentials) -> Peers:
        """Have a new witness look."""
        return await self.witness().testify(shown or (CURRENT,), KNOWN)


def by_name(peers: Peers) -> dict[str, Testimony]:
    """Return the testimonies by whom they are of; each has one."""
    found = {one.peer: one for one in peers.testimonies}
    assert len(found) == len(peers.testimonies)
    return found
