"""How JKS keeps a private key from view: Sun's key protector, an exclusive or with a keystream of SHA-1.

The keystream is SHA-1 over password and salt, then over password and the block before; a last SHA-1
over password and key tells whether the password was the right one. The format knows nothing better.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from agent.errors import MaterialError
from agent.keystores import der

_BLOCK = hashlib.sha1().digest_size  # noqa: S324 - the format knows no other

_ALGORITHM = bytes.fromhex("300e060a2b060104012a021101010500")
"""The AlgorithmIdentifier in DER: 1.3.6.1.4.1.42.2.17.1.1, without parameters."""

_OID = _ALGORITHM[4:14]


def encoded(password: str) -> bytes:
    """Return the password as JKS hashes it: UTF-16, big-endian."""
    return password.encode("utf-16-be", "surrogatepass")


def lock(plain: bytes, password: str) -> bytes:
    """Return a PKCS#8 as an EncryptedPrivateKeyInfo (RFC 5958, 3) that Java opens, in DER."""
    secret, salt = encoded(password), secrets.token_bytes(_BLOCK)
    return _tagged(
        der.SEQUENCE,
        _ALGORITHM + _tagged(der.OCTET_STRING, salt + _mixed(plain, secret, salt) + _check(secret, plain)),
    )


def unlock(locked: bytes, password: str) -> bytes | None:
    """Return the PKCS#8; None when the password is not that of the key, or it is protected in another way.

    Raise `MaterialError` for what is no EncryptedPrivateKeyInfo.
    """
    info = der.Reader().first(locked)
    algorithm, content = info.child(0, der.SEQUENCE), info.child(1).octets
    if bytes(algorithm.child(0, der.OID).content) != _OID:
        return None
    if len(content) < 2 * _BLOCK:
        raise MaterialError("a private key in JKS is cut short")
    secret, salt, check = encoded(password), content[:_BLOCK], content[-_BLOCK:]
    plain = _mixed(content[_BLOCK:-_BLOCK], secret, salt)
    return plain if hmac.compare_digest(check, _check(secret, plain)) else None


def _mixed(content: bytes, secret: bytes, salt: bytes) -> bytes:
    """Return the content with the keystream over it; the same again takes it away."""
    stream, block = bytearray(), salt
    while len(stream) < len(content):
        block = _check(secret, block)
        stream += block
    size = len(content)
    return (int.from_bytes(content) ^ int.from_bytes(stream[:size])).to_bytes(size)


def _check(secret: bytes, content: bytes) -> bytes:
    return hashlib.sha1(secret + content).digest()  # noqa: S324 - the format knows no other


def _tagged(tag: int, content: bytes) -> bytes:
    """Return an element of DER."""
    size = len(content)
    length = bytes([size]) if size < 128 else (b"\x81" if size < 256 else b"\x82") + size.to_bytes(1 + (size > 255))
    return bytes([tag]) + length + content
