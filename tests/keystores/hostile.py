"""Stores made to be a burden."""

from __future__ import annotations

from agent.keystores import der

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
