"""A stranger's words, made safe to repeat to an operator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_QUOTE = 300
"""Characters of a server's own words that a message repeats."""


def quoted(text: str, *, secrets: Iterable[str] = ()) -> str:
    """Return a stranger's words in one bounded line, without what was sent in secret."""
    return in_one_line(without(text, secrets))


def without(text: str, secrets: Iterable[str]) -> str:
    """Return a text without secrets: a server that echoes what it was sent must not bring a token into a log."""
    # The longest first: one may be part of another.
    for form in sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True):
        text = text.replace(form, "[secret]")
    return text


def in_one_line(text: str) -> str:
    """Return a text in one line of printable characters, cut where it is too long."""
    printable = "".join(character if character.isprintable() else " " for character in text[: 4 * LONGEST_QUOTE])
    line = " ".join(printable.split())
    return line if len(line) <= LONGEST_QUOTE else line[: LONGEST_QUOTE - 1] + "…"


def escaped(text: str) -> str:
    """Escape what would break a line or command a terminal; nothing is cut."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _forms(secret: str) -> tuple[str, ...]:
    """Return how a secret may be echoed: as it is, or as it stood in the JSON that was sent."""
    return (secret, json.dumps(secret)[1:-1]) if secret else ()
