"""Kafka's own rules for a listener that takes new stores while it runs, replayed (KIP-226, KIP-978).

They are those of `org.apache.kafka.common.security.ssl.SslFactory`: what it would refuse is known
before the broker is asked, and when it cannot be asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509

from agent.core.chain import NoPath, find_path
from agent.core.distinguished_name import java_name
from agent.core.identity import Usage
from agent.core.proof import Finding, Remedy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from agent.core.broker import BrokerFacts
    from agent.core.certificate import Certificate
    from agent.core.generation import Generation
    from agent.core.kafka_spec import BrokerListener, KafkaBrokerReload

ENTRIES, SUBJECT, SANS, HANDSHAKE = "Kafka's entries", "Kafka's subject", "Kafka's SANs", "Kafka's handshake"
STORE = "the store's password and type"
VERDICT = "the broker's verdict"
"""What the checks are called; a broker that has taken a store has answered all of them."""

BOTH_SIDES = frozenset({Usage.SERVER, Usage.CLIENT})


@dataclass(frozen=True, slots=True)
class Stores:
    """What a listener has loaded, or would load: the keystore's chain and the truststore's anchors.

    `entries` counts those of the keystore, None where nobody knows. `anchors` is None where they are
    not the identity's.
    """

    chain: tuple[Certificate, ...]
    anchors: tuple[Certificate, ...] | None
    entries: int | None = None

    @property
    def leaf(self) -> Certificate:
        """The certificate that it serves."""
        return self.chain[0]


def stores_of(generation: Generation, listener: BrokerListener) -> Stores:
    """Return what a listener reads of a generation; a truststore that a person has edited holds a list of its own."""
    truststore = listener.truststore
    is_ours = truststore is not None and not generation.is_edited(truststore.name)
    return Stores(generation.chain, generation.anchors if is_ours else None)


@dataclass(frozen=True, slots=True)
class Rules:
    """Which rules a listener has.

    `allows_subjects` and `allows_sans` are `ssl.allow.dn.changes` and `ssl.allow.san.changes` of
    server.properties. `inter_broker`: brokers meet each other there, so that what is loaded and what
    is new must trust each other.
    """

    listener: str
    allows_subjects: bool = False
    allows_sans: bool = False
    inter_broker: bool = False


def rules_of(listener: str, facts: BrokerFacts | None) -> Rules:
    """Return the rules of a listener; those of a broker that nobody has asked yet are Kafka's defaults."""
    if facts is None:
        return Rules(listener)
    return Rules(listener, facts.allow_dn_changes, facts.allow_san_changes, facts.is_inter_broker(listener))


def refusals(rules: Rules, loaded: Stores, new: Stores, now: datetime) -> tuple[Finding, ...]:
    """Return why Kafka would keep what a listener has loaded; nothing: it would take the new stores."""
    # Kafka counts entries to compare them pair by pair, and where it compares nothing of them it does not.
    findings = [] if rules.allows_subjects and rules.allows_sans else list(_other_entries(loaded, new))
    if not rules.allows_subjects:
        findings += _other_subject(loaded.leaf, new.leaf)
    if not rules.allows_sans:
        findings += _lost_names(loaded.leaf, new.leaf)
    if rules.inter_broker and not takes_nothing(rules, loaded, now):
        findings += _no_handshake(loaded, new, now)
    return tuple(Finding(one.check, f"listener {rules.listener}: {one.what}", one.remedy) for one in findings)


def takes_nothing(rules: Rules, loaded: Stores, now: datetime) -> str:
    """Return why a listener takes no store at all while its process runs; empty: it may take a good one.

    Kafka has what is loaded shake hands with what is new between brokers, and an expired leaf never does.
    """
    if not rules.inter_broker or loaded.leaf.not_after > now:
        return ""
    return f"listener {rules.listener} serves a leaf that expired at {loaded.leaf.not_after.isoformat()}"


def no_start(
    broker: KafkaBrokerReload, facts: BrokerFacts | None, current: Generation | None, new: Generation, now: datetime
) -> tuple[Finding, ...]:
    """Return why the broker would not start with a generation: where brokers meet, it shakes hands with itself first.

    Nobody asks for that when it takes new stores as it runs. While it is not known where brokers meet,
    what holds of the generation in use must hold of the new one.
    """
    found = []
    for listener in broker.listeners:
        is_met = facts is None or facts.is_inter_broker(listener.name)
        why = _no_start(stores_of(new, listener), now) if is_met and listener.keystore is not None else None
        if why is None or (facts is None and (current is None or _no_start(stores_of(current, listener), now))):
            continue
        reason, remedy = why
        what = f"listener {listener.name}: a broker does not start with it, the truststore does not trust the leaf"
        found.append(Finding(HANDSHAKE, f"{what}: {reason}", remedy))
    return tuple(found)


