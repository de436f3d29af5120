"""What a CA rotation meets beside CA and store, in memory: sources of trust, and peers that tests have speak."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from agent.core.anchors import Origin, Sighting, ca_id
from agent.core.evidence import Verdict
from agent.core.peer_look import ends_of
from agent.core.testimony import Peers, Testimony
from agent.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.anchors import Acceptance, CaId
    from agent.core.certificate import Certificate
    from agent.core.credentials import Credentials
    from tests.daemon.world import MemoryCa, World


@dataclass
class MemoryTrust:
    """The anchors of a CA as a source of trust that the settings name, with what they say of it."""

    ca: MemoryCa
    accept: Acceptance | None = None

    @property
    def silent(self) -> str:
        """Why it shows less than it might: the CA does not list what it holds beside its own."""
        return self.ca.list_trouble

    def forget(self) -> None:
        """Show what is so at each look anyway, and count who asks for that."""
        self.ca.forgets += 1

    async def sightings(self) -> tuple[Sighting, ...]:
        """Return what the CA shows."""
        return tuple(replace(one, accept=self.accept) for one in await self.ca.sightings())


@dataclass
class MemoryFolder:
    """A folder of CA files that a configuration tool fills: empty it shows nothing, which is told as trouble."""

    source: str = "/etc/kafka/ca.d"
    anchors: list[Certificate] = field(default_factory=list)
    trouble: str = ""
    accept: Acceptance | None = None
    silent: str = ""

    def forget(self) -> None:
        """Show what is so at each look anyway."""

    async def sightings(self) -> tuple[Sighting, ...]:
        """Return what lies in it."""
        if self.trouble or not self.anchors:
            raise TrustError(self.trouble or f"{self.source} holds no certificate")
        return tuple(Sighting(one, self.source, Origin.FILE, self.accept) for one in self.anchors)


@dataclass
class MemoryPeer:
    """A peer: whom it trusts, whose leaves it uses, and how much of that can be seen.

    `silent` says why nothing can be seen of it, `lag` is how old what is seen of it is. `is_node` marks a
    node: of that only its process matters, which was started at `started_at`, where that can be seen.
    """

    name: str
    trusts: set[CaId] = field(default_factory=set)
    uses: set[CaId] = field(default_factory=set)
    silent: str = ""
    lag: timedelta = timedelta(0)
    meets: bool = True
    ahead: str = ""
    is_node: bool = False
    started_at: datetime | None = None

    def testimony(self, anchors: Sequence[Certificate], now: datetime, shown: Sequence[Credentials] = ()) -> Testimony:
        """Return what a look at it shows, whom it names and which of the leaves that are shown it takes."""
        if self.is_node:
            at, why = now - self.lag, self.silent
            return Testimony(
                self.name, at, uses=frozenset(), meets=False, is_node=True, why=why, started_at=self.started_at
            )
        if self.silent:
            return Testimony(self.name, now - self.lag, why=self.silent)
        trusts = {ca: Verdict.PROVEN if ca in self.trusts else Verdict.REFUTED for ca in map(ca_id, anchors)}
        for ends in (ends_of(one.chain, anchors) for one in shown):
            if ends is not None:
                trusts[ends[0]] = Verdict.PROVEN if ends[1] & self.trusts else Verdict.REFUTED
        return Testimony(
            self.name,
            now - self.lag,
            trusts=trusts,
            uses=frozenset(self.uses),
            meets=self.meets,
            ahead=self.ahead,
            shows=True,
        )


@dataclass
class MemoryWitness:
    """Peers that say what a test has them say; the identity's own listener names what it was told to read."""

    world: World
    others: list[MemoryPeer] = field(default_factory=list)
    unknown: str = ""
    asked: int = 0
    shown: tuple[Credentials, ...] = ()
    started_at: datetime | None = None

    async def testify(
        self, shown: Sequence[Credentials], anchors: Sequence[Certificate], staying: frozenset[CaId]
    ) -> Peers:
        """Say it, as of now."""
        assert anchors
        assert staying <= set(map(ca_id, anchors))
        self.asked, self.shown = self.asked + 1, tuple(shown)
        now, current = self.world.now, self.world.current
        has_read = self.world.listener.serves == current.leaf.fingerprint
        trusted = {ca_id(one): Verdict.PROVEN for one in current.anchors} if has_read else {}
        testimonies = tuple(one.testimony(anchors, now, shown) for one in self.others)
        nobody = "nobody has said who they are" if self.world.wanted.rotation.peers is None else ""
        return Peers(testimonies, own=(Testimony("the listener here", now, trusted),), unknown=self.unknown or nobody)

    async def reader_started_at(self) -> datetime | None:
        """Return when the reader was started."""
        return self.started_at
