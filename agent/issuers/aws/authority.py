"""What AWS tells of a CA: its state, its key, its certificate and the chain above it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.certificate import Certificate
from agent.errors import IssuerUnavailableError, MaterialError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

MOST_CERTIFICATES = 20
BEGIN_CERTIFICATE = "-----BEGIN CERTIFICATE-----"

ALGORITHMS = {
    "rsa": "SHA256WITHRSA",
    "ec-p256": "SHA256WITHECDSA",
    "ec-p384": "SHA384WITHECDSA",
    "ec-p521": "SHA512WITHECDSA",
}
"""The signing algorithm that fits a CA's key: its family must be that of the CA's key, not of the host's."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA of AWS Private CA as it was last seen.

    `chain` begins with the CA's own certificate. `state` and `short_lived` are unknown (empty,
    False) where `DescribeCertificateAuthority` is not allowed.
    """

    chain: tuple[Certificate, ...]
    state: str = ""
    short_lived: bool = False

    @property
    def certificate(self) -> Certificate:
        """The CA's own certificate."""
        return self.chain[0]

    @property
    def end(self) -> datetime:
        """When the first of the chain ends: no leaf of it is any good afterwards."""
        return min(certificate.not_after for certificate in self.chain)

    @property
    def algorithm(self) -> str:
        """What the CA signs with; empty for a key of a kind that the agent does not know."""
        kind = self.certificate.key_type
        return ALGORITHMS["rsa"] if kind.startswith("rsa-") else ALGORITHMS.get(kind, "")

    @property
    def anchors(self) -> tuple[Certificate, ...]:
        """The self-signed certificates of the chain."""
        return tuple(one for one in self.chain if one.self_issued and _signed_by_itself(one))


def read_authority(certificate: dict[str, Any], described: dict[str, Any] | None) -> Authority:
    """Read `GetCertificateAuthorityCertificate` and, where it is allowed, `DescribeCertificateAuthority`.

    Raise `IssuerUnavailableError` when they are not what the service sends.
    """
    about = (described or {}).get("CertificateAuthority") or {}
    return Authority(
        chain=read_chain([certificate.get("Certificate"), certificate.get("CertificateChain")]),
        state=str(about.get("Status", "")),
        short_lived=about.get("UsageMode") == "SHORT_LIVED_CERTIFICATE",
    )


def read_chain(texts: Iterable[object]) -> tuple[Certificate, ...]:
    """Return the certificates in texts of PEM, each once, in their order; raise `IssuerUnavailableError`."""
    found: dict[str, Certificate] = {}
    for text in texts:
        if text is None or (isinstance(text, str) and not text.strip()):
            continue
        if not isinstance(text, str) or text.count(BEGIN_CERTIFICATE) > MOST_CERTIFICATES:
            raise _malformed("more certificates than a chain has")
        try:
            for parsed in x509.load_pem_x509_certificates(text.encode()):
                fact = Certificate.from_der(parsed.public_bytes(Encoding.DER))
                found.setdefault(fact.fingerprint, fact)
        except (ValueError, MaterialError, UnsupportedAlgorithm):
            raise _malformed("a certificate that cannot be read") from None
    if not found:
        raise _malformed("no certificate")
    return tuple(found.values())


def _malformed(what: str) -> IssuerUnavailableError:
    return IssuerUnavailableError(
        f"AWS answered with {what}", advice="see what answers at the endpoint", reason="malformed answer"
    )


def _signed_by_itself(certificate: Certificate) -> bool:
    try:
        certificate.x509.verify_directly_issued_by(certificate.x509)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
