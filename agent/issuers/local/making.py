"""The embedded CA's own certificates: a root, and an intermediate below it (RFC 5280, 4.2)."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from agent.errors import IssuerRefusedError
from agent.issuers.local.signer import Signer, signed
from agent.keystores.private_key import generate

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.identity import KeyAlgorithm

ROOT_LIFETIME = timedelta(days=3652)
INTERMEDIATE_LIFETIME = timedelta(days=1826)

BACKDATED = timedelta(minutes=1)
"""How far before its making a certificate begins, for the hosts whose clock is behind."""

ROTATE = "have a new root made with `cert-agent local-ca rotate`, and every truststore learn it"
"""What to do about a root that has ended."""


def new_root(name: str, algorithm: KeyAlgorithm, now: datetime) -> Signer:
    """Make a key and its self-signed certificate; RSA takes seconds."""
    key = generate(algorithm)
    subject = _subject(name, "root")
    begin = begins(now)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .not_valid_before(begin)
        .not_valid_after(begin + ROOT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_ca_usage(), critical=True)
    )
    return Signer(signed(builder, key.public_key(), key), key)


def new_intermediate(name: str, root: Signer, algorithm: KeyAlgorithm, now: datetime) -> Signer:
    """Make a key and have it certified by the root, until the root's own end at most; RSA takes seconds.

    Raise `IssuerRefusedError` when the root has ended.
    """
    begin = max(begins(now), root.certificate.not_before)
    end = min(begin + INTERMEDIATE_LIFETIME, root.certificate.not_after)
    if end <= now:
        raise IssuerRefusedError(
            f"the local CA's root ended on {root.certificate.not_after:%Y-%m-%d}", advice=ROTATE, reason="authority"
        )
    key = generate(algorithm)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(name, "intermediate"))
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_ca_usage(), critical=True)
    )
    return Signer(root.sign(builder, key.public_key()), key)


def begins(now: datetime) -> datetime:
    """Return when a certificate that is made now begins: a minute ago, in whole seconds."""
    return (now - BACKDATED).replace(microsecond=0)


def _subject(name: str, role: str) -> x509.Name:
    # The random part keeps two CAs of one name apart in a truststore and in a chain's issuer names.
    common_name = f"{name[:32]} {role} {secrets.token_hex(4)}"
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cert-agent local CA"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _ca_usage() -> x509.KeyUsage:
    """RFC 5280, 4.2.1.3: a CA signs certificates and lists, and nothing else."""
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
