"""The facts of one X.509 certificate (RFC 5280), read once from its DER."""

from __future__ import annotations

import hashlib
import ipaddress
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.errors import MaterialError

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for bytes that are no certificate, or one that it cannot take apart."""

LARGEST_CERTIFICATE = 36_500
"""Bytes; a certificate that is larger is refused unread."""


@dataclass(frozen=True, slots=True)
class Sans:
    """Subject alternative names (RFC 5280, 4.2.1.6), sorted and each only once.

    DNS names are lower case; IP addresses are in their shortest text form.
    """

    dns: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    uri: tuple[str, ...] = ()

    @classmethod
    def of(cls, *, dns: tuple[str, ...] = (), ip: tuple[str, ...] = (), uri: tuple[str, ...] = ()) -> Sans:
        """Return the names in their one normal form; `ValueError` for an IP address that is none."""
        return cls(
            dns=tuple(sorted({name.lower() for name in dns})),
            ip=tuple(sorted({str(ipaddress.ip_address(address)) for address in ip})),
            uri=tuple(sorted(set(uri))),
        )

    def __bool__(self) -> bool:
        """Return whether there is any name."""
        return bool(self.dns or self.ip or self.uri)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says; two are the same when their fingerprints are.

    `fingerprint` is the SHA-256 of the DER in lower-case hex: a serial number is unique only
    within its issuer. `is_ca`, `path_length`, `key_usage` and `extended_key_usage` are None
    where the certificate does not carry the extension. `extended_key_usage` holds dotted OIDs,
    `public_key` the DER of the SubjectPublicKeyInfo.
    """

    fingerprint: str
    der: bytes = field(repr=False, compare=False)
    version: int = field(repr=False, compare=False)
    serial_number: int = field(repr=False, compare=False)
    subject: x509.Name = field(compare=False)
    issuer: x509.Name = field(repr=False, compare=False)
    not_before: datetime = field(compare=False)
    not_after: datetime = field(compare=False)
    sans: Sans = field(repr=False, compare=False)
    public_key: bytes = field(repr=False, compare=False)
    key_type: str = field(repr=False, compare=False)
    is_ca: bool | None = field(repr=False, compare=False)
    path_length: int | None = field(repr=False, compare=False)
    key_usage: frozenset[str] | None = field(repr=False, compare=False)
    extended_key_usage: frozenset[str] | None = field(repr=False, compare=False)

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """Read a certificate; raise `MaterialError` when the bytes are none."""
        if len(der) > LARGEST_CERTIFICATE:
            raise MaterialError(f"a certificate of {len(der)} bytes is larger than {LARGEST_CERTIFICATE} allow")
        try:
            return _remembered(der)
        except UNREADABLE as error:
            # What the library says is for its makers: the kind of its own error, and which field it met it in.
            raise MaterialError("not a certificate that can be read") from error

    @property
    def x509(self) -> x509.Certificate:
        """The certificate as `cryptography` reads it, for the checks that need its signature."""
        return _parsed(self.der)

    @property
    def self_issued(self) -> bool:
        """Whether subject and issuer are one name, as a trust anchor's are."""
        return self.subject == self.issuer


@lru_cache(maxsize=1024)
def _remembered(der: bytes) -> Certificate:
    """Return the value of these bytes; the CAs of a thousand leaves are the same few."""
    with warnings.catch_warnings():
        # A CA's lapse from the letter of DER is the proof's concern, not the reader's.
        warnings.simplefilter("ignore")
        return _facts(_parsed(der), der)


def _facts(parsed: x509.Certificate, der: bytes) -> Certificate:
    extensions = {extension.oid: extension.value for extension in parsed.extensions}
    constraints = extensions.get(x509.BasicConstraints.oid)
    usage = extensions.get(x509.KeyUsage.oid)
    extended = extensions.get(x509.ExtendedKeyUsage.oid)
    names = extensions.get(x509.SubjectAlternativeName.oid)
    key = parsed.public_key()
    return Certificate(
        fingerprint=hashlib.sha256(der).hexdigest(),
        der=der,
        version=1 if parsed.version is x509.Version.v1 else 3,
        serial_number=parsed.serial_number,
        subject=parsed.subject,
        issuer=parsed.issuer,
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        sans=_sans(names) if isinstance(names, x509.SubjectAlternativeName) else Sans(),
        public_key=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        key_type=key_type(key),
        is_ca=constraints.ca if isinstance(constraints, x509.BasicConstraints) else None,
        path_length=constraints.path_length if isinstance(constraints, x509.BasicConstraints) else None,
        key_usage=_key_usage(usage) if isinstance(usage, x509.KeyUsage) else None,
        extended_key_usage=(
            frozenset(oid.dotted_string for oid in extended) if isinstance(extended, x509.ExtendedKeyUsage) else None
        ),
    )


@lru_cache(maxsize=64)
def _parsed(der: bytes) -> x509.Certificate:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = x509.load_der_x509_certificate(der)
        # Taken apart once and kept, so that no later question brings a warning up.
        _ = parsed.extensions
    return parsed


def key_type(key: CertificatePublicKeyTypes) -> str:
    """Return a public key's algorithm and size as the settings name them: `ec-p256`, `rsa-2048`, `ed25519`."""
    match key:
        case rsa.RSAPublicKey():
            return f"rsa-{key.key_size}"
        case ec.EllipticCurvePublicKey():
            # NIST's curves are the random ones; secp256k1 is as long as P-256 and another.
            is_of_nist = key.curve.name.startswith("secp") and key.curve.name.endswith("r1")
            return f"ec-p{key.curve.key_size}" if is_of_nist else f"ec-{key.curve.name}"
        case ed25519.Ed25519PublicKey():
            return "ed25519"
        case ed448.Ed448PublicKey():
            return "ed448"
        case dsa.DSAPublicKey():
            return f"dsa-{key.key_size}"
        case _:
            return type(key).__name__.removesuffix("PublicKey").lower()


def _sans(names: x509.SubjectAlternativeName) -> Sans:
    return Sans.of(
        dns=tuple(names.get_values_for_type(x509.DNSName)),
        # A name constraint's network has no place in a SAN, yet DER allows one; as text it matches no address.
        ip=tuple(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        uri=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
    )


_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)


def _key_usage(usage: x509.KeyUsage) -> frozenset[str]:
    return frozenset(name for name in _KEY_USAGES if getattr(usage, name))
