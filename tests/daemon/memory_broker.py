"""A Kafka broker on KRaft in memory: it judges, reloads, drops and starts as a real one does, and tests break it.

What it takes is decided by a few lines of its own, so that the agent's replay of Kafka's rules is
judged by something else than itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature

from agent.core.broker import BrokerFacts, ConfigValue, ListenerFacts, Source
from agent.core.evidence import Served, Verdict
from agent.core.files import ClientAuth
from agent.core.judgement import Judgement, Look
from agent.core.kafka_spec import BrokerListener, Cluster, KafkaBrokerReload, NodeRole, SecurityProtocol, StoreFile
from agent.core.proof import Finding, Remedy
from agent.core.reload_rules import VERDICT, Stores, refusals, remedy_of, rules_of
from agent.errors import ReloadError

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.generation import Generation
    from tests.daemon.world import World

KEYSTORE = StoreFile("tls.pem", PurePosixPath("/etc/kafka/ssl/tls.pem"))
TRUSTSTORE = StoreFile("ca.crt", PurePosixPath("/etc/kafka/ssl/ca.crt"))
LISTENERS = tuple(BrokerListener(name, KEYSTORE, TRUSTSTORE) for name in ("INTERNAL", "CLIENTS"))
SPEC = KafkaBrokerReload(Cluster("main", ("localhost:9091",)), LISTENERS, node_id=1)

DOWN = "connection refused"
UNOPENED = "Failed to load SSL keystore /etc/kafka/ssl/tls.pem of type PEM"
OTHER_NAME = "Keystore DistinguishedName does not match:  existing={}, new={}"
LOST_NAMES = "Keystore SubjectAltNames do not match:  existing={}, new={}"
NO_PATH = "PKIX path building failed: unable to find valid certification path to requested target"
OUT_OF_DATE = "PKIX path validation failed: java.security.cert.CertPathValidatorException: validity check failed"
NO_CLIENT = "Empty client certificate chain"
"""Kafka's words, and Java's, as they reach a client of AlterConfigs (measured with 4.3.1 on Java 17)."""


@dataclass
class MemoryBroker:
    """A node, and the agent's way to it; everything that a test may break is a field.

    `login` is why the agent is turned away. `drops` is what it finds wrong with a store that it reads at
    the stable path, whatever it said of the staged one. `takes` is how long each network thread lets
    the next wait. `opens` is the store password that it was started with, as the layout of a
    generation. `command` are the failures of the restart command, one each; where it `lies`, it
    succeeds and does nothing. `hides_start`: nobody can tell when the process was started.
    """

    world: World
    spec: KafkaBrokerReload
    inter_broker: str = "INTERNAL"
    threads: int = 3
    asks: ClientAuth = ClientAuth.REQUIRED
    allows_sans: bool = False
    tls_controllers: bool = False
    principal_rules: str = "DEFAULT"
    login: str = ""
    in_plain: bool = False
    drops: str = ""
    unreadable: str = ""
    takes: timedelta = timedelta(0)
    opens: str = "layout"
    command: list[str] = field(default_factory=list)
    lies: bool = False
    hides_start: bool = False
    loaded: dict[str, list[Generation]] = field(default_factory=dict)
    taken: dict[str, Generation] = field(default_factory=dict)
    raft: Generation | None = None
    started_at: datetime | None = None
    facts: BrokerFacts | None = None
    faults: list[str] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    alters: list[int] = field(default_factory=list)
    commands: int = 0
    restarted: list[int] = field(default_factory=list)
    closely: bool | None = None
    waited: timedelta = timedelta(0)

    @property
    def running(self) -> bool:
        """Whether the process is up."""
        return bool(self.loaded)

    @property
    def serves(self) -> set[str]:
        """The fingerprints of all leaves that its network threads serve."""
        return {one.leaf.fingerprint for threads in self.loaded.values() for one in threads}

    @property
    def knows(self) -> set[frozenset[Certificate]]:
        """The anchors that its network threads take, a set for each that differs."""
        return {frozenset(one.anchors) for threads in self.loaded.values() for one in threads}

    # --- a process ---------------------------------------------------------------------------

    def start(self) -> bool:
        """Start with what is on disk and nothing else; return whether it came up."""
        disk = self.world.current
        if not self.starts_with(disk):
            self.faults.append(self._unopened(disk) or self._no_handshake(disk, disk))
            return False
        self.loaded = {listener.name: [disk] * self.threads for listener in self.spec.listeners}
        self.taken = dict.fromkeys(self.loaded, disk)
        self.raft, self.started_at, self.waited = disk, self.world.now, timedelta(0)
        return True

    def starts_with(self, disk: Generation) -> bool:
        """Return whether it comes up with these stores: they open, and brokers can meet with them."""
        return not (self._unopened(disk) or self._no_handshake(disk, disk))

    def stop(self) -> None:
        """End the process."""
        self.loaded, self.started_at, self.raft = {}, None, None

    async def restart(self, generation: Generation) -> None:
        """Run the restart command, as the agent does."""
        assert generation == self.world.current
        self.commands += 1
        if self.command:
            raise ReloadError(self.command.pop(0))
        self.restarted.append(generation.number)
        if not self.lies:
            self.stop()
            self.world.now += timedelta(seconds=5)
            self.start()

    # --- Kafka's rules -----------------------------------------------------------------------

    def refusal(self, name: str, old: Generation, new: Generation) -> str:
        """Return why a listener keeps what it has loaded; empty: it takes the new stores."""
        if self._unopened(new):
            return self._unopened(new)
        before, after = (one.leaf.subject.rfc4514_string().lower() for one in (old, new))
        if before != after:
            return OTHER_NAME.format(before, after)
        names, others = ({*one.leaf.sans.dns, *one.leaf.sans.ip, *one.leaf.sans.uri} for one in (old, new))
        if names - others and not self.allows_sans:
            return LOST_NAMES.format(names, others)
        return (self._no_handshake(old, new) or self._no_handshake(new, old)) if name == self.inter_broker else ""

    def _unopened(self, store: Generation) -> str:
        return "" if store.layout == self.opens else UNOPENED

    def _no_handshake(self, server: Generation, client: Generation) -> str:
        """Return what ends the handshake of two stores that brokers meet with."""
        for shown, judge, stranger in ((server, client, NO_PATH), (client, server, NO_CLIENT)):
            if not _is_trusted(shown.chain, judge.anchors):
                return stranger
            if not shown.leaf.not_before <= self.world.now < shown.leaf.not_after:
                return OUT_OF_DATE
        return ""

    # --- before the switch -------------------------------------------------------------------

    async def judge(self, candidate: Generation, current: Generation | None) -> Judgement:
        """Replay the rules as the port is told to; where it is reached, its word is above the replay."""
        self.asked.append(candidate.number)
        if self.spec.role is NodeRole.CONTROLLER:
            return Judgement()
        trouble = self._learn()
        found: list[Finding] = []
        expired = self._expired()
        for listener in self.spec.listeners:
            in_use = self.taken[listener.name] if self.running else current
            if listener.name == self.inter_broker and expired and self.facts:
                continue  # it would refuse whatever it is asked about
            words = ""
            if not trouble and self.spec.preflight:
                words = self.unreadable or self.refusal(listener.name, self.taken[listener.name], candidate)
                if not words:
                    continue
            if in_use is not None:
                loaded, new = (Stores(one.chain, one.anchors) for one in (in_use, candidate))
                found += refusals(rules_of(listener.name, self.facts), loaded, new, self.world.now)
            if words:
                otherwise = words == UNOPENED and current is not None and candidate.layout != current.layout
                remedy = Remedy.RECONFIGURE if otherwise else remedy_of(words)
                found.append(Finding(VERDICT, f"listener {listener.name}: {words}", remedy))
        return Judgement(tuple(found), trouble, facts=self.facts, restart=expired if self.facts else "")

    def _expired(self) -> str:
        """Return why brokers would meet it in vain: what is loaded has ended."""
        loaded = self.taken.get(self.inter_broker) if self.running else None
        is_over = loaded is not None and loaded.leaf.not_after <= self.world.now
        return "it serves a leaf that expired" if is_over else ""

    def _learn(self) -> str:
        """Ask how it is configured; return why it does not say."""
        trouble = self._unreached()
        if not trouble:
            known = [
                ListenerFacts(
                    listener.name,
                    SecurityProtocol.SSL,
                    asks_clients=self.asks,
                    network_threads=self.threads,
                    keystore=ConfigValue(str(KEYSTORE.path), Source.STATIC),
                    truststore=ConfigValue(str(TRUSTSTORE.path), Source.STATIC),
                    principal_rules=self.principal_rules,
                )
                for listener in self.spec.listeners
            ]
            self.facts = BrokerFacts(
                1,
                tuple(known),
                inter_broker=self.inter_broker,
                tls_controllers=self.tls_controllers,
                allow_san_changes=self.allows_sans,
            )
        return trouble

    def _unreached(self) -> str:
        if not self.running:
            return DOWN
        ends = [one.leaf.not_after for threads in self.loaded.values() for one in threads]
        if not self.in_plain and min(ends) <= self.world.now:
            return "the certificate of the broker has expired"
        return self.login

    # --- after the switch --------------------------------------------------------------------

    async def reload(self, generation: Generation) -> None:
        """Answer success whenever it is reached; what it thinks of the files stands in its log alone."""
        if self.spec.role is NodeRole.CONTROLLER:
            return
        trouble = self._unreached()
        if trouble:
            raise ReloadError(trouble)
        disk = self.world.current
        assert generation == disk
        self.alters.append(disk.number)
        for name, old in self.taken.items():
            if old.number == disk.number:
                continue  # neither file has another time of change
            words = self.drops or self.refusal(name, old, disk)
            if words:
                self.faults.append(words)
                return  # one listener's exception ends the round
            self.taken[name], self.waited = disk, timedelta(0)
            if not self.takes:
                self.loaded[name] = [disk] * self.threads

    async def look(self, current: Generation, before: Generation | None, *, closely: bool) -> Look:
        """Meet every network thread of each listener until all use the generation or the time is over."""
        assert before is None or before.anchors != current.anchors
        self.closely = closely
        trouble = self._learn() if self.spec.role is NodeRole.BROKER else ""
        remarks = (f"the broker cannot be asked: {trouble}",) if trouble else ()
        self._wait()
        seen = {name: self._met(threads, current) for name, threads in self.loaded.items()}
        served = [self._served(one.name, seen.get(one.name), current) for one in self.spec.listeners]
        if not seen or any(met.number != current.number for met in seen.values()):
            self.world.now += self.spec.within
        return Look(tuple(served), self.facts, None if self.hides_start else self.started_at, remarks)

    def _wait(self) -> None:
        """Let the threads take over, one after the other, for as long as somebody looks."""
        self.waited += self.spec.within
        for name, threads in self.loaded.items():
            for index, one in enumerate(threads):
                if one.number != self.taken[name].number and self.waited >= self.takes:
                    threads[index] = self.taken[name]
                    self.waited -= self.takes
                    self.world.now += self.takes
        self.waited = min(self.waited, self.spec.within)

    @staticmethod
    def _met(threads: list[Generation], current: Generation) -> Generation:
        return next((one for one in threads if one.number != current.number), threads[-1])

    def _served(self, name: str, met: Generation | None, current: Generation) -> Served:
        if met is None:
            return Served(name, self.world.now, None, trouble=DOWN, is_down=True)
        asks = self.asks is not ClientAuth.NONE
        return Served(
            name,
            self.world.now,
            met.leaf.fingerprint,
            met.leaf.not_after,
            leaf=met.leaf,
            acceptable=frozenset(one.subject.public_bytes() for one in met.anchors) if asks else None,
            took_leaf=_told(_is_trusted(current.chain, met.anchors)) if asks else Verdict.UNKNOWN,
        )


def _told(answer: bool) -> Verdict:
    return Verdict.PROVEN if answer else Verdict.REFUTED


@lru_cache
def _is_trusted(chain: tuple[Certificate, ...], anchors: tuple[Certificate, ...]) -> bool:
    """Return whether an anchor has signed the last of a chain."""
    last = chain[-1].x509
    for anchor in anchors:
        try:
            last.verify_directly_issued_by(anchor.x509)
        except (ValueError, InvalidSignature):
            continue
        return True
    return False
