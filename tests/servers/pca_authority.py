"""A CA of the AWS test server: moto's, with what is signed, when and in which state mended."""

from __future__ import annotations

import base64
import json
import re
import threading
import uuid
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from moto.acmpca import models
from moto.acmpca.models import CertificateAuthority

from tests.servers.pca_faults import Clock, RefusedError
from tests.servers.pca_templates import Template, extensions, find_template, subject
from tests.servers.pca_validity import Key, constraint, sign, usual_algorithm, validity

if TYPE_CHECKING:
    from collections.abc import Iterator

REMEMBERED = timedelta(minutes=5)
LONGEST_TOKEN = 36
READABLE = frozenset({"ACTIVE", "DISABLED", "EXPIRED"})
REASONS = [
    "UNSPECIFIED",
    "KEY_COMPROMISE",
    "CERTIFICATE_AUTHORITY_COMPROMISE",
    "AFFILIATION_CHANGED",
    "SUPERSEDED",
    "CESSATION_OF_OPERATION",
    "PRIVILEGE_WITHDRAWN",
    "A_A_COMPROMISE",
]
UNREVOKED = {"CrlConfiguration": {"Enabled": False}, "OcspConfiguration": {"Enabled": False}}

_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Issued:
    """A certificate that was issued; `failed` is one that the service took the order for and could not make."""

    arn: str
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    at: datetime
    token: str = ""
    caller: str = ""
    failed: bool = False


@dataclass
class Orders:
    """How orders are dealt with; each field may be changed while the server runs."""

    clock: Clock
    pending: timedelta = timedelta()
    """How long `GetCertificate` answers RequestInProgressException, on the server's clock."""
    failing: int = 0
    """So many of the next orders are taken and fail: RequestFailedException."""
    conflict: str = "InvalidArgsException"
    """The error that answers a remembered token with another request; empty: the first certificate, as if nothing were.

    What the service does is not known.
    """
    issued: list[Issued] = field(default_factory=list)


