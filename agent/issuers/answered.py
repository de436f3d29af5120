"""The certificates in a CA's answer, and which of them are its anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.certificate import Certificate
from agent.core.chain import MOST_CERTIFICATES, is_self_signed, is_signed_by
from agent.errors import MaterialError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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


def roots(chain: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """Return the self-signed certificates that the first of a CA's chain leads to by the fewest signatures.

    A CA that has signed itself is its own root, although the chain may hold it cross-signed by the one
    before, and that one's root: they are another CA's. Two of one name and key are both its roots.
    """
    level, seen = list(chain[:1]), set(chain[:1])
    while level:
        found = tuple(filter(is_self_signed, level))
        if found:
            return found
        level = [above for above in chain if above not in seen and any(is_signed_by(one, above) for one in level)]
        seen.update(level)
    return ()


def others(certificates: Iterable[Certificate], own: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Return the self-signed certificates that are not among a CA's own roots, each once."""
    own = frozenset(own)
    return tuple(one for one in dict.fromkeys(certificates) if one not in own and is_self_signed(one))
