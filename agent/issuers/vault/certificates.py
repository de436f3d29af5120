"""The certificates in Vault's answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.certificate import Certificate
from agent.errors import MaterialError
from agent.issuers.vault.answer import UnusableAnswerError, data, document, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.net.session import Answer

MOST_CERTIFICATES = 20
"""A chain that is longer is no chain."""

BEGIN_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Signed:
    """The certificates of an answer, the signed one first, each once, and Vault's warnings."""

    certificates: tuple[Certificate, ...]
    warnings: tuple[str, ...]

    @property
    def leaf(self) -> Certificate:
        """The certificate that was signed."""
        return self.certificates[0]

    @property
    def issuer(self) -> Certificate | None:
        """The certificate of the CA that signed, if it came along."""
        return next((one for one in self.certificates[1:] if one.subject == self.leaf.issuer), None)


def signed(answer: Answer, *, secrets: Iterable[str] = ()) -> Signed:
    """Read the answer to a call that signs; raise `UnusableAnswerError` when it holds no certificates."""
    whole = document(answer)
    values = whole.get("data")
    if not isinstance(values, dict) or not isinstance(values.get("certificate"), str):
        raise UnusableAnswerError("it answered without a certificate")
    chain = values.get("ca_chain") or [values.get("issuing_ca") or ""]
    certificates = read_certificates([values["certificate"], *_texts(chain)])
    warnings = whole.get("warnings")
    texts = [text for text in warnings if isinstance(text, str)] if isinstance(warnings, list) else []
    return Signed(certificates, tuple(quoted(text, secrets=secrets) for text in texts))


def chain_of_mount(answer: Answer) -> tuple[Certificate, ...]:
    """Return the certificates of `ca_chain`, which is PEM; an empty one is none."""
    if not answer.body.strip():
        return ()
    return read_certificates([answer.body.decode("ascii", errors="replace")])


def chain_of_issuer(answer: Answer) -> tuple[Certificate, ...]:
    """Return the certificates of `issuer/<ref>/json`, which is JSON."""
    values = data(answer)
    return read_certificates([*_texts([values.get("certificate") or ""]), *_texts(values.get("ca_chain") or [])])


def read_certificates(texts: Iterable[str]) -> tuple[Certificate, ...]:
    """Return the certificates in texts of PEM, each once, in their order; raise `UnusableAnswerError`."""
    found: dict[str, Certificate] = {}
    for text in texts:
        if not text.strip():
            continue
        if text.count(BEGIN_CERTIFICATE) > MOST_CERTIFICATES:
            raise UnusableAnswerError(f"it answered with more than {MOST_CERTIFICATES} certificates")
        try:
            parsed = x509.load_pem_x509_certificates(text.encode())
            for certificate in parsed:
                fact = Certificate.from_der(certificate.public_bytes(Encoding.DER))
                found.setdefault(fact.fingerprint, fact)
        except (ValueError, MaterialError, UnsupportedAlgorithm):
            raise UnusableAnswerError("it answered with a certificate that cannot be read") from None
    if not found:
        raise UnusableAnswerError("it answered with no certificate")
    if len(found) > MOST_CERTIFICATES:
        raise UnusableAnswerError(f"it answered with more than {MOST_CERTIFICATES} certificates")
    return tuple(found.values())


def is_self_signed(certificate: Certificate) -> bool:
    """Whether its own key has signed it: one that another CA cross-signed has an anchor's name and is none."""
    try:
        parsed = certificate.x509
        parsed.verify_directly_issued_by(parsed)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _texts(values: object) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UnusableAnswerError("it answered with a chain that is no list of certificates")
    return values
