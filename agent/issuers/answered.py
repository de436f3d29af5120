"""The certificates in a CA's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.certificate import Certificate
from agent.core.chain import MOST_CERTIFICATES
from agent.errors import MaterialError

if TYPE_CHECKING:
    from collections.abc import Iterable

BEGIN_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


def certificates_in(texts: Iterable[str]) -> tuple[Certificate, ...]:
    """Return the certificates in texts of PEM, each once, in their order.

    Raise `MaterialError`, whose `what` ends the sentence "it answered with", when there are none,
    too many, or one that cannot be read.
    """
    too_many = MaterialError(f"more than {MOST_CERTIFICATES} certificates")
    found: dict[str, Certificate] = {}
    for text in texts:
        if not text.strip():
            continue
        if text.count(BEGIN_CERTIFICATE) > MOST_CERTIFICATES:
            raise too_many
        try:
            for parsed in x509.load_pem_x509_certificates(text.encode()):
                fact = Certificate.from_der(parsed.public_bytes(Encoding.DER))
                found.setdefault(fact.fingerprint, fact)
        except (ValueError, MaterialError, UnsupportedAlgorithm):
            raise MaterialError("a certificate that cannot be read") from None
    if not found:
        raise MaterialError("no certificate")
    if len(found) > MOST_CERTIFICATES:
        raise too_many
    return tuple(found.values())