class Authority(CertificateAuthority):
    """A CA of any key, as moto keeps it."""

    def __init__(  # noqa: PLR0917 - moto's six are its own
        self,
        orders: Orders,
        key: Key,
        region: str,
        account_id: str,
        configuration: dict[str, Any],
        kind: str,
        usage_mode: str = "GENERAL_PURPOSE",
        revocation: dict[str, Any] | None = None,
        security_standard: str | None = None,
    ) -> None:
        self._state = ""
        with _given(key):
            super().__init__(
                region, account_id, configuration, kind, revocation or deepcopy(UNREVOKED), security_standard
            )
        self.usage_mode = usage_mode
        self.orders = orders
        self.signing_key = key
        self.chain: tuple[x509.Certificate, ...] = ()
        """The CA's own certificate first, the root last; empty while it has none."""
        self.above = ""
        """The ARN of the CA that certifies this one; empty for a root, and for one that was certified elsewhere."""
        self.ordered: dict[str, Issued] = {}
        self.remembered: dict[tuple[str, str], tuple[str, str, datetime]] = {}
        """By account and token: what was asked, the certificate's ARN, and when."""
        self.revoked: set[int] = set()

    @property
    def key(self) -> Key:  # type: ignore[override]  # moto has RSA alone
        """The private key, parsed."""
        return self.signing_key

    @property
    def status(self) -> str:
        """The state; an active CA whose certificate has ended has expired."""
        ended = bool(
            self._state == "ACTIVE" and self.chain and self.chain[0].not_valid_after_utc <= self.orders.clock()
        )
        return "EXPIRED" if ended else self._state

    @status.setter
    def status(self, value: str) -> None:
        self._state = value

    def demand(self, *states: str) -> None:
        """Raise the service's error unless the CA is in one of these states."""
        if self.status not in states:
            raise RefusedError("InvalidStateException", f"The certificate authority {self.arn} is {self.status}")

    def install(self, chain: tuple[x509.Certificate, ...]) -> None:
        """Take a certificate of this CA with those above it; it is active from now on."""
        above = b"".join(map(_pem, chain[1:])) or None
        self.import_certificate_authority_certificate(_pem(chain[0]), above)
        self.chain = chain

    def order(self, parameters: dict[str, Any], caller: str) -> str:
        """Issue what `IssueCertificate` asks for and return its ARN; the same token is the same certificate."""
        _check_shape(parameters)
        now = self.orders.clock()
        token = parameters.get("IdempotencyToken") or ""
        key = (caller.partition("::")[2].partition(":")[0], token)
        asked = json.dumps(parameters, sort_keys=True)
        if token and key in self.remembered and now < self.remembered[key][2] + REMEMBERED:
            before, arn, _ = self.remembered[key]
            if before != asked and self.orders.conflict:
                raise RefusedError(self.orders.conflict, "the token came with another request before")
            return arn
        root = find_template(parameters.get("TemplateArn")).root
        self.demand("PENDING_CERTIFICATE" if root and not self.chain else "ACTIVE")
        arn = f"{self.arn}/certificate/{uuid.uuid4().hex}"
        certificate = self.sign(parameters)
        failed = self.orders.failing > 0
        self.orders.failing -= failed
        above = () if certificate.public_key() == self.signing_key.public_key() else self.chain
        issued = Issued(arn, certificate, above, now, token, caller, failed=failed)
        self.ordered[arn] = issued
        if token:
            self.remembered[key] = (asked, arn, now)
        if not failed:
            self.issued_certificates[arn] = _pem(certificate)
            self.issued_certificates_certificate_chains[arn] = b"".join(map(_pem, above))
            self.orders.issued.append(issued)
        return arn

    def sign(self, parameters: dict[str, Any]) -> x509.Certificate:
        """Sign what is asked for; raise `RefusedError` where the service would."""
        template = find_template(parameters.get("TemplateArn"))
        csr = read_csr(parameters["Csr"])
        passed = parameters.get("ApiPassthrough") or {}
        now = self.orders.clock()
        self._check_depth(template, csr)
        last = min((one.not_valid_after_utc for one in self.chain), default=datetime.max.replace(tzinfo=now.tzinfo))
        if template.root:
            last = datetime.max.replace(tzinfo=now.tzinfo)
        begin, end = validity(parameters, now, last, "" if template.ca else self.usage_mode)
        name = subject(template, csr, passed)
        try:
            added = list(extensions(template, csr, passed))
        except ValueError as error:
            raise RefusedError("MalformedCSRException", f"The CSR's extensions cannot be read: {error}") from error
        if not list(name) and not any(isinstance(one, x509.SubjectAlternativeName) for one, _ in added):
            raise RefusedError("MalformedCSRException", "The CSR has neither a subject nor a subject alternative name")
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name if template.root else self.chain[0].subject)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(csr.public_key()), critical=False)
        )
        if not template.root:
            own = self.chain[0].extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False
            )
        for value, critical in added:
            builder = builder.add_extension(value, critical=critical)
        return sign(builder, self.signing_key, parameters["SigningAlgorithm"])

    def certify(self, csr: bytes, template: str, end: datetime) -> x509.Certificate:
        """Sign a CA's CSR until `end`, past the book of orders."""
        return self.sign(
            {
                "Csr": base64.b64encode(csr).decode(),
                "TemplateArn": template,
                "SigningAlgorithm": usual_algorithm(self.certificate_authority_configuration["KeyAlgorithm"]),
                "Validity": {"Type": "ABSOLUTE", "Value": int(end.timestamp())},
            }
        )

    def _check_depth(self, template: Template, csr: x509.CertificateSigningRequest) -> None:
        if template.root:
            if csr.public_key() != self.signing_key.public_key():
                raise RefusedError("InvalidArgsException", "A root certificate is for the CA's own CSR")
            return
        room = self.chain[0].extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        if template.ca and room is not None and (template.path_length or 0) >= room:
            raise RefusedError("ValidationException", f"The CA's path length of {room} leaves no room for that CA")

    def collect(self, arn: str) -> dict[str, Any]:
        """Return what `GetCertificate` answers; a revoked certificate stays readable, and so does a root's first."""
        self.demand("PENDING_CERTIFICATE", *READABLE)
        order = self.ordered.get(arn)
        if order is None:
            raise RefusedError("ResourceNotFoundException", f"There is no certificate {arn}")
        if self.orders.clock() < order.at + self.orders.pending:
            raise RefusedError("RequestInProgressException", "The certificate has not been issued yet")
        if order.failed:
            raise RefusedError("RequestFailedException", "The certificate could not be issued")
        answer = {"Certificate": text(order.certificate)}
        if order.chain:
            answer["CertificateChain"] = text(*order.chain)
        return answer

    def revoke(self, serial: str, reason: str) -> None:
        """Revoke by the serial number in hexadecimal, with colons or without."""
        self.demand("ACTIVE")
        if reason not in REASONS:
            raise constraint("revocationReason", reason, f"satisfy enum value set: [{', '.join(REASONS)}]")
        if not re.fullmatch(r"[0-9a-fA-F]+(:[0-9a-fA-F]+)*", serial):
            raise RefusedError("InvalidRequestException", f"{serial} is no serial number in hexadecimal")
        number = int(serial.replace(":", ""), 16)
        if all(one.certificate.serial_number != number or one.failed for one in self.ordered.values()):
            raise RefusedError("ResourceNotFoundException", f"There is no certificate with the serial number {serial}")
        if number in self.revoked:
            raise RefusedError("RequestAlreadyProcessedException", f"The certificate {serial} is revoked already")
        self.revoked.add(number)


def read_csr(blob: str) -> x509.CertificateSigningRequest:
    """Return a CSR that is whole, signed and for a key of RSA or EC; raise `RefusedError`."""
    try:
        csr = x509.load_pem_x509_csr(base64.b64decode(blob))
        good = csr.is_signature_valid and isinstance(csr.public_key(), rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise RefusedError("MalformedCSRException", "The CSR cannot be read") from error
    if not good:
        raise RefusedError("MalformedCSRException", "The CSR's signature or the kind of its key is wrong")
    return csr


def _check_shape(parameters: dict[str, Any]) -> None:
    for name in ("Csr", "SigningAlgorithm", "Validity"):
        if parameters.get(name) is None:
            raise constraint(name[0].lower() + name[1:], None, "not be null")
    token = parameters.get("IdempotencyToken") or ""
    if len(token) > LONGEST_TOKEN:
        raise constraint("idempotencyToken", token, f"have length less than or equal to {LONGEST_TOKEN}")


@contextmanager
def _given(key: Key) -> Iterator[None]:
    """Have moto, which makes an RSA key for any CA, take this one."""
    with _ONE_AT_A_TIME, patch.object(models, "rsa", SimpleNamespace(generate_private_key=lambda **_: key)):
        yield


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def text(*certificates: x509.Certificate) -> str:
    """Return certificates as the API writes them: PEM, without a last newline."""
    return b"".join(map(_pem, certificates)).decode().strip()
