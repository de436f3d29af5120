"""Prove before the switch: the ordered checks of a candidate.

Each check asks one question and answers with findings; none means that the candidate may become
current. `CHECKS` is the whole policy. Nothing overrides it, not even the emergency lane.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.chain import NoPath, find_path
from agent.core.identity import mismatches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.generation import FileDamage
    from agent.core.identity import Request


LARGEST_CHAIN = 32_000
"""Bytes of DER; Java refuses a handshake message of more than 32,768 (`jdk.tls.maxHandshakeMessageSize`)."""

LONGEST_CHAIN = 8
"""Certificates, leaf included (`jdk.tls.server.maxInboundCertificateChainLength`; from a server Java takes ten)."""


class Remedy(StrEnum):
    """What would make a finding go away."""

    NEW_LEAF = "a new leaf"
    TIME = "time, or a clock that is right"
    TRUST = "anchors that the peers are configured to trust"
    FILES = "files that can be written and read back"
    RESTART = "a restart of the broker once the files are switched, or what is in use now"
    READABLE = "files that the broker can read: the path as it sees it, its user's rights, its password and type"
    RECONFIGURE = (
        "password and type as they were, or, while the broker is stopped, other ones here and in its server.properties"
    )
    STORE = "a store that the broker takes"
    PRINCIPAL = "the principal as it was, or `principal: {allow_change: true}`"


@dataclass(frozen=True, slots=True)
class Finding:
    """A check that refuted the candidate: which one, why, and what would mend it."""

    check: str
    what: str
    remedy: Remedy

    def __str__(self) -> str:
        """Return the finding as a phrase."""
        return f"{self.check}: {self.what}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A generation that is not current yet, as its proof sees it.

    `key` is the DER of the public half of its private key. `peer_anchors` are what the peers are
    configured to trust. `damages` are what reading the written stores back found; none before
    they are written.
    """

    request: Request
    chain: tuple[Certificate, ...]
    key: bytes = field(repr=False)
    peer_anchors: tuple[Certificate, ...]
    damages: tuple[FileDamage, ...] = ()


def _key_matches(candidate: Candidate, _now: datetime) -> list[Finding]:
    """Is the leaf's public key that of the private key?"""
    if candidate.chain[0].public_key == candidate.key:
        return []
    return [Finding("key", "the leaf's public key is not that of the private key", Remedy.NEW_LEAF)]


def _as_asked(candidate: Candidate, _now: datetime) -> list[Finding]:
    """Are subject, SANs, usages and key type those that were asked for?"""
    return [
        Finding("request", str(mismatch), Remedy.NEW_LEAF)
        for mismatch in mismatches(candidate.chain[0], candidate.request)
    ]


def _no_ca(candidate: Candidate, _now: datetime) -> list[Finding]:
    """Is the leaf no CA, so that this host cannot sign for others?"""
    leaf = candidate.chain[0]
    if leaf.is_ca or "key_cert_sign" in (leaf.key_usage or frozenset()):
        return [Finding("no CA", "the leaf may sign certificates for other hosts", Remedy.NEW_LEAF)]
    return []


def _dates(candidate: Candidate, now: datetime) -> list[Finding]:
    """Is every certificate of the chain valid now, by our clock?"""
    leaf = candidate.chain[0]
    if leaf.not_after <= now:
        what = f"the leaf expired at {leaf.not_after.isoformat()}"
        return [Finding("dates", what, Remedy.NEW_LEAF)]
    if leaf.not_before > now:
        what = f"the leaf is valid from {leaf.not_before.isoformat()} only, and it is {now.isoformat()}"
        return [Finding("dates", what, Remedy.TIME)]
    return []


def _trusted_by_peers(candidate: Candidate, now: datetime) -> list[Finding]:
    """Does the chain reach an anchor that the peers are configured to trust?"""
    leaf, *intermediates = candidate.chain
    path = find_path(leaf, intermediates, candidate.peer_anchors, now, candidate.request.usages)
    if isinstance(path, NoPath):
        return [Finding("peer trust", path.reason, Remedy.TRUST)]
    return []


def _fits_a_handshake(candidate: Candidate, _now: datetime) -> list[Finding]:
    """Is the chain small enough for Java, whichever side of a handshake reads it?"""
    trouble = outgrown(candidate.chain)
    return [Finding("size", trouble, Remedy.NEW_LEAF)] if trouble else []


def outgrown(chain: Sequence[Certificate]) -> str:
    """Return why a chain, leaf included, is too large for a handshake with Java; empty where it is not."""
    count, size = len(chain), sum(len(certificate.der) for certificate in chain)
    if count > LONGEST_CHAIN:
        return f"the chain has {count} certificates, and a server on Java takes {LONGEST_CHAIN} from a client"
    if size > LARGEST_CHAIN:
        return f"the chain has {size} bytes, and Java takes {LARGEST_CHAIN} in a handshake"
    return ""


def _stores_open(candidate: Candidate, _now: datetime) -> list[Finding]:
    """Did every store read back as it was written, and open with its password?"""
    return [Finding("stores", str(damage), Remedy.FILES) for damage in candidate.damages]


CHECKS: tuple[Callable[[Candidate, datetime], list[Finding]], ...] = (
    _key_matches,
    _as_asked,
    _no_ca,
    _dates,
    _trusted_by_peers,
    _fits_a_handshake,
    _stores_open,
)


def prove(candidate: Candidate, now: datetime) -> tuple[Finding, ...]:
    """Return what refutes the candidate at `now`, in the order of the checks; nothing means proven.

    A leaf that is not valid now is not asked for its path too: the path would fail by the same date.
    """
    findings: list[Finding] = []
    for check in CHECKS:
        if check is _trusted_by_peers and any(finding.check == "dates" for finding in findings):
            continue
        findings += check(candidate, now)
    return tuple(findings)


def still_proves(candidate: Candidate, now: datetime) -> bool:
    """Return whether a generation that was current once may be again.

    It was proven against its own request when it was made; what time can have changed since are
    the dates, the anchors and the files.
    """
    return not prove(candidate, now)
