"""PKCS12 stores (RFC 7292) as Java and OpenSSL read them: PBES2 with AES-256-CBC, a MAC with SHA-256.

Imported only where such a store is configured.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    PrivateFormat,
    pkcs12,
)

from agent.core.certificate import Certificate
from agent.errors import MaterialError
from agent.keystores import private_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.keystores.material import PrivateKey

ROUNDS = 20_000
"""Of PBKDF2; a MAC of 2,048 rounds shields the same password, so more would only cost the readers."""

_JAVA_PASSWORD = re.compile(r"[ -~]+")
"""Java's PBES2 takes printable ASCII only, and calls any other password incorrect."""


def keystore(key: PrivateKey, chain: Sequence[Certificate], alias: str, password: str) -> bytes:
    """Return a store with one entry: the key and its whole chain, leaf first.

    Java lower-cases aliases; the settings allow no others. Raise `MaterialError` for a key that is
    not the leaf's, and for a password that Java could not use.
    """
    leaf, *others = chain
    if private_key.public_der(key) != leaf.public_key:
        raise MaterialError("the private key is not that of the leaf")
    return pkcs12.serialize_key_and_certificates(
        alias.encode(), key, leaf.x509, [other.x509 for other in others], _encryption(password)
    )


def truststore(anchors: Sequence[Certificate], password: str) -> bytes:
    """Return a store whose entries Java takes as trusted, each under an alias that is the start of its fingerprint.

    Raise `MaterialError` for a password that Java could not use, and for no anchors at all.
    """
    if not anchors:
        raise MaterialError("there is no trust anchor to put into the truststore")
    entries = [pkcs12.PKCS12Certificate(anchor.x509, anchor.fingerprint[:16].encode()) for anchor in anchors]
    return pkcs12.serialize_java_truststore(entries, _encryption(password))


def read_keystore(content: bytes, password: str) -> tuple[PrivateKey, tuple[Certificate, ...]]:
    """Return key and chain, leaf first; raise `MaterialError` when it does not open or holds no key."""
    store = _open(content, password)
    if store.cert is None or not isinstance(
        store.key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    ):
        raise MaterialError("the PKCS12 store holds no key with its certificate")
    return store.key, tuple(_of(entry) for entry in (store.cert, *store.additional_certs))


def read_truststore(content: bytes, password: str) -> tuple[Certificate, ...]:
    """Return the certificates; raise `MaterialError` when it does not open."""
    return tuple(_of(entry) for entry in _open(content, password).additional_certs)


def _open(content: bytes, password: str) -> pkcs12.PKCS12KeyAndCertificates:
    try:
        with warnings.catch_warnings():
            # A store that is BER and not DER is worth a warning to the library; readers open it all the same.
            warnings.simplefilter("ignore")
            return pkcs12.load_pkcs12(content, password.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MaterialError("the PKCS12 store does not open with its password, or is none") from None


def _of(entry: pkcs12.PKCS12Certificate) -> Certificate:
    return Certificate.from_der(entry.certificate.public_bytes(Encoding.DER))


def _encryption(password: str) -> KeySerializationEncryption:
    if not _JAVA_PASSWORD.fullmatch(password):
        raise MaterialError(
            "a password of a PKCS12 store holds a character that Java cannot use in one",
            advice="choose one of letters, digits and signs of ASCII; spaces are allowed, tabs and line ends are not",
        )
    return (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(ROUNDS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(password.encode())
    )
