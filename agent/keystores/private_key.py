"""Private keys: made, written as PKCS#8 (RFC 5958), encrypted or not, and read back."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
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
from agent.keystores.limits import LARGEST_IDENTITY, LARGEST_KEY, LONGEST_RSA, check_size

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from agent.keystores.material import PrivateKey

_BEGIN = re.compile(rb"-----BEGIN ((?:ENCRYPTED |RSA |EC )?)PRIVATE KEY-----")
_ENCRYPTED = b"ENCRYPTED "
_DASHES = b"-----"
_SEQUENCE = bytes([der.SEQUENCE])
_KINDS = frozenset(
    {
        bytes.fromhex("2a864886f70d010101"),  # RSA, 1.2.840.113549.1.1.1
        bytes.fromhex("2a864886f70d01010a"),  # RSA for PSS alone
        bytes.fromhex("2a8648ce3d0201"),  # EC, 1.2.840.10045.2.1
        bytes.fromhex("2b6570"),  # Ed25519, 1.3.101.112
    }
)
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, InternalError)
"""What the library raises for a key that it does not read; its own words may quote what it read."""

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
    is_old = _PROC_TYPE in block
    if (is_old or label == _ENCRYPTED) and password is None:
        raise MaterialError(
            "this is no private key in PEM that can be read without a password", advice="give its password"
        )
    if label == _ENCRYPTED:
        return _from_encrypted(_body(block), password or "")
    if not label:
        return from_der(_body(block))
    return _loaded(block, password if is_old else None)


def from_der(content: bytes) -> PrivateKey:
    """Read a private key in unencrypted PKCS#8, and see that it works; raise `MaterialError` as `from_pem` does."""
    check_size(content, LARGEST_KEY, "a private key")
    try:
        kind = bytes(der.Reader().first(content).child(1, der.SEQUENCE).child(0, der.OID).content)
    except MaterialError:
        raise MaterialError("this is no private key in PKCS#8") from None
    if kind not in _KINDS:
        # Asked before it is loaded: for DSA the library then computes for minutes, and for DH it fails by itself.
        raise _unused()
    try:
        return _usable(load_der_private_key(content, None, unsafe_skip_rsa_key_validation=True))
    except _UNREADABLE:
        raise MaterialError("this is no private key in PKCS#8") from None


def from_der_if_used(content: bytes) -> PrivateKey | None:
    """Read a private key as `from_der` does; None for one that the agent does not use."""
    try:
        return from_der(content)
    except MaterialError:
        return None


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


def _body(block: bytes) -> bytes:
    """Return the bytes of a block."""
    try:
        return base64.b64decode(b"".join(block.split(_DASHES)[2].split()), validate=True)
    except binascii.Error:
        raise MaterialError("this is no private key in PEM that can be read") from None


def _from_encrypted(info: bytes, password: str) -> PrivateKey:
    """Read an EncryptedPrivateKeyInfo (RFC 5958, 3)."""
    from agent.keystores import pbe

    wrong = MaterialError("the private key does not open with its password, or is none")
    try:
        parsed = der.Reader().first(info)
        algorithm, content = parsed.child(0, der.SEQUENCE), parsed.child(1).octets
    except MaterialError:
        raise wrong from None
    scheme, work = pbe.scheme(algorithm), pbe.Work()
    work.take(scheme.cost)
    plain = scheme.decrypt(content, password, work)
    if plain is None or not plain.startswith(_SEQUENCE):
        raise wrong
    return from_der(plain)


def _loaded(block: bytes, password: str | None) -> PrivateKey:
    """Read a key in a form from before PKCS#8, which says in its label what it is."""
    # To ask whether the primes of an RSA key are primes stalls all threads for a quarter of a second
    # (4096 bits). That the key signs what its public half verifies is what matters, and is asked of it later.
    try:
        secret = None if password is None else password.encode()
        return _usable(load_pem_private_key(block, secret, unsafe_skip_rsa_key_validation=True))
    except _UNREADABLE:
        # The library's own words may quote what it read.
        raise MaterialError(
            "this is no private key in PEM that can be read"
            if password is None
            else "the private key does not open with its password, or is none"
        ) from None


def _usable(key: PrivateKeyTypes) -> PrivateKey:
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise _unused()
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size > LONGEST_RSA:
            raise MaterialError(f"this RSA key has {key.key_size} bits, and more than {LONGEST_RSA} are not used")
        if not _belongs_together(key):
            raise MaterialError("the numbers of this RSA key do not belong together")
    return key


def _belongs_together(key: rsa.RSAPrivateKey) -> bool:
    """Return whether the primes make up the modulus, which bounds what signing costs, and whether the key signs."""
    numbers = key.private_numbers()
    if numbers.p * numbers.q != numbers.public_numbers.n:
        return False
    message = b"does this key sign what its public half verifies?"
    try:
        signature = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        key.public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _unused() -> MaterialError:
    return MaterialError("this private key is of a kind that the agent does not use")
