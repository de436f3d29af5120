"""What AWS tells of a CA: its state, its key, its certificate and the chain above it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.errors import IssuerUnavailableError, MaterialError
from agent.issuers.answered import certificates_in, roots

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from agent.core.certificate import Certificate

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
        """The roots that the CA leads to: one as a rule, none where the chain lacks it."""
        return roots(self.chain)


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
    present = [text for text in texts if text is not None]
    if not all(isinstance(text, str) for text in present):
        raise _malformed("a certificate that is no text")
    try:
        return certificates_in(map(str, present))
    except MaterialError as error:
        raise _malformed(error.what) from None


def _malformed(what: str) -> IssuerUnavailableError:
    return IssuerUnavailableError(
        f"AWS answered with {what}", advice="see what answers at the endpoint", reason="malformed answer"
    )
