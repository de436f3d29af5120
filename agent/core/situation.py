"""What follows from an observation of one identity, beside what is wanted, at a moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from agent.core import listener_proof
from agent.core.anchors import by_fingerprint
from agent.core.chain import NoPath, find_path
from agent.core.evidence import Verdict
from agent.core.generation import Cause, Damage
from agent.core.identity import request_of
from agent.core.kafka_spec import NodeRole
from agent.core.proof import Candidate, Remedy, still_proves
from agent.core.reload_rules import Stores, refusals, rules_of, stores_of
from agent.core.restart import CONTROLLER_ONLY, RestartDue, raft_due
from agent.core.rotation_view import RotationView
from agent.core.schedule import (
    REFUSED_CAP,
    REFUTED_CAP,
    emergency_delay,
    emergency_instant,
    renewal_instant,
)
from agent.core.window import opens_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted
    from agent.core.evidence import Served
    from agent.core.generation import Adoptable, Generation, Pending
    from agent.core.identity import Request
    from agent.core.kafka_spec import BrokerListener
    from agent.core.observed import Observed
    from agent.core.proof import Finding
    from agent.core.record import Record, Tries


CLOCK_LAG = timedelta(hours=1)
"""By how much a clock may lag behind the leaf that readers use."""


@dataclass(frozen=True)
class Situation:
    """What follows from an observation; every property is a question that a concern asks."""

    observed: Observed
    wanted: Wanted
    now: datetime

    @property
    def current(self) -> Generation | None:
        """The generation that readers see."""
        return self.observed.disk.current

    @property
    def issuer(self) -> str:
        """The name of the issuer that is asked for the next leaf."""
        return self.wanted.issuer if self.rotation is None else self.rotation.next_issuer

    @property
    def record(self) -> Record:
        """What was noted."""
        return self.observed.record

    @property
    def rest(self) -> timedelta | None:
        """The time until the current leaf ends; None without one."""
        return self.current.leaf.not_after - self.now if self.current else None

    @property
    def key_is_whole(self) -> bool:
        """Whether the current generation's private key is there and is that of the leaf."""
        return self.current is not None and self.observed.disk.key == self.current.leaf.public_key

    @cached_property
    def urgent(self) -> bool:
        """Whether the emergency lane is open: back-off no longer counts."""
        current = self.current
        return current is not None and self.now >= emergency_instant(current.leaf, current.issued_at)

    def due(self, tries: Tries) -> datetime:
        """Return when a lane may try again.

        A note from the future, or one that waits longer than any ladder does, was written under a
        clock that has since been put right, and holds nothing up.
        """
        if tries.next_at is None or tries.failure is None:
            return self.now
        longest = REFUTED_CAP if tries.failure.refuted else REFUSED_CAP
        if tries.failure.at > self.now or tries.next_at - tries.failure.at > longest * 2:
            return self.now
        if tries.failure.refuted:
            return tries.next_at  # the next leaf is billed too, and no emergency makes it right
        if self.urgent and self.rest is not None and self.rest > timedelta(0):
            return min(tries.next_at, tries.failure.at + emergency_delay(self.rest))
        return tries.next_at

    def candidate(self, generation: Generation) -> Candidate:
        """Return a generation that was proven when it was made, to be asked whether it still proves."""
        return Candidate(
            request=generation.request,
            chain=generation.chain,
            key=generation.leaf.public_key,
            peer_anchors=self.peer_anchors,
        )

    @cached_property
    def peer_anchors(self) -> tuple[Certificate, ...]:
        """What the peers trust, as far as it can be read, and what the leaves that were in use led to.

        A CA that is deleted at the issuer vanishes from its sources, and lives on in truststores.
        """
        generations = (*([self.current] if self.current else []), *self.observed.disk.kept)
        proven = (one.anchor for one in generations if one.anchor is not None)
        return by_fingerprint((*self.observed.peer_trust.seen, *proven))

    @cached_property
    def rotation(self) -> RotationView | None:
        """Where a CA rotation stands; None while there is no generation that could take part in one."""
        return None if self.current is None else RotationView(self, self.current)

    def anchor_of(self, chain: tuple[Certificate, ...], request: Request) -> Certificate | None:
        """Return the anchor of the peers that a chain leads to; None when there is none, or they cannot be read."""
        leaf, *intermediates = chain
        path = find_path(leaf, intermediates, self.peer_anchors, self.now, request.usages)
        return None if isinstance(path, NoPath) else path.certificates[-1]

    @cached_property
    def unseen(self) -> tuple[str, ...]:
        """The listeners that were not looked at since the last switch or reload."""
        return tuple(listener for listener in self.wanted.proven_at if listener not in self.observed.served)

    @cached_property
    def verdicts(self) -> Mapping[str, tuple[Verdict, str]]:
        """What the last look at each listener came to, and why it is not proven; those that were looked at alone."""
        served, broker = self.observed.served, self.wanted.broker
        wanted = self.current.leaf.fingerprint if self.current else ""
        found = {
            one.address: listener_proof.leaf_verdict(served[one.address], wanted)
            for one in self.wanted.prove
            if one.address in served
        }
        for listener in broker.listeners if broker else ():
            if listener.name in served:
                found[listener.name] = self._of_listener(listener, served[listener.name])
        return found

    def _of_listener(self, listener: BrokerListener, served: Served) -> tuple[Verdict, str]:
        if self.current is None:
            return Verdict.UNKNOWN, "there is nothing that it could serve"
        facts = self.observed.facts
        known = facts.listener(listener.name) if facts else None
        asks = known.asks if known else None
        return listener_proof.verdict(served, listener, self.current, self.generation_before, asks=asks)

    @cached_property
    def generation_before(self) -> Generation | None:
        """The newest other generation with other anchors: what a listener may have loaded still."""
        current = self.current
        if current is None:
            return None
        # After a roll-back it is a newer one.
        return next((one for one in self.observed.disk.kept if set(one.anchors) != set(current.anchors)), None)

    def listeners(self, verdict: Verdict) -> tuple[str, ...]:
        """Return the listeners whose last look came to the verdict."""
        return tuple(listener for listener, (found, _) in self.verdicts.items() if found is verdict)

    @cached_property
    def way_back(self) -> Generation | None:
        """The generation to go back to from one that a listener refutes: it still proves, and Kafka would take it.

        There is none from one that was once shown to be in use: the listener has changed, not the files.
        Nor from one that was itself rolled back to: there is no third. What a listener is seen to
        serve comes first, since one that is written may have been refuted too.
        """
        current, record = self.current, self.record
        if current is None or record.settled == current.number or record.refuted not in {None, current.number}:
            return None
        shown = self._shown
        # A listener that serves what no generation holds is turned over for nothing, and the others with it.
        if self.wanted.broker and not shown <= {one.leaf.fingerprint for one in (current, *self.observed.disk.kept)}:
            return None
        older = [one for one in self.observed.disk.kept if one.number < current.number]
        others = [one for one in older if self._would_show(one, current)]
        for before in sorted(others, key=lambda one: one.leaf.fingerprint not in shown):
            if still_proves(self.candidate(before), self.now) and not self.refusals_of(before):
                return before
        return None

    @property
    def _shown(self) -> set[str | None]:
        """The leaves of the listeners that do not use what is current."""
        return {self.observed.served[name].fingerprint for name in self.listeners(Verdict.REFUTED)}

    def _would_show(self, before: Generation, current: Generation) -> bool:
        """Whether going back changes what was refuted: the leaf, or the anchors where that was served."""
        if before.leaf != current.leaf:
            return bool(self._shown)
        return self._shown == {current.leaf.fingerprint} and set(before.anchors) != set(current.anchors)

    def refusals_of(self, candidate: Generation) -> tuple[Finding, ...]:
        """Return why the broker's listeners would refuse a generation, by Kafka's rules and what they serve now."""
        broker, facts = self.wanted.broker, self.observed.facts
        if broker is None or broker.role is NodeRole.CONTROLLER:
            return ()
        found: list[Finding] = []
        for listener in broker.listeners:
            look = self.observed.served.get(listener.name)
            if listener.keystore is None or look is None or look.leaf is None:
                continue
            loaded, new = self._loaded(listener, look.leaf), stores_of(candidate, listener)
            found += refusals(rules_of(listener.name, facts), loaded, new, self.now)
        return tuple(found)

    def _loaded(self, listener: BrokerListener, leaf: Certificate) -> Stores:
        """Return what a listener that serves a leaf has loaded: the generation that holds it, as far as one does."""
        current, kept = self.current, self.observed.disk.kept
        for generation in (*([current] if current else []), *kept):
            if generation.leaf == leaf:
                return stores_of(generation, listener)
        return Stores((leaf,), None)

    @cached_property
    def restart_due(self) -> RestartDue | None:
        """What only a restart of the broker brings into use: what was noted, or what the listeners serve shows.

        Kafka has what is in use shake hands with what is new, and an expired leaf never does; or its
        rules keep the process from what is current as from all before it.
        """
        noted, current = self.record.restart, self.current
        if current is None or (noted is not None and noted.keeps_out(current.number)):
            return noted
        looks = {name: self.observed.served[name] for name in self.listeners(Verdict.REFUTED)}
        broker = self.wanted.broker
        if looks and broker is not None and broker.role is NodeRole.CONTROLLER:
            ends = [look.not_after for look in looks.values() if look.not_after is not None]
            by = min(ends, default=self.now)
            return RestartDue(current.number, current.made_at, by, CONTROLLER_ONLY, whole=True).after(noted)
        served = {name: look.leaf for name, look in looks.items() if look.leaf is not None}
        for name, leaf in served.items():
            if leaf.not_after <= self.now:
                why = f"{name} serves a leaf that expired at {leaf.not_after.isoformat()}"
                return RestartDue(current.number, leaf.not_after, leaf.not_after, why, whole=True).after(noted)
        found = self.refusals_of(current) if served and self.way_back is None else ()
        if found and all(finding.remedy is Remedy.RESTART for finding in found):
            by = min(leaf.not_after for leaf in served.values())
            return RestartDue(current.number, self.now, by, "; ".join(map(str, found)), whole=True).after(noted)
        return noted

    def lag_of(self, started_at: datetime | None) -> RestartDue | None:
        """Return what a process lacks of the current generation, where its Raft client keeps what it was started with.

        None for `started_at`: nobody can tell, and so it counts as older than the generation.
        """
        current, facts = self.current, self.observed.facts
        if current is None or facts is None or not facts.tls_controllers:
            return None
        older = [one for one in self.observed.disk.kept if one.number < current.number]
        is_new = started_at is not None and started_at > current.made_at
        if not older or is_new or current.cause in {Cause.FILES, Cause.ADOPTED}:
            return None
        return raft_due(current.number, older[0], current, current.made_at)

    @property
    def last_look(self) -> datetime:
        """When the listener that was looked at longest ago was looked at; a look in the future was none."""
        looks = [served.at for served in self.observed.served.values()]
        last = min(looks, default=self.now)
        return last if last <= self.now else self.now - timedelta(days=1)

    @property
    def reload_is_open(self) -> bool:
        """Whether the readers have not been told of the current generation yet."""
        return self.current is not None and bool(self.wanted.reload) and self.record.reloaded != self.current.number

    @cached_property
    def refuted_candidate(self) -> Generation | None:
        """The generation that was rolled back from, while it is still worth a try."""
        number = self.record.refuted
        if number is None or (self.current is not None and self.current.number == number):
            return None
        for generation in self.observed.disk.kept:
            if generation.number == number and generation.request.same_identity(self.wanted.request):
                instant = renewal_instant(generation.leaf, generation.issued_at, self.wanted.renewal, self.wanted.seed)
                return generation if self.now < instant else None
        return None

    @property
    def held(self) -> bool:
        """Whether a person rolled back to the current leaf, so that its due date does not count."""
        return self.current is not None and self.record.held_leaf == self.current.leaf.fingerprint

    @cached_property
    def next_renewal(self) -> datetime | None:
        """When the current leaf is due: its renewal instant, or the emergency lane's when it is held.

        None while a newer leaf is in hand.
        """
        current = self.current
        if current is None or (self.refuted_candidate is not None and self.refuted_candidate.leaf != current.leaf):
            return None
        if self.held:
            return emergency_instant(current.leaf, current.issued_at)
        return renewal_instant(current.leaf, current.issued_at, self.wanted.renewal, self.wanted.seed)

    @cached_property
    def edited_truststores(self) -> tuple[str, ...]:
        """The truststores that a person edited, now or before: they are carried along as they are."""
        damages = self.observed.disk.damages
        now = {damage.name for damage in damages if damage.damage is Damage.EDITED_TRUSTSTORE}
        before = {file.name for file in self.current.files if file.edited} if self.current else set()
        return tuple(sorted(now | before))

    @cached_property
    def adoptable(self) -> Adoptable | None:
        """Valid files of an earlier life that are to become the first generation, as they are."""
        found = self.observed.disk.adoptable
        if self.current is not None or found is None:
            return None
        # Readers use them now, so a notBefore that lies a little ahead is a clock that lags.
        if not found.leaf.not_before - CLOCK_LAG <= self.now < found.leaf.not_after:
            return None
        return found if request_of(found.leaf, self.wanted.request) is not None else None

    @cached_property
    def changes_from(self) -> datetime | None:
        """From when what readers use may change; None: a person has paused it.

        Neither a pause nor a window that is closed holds up what is urgent, or the first certificate.
        """
        if self.current is None or self.urgent:
            return self.now
        if self.record.rotation.pause is not None:
            return None
        return opens_at(self.wanted.windows, self.now)

    @cached_property
    def renewal_reason(self) -> str | None:
        """Why a new leaf is needed now, as half a sentence; None when it is not."""
        current = self.current
        if current is None and self.adoptable is not None and not self.record.demanded:
            # It is taken over first, and renewed when it is due; also when nothing will take it over.
            leaf = self.adoptable.leaf
            due = renewal_instant(leaf, leaf.not_before, self.wanted.renewal, self.wanted.seed)
            return None if self.now < due else f"{', '.join(self.adoptable.names)} fell due at {due:%Y-%m-%d %H:%M:%SZ}"
        if current is None:
            return self.observed.disk.trouble or "there is no certificate yet"
        if self.observed.disk.key is None:
            return "the private key is lost"
        if not self.key_is_whole:
            return "the private key does not match the leaf"
        if not current.request.same_identity(self.wanted.request) and self.refuted_candidate is None:
            return "the wanted identity has changed: " + "; ".join(current.request.differences(self.wanted.request))
        if self.record.demanded and not self._is_answered:
            return "a person asked for it"
        if current.leaf.not_after <= self.now and self.refuted_candidate is None:
            return f"the leaf expired at {current.leaf.not_after:%Y-%m-%d %H:%M:%SZ}"
        if self.next_renewal is not None and self.next_renewal <= self.now:
            return f"its renewal fell at {self.next_renewal:%Y-%m-%d %H:%M:%SZ}"
        return self.rotation.reissue_reason if self.rotation is not None and self._may_rotate else None

    @property
    def _may_rotate(self) -> bool:
        """Whether the leaf may be replaced before it is due: nobody holds it, and none was just rolled back from."""
        return not self.held and self.refuted_candidate is None

    @property
    def _is_answered(self) -> bool:
        """Whether the pending leaf is current already, and a fault kept that from being noted."""
        pending, current = self.observed.disk.pending, self.current
        return bool(pending and pending.issued and current and current.leaf in pending.issued.certificates)

    @cached_property
    def pending_answer(self) -> Pending | None:
        """A leaf that was issued for the wanted identity and is not current yet.

        One that has expired since is worth nothing; one that came expired is for the proof to refute.
        """
        pending = self.observed.disk.pending
        known = {self.wanted.issuer, self.wanted.failover}
        if pending is None or pending.issued is None or pending.issuer not in known:
            return None
        if not pending.request.same_identity(self.wanted.request):
            return None
        leaf = pending.issued.certificates[0]
        is_current = self.current is not None and leaf == self.current.leaf
        is_stale = pending.issued.at < leaf.not_after <= self.now
        return None if is_current or is_stale else pending
