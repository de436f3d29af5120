"""What Java puts in the place of a match: `$1`, `${name}` and backslashes (`Matcher.appendReplacement`)."""

from __future__ import annotations

import string
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DIGITS = frozenset(string.digits)
_OF_A_NAME = _DIGITS | frozenset(string.ascii_letters)


class ReplacementError(ValueError):
    """Java throws an exception; the message is its own."""


def expanded(replacement: str, groups: Sequence[str | None], names: Mapping[str, int]) -> str:
    """Return the replacement of one match; raise `ReplacementError` where Java throws.

    `groups` begins with the whole match; a group that took no part is None, and nothing to look at.
    """
    pieces: list[str] = []
    at = 0
    while at < len(replacement):
        if replacement[at] == "$":
            number, at = _reference(replacement, at + 1, len(groups) - 1, names)
            pieces.append(groups[number] or "")
            continue
        if replacement[at] == "\\":
            at += 1
            if at == len(replacement):
                raise ReplacementError("character to be escaped is missing")
        pieces.append(replacement[at])
        at += 1
    return "".join(pieces)


def _reference(replacement: str, at: int, most: int, names: Mapping[str, int]) -> tuple[int, int]:
    """Return the number of the group that is named there, and where the text goes on."""
    if at == len(replacement):
        raise ReplacementError("Illegal group reference: group index is missing")
    if replacement[at] == "{":
        return _by_name(replacement, at + 1, names)
    if replacement[at] not in _DIGITS:
        raise ReplacementError("Illegal group reference")
    # The first digit counts whatever it is, the next ones so long as there is such a group.
    number = int(replacement[at])
    at += 1
    while replacement[at : at + 1] in _DIGITS and number * 10 + int(replacement[at]) <= most:
        number = number * 10 + int(replacement[at])
        at += 1
    if number > most:
        raise ReplacementError(f"No group {number}")
    return number, at


def _by_name(replacement: str, at: int, names: Mapping[str, int]) -> tuple[int, int]:
    name = "".join(takewhile(_OF_A_NAME.__contains__, replacement[at:]))
    end = at + len(name)
    if not name:
        raise ReplacementError("named capturing group has 0 length name")
    if replacement[end : end + 1] != "}":
        raise ReplacementError("named capturing group is missing trailing '}'")
    if name[0] in _DIGITS:
        raise ReplacementError(f"capturing group name {{{name}}} starts with digit character")
    if name not in names:
        raise ReplacementError(f"No group with name {{{name}}}")
    return names[name], end + 1
