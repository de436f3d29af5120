"""A world in memory for whole cycles: a store, a CA, a listener and a clock that tests turn and break."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.core.anchors import Origin, Sighting
from agent.core.chain import order
from agent.core.command import CommandReload
from agent.core.configuration import FileAnchors, IssuerAnchors, Listener, Retirement, RotationPolicy, Wanted
from agent.core.credentials import Credentials
from agent.core.evidence import Served
from agent.core.files import Access, Opened, PemFiles, StoreFormat
from agent.core.generation import Adoptable, Disk, FileDamage, FileRecord, Generation, Issued, Order, Pending
from agent.core.issuer_status import Examined, IssuerStatus
from agent.core.kafka_spec import KafkaBrokerReload
from agent.core.record import Record
from agent.daemon.edges import Edges
from agent.daemon.keeper import Keeper
from agent.errors import AgentError, ReloadError, StoreError, TrustError
from tests.daemon.memory_broker import KEYSTORE, SPEC, TRUSTSTORE, MemoryBroker
from tests.daemon.memory_peers import MemoryFolder, MemoryTrust, MemoryWitness
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from agent.core.certificate import Certificate
    from agent.core.configuration import TrustSpec
    from agent.core.generation import Draft
    from agent.core.identity import Request
    from agent.core.status import IdentityStatus
    from agent.keystores.material import PrivateKey
    from agent.ports import AnchorSource, Note

ADDRESS = "localhost:9093"

WANTED = Wanted(
    name="broker",
    directory=Path("/etc/kafka/ssl"),
    issuer="ca",
    request=make_request(),
    files=(PemFiles(certificate="tls.crt", key="tls.key", truststore="ca.crt", access=Access()),),
    trust=(IssuerAnchors("ca"),),
    peer_trust=(IssuerAnchors("ca"),),
    reload=(CommandReload(("true",), Path("/etc/cert-agent")),),
    prove=(Listener(ADDRESS),),
    host="kafka1",
    rotation=RotationPolicy(peers=(), soak=timedelta(0), retire=Retirement.AUTOMATIC),
)

OF_BROKER = replace(
    WANTED, files=(PemFiles(combined=KEYSTORE.name, truststore=TRUSTSTORE.name),), reload=(SPEC,), prove=()
)
"""The same identity, of a Kafka broker that the agent tells itself."""


def public_key_of(key: PrivateKey) -> bytes:
    """Return the public key as a certificate holds it."""
    return Ca.root(key=key).certificate.public_key


Answer = Callable[["Pending", "PrivateKey"], "tuple[Certificate, ...]"]


@dataclass
class MemoryCa:
    """A CA that answers as it is told to; each answer of the script is used once."""

    world: World
    root: Ca = field(default_factory=Ca.root)
    script: list[AgentError | Answer] = field(default_factory=list)
    calls: int = 0
    name: str = "ca"
    anchor_trouble: str = ""
    forgets: int = 0
    extra_anchors: tuple[Certificate, ...] = ()
    listed_anchors: tuple[Certificate, ...] = ()
    list_trouble: str = ""
    revocations: list[AgentError] = field(default_factory=list)
    revoked: list[Certificate] = field(default_factory=list)
    remarks: tuple[str, ...] = ()
    orders: list[Order] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Put an intermediate below the root."""
        self.intermediate = self.root.intermediate()

    async def issue(self, pending: Pending, *, note: Note, within: timedelta) -> Issued:
        """Sign, or do what the script says."""
        assert within > timedelta(0)
        self.calls += 1
        while self.orders:
            await note(self.orders.pop(0))
        step = self.script.pop(0) if self.script else self.sign
        if isinstance(step, AgentError):
            raise step
        return Issued(step(pending, self.world.keys[pending.token]), self.world.now)

    def sign(self, pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
        """Answer as a good CA does."""
        leaf = self.intermediate.leaf(pending.request, key, not_before=self.world.now.replace(microsecond=0))
        return leaf, self.intermediate.certificate

    def turn_to(self, root: Ca) -> None:
        """Give leaves of another CA from now on."""
        self.root, self.intermediate = root, root.intermediate()

    async def anchors(self) -> tuple[Certificate, ...]:
        """Return the root, and what a test adds."""
        if self.anchor_trouble:
            raise TrustError(self.anchor_trouble)
        return (self.root.certificate, *self.extra_anchors)

    async def listed(self) -> tuple[Certificate, ...]:
        """Return what a test has it hold beside its own."""
        return self.listed_anchors

    async def sightings(self) -> tuple[Sighting, ...]:
        """Be a source of trust too: the root is its own, what a test adds is as if it lay in a folder."""
        held = [one for one in await self.anchors() if one not in self.extra_anchors]
        own = [Sighting(one, f"issuer {self.name}", Origin.OWN) for one in held]
        shown = () if self.list_trouble else self.listed_anchors
        listed = [Sighting(one, f"issuer {self.name}", Origin.LISTED) for one in shown]
        added = [Sighting(one, "/etc/kafka/ca.d", Origin.FILE) for one in self.extra_anchors]
        return (*own, *listed, *added)

    async def revoke(self, leaf: Certificate, *, within: timedelta) -> None:
        """Revoke, or do what the script says."""
        assert within > timedelta(0)
        step = self.revocations.pop(0) if self.revocations else None
        if step is not None:
            raise step
        self.revoked.append(leaf)

    async def tend(self) -> timedelta | None:
        """Hold no login."""
        return None

    async def examine(self, requests: Sequence[Request]) -> tuple[Examined, ...]:
        """Find nothing."""
        assert requests
        return ()

    def status(self) -> IssuerStatus:
        """Return what a test says."""
        return IssuerStatus(self.name, "memory", remarks=self.remarks)

    async def close(self) -> None:
        """Hold nothing, give nothing back."""


@dataclass
class MemoryStore:
    """The directory of an identity, without a disk."""

    world: World
    layout: str = "layout"
    generations: dict[int, Generation] = field(default_factory=dict)
    public: dict[int, bytes] = field(default_factory=dict)
    current: int | None = None
    pending: Pending | None = None
    record: Record = field(default_factory=Record)
    damages: tuple[FileDamage, ...] = ()
    staged_damages: list[tuple[FileDamage, ...]] = field(default_factory=list)
    blind: str = ""
    full: str = ""
    lost_key: bool = False
    adoptable: Adoptable | None = None
    refuses_to_adopt: str = ""
    fails_to_switch: int = 0
    switched_at: datetime | None = None
    edited: tuple[tuple[str, tuple[Certificate, ...]], ...] = ()
    numbers: count[int] = field(default_factory=lambda: count(1))
    saves: int = 0

    async def read(self) -> Disk:
        """Return what is there, or fail as a disk does."""
        if self.blind:
            raise StoreError(self.blind)
        current = self.generations.get(self.current) if self.current is not None else None
        kept = sorted((g for n, g in self.generations.items() if n != self.current), key=lambda g: -g.number)
        key = self.public.get(current.number) if current and not self.lost_key else None
        adoptable = self.adoptable if current is None else None
        return Disk(
            current,
            key,
            self.damages,
            tuple(kept),
            self.pending,
            adoptable=adoptable,
            switched_at=self.switched_at,
            edited=self.edited,
        )

    async def begin(self, request: Request, issuer: str, *, now: datetime, reuse_key: bool) -> Pending:
        """Make a key, or take that of the current generation; the same pending is taken up again."""
        self._writes()
        before = self.pending
        if before is None or before.issued or before.issuer != issuer or not before.request.same_identity(request):
            token = f"token-{len(self.world.keys)}"
            public = self.public.get(self.current) if reuse_key and self.current is not None else None
            of_current = (key for key in self.world.keys.values() if public_key_of(key) == public)
            self.world.keys[token] = key = next(of_current, None) or make_key(request.key)
            public = public_key_of(key)
            self.pending = Pending(request, issuer, token, now, public, csr=b"")
        assert self.pending is not None
        return self.pending

    async def keep_order(self, pending: Pending, order: Order) -> Pending:
        """Note the order."""
        self._writes()
        self.pending = replace(pending, order=order)
        return self.pending

    async def keep_answer(self, pending: Pending, issued: Issued) -> Pending:
        """Note the answer."""
        self._writes()
        self.pending = replace(pending, issued=issued)
        return self.pending

    async def drop_pending(self) -> None:
        """Forget the pending key."""
        self._writes()
        self.pending = None

    async def stage(self, draft: Draft, *, now: datetime) -> tuple[Generation, tuple[FileDamage, ...]]:
        """Make a generation that is not current."""
        self._writes()
        number = next(self.numbers)
        generation = Generation(
            number=number,
            cause=draft.cause,
            request=draft.request,
            issuer=draft.issuer,
            chain=draft.chain,
            anchors=draft.anchors,
            issued_at=draft.issued_at,
            remarks=draft.remarks,
            anchor=draft.anchor,
            made_at=now,
            layout=self.layout,
            files=tuple(FileRecord(name, f"{number}", edited=name in draft.carry) for name in self.world.wanted.names),
        )
        self.generations[number] = generation
        self.public[number] = generation.leaf.public_key
        return generation, self.staged_damages.pop(0) if self.staged_damages else ()

    async def adopt(self, draft: Draft, *, now: datetime) -> tuple[Generation, tuple[FileDamage, ...]]:
        """Make a generation of what stands there."""
        assert self.adoptable is not None
        if self.refuses_to_adopt:
            raise StoreError(self.refuses_to_adopt)
        return await self.stage(draft, now=now)

    async def switch(self, number: int) -> None:
        """Make it current; the last three are kept."""
        self._writes()
        assert number in self.generations
        if self.fails_to_switch:
            self.fails_to_switch -= 1
            raise RuntimeError("killed")
        self.current, self.damages, self.lost_key = number, (), False
        self.edited = tuple(one for one in self.edited if self.generations[number].is_edited(one[0]))
        self.switched_at = self.world.now
        self.world.switches.append(number)
        for old in sorted(self.generations)[:-3]:
            if old != number:
                del self.generations[old]

    async def discard(self, number: int) -> None:
        """Forget a generation."""
        assert number != self.current
        del self.generations[number]

    async def credentials(self, number: int) -> Credentials:
        """Show a leaf without its key: listeners and peers in memory take the agent's word."""
        generation = self.generations[number]
        return Credentials(b"", generation.chain, generation.anchors)

    async def candidate(self) -> Credentials | None:
        """Show the pending leaf, without its key."""
        if self.pending is None or self.pending.issued is None:
            return None
        leaf, *others = self.pending.issued.certificates
        return Credentials(b"", order(leaf, others))

    async def opened(self, number: int, name: str) -> Opened:
        """Open a store; nobody asks for it without a broker's edge."""
        assert number in self.generations
        return Opened(StoreFormat.PEM, len([name]))

    async def load(self) -> Record:
        """Return the notes."""
        return self.record

    async def save(self, record: Record) -> None:
        """Keep the notes."""
        self._writes()
        self.saves += record != self.record
        self.record = record

    def _writes(self) -> None:
        if self.full:
            raise StoreError(self.full)


@dataclass
class MemoryListener:
    """A listener that reads the files when it is told to, unless a test makes it deaf or takes it down."""

    world: World
    serves: str | None = None
    deaf: bool = False
    down: bool = False
    reload_trouble: str = ""
    reloads: int = 0
    looks: int = 0

    async def reload(self, generation: Generation) -> None:
        """Take note of a generation."""
        self.reloads += 1
        if self.reload_trouble:
            raise ReloadError(self.reload_trouble)
        if not self.deaf:
            self.serves = generation.leaf.fingerprint

    async def look(self, address: str, *, wanted: str, within: timedelta) -> Served:
        """Show what is served."""
        assert wanted
        assert within > timedelta(0)
        self.looks += 1
        if self.down or self.serves is None:
            return Served(address, self.world.now, None, trouble="connection refused")
        return Served(address, self.world.now, self.serves)


class World:
    """One identity and all around it: two CAs and a folder that settings may name; `wrap` stands before each edge."""

    def __init__(self, wanted: Wanted = WANTED) -> None:
        self.now = NOW
        self.keys: dict[str, PrivateKey] = {}
        self.switches: list[int] = []
        self.ca = MemoryCa(self)
        self.cas = {self.ca.name: self.ca}
        self.folder = MemoryFolder()
        self.wrap: Callable[[Any], Any] = lambda edge: edge
        self.store = MemoryStore(self)
        self.listener = MemoryListener(self)
        self.witness = MemoryWitness(self)
        self.wanted = wanted
        self.broker = MemoryBroker(self, wanted.broker or SPEC)
        self.keeper = self.restart()

    def restart(self, wanted: Wanted | None = None) -> Keeper:
        """Begin with a new process that knows only what was written."""
        self.wanted = wanted or self.wanted
        broker = self.broker if self.wanted.broker else None
        self.broker.spec, self.broker.facts = self.wanted.broker or SPEC, None
        issuer = self.cas.get(self.wanted.issuer, self.ca)
        if issuer is self.ca:
            issuer.name = self.wanted.issuer  # the same CA, by whatever name the settings give it
        readers: list[Any] = [
            self.broker if isinstance(spec, KafkaBrokerReload) else self.listener for spec in self.wanted.reload
        ]
        edges = Edges(
            store=self.wrap(self.store),
            issuer=self.wrap(issuer),
            trust=[self._source(spec) for spec in self.wanted.trust],
            peer_trust=[self._source(spec) for spec in self.wanted.peer_trust],
            reloaders=[self.wrap(reader) for reader in readers],
            prober=self.listener,
            clock=lambda: self.now,
            broker=self.wrap(broker) if broker else None,
            witness=self.wrap(self.witness),
            failover=self.wrap(self.cas[self.wanted.failover]) if self.wanted.failover else None,
        )
        self.keeper = Keeper(self.wanted, edges)
        return self.keeper

    def _source(self, spec: TrustSpec) -> AnchorSource:
        """Return a source of trust as the settings name it."""
        if isinstance(spec, IssuerAnchors):
            return MemoryTrust(self.cas.get(spec.issuer, self.ca), spec.accept)
        assert isinstance(spec, FileAnchors)
        self.folder.source, self.folder.accept = str(spec.path), spec.accept
        return self.folder

    def add_ca(self, name: str, root: Ca) -> MemoryCa:
        """Have another CA that settings may name."""
        self.cas[name] = MemoryCa(self, root, name=name)
        return self.cas[name]

    async def live_until(self, end: datetime) -> int:
        """Turn and sleep as the keeper plans, until the instant; return the number of turns."""
        turns = 0
        while self.now < end:
            plan = await self.keeper.turn()
            turns += 1
            assert plan.wake_at > self.now, f"a nap of no length: {plan.sentence}"
            self.now = min(plan.wake_at, end)
        return turns

    @property
    def current(self) -> Generation:
        """The current generation."""
        assert self.store.current is not None
        return self.store.generations[self.store.current]

    @property
    def status(self) -> IdentityStatus:
        """What is told of the identity."""
        return self.keeper.status(self.now)
