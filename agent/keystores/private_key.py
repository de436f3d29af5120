"""Private keys: made, written as PKCS#8 (RFC 5958), encrypted or not, and read back."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from agent.core.files import Encryption
from agent.core.identity import KeyAlgorithm
from agent.errors import MaterialError
from agent.keystores import der, pem
from agent.keystores.limits import LARGEST_IDENTITY, LARGEST_KEY, check_size

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from agent.keystores.material import PrivateKey

_BEGIN = re.compile(rb"-----BEGIN ((?:ENCRYPTED |RSA |EC )?)PRIVATE KEY-----")
_ENCRYPTED = b"ENCRYPTED "
_DASHES = b"-----"
_PROC_TYPE = b"Proc-Type: 4,ENCRYPTED"
"""The mark of the encryption that OpenSSL used before PKCS#8 (RFC 1421)."""


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


def to_pem(key: PrivateKey, password: str | None = None, encryption: Encryption = Encryption.STRONG) -> bytes:
    """Return the key as PKCS#8 in PEM, encrypted when a password is given.

    `strong` is PBES2 with AES-256, which Kafka on Java 17 cannot read; `compatible` PBES1 with 3DES,
    which it can. Raise `MaterialError` for a password that Java could not use.
    """
    if password is None:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    from agent.keystores import pkcs12

    return pem.block("ENCRYPTED PRIVATE KEY", pkcs12.encrypted_key(key, password, encryption))


def to_der(key: PrivateKey) -> bytes:
    """Return the key as unencrypted PKCS#8 in DER."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def from_pem(content: bytes, password: str | None = None) -> PrivateKey:
    """Read the first private key of a PEM file, and see that it works; a key that is not encrypted needs no password.

    Raise `MaterialError`, which tells nothing of the content.
    """
    label, block = _key_block(content)
    is_encrypted = label == _ENCRYPTED or _PROC_TYPE in block
    if is_encrypted and password is None:
        raise MaterialError(
            "this is no private key in PEM that can be read without a password", advice="give its password"
        )
    try:
        key = _loaded(label, block, password.encode() if is_encrypted and password is not None else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's own words may quote what it read.
        raise MaterialError(
            "the private key does not open with its password, or is none"
            if is_encrypted
            else "this is no private key in PEM that can be read"
        ) from None
    return _usable(key)


def from_der(content: bytes) -> PrivateKey:
    """Read a private key in unencrypted PKCS#8, and see that it works; raise `MaterialError` as `from_pem` does."""
    check_size(content, LARGEST_KEY, "a private key")
    try:
        key = load_der_private_key(content, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MaterialError("this is no private key in PKCS#8") from None
    return _usable(key)


def public_der(key: PrivateKey) -> bytes:
    """Return the DER of the SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _key_block(content: bytes) -> tuple[bytes, bytes]:
    """Return the PEM block of the first private key, and what stands before `PRIVATE KEY` in its label."""
    check_size(content, LARGEST_IDENTITY, "a PEM file with a private key")
    begin = _BEGIN.search(content)
    mark = b"-----END %bPRIVATE KEY-----" % (begin[1] if begin else b"")
    end = content.find(mark, begin.end()) if begin else -1
    if begin is None or end < 0:
        raise MaterialError("it holds no private key in PEM, as PKCS#8, PKCS#1 or SEC 1")
    block = content[begin.start() : end + len(mark)]
    check_size(block, LARGEST_KEY, "a private key")
    return begin[1], block


def _loaded(label: bytes, block: bytes, password: bytes | None) -> PrivateKeyTypes:
    # To ask whether the primes of an RSA key are primes stalls all threads for a quarter of a second
    # (4096 bits). That the key signs what its public half verifies is what matters, and is asked of it later.
    if label != _ENCRYPTED:
        return load_pem_private_key(block, password, unsafe_skip_rsa_key_validation=True)
    body = b"".join(block.split(_DASHES)[2].split())
    info = base64.b64decode(body, validate=True)
    der.check_rounds(der.Reader().first(info))
    return load_der_private_key(info, password, unsafe_skip_rsa_key_validation=True)


def _usable(key: PrivateKeyTypes) -> PrivateKey:
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise MaterialError("this private key is of a kind that the agent does not use")
    if isinstance(key, rsa.RSAPrivateKey) and not _signs(key):
        raise MaterialError("the numbers of this RSA key do not belong together")
    return key


def _signs(key: rsa.RSAPrivateKey) -> bool:
    message = b"does this key sign what its public half verifies?"
    try:
        signature = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        key.public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
