"""How large what is read may be, so that no file takes more time or memory than it is worth."""

from __future__ import annotations

from agent.errors import MaterialError

LARGEST_KEY = 13 * 1024
"""Bytes of one private key, encrypted or not: RSA with 16,384 bits in PEM fits."""

LARGEST_KEYS = 64 * 1024
"""Bytes of all the keys of a store together: to see that an RSA key works takes longer than to read it."""

LONGEST_RSA = 8_192
"""Bits of an RSA key. What remains for a hostile store: to try one of these takes a third of a second, in which no
other thread runs, and a dozen of them fit into a store."""

LARGEST_IDENTITY = 330 * 1024
"""Bytes of a file that holds a key: with its chain (95 kB at most that anyone has seen) and whole bundles beside."""

LARGEST_FILE = 4 * 1024 * 1024
"""Bytes of a file of anchors; the CA bundle of a Debian host has a quarter of a megabyte, large ones one."""


def check_size(content: bytes, most: int, what: str) -> None:
    """Raise `MaterialError` for content that is larger; `what` begins the sentence."""
    if len(content) > most:
        raise MaterialError(f"{what} of {len(content)} bytes is larger than {most} allow")


class Keys:
    """Counts the bytes of the private keys of one store, in the format that is told of."""

    def __init__(self, format_: str) -> None:
        self._format = format_
        self._taken = 0

    def take(self, key: bytes) -> None:
        """Raise `MaterialError` when this one is too large, or all so far are."""
        check_size(key, LARGEST_KEY, f"a private key in {self._format}")
        self._taken += len(key)
        if self._taken > LARGEST_KEYS:
            raise MaterialError(f"the {self._format} store holds keys of more than {LARGEST_KEYS} bytes")
