"""Trust anchors: where they were seen, whether they may enter a truststore, and which CA each is of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from agent.core.certificate import Certificate

CaId: TypeAlias = str
"""What tells one CA from another: SHA-256 (hex) of its subject and its public key.

A CA's certificate that is renewed with the same key is the same CA, since every leaf under the one is
under the other (RFC 5280, 6.1.1 (d): a trust anchor is a name and a key). Two CAs of one name are two.
"""


@lru_cache(4096)
def ca_id(certificate: Certificate) -> CaId:
    """Return which CA a certificate is of."""
    subject = certificate.subject.public_bytes()
    return hashlib.sha256(len(subject).to_bytes(4, "big") + subject + certificate.public_key).hexdigest()


class Origin(StrEnum):
    """What kind of source an anchor was seen in."""

    FILE = "file"
    SYSTEM = "system"
    OWN = "own"
    """The CA that an issuer issues under now."""
    LISTED = "listed"
    """A CA that an issuer holds beside its own: one in waiting, or one that it has left behind."""


class Acceptance(StrEnum):
    """What has an anchor of a source enter truststores: being seen there, or a person's approval of its fingerprint."""

    AUTOMATIC = "automatic"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Sighting:
    """An anchor that a source shows now; `source` names it in words for an operator.

    `accept` is what the settings of the source say, None where they say nothing.
    """

    anchor: Certificate
    source: str
    origin: Origin
    accept: Acceptance | None = None


def source_of(issuer: str) -> str:
    """Return what the anchors of an issuer are sighted as."""
    return f"issuer {issuer}"


@dataclass(frozen=True, slots=True)
class Anchors:
    """What the sources of a trust show together; `trouble` says which could not be read, and why.

    `silent` says which have shown less than they might.
    What was read counts all the same: an anchor may enter while another source is silent, and none
    ever leaves because of silence.
    """

    sightings: tuple[Sighting, ...] = ()
    trouble: str = ""
    silent: str = ""

    @property
    def anchors(self) -> tuple[Certificate, ...] | None:
        """All anchors by their fingerprints, each once; None where a source could not be read."""
        if self.trouble:
            return None
        return by_fingerprint(sighting.anchor for sighting in self.sightings)

    @property
    def seen(self) -> tuple[Certificate, ...]:
        """The anchors of the sources that could be read."""
        return by_fingerprint(sighting.anchor for sighting in self.sightings)


@dataclass(frozen=True, slots=True)
class Ruling:
    """A person's word on an anchor, by its fingerprint: it may enter truststores, or it is to leave them.

    `force` has it leave although a leaf in use would no longer be trusted.
    """

    fingerprint: str
    approved: bool
    by: str
    at: datetime
    force: bool = False


def accepted(
    anchors: Anchors,
    rulings: Iterable[Ruling],
    held: Iterable[Certificate] = (),
    owned: Mapping[CaId, datetime] | None = None,
) -> tuple[tuple[Certificate, ...], tuple[Sighting, ...]]:
    """Return the anchors that may be in a truststore, and the sightings that wait for a person's approval.

    Whoever adds an anchor can mint any principal. What a person has let go never enters, and what they have
    approved does, until its issuer has turned away from it: `owned` says until when it gave leaves of
    such a CA, and an approval that came later counts. Without a ruling an anchor of a file, of the
    system, or of the CA that an issuer issues under is accepted where its source is not set to ask; what
    an issuer merely lists is accepted only where the source is set to automatic, and then nothing that it
    has turned away from or that is older than its own. `held` are the anchors in the truststores: what was
    approved and is shown no more stays in them.
    """
    ruled, left = {ruling.fingerprint: ruling for ruling in rulings}, owned or {}
    own = [one for one in anchors.sightings if one.origin is Origin.OWN]
    is_own = {(one.source, ca_id(one.anchor)) for one in own}
    oldest = {source: min(one.anchor.not_before for one in own if one.source == source) for source in _sources(own)}
    taken: dict[str, Certificate] = {}
    waiting: dict[str, Sighting] = {}
    for sighting in anchors.sightings:
        anchor, since = sighting.anchor, oldest.get(sighting.source)
        ruling = ruled.get(anchor.fingerprint)
        # A renewed certificate of the issuer's own CA is no other CA, wherever it stands.
        is_listed = sighting.origin is Origin.LISTED and (sighting.source, ca_id(anchor)) not in is_own
        if ruling is not None and not (ruling.approved and is_listed and _is_left_behind(anchor, ruling, left)):
            if ruling.approved:
                taken[anchor.fingerprint] = anchor
        elif is_listed and (ca_id(anchor) in left or (since is not None and anchor.not_before < since)):
            continue
        elif sighting.accept is Acceptance.AUTOMATIC or (sighting.accept is None and not is_listed):
            taken[anchor.fingerprint] = anchor
        else:
            waiting[anchor.fingerprint] = sighting
    seen = {sighting.anchor.fingerprint for sighting in anchors.sightings}
    for anchor in held:
        ruling = None if anchor.fingerprint in seen else ruled.get(anchor.fingerprint)
        if ruling is not None and ruling.approved and not _is_left_behind(anchor, ruling, left):
            taken[anchor.fingerprint] = anchor
    for fingerprint in taken:
        waiting.pop(fingerprint, None)
    return tuple(taken[one] for one in sorted(taken)), tuple(waiting[one] for one in sorted(waiting))


def _is_left_behind(anchor: Certificate, ruling: Ruling, left: Mapping[CaId, datetime]) -> bool:
    """Whether the issuer has turned away from a CA since a person approved it."""
    since = left.get(ca_id(anchor))
    return since is not None and ruling.at <= since


def _sources(sightings: Iterable[Sighting]) -> frozenset[str]:
    return frozenset(one.source for one in sightings)


def by_fingerprint(anchors: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Return anchors each once, in the order of their fingerprints."""
    found = {anchor.fingerprint: anchor for anchor in anchors}
    return tuple(found[fingerprint] for fingerprint in sorted(found))
