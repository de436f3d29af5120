"""What a store holds, as facts without a secret; `agent.core.faults` says what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.chain import LONGEST_PATH

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from agent.core.certificate import Certificate

DER = "der"
"""The format of a certificate that stands by itself, not in PEM: no store, and shown all the same."""


class Severity(StrEnum):
    """Whether a finding is a fault."""

    WRONG = "wrong"
    NOTABLE = "notable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say about a store: how bad, a phrase, and which part of it is meant (empty: the whole)."""

    severity: Severity
    what: str
    where: str = ""

    def at(self, where: str) -> Finding:
        """Return the same of the part that is named."""
        return replace(self, where=where)

    def __str__(self) -> str:
        """Return the finding as a phrase."""
        return f"{self.where}: {self.what}" if self.where else self.what


class Kind(StrEnum):
    """What an entry is to its readers."""

    PRIVATE_KEY = "private key"
    TRUSTED = "trusted certificate"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What may be told of a private key: its type, and the DER of its public half."""

    type: str
    public: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a store; `chain` is in the order in which it stands there.

    `key` is None where there is none, and where it was not unlocked. `made_at` is the store's own date.
    """

    alias: str
    kind: Kind
    chain: tuple[Certificate, ...]
    key: KeyFacts | None = None
    made_at: datetime | None = None

    @property
    def locked(self) -> bool:
        """Whether there is a private key that was not unlocked."""
        return self.kind is Kind.PRIVATE_KEY and self.key is None

    @property
    def matches(self) -> bool | None:
        """Whether the private key is that of the first certificate; None where that cannot be told."""
        if self.key is None or not self.chain:
            return None
        return self.key.public == self.chain[0].public_key


@dataclass(frozen=True, slots=True)
class Examined:
    """A file that was opened: its format (as in `StoreFormat`, or `DER`), its entries and its reader's remarks."""

    format: str
    entries: tuple[Entry, ...]
    remarks: tuple[str, ...] = ()
    with_password: bool = False

    @property
    def keys(self) -> tuple[Entry, ...]:
        """The entries with a private key."""
        return tuple(entry for entry in self.entries if entry.kind is Kind.PRIVATE_KEY)

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The certificates of all entries without a private key."""
        return tuple(one for entry in self.entries if entry.kind is not Kind.PRIVATE_KEY for one in entry.chain)

    @property
    def is_chain(self) -> bool:
        """Whether it is a leaf and its chain without the key: it begins with a leaf, or is short and has one."""
        found = self.certificates
        if self.keys or any(entry.kind is Kind.TRUSTED for entry in self.entries) or not found:
            return False
        return is_issued_leaf(found[0]) or (len(found) <= LONGEST_PATH and any(map(is_issued_leaf, found)))

    @property
    def is_truststore(self) -> bool:
        """Whether it holds certificates that can only be anchors, and no key."""
        return bool(self.entries) and not self.keys and not self.is_chain


def is_wrong(found: Iterable[Finding]) -> bool:
    """Return whether any of the findings is a fault."""
    return any(one.severity is Severity.WRONG for one in found)


def merged(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings, faults first, each said once with all the places that it was found at."""
    places: dict[tuple[Severity, str], list[str]] = {}
    for one in found:
        named = places.setdefault((one.severity, one.what), [])
        if one.where not in named:
            named.append(one.where)
    said = [Finding(severity, what, ", ".join(named)) for (severity, what), named in places.items()]
    return tuple(sorted(said, key=lambda one: one.severity is not Severity.WRONG))


def is_issued_leaf(certificate: Certificate) -> bool:
    """Return whether it is no CA and another has issued it: nothing that an anchor is made of."""
    return not certificate.is_ca and not certificate.self_issued
