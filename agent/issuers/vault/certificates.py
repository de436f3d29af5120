"""The certificates in Vault's answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import MaterialError
from agent.issuers.answered import certificates_in
from agent.issuers.vault.answer import UnusableAnswerError, data, document
from agent.net.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.core.certificate import Certificate
    from agent.net.session import Answer


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


def certificate_of_issuer(answer: Answer) -> Certificate:
    """Return the issuer's own certificate of `issuer/<ref>/json`, whatever else came along."""
    return read_certificates(_texts([data(answer).get("certificate") or ""]))[0]


def read_certificates(texts: Iterable[str]) -> tuple[Certificate, ...]:
    """Return the certificates in texts of PEM, each once, in their order; raise `UnusableAnswerError`."""
    try:
        return certificates_in(texts)
    except MaterialError as error:
        raise UnusableAnswerError(f"it answered with {error.what}") from None


def _texts(values: object) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UnusableAnswerError("it answered with a chain that is no list of certificates")
    return values
