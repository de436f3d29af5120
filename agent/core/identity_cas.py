"""Which CAs an identity has to do with: those that are known, of its leaves, of its issuer, and accepted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from agent.core.anchors import Origin, accepted, by_fingerprint, ca_id, source_of
from agent.core.chain import order
from agent.core.issuing_ca import ca_of, end_of, leads_to, names_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.core.anchors import CaId, Sighting
    from agent.core.certificate import Certificate
    from agent.core.generation import Generation
    from agent.core.rotation_record import RotationRecord
    from agent.core.situation import Situation


@dataclass(frozen=True)
class IdentityCas:
    """The CAs of an identity with a current generation; each property answers one question."""

    situation: Situation
    current: Generation

    @cached_property
    def accepted(self) -> tuple[tuple[Certificate, ...], tuple[Sighting, ...]]:
        """The anchors that may be in a truststore, and the sightings that wait for a person's approval."""
        noted, trust = self.noted, self.situation.observed.trust
        return accepted(trust, noted.rulings, self.current.anchors, noted.turned_from)

    @property
    def noted(self) -> RotationRecord:
        """What is noted of the rotation."""
        return self.situation.record.rotation

    @property
    def waiting(self) -> tuple[Sighting, ...]:
        """The sightings of anchors that wait for a person's approval."""
        return self.accepted[1]

    @cached_property
    def known(self) -> tuple[Certificate, ...]:
        """Every anchor that is known: seen anywhere, in a truststore, or led to by a leaf that is kept."""
        observed = self.situation.observed
        generations = (self.current, *observed.disk.kept)
        held = (anchor for one in generations for anchor in (*one.anchors, *([one.anchor] if one.anchor else [])))
        return by_fingerprint((*observed.trust.seen, *observed.peer_trust.seen, *held))

    @property
    def names(self) -> Mapping[CaId, str]:
        """The CAs in words."""
        return names_of(self.known)

    def ca_of(self, chain: Sequence[Certificate]) -> CaId:
        """Return the CA that a chain, leaf first, leads to."""
        return ca_of(tuple(chain), self.known)

    @cached_property
    def candidate(self) -> CaId | None:
        """The CA of the leaf in hand that is not current yet; None without one, or where the proof will refute it."""
        ca = None if self.chain_in_hand is None else self.ca_of(self.chain_in_hand)
        return ca if ca in self.names else None

    @property
    def candidate_end(self) -> CaId | None:
        """What whoever takes the leaf in hand trusts."""
        return None if self.chain_in_hand is None else end_of(self.chain_in_hand, self.known)

    @property
    def chain_in_hand(self) -> tuple[Certificate, ...] | None:
        """The leaf in hand with its intermediates, as it would be published; None without one."""
        pending = self.situation.pending_answer
        if pending is None or pending.issued is None:
            return None
        leaf, *others = pending.issued.certificates
        return order(leaf, others)

    @cached_property
    def own(self) -> CaId | None:
        """The CA that the issuer gives leaves of now; None where no source shows it."""
        return self.own_of(self.situation.wanted.issuer)

    def own_of(self, issuer: str) -> CaId | None:
        """Return the CA that an issuer gives leaves of now; None where no source shows it."""
        observed = self.situation.observed
        own = [
            one.anchor
            for one in (*observed.trust.sightings, *observed.peer_trust.sightings)
            if one.origin is Origin.OWN and one.source == source_of(issuer)
        ]
        return ca_id(max(own, key=lambda anchor: anchor.not_before)) if own else None

    @property
    def target(self) -> CaId | None:
        """The CA that the next leaf is to be of."""
        if self.noted.abort is not None:
            return self.noted.abort.back_to
        candidate, leaf = self.candidate, self.ca_of(self.current.chain)
        if candidate is not None and candidate != leaf:
            return candidate
        # What an intermediate CA of the issuer's signed is of the issuer's root too, wherever peers stop looking.
        is_of_own = self.own in leads_to(self.current.chain, self.known)
        return leaf if is_of_own else self.own or candidate
