"""A key and its CSR, as a store would have them between asking a CA and the switch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.core.generation import Pending
from tests.material import make_key, make_request, san_extension

if TYPE_CHECKING:
    from agent.core.identity import Request
    from agent.keystores.material import PrivateKey


def make_pending(request: Request | None = None, key: PrivateKey | None = None) -> Pending:
    """Make a pending request; its CSR says what `request` says."""
    request = request or make_request()
    key = key or make_key(request.key)
    builder = x509.CertificateSigningRequestBuilder().subject_name(request.subject)
    if request.sans:
        builder = builder.add_extension(san_extension(request.sans), critical=False)
    csr = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256())
    return Pending(
        request=request,
        issuer="ca",
        token="0123456789abcdef",  # noqa: S106 - an idempotency token is no secret
        made_at=datetime.now(UTC),
        public_key=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        csr=csr.public_bytes(Encoding.DER),
    )
