"""PKCS12 stores put together piece by piece, as no library writes them."""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from agent.keystores import der, pbe, pfx
from tests.keystores.identities import PASSWORD

SET, BMP_STRING, EXPLICIT, IMPLICIT = 0x31, 0x1E, 0xA0, 0x80
DATA, ENCRYPTED_DATA = "2a864886f70d010701", "2a864886f70d010706"
ANY_USAGE = "551d2500"
PBES2, PBKDF2, SHA256, AES256 = "2a864886f70d01050d", "2a864886f70d01050c", "2a864886f70d0209", "60864801650304012a"


def tagged(tag: int, *content: bytes) -> bytes:
    """Return an element of DER."""
    body = b"".join(content)
    size = (len(body).bit_length() + 7) // 8
    length = bytes([len(body)]) if len(body) < 128 else bytes([0x80 | size]) + len(body).to_bytes(size)
    return bytes([tag]) + length + body


def sequence(*elements: bytes) -> bytes:
    """Return a SEQUENCE."""
    return tagged(der.SEQUENCE, *elements)


def octets(content: bytes) -> bytes:
    """Return an OCTET STRING."""
    return tagged(der.OCTET_STRING, content)


def integer(number: int) -> bytes:
    """Return an INTEGER."""
    return tagged(der.INTEGER, number.to_bytes(number.bit_length() // 8 + 1, signed=True))


def oid(content: str | bytes) -> bytes:
    """Return an OBJECT IDENTIFIER, given by its content in hex."""
    return tagged(der.OID, bytes.fromhex(content) if isinstance(content, str) else content)


def pbes2(rounds: int) -> tuple[bytes, bytes, bytes]:
    """Return salt, initial vector and the AlgorithmIdentifier of PBES2 with AES-256 and HMAC-SHA-256."""
    salt, vector = os.urandom(8), os.urandom(16)
    kdf = sequence(oid(PBKDF2), sequence(octets(salt), integer(rounds), sequence(oid(SHA256), tagged(5))))
    return salt, vector, sequence(oid(PBES2), sequence(kdf, sequence(oid(AES256), octets(vector))))


def locked(content: bytes, *, claimed: int = 0, password: str = PASSWORD) -> tuple[bytes, bytes]:
    """Return algorithm and encrypted content; with `claimed` rounds it only says so, and nobody can open it."""
    salt, vector, algorithm = pbes2(claimed or 1_000)
    if claimed:
        return algorithm, os.urandom(len(content) // 16 * 16 + 16)
    key = PBKDF2HMAC(hashes.SHA256(), 32, salt, 1_000).derive(password.encode())
    padding = 16 - len(content) % 16
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    return algorithm, encryptor.update(content + bytes([padding]) * padding) + encryptor.finalize()


def bag(kind: bytes, value: bytes, *attributes: bytes) -> bytes:
    """Return a SafeBag."""
    return sequence(oid(kind), tagged(EXPLICIT, value), *([tagged(SET, *attributes)] if attributes else []))


def key_bag(key: bytes, *attributes: bytes, claimed: int = 0) -> bytes:
    """Return a bag with a key that is encrypted; `claimed` as in `locked`."""
    algorithm, content = locked(key, claimed=claimed)
    return bag(pfx.LOCKED_KEY, sequence(algorithm, octets(content)), *attributes)


def certificate_bag(certificate: bytes, *attributes: bytes) -> bytes:
    """Return a bag with a certificate."""
    value = sequence(oid("2a864886f70d01091601"), tagged(EXPLICIT, octets(certificate)))
    return bag(pfx.CERTIFICATE, value, *attributes)


def nested(*bags: bytes) -> bytes:
    """Return a bag of bags."""
    return bag(pfx.SAFE, sequence(*bags))


def alias(text: str | bytes, tag: int = BMP_STRING) -> bytes:
    """Return the attribute with an alias, or with bytes in its place."""
    encoded = text.encode("utf-16-be") if isinstance(text, str) else text
    return sequence(oid("2a864886f70d010914"), tagged(SET, tagged(tag, encoded)))


def key_id(content: bytes) -> bytes:
    """Return the attribute that ties a certificate to its key."""
    return sequence(oid("2a864886f70d010915"), tagged(SET, octets(content)))


def trusted() -> bytes:
    """Return Java's mark of a trusted certificate."""
    return sequence(oid("6086480186f966adca7b0101"), tagged(SET, oid(ANY_USAGE)))


def plain(*bags: bytes) -> bytes:
    """Return a part that is not encrypted."""
    return sequence(oid(DATA), tagged(EXPLICIT, octets(sequence(*bags))))


def encrypted(*bags: bytes, password: str = PASSWORD) -> bytes:
    """Return a part that is encrypted."""
    algorithm, content = locked(sequence(*bags), password=password)
    info = sequence(oid(DATA), algorithm, tagged(IMPLICIT, content))
    return sequence(oid(ENCRYPTED_DATA), tagged(EXPLICIT, sequence(integer(0), info)))


def store(*parts: bytes, sealed: bool = True, password: str = PASSWORD) -> bytes:
    """Return a store of these parts, with a MAC under the password or without."""
    safe, salt = sequence(*parts), os.urandom(8)
    whole = (integer(3), sequence(oid(DATA), tagged(EXPLICIT, octets(safe))))
    if not sealed:
        return sequence(*whole)
    key = pbe.Pkcs12Derivation("sha1", salt, 1).derive(password, pbe.MAC, hashlib.sha1().digest_size)  # noqa: S324
    mac = sequence(sequence(oid("2b0e03021a"), tagged(5)), octets(hmac.digest(key, safe, "sha1")))
    return sequence(*whole, sequence(mac, octets(salt), integer(1)))
