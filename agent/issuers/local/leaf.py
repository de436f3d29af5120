"""A leaf of the embedded CA: what is requested, for a key that the host has shown it holds."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ObjectIdentifier

from agent.core.identity import EXTENDED_KEY_USAGE
from agent.errors import IssuerRefusedError
from agent.issuers.local.making import ROTATE, begins
from agent.keystores.signing_request import key_usage, san_extension

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from agent.core.certificate import Certificate
    from agent.core.identity import Request
    from agent.issuers.local.authority import Authority


def proven_key(csr: bytes) -> CertificatePublicKeyTypes:
    """Return the public key of a CSR whose signature shows that its maker holds the private half.

    Raise `IssuerRefusedError` when it does not.
    """
    try:
        request = x509.load_der_x509_csr(csr)
        if request.is_signature_valid:
            return request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        why = f"it cannot be read: {error}"
    else:
        why = "its signature is not that of its key"
    raise IssuerRefusedError(f"the local CA refuses the CSR: {why}", advice="have a new key made")


def make_leaf(
    request: Request, key: CertificatePublicKeyTypes, authority: Authority, now: datetime
) -> tuple[Certificate, tuple[str, ...]]:
    """Return a leaf for `key`, and what there is to remark on it.

    Raise `IssuerRefusedError` when the CA has ended, or when the request fits into no certificate.
    """
    end, remarks = _end(now, request.lifetime, authority)
    try:
        return authority.intermediate.sign(_leaf(request, key, now, end, authority), key), remarks
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IssuerRefusedError(
            f"the local CA cannot put the request into a certificate: {error}",
            advice="correct the identity's subject or SANs",
        ) from error


def _end(now: datetime, lifetime: timedelta, authority: Authority) -> tuple[datetime, tuple[str, ...]]:
    """Return when a leaf ends, and what there is to remark on it."""
    last = authority.ends()
    if last <= now:
        raise IssuerRefusedError(f"the local CA ended on {last:%Y-%m-%d}", advice=ROTATE, reason="authority")
    # Certificates count whole seconds; a begun one is given in full, so that the lifetime is kept.
    end = (now + lifetime + timedelta(microseconds=999_999)).replace(microsecond=0)
    if end <= last:
        return end, ()
    return last, (f"the leaf ends on {last:%Y-%m-%d} with the local CA itself, before the lifetime asked for",)


def _leaf(
    request: Request, key: CertificatePublicKeyTypes, now: datetime, end: datetime, authority: Authority
) -> x509.CertificateBuilder:
    """Return all of a leaf (RFC 5280, 4.2) but keys, issuer and serial number."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .not_valid_before(max(begins(now), authority.intermediate.certificate.not_before))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(encipherment=isinstance(key, rsa.RSAPublicKey)), critical=True)
    )
    if request.usages:
        oids = [ObjectIdentifier(EXTENDED_KEY_USAGE[usage]) for usage in sorted(request.usages)]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    if request.sans:
        # RFC 5280, 4.2.1.6: with an empty subject the names are all there is.
        builder = builder.add_extension(san_extension(request.sans), critical=not request.subject.rdns)
    return builder
