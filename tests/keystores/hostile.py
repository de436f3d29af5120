"""Stores and keys made to be a burden."""

from __future__ import annotations

import random

from agent.keystores import der
from tests.keystores.parts import integer, octets, oid, sequence, tagged

HOURS = b"\x02\x04\x7f\xff\xff\xff"
"""An INTEGER of two billions: rounds of key derivation for hours."""


def rebuilt(content: bytes, old: bytes, new: bytes) -> bytes:
    """Return DER in which an element is exchanged wherever it stands, every length around it mended."""
    pieces = []
    for element in der.Reader().all(content):
        if bytes(element.whole) == old:
            pieces.append(new)
        elif old in bytes(element.content):
            inside = rebuilt(bytes(element.content), old, new)
            pieces.append(bytes([element.tag, 0x84]) + len(inside).to_bytes(4) + inside)
        else:
            pieces.append(bytes(element.whole))
    return b"".join(pieces)


RSA, DSA, DH = "2a864886f70d010101", "2a8648ce380401", "2a864886f70d010301"
_NUMBERS = random.Random(1)  # noqa: S311 - nonsense, the same in every run


def number(bits: int) -> int:
    """Return an odd number of so many bits."""
    return _NUMBERS.getrandbits(bits) | 1 | 1 << (bits - 1)


def rsa_key(bits: int, prime_bits: int = 0, *, sound: bool = True) -> bytes:
    """Return a PKCS#8 with a key of RSA, whose primes are none; if sound, they make up the modulus at least."""
    p, q = number(prime_bits or bits // 2), number(prime_bits or bits // 2)
    n = p * q if sound else number(bits)
    numbers = (0, n, 65537, number(bits - 2), p, q, number(bits // 2 - 1), number(bits // 2 - 1), number(bits // 2 - 1))
    return pkcs8(RSA, tagged(5), sequence(*map(integer, numbers)))


def discrete_key(kind: str, bits: int) -> bytes:
    """Return a PKCS#8 with a key of DSA or DH: a large power to be computed, or a failure of the library's own."""
    group = (number(bits), number(bits - 1), number(bits - 2)) if kind == DSA else (number(bits), number(bits - 1))
    return pkcs8(kind, sequence(*map(integer, group)), integer(number(bits - 3)))


def pkcs8(kind: str, parameters: bytes, key: bytes) -> bytes:
    """Return a PrivateKeyInfo (RFC 5958)."""
    return sequence(integer(0), sequence(oid(kind), parameters), octets(key))