def _no_start(stores: Stores, now: datetime) -> tuple[str, Remedy] | None:
    """Return why no handshake of a store with itself succeeds at any time of the leaf's life."""
    if stores.anchors is None:
        return None
    last = stores.leaf.not_after - timedelta(seconds=1)
    return _why_not(stores.chain, stores.anchors, max(stores.leaf.not_before, min(now, last)))


def _other_entries(loaded: Stores, new: Stores) -> Iterator[Finding]:
    if loaded.entries is not None and new.entries is not None and loaded.entries != new.entries:
        what = f"the keystore in use has {loaded.entries} entries, and the new one {new.entries}"
        yield Finding(ENTRIES, what, Remedy.RESTART)


def _other_subject(loaded: Certificate, new: Certificate) -> Iterator[Finding]:
    before, after = java_name(loaded.subject), java_name(new.subject)
    if _canonical(before) != _canonical(after):
        what = f"the subject in use is {before}, the new one {after}, and ssl.allow.dn.changes is not set"
        yield Finding(SUBJECT, what, Remedy.RESTART)


def _canonical(name: str) -> str:
    """Return a name as `X500Principal.equals` compares it: without case, and white space only once."""
    return " ".join(name.lower().split())


def _lost_names(loaded: Certificate, new: Certificate) -> Iterator[Finding]:
    lost = _names(loaded) - _names(new)
    if lost:
        what = f"it lacks SANs that are in use ({', '.join(sorted(lost))}), and ssl.allow.san.changes is not set"
        yield Finding(SANS, what, Remedy.RESTART)


def _names(certificate: Certificate) -> frozenset[str]:
    """Return all SANs, those of kinds that the agent never asks for among them, in words."""
    try:
        names = certificate.x509.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(f"{type(name).__name__} {_value(name)}" for name in names)


def _value(name: x509.GeneralName) -> str:
    if isinstance(name, x509.DirectoryName):
        return java_name(name.value)
    if isinstance(name, x509.OtherName):
        return f"{name.type_id.dotted_string} {name.value.hex()}"
    return str(name.value)


def _no_handshake(loaded: Stores, new: Stores, now: datetime) -> Iterator[Finding]:
    """Each of the two is client of the other once, so that each truststore meets each leaf.

    Of a leaf that no generation holds nobody knows the intermediates that are sent along.
    """
    is_known = loaded.anchors is not None
    for whose, chain, anchors in (
        ("the truststore in use does not trust the new leaf", new.chain, loaded.anchors),
        ("the new truststore does not trust the leaf in use", loaded.chain, new.anchors if is_known else None),
        ("the new truststore does not trust the new leaf", new.chain, new.anchors),
    ):
        found = None if anchors is None else _why_not(chain, anchors, now)
        if found is not None:
            reason, remedy = found
            yield Finding(HANDSHAKE, f"{whose}: {reason}", remedy)
            return


def _why_not(
    chain: Sequence[Certificate], anchors: tuple[Certificate, ...], now: datetime
) -> tuple[str, Remedy] | None:
    leaf, *intermediates = chain
    path = find_path(leaf, intermediates, anchors, now, BOTH_SIDES)
    if not isinstance(path, NoPath):
        return None
    # No anchor makes a client of a leaf that may only be a server.
    is_trusted = not isinstance(find_path(leaf, intermediates, anchors, now, frozenset()), NoPath)
    return path.reason, Remedy.NEW_LEAF if is_trusted else Remedy.TRUST


PRINCIPAL = "principal"
"""The check that a generation changes no principal, which is ours and not Kafka's."""

CHECKS_OF_A_BROKER = (ENTRIES, SUBJECT, SANS, HANDSHAKE, STORE, VERDICT, PRINCIPAL)
"""All that a generation may fail when its broker is asked."""

ANSWERED_BY_THE_BROKER = frozenset({ENTRIES, SUBJECT, SANS, HANDSHAKE})
"""The checks that a broker has made itself once it has taken a store: its word outranks our replay."""


UNREADABLE = "SSL keystore"
"""What Kafka says "Failed to load …" of when it cannot read a store: missing, closed, junk, or of another password or
type. A truststore is called so too, and not even the broker's log tells the cause."""

_MENDED_BY = (
    ("DistinguishedName does not match", Remedy.RESTART),
    ("SubjectAltNames do not match", Remedy.RESTART),
    ("entries do not match", Remedy.RESTART),
    ("Cannot add", Remedy.RESTART),
    ("Cannot remove", Remedy.RESTART),
    (UNREADABLE, Remedy.READABLE),
    ("PKIX path validation failed", Remedy.NEW_LEAF),
    ("PKIX path", Remedy.TRUST),
    ("Empty client certificate chain", Remedy.TRUST),
    ("Extended key usage", Remedy.NEW_LEAF),
    ("CertificateVerify", Remedy.NEW_LEAF),
)


def remedy_of(words: str) -> Remedy:
    """Return what mends a refusal that Kafka has put into these words."""
    return next((remedy for part, remedy in _MENDED_BY if part.lower() in words.lower()), Remedy.STORE)
