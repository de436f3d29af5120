"""What an identity should be, and how a leaf differs from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent.core.certificate import Sans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.core.certificate import Certificate


class Usage(StrEnum):
    """A purpose of a leaf: the extended key usages that Kafka's TLS needs."""

    SERVER = "server"
    CLIENT = "client"


EXTENDED_KEY_USAGE = {
    Usage.SERVER: ExtendedKeyUsageOID.SERVER_AUTH.dotted_string,
    Usage.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string,
}
"""RFC 5280, 4.2.1.12: the OID of each usage."""

ANY_EXTENDED_KEY_USAGE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string


class KeyAlgorithm(StrEnum):
    """The private keys that the agent makes."""

    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    ED25519 = "ed25519"


@dataclass(frozen=True, slots=True)
class Request:
    """What a CA is asked for; recorded in each generation.

    The wanted identity is compared with this and not with the leaf: a CA that drops an OU
    would otherwise be asked for ever. `lifetime` and `template` (the CA's own, of AWS Private CA;
    empty: by the usages) are wishes for the next leaf, no part of who the identity is, so a
    change of them alone renews nothing.
    """

    subject: x509.Name
    sans: Sans
    usages: frozenset[Usage]
    key: KeyAlgorithm
    lifetime: timedelta
    template: str = ""

    def same_identity(self, other: Request) -> bool:
        """Return whether both ask for one identity, whatever lifetime and template each wishes."""
        return (self.subject, self.sans, self.usages, self.key) == (other.subject, other.sans, other.usages, other.key)

    def differences(self, other: Request) -> tuple[str, ...]:
        """Return what `other` asks for differently, a phrase each."""
        pairs = (
            ("subject", self.subject.rfc4514_string(), other.subject.rfc4514_string()),
            ("DNS SANs", ", ".join(self.sans.dns), ", ".join(other.sans.dns)),
            ("IP SANs", ", ".join(self.sans.ip), ", ".join(other.sans.ip)),
            ("URI SANs", ", ".join(self.sans.uri), ", ".join(other.sans.uri)),
            ("usages", ", ".join(sorted(self.usages)), ", ".join(sorted(other.usages))),
            ("key", self.key, other.key),
        )
        return tuple(f"{what} {mine or 'none'} → {theirs or 'none'}" for what, mine, theirs in pairs if mine != theirs)

    def as_json(self) -> dict[str, Any]:
        """Return the request as JSON values; `from_json` reads it back."""
        return {
            "subject": self.subject.rfc4514_string(),
            "subject_der": self.subject.public_bytes().hex(),
            "sans": {"dns": list(self.sans.dns), "ip": list(self.sans.ip), "uri": list(self.sans.uri)},
            "usages": sorted(self.usages),
            "key": str(self.key),
            "lifetime_seconds": self.lifetime.total_seconds(),
            "template": self.template,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what `as_json` wrote; raise `KeyError`, `TypeError` or `ValueError` for anything else."""
        return cls(
            subject=x509.Name.from_bytes(bytes.fromhex(values["subject_der"])),
            sans=Sans.of(**{kind: tuple(names) for kind, names in values["sans"].items()}),
            usages=frozenset(Usage(usage) for usage in values["usages"]),
            key=KeyAlgorithm(values["key"]),
            lifetime=timedelta(seconds=values["lifetime_seconds"]),
            template=str(values.get("template", "")),
        )


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One way in which a leaf is not what was asked for."""

    what: str
    wanted: str
    found: str

    def __str__(self) -> str:
        """Return the mismatch as a phrase."""
        return f"{self.what}: asked for {self.wanted or 'none'}, got {self.found or 'none'}"


def request_of(leaf: Certificate, wanted: Request) -> Request | None:
    """Return what a leaf that somebody else asked for was asked with; None when it is none that the agent asks for.

    That is `wanted` where the leaf is just that, whatever its lifetime; else what the leaf says itself.
    """
    if not mismatches(leaf, wanted):
        return wanted
    allowed = leaf.extended_key_usage
    oids = EXTENDED_KEY_USAGE.values() if allowed is None or ANY_EXTENDED_KEY_USAGE in allowed else allowed
    usages = frozenset(usage for usage, oid in EXTENDED_KEY_USAGE.items() if oid in oids)
    try:
        key = KeyAlgorithm(leaf.key_type)
    except ValueError:
        return None
    return Request(leaf.subject, leaf.sans, usages, key, leaf.not_after - leaf.not_before)


def mismatches(leaf: Certificate, request: Request) -> tuple[Mismatch, ...]:
    """Return every way in which `leaf` is not what `request` asked for; none means it is.

    The subject is compared attribute by attribute in its order, since Kafka's principal is made
    of it. SANs must be those asked for, no fewer and no others: a name too many lets this key
    pose as another host. A leaf without an extended key usage may be used for anything
    (RFC 5280, 4.2.1.12), and the X.509 v1 leaves of many a Kafka guide carry none.
    """
    found: list[Mismatch] = []
    if leaf.subject != request.subject:
        found.append(Mismatch("subject", request.subject.rfc4514_string(), leaf.subject.rfc4514_string()))
    for kind in ("dns", "ip", "uri"):
        wanted_names: tuple[str, ...] = getattr(request.sans, kind)
        found_names: tuple[str, ...] = getattr(leaf.sans, kind)
        if wanted_names != found_names:
            label = {"dns": "DNS SANs", "ip": "IP SANs", "uri": "URI SANs"}[kind]
            found.append(Mismatch(label, ", ".join(wanted_names), ", ".join(found_names)))
    allowed = leaf.extended_key_usage
    if allowed is not None and ANY_EXTENDED_KEY_USAGE not in allowed:
        missing = sorted(usage for usage in request.usages if EXTENDED_KEY_USAGE[usage] not in allowed)
        if missing:
            names = {oid: str(usage) for usage, oid in EXTENDED_KEY_USAGE.items()}
            carried = ", ".join(sorted(names.get(oid, oid) for oid in allowed))
            found.append(Mismatch("usages", ", ".join(sorted(request.usages)), carried))
    if leaf.key_type != request.key:
        found.append(Mismatch("key", str(request.key), leaf.key_type))
    return tuple(found)
