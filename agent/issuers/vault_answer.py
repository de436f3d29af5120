"""What Vault's answers mean: bytes in, certificates or an error with advice out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.certificate import Certificate
from agent.errors import MaterialError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.core.configuration import VaultSpec
    from agent.net.session import Answer

LONGEST_QUOTE = 300
"""Characters of Vault's own words that a message repeats."""

MOST_CERTIFICATES = 20
"""A chain that is longer is no chain."""

MOST_REMARKS = 5

NO_NEWS = 'the role is set with "use_csr_'
"""Of a warning that names were told twice: in the CSR and beside it, since a role reads the one or the other."""

BEGIN_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


class UnusableAnswerError(Exception):
    """An answer is not what Vault sends; its text says what it is instead."""


@dataclass(frozen=True, slots=True)
class Signed:
    """The certificates of an answer, leaf first, each once, and Vault's warnings."""

    certificates: tuple[Certificate, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Vault's no: the status and its own words in one line."""

    status: int
    said: str

    def __str__(self) -> str:
        """Return what it said."""
        return self.said

    def advice(self, spec: VaultSpec) -> str:
        """Return what to do about it."""
        role = f"{spec.mount}/roles/{spec.role}"
        if self.status == HTTPStatus.FORBIDDEN:
            return (
                f"see that the token in {spec.token} has not expired and that a policy of it holds"
                f' path "{spec.mount}/sign/{spec.role}" {{ capabilities = ["update"] }}'
            )
        if self.status == HTTPStatus.NOT_FOUND:
            return f"see that a PKI engine is mounted at {spec.mount!r} in {_namespace(spec)}, and correct `mount`"
        for phrase, what in (
            ("unknown role", f"make {role} in Vault, or correct `role`"),
            ("not allowed by this role", f"let {role} allow the name (allowed_domains and others), or ask for another"),
            ("not allowed in this role", f"let {role} allow such names (allow_ip_sans and others), or ask for none"),
            ("not valid for this role", f"let {role} allow such names (allowed_uri_sans and others), or ask for none"),
            ("role requires", f"ask for a key that {role} takes (`key: algorithm`), or change the role's key_type"),
            ("beyond the expiration of the CA", "ask for a shorter `lifetime`, and have the CA's certificate renewed"),
        ):
            if phrase in self.said:
                return what
        return f"correct {role} or what the identity asks for"


def is_yes(answer: Answer) -> bool:
    """Whether Vault did what it was asked."""
    return answer.status in (200, 204)


def is_no(answer: Answer) -> bool:
    """Whether it is Vault itself that refuses, and would do so again.

    412 is a node that lags behind, 429 a limit, 472 and 473 are standbys; each 5xx is sealed,
    starting, without a leader, or a balancer that has nobody behind it. A 4xx without Vault's
    list of errors is another server's.
    """
    if not 400 <= answer.status < 500 or answer.status in (408, 412, 425, 429, 472, 473):
        return False
    return _errors(answer) is not None


def signed(answer: Answer, *, token: str = "") -> Signed:
    """Read the answer to `sign/<role>`; raise `UnusableAnswerError` when it holds no certificates."""
    document = _document(answer)
    data = document.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("certificate"), str):
        raise UnusableAnswerError("it answered without a certificate")
    chain = data.get("ca_chain") or [data.get("issuing_ca") or ""]
    if not isinstance(chain, list) or not all(isinstance(part, str) for part in chain):
        raise UnusableAnswerError("it answered with a chain that is no list of certificates")
    certificates = read_certificates([data["certificate"], *chain])
    warnings = document.get("warnings")
    texts = [text for text in warnings if isinstance(text, str)] if isinstance(warnings, list) else []
    texts = [text for text in texts if NO_NEWS not in text]
    return Signed(certificates, tuple(quoted(text, token=token) for text in texts[:MOST_REMARKS]))


def self_signed(answer: Answer) -> tuple[Certificate, ...]:
    """Return the self-signed certificates of an answer that is a chain in PEM, each once.

    A CA certificate that another CA cross-signed is no anchor, though it has an anchor's subject and key.
    """
    if not answer.body.strip():
        return ()
    certificates = read_certificates([answer.body.decode("ascii", errors="replace")])
    return tuple(certificate for certificate in certificates if _is_self_signed(certificate))


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


def words(answer: Answer, *, token: str = "") -> str:
    """Return what a failed answer says, in one bounded line of printable text, without the token."""
    errors = _errors(answer)
    if errors is not None:
        said = "; ".join(errors)
    elif answer.headers.get("Content-Type", "text/plain").startswith("text/plain"):
        # Go's own server answers so, for plain HTTP on its HTTPS port.
        said = answer.body.decode(errors="replace")
    else:
        said = "not an answer of Vault's; is something else at this address?"
    try:
        status = HTTPStatus(answer.status).phrase
    except ValueError:
        status = "unknown status"
    return f"HTTP {answer.status} {status}" + (f": {quoted(said, token=token)}" if said.strip() else "")


def quoted(text: str, *, token: str = "") -> str:
    """Return a stranger's words in one line of printable characters, cut where they are too long, without the token."""
    if token:
        # A server that echoes what it was sent must not bring the token into a log.
        text = text.replace(token, "[token]")
    printable = "".join(character if character.isprintable() else " " for character in text[: 4 * LONGEST_QUOTE])
    line = " ".join(printable.split())
    return line if len(line) <= LONGEST_QUOTE else line[: LONGEST_QUOTE - 1] + "…"


def _namespace(spec: VaultSpec) -> str:
    return f"namespace {spec.namespace!r}" if spec.namespace else "the root namespace"


def _errors(answer: Answer) -> list[str] | None:
    """Return Vault's list of errors; None when the answer holds none and so is not Vault's."""
    try:
        errors = _document(answer).get("errors")
    except UnusableAnswerError:
        return None
    return [text for text in errors if isinstance(text, str)] if isinstance(errors, list) else None


def _document(answer: Answer) -> dict[str, Any]:
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise UnusableAnswerError(f"it answered with no JSON ({len(answer.body)} bytes)") from None
    if not isinstance(document, dict):
        raise UnusableAnswerError("it answered with JSON that is no object")
    return document


def _is_self_signed(certificate: Certificate) -> bool:
    try:
        parsed = certificate.x509
        parsed.verify_directly_issued_by(parsed)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
