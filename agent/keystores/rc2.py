"""RC2 (RFC 2268) in CBC mode, to read what older tools wrote; nothing is written with it.

OpenSSL before 3 and Java before 8u301 and 11.0.12 encrypt the certificates of a PKCS12 store with
RC2 of 40 bits, which keeps nothing from view. The library offers RC2 of 128 bits alone.
"""

from __future__ import annotations

import struct

BLOCK = 8

_PI = bytes.fromhex(
    "d978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2"
    "179a59f587b34f1361456d8d09817d32bd8f40eb86b77b0bf09521225c6b4e82"
    "54d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb626"
    "6fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed7"
    "08e8eade8052eef784aa72ac354d6a2a961ad2715a1549744b9fd05e0418a4ec"
    "c2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b25559731"
    "2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a9"
    "0d38341bab33ffb0bb480c5fb9b1cd2ec5f3db47e5a59c770aa62068fe7fc1ad"
)
"""The table of RFC 2268, 2: a permutation of all bytes that the digits of pi give."""

_MIXES = ((3, 5), (2, 3), (1, 2), (0, 1))
"""The words of a block as a round undoes them, and by how many bits each is turned back."""


def decrypt(content: bytes, key: bytes, vector: bytes) -> bytes:
    """Return the blocks decrypted, their padding with them; the key is as strong as it is long.

    `content` is whole blocks. 15 microseconds a block: what is large belongs into a thread.
    """
    words = _expanded(key)
    plain, before = bytearray(), int.from_bytes(vector)
    for start in range(0, len(content), BLOCK):
        block = content[start : start + BLOCK]
        plain += (int.from_bytes(_block(block, words)) ^ before).to_bytes(BLOCK)
        before = int.from_bytes(block)
    return bytes(plain)


def _expanded(key: bytes) -> tuple[int, ...]:
    """Return the 64 words of a key whose effective bits are all of its bits (RFC 2268, 2)."""
    table, size = bytearray(key), len(key)
    for at in range(size, 128):
        table.append(_PI[(table[at - 1] + table[at - size]) & 0xFF])
    table[128 - size] = _PI[table[128 - size]]
    for at in range(127 - size, -1, -1):
        table[at] = _PI[table[at + 1] ^ table[at + size]]
    return struct.unpack("<64H", table)


def _block(block: bytes, words: tuple[int, ...]) -> bytes:
    """Undo the sixteen rounds, and the mashing behind the fifth and the eleventh (RFC 2268, 4)."""
    r = list(struct.unpack("<4H", block))
    at = 63
    for number in range(16, 0, -1):
        for i, turn in _MIXES:
            turned = (r[i] >> turn | r[i] << (16 - turn)) & 0xFFFF
            last = r[i - 1]
            r[i] = (turned - words[at] - (last & r[i - 2]) - (~last & r[i - 3])) & 0xFFFF
            at -= 1
        if number in (12, 6):
            for i in (3, 2, 1, 0):
                r[i] = (r[i] - words[r[i - 1] & 63]) & 0xFFFF
    return struct.pack("<4H", *r)
