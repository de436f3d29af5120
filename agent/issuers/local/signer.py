"""A CA certificate with its private key: it signs, and is written to one PEM file and read back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.certificate import Certificate
from agent.errors import MaterialError
from agent.keystores import pem
from agent.keystores.private_key import from_pem, public_der, to_pem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from agent.keystores.material import PrivateKey


@dataclass(frozen=True, slots=True)
class Signer:
    """A CA certificate and its private key."""

    certificate: Certificate
    key: PrivateKey = field(repr=False)

    def sign(self, builder: x509.CertificateBuilder, public_key: CertificatePublicKeyTypes) -> Certificate:
        """Sign a certificate that `builder` tells all of but the two keys, the issuer and the serial number."""
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.issuer_name(self.certificate.subject).add_extension(authority_key, critical=False)
        return signed(builder, public_key, self.key)

    def to_pem(self) -> bytes:
        """Return the key, unencrypted, and the certificate: what one file holds, so that it is whole or not there."""
        return to_pem(self.key) + pem.encode([self.certificate])

    @classmethod
    def from_pem(cls, content: bytes) -> Self:
        """Read what `to_pem` wrote; raise `MaterialError`, which tells nothing of the key, for anything else."""
        key = from_pem(content)
        certificates = pem.decode(content)
        if not certificates:
            raise MaterialError("it holds no certificate")
        if certificates[0].public_key != public_der(key):
            raise MaterialError("its private key is not that of its certificate")
        if not certificates[0].is_ca:
            raise MaterialError("its certificate is no CA's")
        return cls(certificates[0], key)


def signed(builder: x509.CertificateBuilder, public_key: CertificatePublicKeyTypes, key: PrivateKey) -> Certificate:
    """Return the certificate for `public_key` that `builder` tells the rest of, with a serial number, signed by `key`.

    The hash is as strong as the key (RFC 5480, 4; FIPS 186-5); Ed25519 has its own (RFC 8410, 3).
    """
    builder = (
        builder.public_key(public_key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    return Certificate.from_der(builder.sign(key, _hash(key)).public_bytes(Encoding.DER))


def _hash(key: PrivateKey) -> SHA256 | SHA384 | SHA512 | None:
    match key:
        case ed25519.Ed25519PrivateKey():
            return None
        case ec.EllipticCurvePrivateKey() if key.key_size > 384:
            return SHA512()
        case ec.EllipticCurvePrivateKey() if key.key_size > 256:
            return SHA384()
        case _:
            return SHA256()
