"""What a password guards, decrypted: PBES1 and PBES2 (RFC 8018), and the key derivation of PKCS12 (RFC 7292, B.2).

The library would do it too, but for as many rounds as the file asks for, and all threads would wait
for it. Here the work is counted before any of it is done, and other threads run beside it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from agent.errors import MaterialError
from agent.keystores import der, rc2

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.keystores.der import Element

Derived: TypeAlias = tuple[bytes, bytes]
"""A key and an initial vector."""

MOST_ROUNDS = 5_000_000
"""Of PBKDF2 in one file, together: seconds. Java allows as many for each part; usual are 2,048 to 600,000."""

DEAR = 4
"""Rounds of PBKDF2 that one of the older key derivations counts for: it is done in Python."""

SCRYPT_COST = 8
"""Rounds that one block of scrypt (RFC 7914) counts for; each takes 128 bytes of memory as well."""

RC2_COST = 100
"""Rounds that one block of RC2 counts for."""

ENCRYPTION, VECTOR, MAC = 1, 2, 3
"""What the key derivation of PKCS12 derives (RFC 7292, B.3)."""


class Work:
    """Counts what opening one file costs, before it is paid."""

    def __init__(self) -> None:
        self._left = MOST_ROUNDS

    def take(self, rounds: int) -> None:
        """Raise `MaterialError` when these rounds and those before are more than a file is worth."""
        self._left -= rounds
        if self._left < 0:
            raise MaterialError(
                f"it takes more than {MOST_ROUNDS} rounds of key derivation to open it, or as much work",
                advice="write it anew with fewer; 20,000 are usual",
            )


@dataclass(frozen=True, slots=True)
class Scheme:
    """How something is encrypted; `cost` is that of its key derivation, in rounds of PBKDF2."""

    cost: int
    _derive: Callable[[str], Derived] = field(repr=False)
    _cipher: str
    _block: int

    def decrypt(self, content: bytes, password: str, work: Work) -> bytes | None:
        """Return what was encrypted, or None when its padding tells that the password was another.

        The key derivation is taken to be paid for. Raise `MaterialError` for what would cost more
        than `work` has left, and for a length that no such content has.
        """
        if not content or len(content) % self._block:
            raise MaterialError("what is encrypted in it is cut short")
        if self._cipher == _RC2:
            work.take(len(content) // self._block * RC2_COST)
        key, vector = self._derive(password)
        if self._cipher == _RC2:
            plain = rc2.decrypt(content, key, vector)
        else:
            algorithm = algorithms.AES(key) if self._cipher == _AES else TripleDES(key)
            decryptor = Cipher(algorithm, modes.CBC(vector)).decryptor()
            plain = decryptor.update(content) + decryptor.finalize()
        padding = plain[-1]
        is_padded = 0 < padding <= self._block and plain.endswith(bytes([padding]) * padding)
        return plain[:-padding] if is_padded else None


def scheme(algorithm: Element) -> Scheme:
    """Read an AlgorithmIdentifier; raise `MaterialError` for one that is garbled, or that the agent does not read."""
    name, parameters = bytes(algorithm.child(0, der.OID).content), algorithm.child(1, der.SEQUENCE)
    if name == _PBES2:
        return _pbes2(parameters)
    if name in _OF_PKCS12:
        cipher, size = _OF_PKCS12[name]
        return _of_pkcs12(parameters, cipher, size)
    if name in _OF_PKCS5:
        return _of_pkcs5(parameters, _OF_PKCS5[name])
    raise _unknown()


def number(element: Element) -> int:
    """Return an INTEGER that counts something, from 1 on; one beyond all measure is `MOST_ROUNDS` and one more."""
    if element.tag != der.INTEGER:
        raise _unknown()
    counted = (
        int.from_bytes(element.content, signed=True) if len(element.content) <= _LONGEST_NUMBER else MOST_ROUNDS + 1
    )
    if counted < 1:
        raise _unknown()
    return counted


@dataclass(frozen=True, slots=True)
class Pkcs12Derivation:
    """The key derivation of PKCS12 (RFC 7292, B.2): a hash over password and salt, again and again."""

    digest: str
    salt: bytes = field(repr=False)
    rounds: int

    def cost(self, size: int) -> int:
        """Return what so many bytes cost, in rounds of PBKDF2."""
        return -(-size // hashlib.new(self.digest).digest_size) * self.rounds * DEAR

    def derive(self, password: str, purpose: int, size: int) -> bytes:
        """Derive a key, an initial vector or the key of a MAC; `purpose` is its ID byte (RFC 7292, B.3)."""
        new = _hash(self.digest)
        width = hashlib.new(self.digest).block_size
        secret = password.encode("utf-16-be", "surrogatepass") + b"\0\0"
        head = bytes([purpose]) * width
        blocks = bytearray(_repeated(self.salt, width) + _repeated(secret, width))
        derived = b""
        while len(derived) < size:
            block = new(head + blocks).digest()
            for _ in range(self.rounds - 1):
                block = new(block).digest()
            derived += block
            added = int.from_bytes(_repeated(block, width)[:width]) + 1
            for start in range(0, len(blocks), width):
                summed = int.from_bytes(blocks[start : start + width]) + added
                blocks[start : start + width] = (summed % (1 << 8 * width)).to_bytes(width)
        return derived[:size]


_LONGEST_NUMBER = 5
_AES, _DES, _RC2 = "AES", "DES", "RC2"

_PBES2 = bytes.fromhex("2a864886f70d01050d")  # 1.2.840.113549.1.5.13
_PBKDF2 = bytes.fromhex("2a864886f70d01050c")  # 1.2.840.113549.1.5.12
_SCRYPT = bytes.fromhex("2b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11

_OF_PKCS12 = {
    bytes.fromhex("2a864886f70d010c0103"): (_DES, 24),  # 1.2.840.113549.1.12.1.3
    bytes.fromhex("2a864886f70d010c0104"): (_DES, 16),
    bytes.fromhex("2a864886f70d010c0105"): (_RC2, 16),
    bytes.fromhex("2a864886f70d010c0106"): (_RC2, 5),
}
_OF_PKCS5 = {
    bytes.fromhex("2a864886f70d010503"): "md5",  # 1.2.840.113549.1.5.3: DES, with MD5
    bytes.fromhex("2a864886f70d01050a"): "sha1",
}
_CIPHERS = {
    bytes.fromhex("60864801650304") + bytes([1, 2]): (_AES, 16),  # 2.16.840.1.101.3.4.1.2
    bytes.fromhex("60864801650304") + bytes([1, 22]): (_AES, 24),
    bytes.fromhex("60864801650304") + bytes([1, 42]): (_AES, 32),
    bytes.fromhex("2a864886f70d0307"): (_DES, 24),  # 1.2.840.113549.3.7
}
_PRFS: dict[bytes, hashes.HashAlgorithm] = {
    bytes.fromhex("2a864886f70d02") + bytes([last]): made
    for last, made in (
        (7, hashes.SHA1()),  # noqa: S303 - 1.2.840.113549.2.7, what PBKDF2 uses where it is not told otherwise
        (8, hashes.SHA224()),
        (9, hashes.SHA256()),
        (10, hashes.SHA384()),
        (11, hashes.SHA512()),
    )
}
_BLOCKS = {_AES: 16, _DES: 8, _RC2: 8}


def _pbes2(parameters: Element) -> Scheme:
    derivation, encryption = parameters.child(0, der.SEQUENCE), parameters.child(1, der.SEQUENCE)
    try:
        cipher, size = _CIPHERS[bytes(encryption.child(0, der.OID).content)]
    except KeyError:
        raise _unknown() from None
    vector = encryption.child(1).octets
    if len(vector) != _BLOCKS[cipher]:
        raise _unknown()
    name, told = bytes(derivation.child(0, der.OID).content), derivation.child(1, der.SEQUENCE)
    if name == _PBKDF2:
        cost, derive = _pbkdf2(told, size)
    elif name == _SCRYPT:
        cost, derive = _scrypt(told, size)
    else:
        raise _unknown()
    return Scheme(
        cost, lambda password: (derive(password.encode("utf-8", "surrogatepass")), vector), cipher, _BLOCKS[cipher]
    )


def _pbkdf2(told: Element, size: int) -> tuple[int, Callable[[bytes], bytes]]:
    salt, rounds, rest = told.child(0).octets, number(told.child(1)), list(told.children[2:])
    if rest and rest[0].tag == der.INTEGER and number(rest.pop(0)) != size:
        raise _unknown()
    try:
        prf = _PRFS[bytes(rest[0].child(0, der.OID).content)] if rest else hashes.SHA1()  # noqa: S303 - the default
    except KeyError:
        raise _unknown() from None
    cost = -(-size // prf.digest_size) * rounds
    return cost, lambda secret: PBKDF2HMAC(prf, size, salt, rounds).derive(secret)


def _scrypt(told: Element, size: int) -> tuple[int, Callable[[bytes], bytes]]:
    salt, (n, r, p) = told.child(0).octets, (number(told.child(place, der.INTEGER)) for place in (1, 2, 3))
    if n < 2 or n & (n - 1) or n >= 1 << 16 * min(r, 8):  # RFC 7914, 2
        raise _unknown()
    return n * r * p * SCRYPT_COST, lambda secret: Scrypt(salt, size, n, r, p).derive(secret)


def _of_pkcs12(parameters: Element, cipher: str, size: int) -> Scheme:
    kdf, block = Pkcs12Derivation("sha1", parameters.child(0).octets, number(parameters.child(1))), _BLOCKS[cipher]

    def derive(password: str) -> Derived:
        key = kdf.derive(password, ENCRYPTION, size)
        # 3DES with two keys takes the first of them a second time.
        return (key + key[:8])[: max(size, 24)] if cipher == _DES else key, kdf.derive(password, VECTOR, block)

    return Scheme(kdf.cost(size) + kdf.cost(block), derive, cipher, block)


def _of_pkcs5(parameters: Element, digest: str) -> Scheme:
    salt, rounds = parameters.child(0).octets, number(parameters.child(1))

    def derive(password: str) -> Derived:
        block, new = password.encode("utf-8", "surrogatepass") + salt, _hash(digest)
        for _ in range(rounds):
            block = new(block).digest()
        return block[:8] * 3, block[8:16]

    return Scheme(rounds * DEAR, derive, _DES, _BLOCKS[_DES])


def _hash(digest: str) -> Callable[[bytes | bytearray], hashlib._Hash]:
    """Return a hash; the interpreter's own, which takes half as long as OpenSSL's for the few bytes of a round."""
    try:
        return vars(hashlib)["__get_builtin_constructor"](digest)  # type: ignore[no-any-return]
    except (KeyError, ValueError, ImportError):
        return getattr(hashlib, digest)  # type: ignore[no-any-return]


def _repeated(content: bytes, width: int) -> bytes:
    """Return the content repeated, to the next multiple of a width."""
    size = -(-len(content) // width) * width
    return (content * (size // len(content) + 1))[:size] if content else b""


def _unknown() -> MaterialError:
    return MaterialError("it is encrypted in a way that the agent does not read")
