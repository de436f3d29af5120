"""What Java makes of text where that is beyond doubt: its characters, and their case."""

from __future__ import annotations

FIRST_ASTRAL = 0x10000
"""From here on Java has two characters where Python has one."""

SURROGATES = range(0xD800, 0xE000)
"""Halves of such a character."""


class CannotPreviewError(ValueError):
    """What Java would make of it is not surely known here; the message says what was met, as a phrase."""


_SURE = (
    (0x00, 0x17F),  # Latin
    (0x386, 0x3CE),  # Greek
    (0x400, 0x45F),  # Cyrillic
    (0x1EA0, 0x1EF9),  # Latin, as Vietnamese needs it
    (0x3041, 0x30FF),  # Kana, and all that follow have no case
    (0x4E00, 0x9FFF),  # Han
    (0xAC00, 0xD7A3),  # Hangul
)
"""Code points whose case no edition of Unicode has changed that Java 8 or a later one goes by."""

_CAPITAL_SIGMA = "Σ"
"""It has two small forms, and Java chooses by the words around it, for which it has rules of its own."""


def lower(text: str) -> str:
    """Return `toLowerCase(Locale.ENGLISH)`; raise `CannotPreviewError` for letters of which it is not sure."""
    if _CAPITAL_SIGMA in text:
        raise CannotPreviewError("the small letter for Σ depends on the words around it")
    _check(text)
    return text.lower()


def upper(text: str) -> str:
    """Return `toUpperCase(Locale.ENGLISH)`; raise `CannotPreviewError` for letters of which it is not sure."""
    _check(text)
    return text.upper()


def _check(text: str) -> None:
    for character in text:
        if not any(first <= ord(character) <= last for first, last in _SURE):
            raise CannotPreviewError(f"the case of U+{ord(character):04X} depends on Java's edition of Unicode")
