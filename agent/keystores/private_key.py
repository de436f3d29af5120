"""Private keys: made, written as PKCS#8 (RFC 5958) and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from agent.core.identity import KeyAlgorithm
from agent.errors import MaterialError

if TYPE_CHECKING:
    from agent.keystores.material import PrivateKey


def generate(algorithm: KeyAlgorithm) -> PrivateKey:
    """Make a key; RSA takes seconds and belongs into a thread."""
    match algorithm:
        case KeyAlgorithm.EC_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyAlgorithm.EC_P384:
            return ec.generate_private_key(ec.SECP384R1())
        case KeyAlgorithm.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case KeyAlgorithm.RSA_2048 | KeyAlgorithm.RSA_3072 | KeyAlgorithm.RSA_4096:
            return rsa.generate_private_key(public_exponent=65537, key_size=int(algorithm.removeprefix("rsa-")))


def to_pem(key: PrivateKey) -> bytes:
    """Return the key as unencrypted PKCS#8 in PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def from_pem(content: bytes) -> PrivateKey:
    """Read the first private key of a PEM file, and see that it works.

    Raise `MaterialError`, which tells nothing of the content.
    """
    try:
        # To ask whether the primes of an RSA key are primes stalls all threads for a quarter of a second
        # (4096 bits). That the key signs what its public half verifies is what matters, and is asked below.
        key = load_pem_private_key(content, password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's own words may quote what it read.
        raise MaterialError("this is no private key in PEM that can be read without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise MaterialError("this private key is of a kind that the agent does not use")
    if isinstance(key, rsa.RSAPrivateKey) and not _signs(key):
        raise MaterialError("the numbers of this RSA key do not belong together")
    return key


def public_der(key: PrivateKey) -> bytes:
    """Return the DER of the SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _signs(key: rsa.RSAPrivateKey) -> bool:
    message = b"does this key sign what its public half verifies?"
    try:
        signature = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        key.public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
