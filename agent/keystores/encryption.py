"""How what a password guards is encrypted, and which passwords Java can use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import KeySerializationEncryption, PrivateFormat, pkcs12

from agent.core.files import Encryption
from agent.errors import MaterialError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

ROUNDS = 10_000
"""Of PBKDF2, as Java writes it. In a store a MAC of 2,048 rounds shields the same password: whoever guesses at it
guesses there, and more rounds beside it would cost the readers alone."""

KEY_ROUNDS = 20_000
"""Of PBKDF2 where no MAC stands beside it."""

OLD_STORE_ROUNDS = 2_048
"""Of PBES1 in a store: those of the MAC. The library takes 1.7 ms for 1,000 of them."""

OLD_KEY_ROUNDS = 10_000
"""Of PBES1 where no MAC stands beside it."""

_JAVA_PASSWORD = re.compile(r"[ -~]+")
"""Java's PBES1 and PBES2 take printable ASCII only, and call any other password incorrect."""

_ALGORITHMS: dict[Encryption, tuple[pkcs12.PBES, HashAlgorithm]] = {
    Encryption.STRONG: (pkcs12.PBES.PBESv2SHA256AndAES256CBC, hashes.SHA256()),
    Encryption.COMPATIBLE: (pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC, hashes.SHA1()),  # noqa: S303 - old JVMs know no other
}


def check_password(password: str) -> None:
    """Raise `MaterialError`, which does not tell it, for a password that Java could not use."""
    if not _JAVA_PASSWORD.fullmatch(password):
        raise MaterialError(
            "a store's password holds a character that Java cannot use in one",
            advice="choose one of letters, digits and signs of ASCII; spaces are allowed, tabs and line ends are not",
        )


def of_store(password: str, encryption: Encryption) -> KeySerializationEncryption:
    """Return the encryption and the MAC of a PKCS12 store; raise `MaterialError` as `check_password` does."""
    return _built(password, encryption, ROUNDS if encryption is Encryption.STRONG else OLD_STORE_ROUNDS)


def of_key(password: str, encryption: Encryption) -> KeySerializationEncryption:
    """Return that of a store whose key is to be taken out; raise `MaterialError` as `check_password` does."""
    return _built(password, encryption, KEY_ROUNDS if encryption is Encryption.STRONG else OLD_KEY_ROUNDS)


def _built(password: str, encryption: Encryption, rounds: int) -> KeySerializationEncryption:
    check_password(password)
    algorithm, mac = _ALGORITHMS[encryption]
    return (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(rounds)
        .key_cert_algorithm(algorithm)
        .hmac_hash(mac)
        .build(password.encode())
    )
