"""Patterns of `java.util.regex`, read so far as every release of Java surely means the same by them.

What is not surely the same raises `CannotPreviewError`: classes of Unicode, classes within classes,
quotations, lookbehind, flags but `i` and `s`, and repeated groups where Java's own ways are odd (one
that can be empty, one with a group in it). What Java refuses raises `InvalidPatternError`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.java_matcher import (
    Again,
    Ahead,
    At,
    Atomic,
    Fork,
    Jump,
    Mark,
    OneOf,
    Steps,
)
from agent.core.java_pattern import JavaPattern
from agent.core.java_ranges import ALL, CLASSES, NO_LINE_END, any_case, outside
from agent.core.java_text import FIRST_ASTRAL, SURROGATES, CannotPreviewError

if TYPE_CHECKING:
    from agent.core.java_ranges import Ranges

MOST_REPEATS = 1000
MOST_STEPS = 5000
"""In one pattern, repeats written out."""

DEEPEST = 50
"""Groups within groups."""


class InvalidPatternError(ValueError):
    """Java takes no such pattern; the message is the description in its own exception."""


def read_pattern(text: str) -> JavaPattern:
    """Read a pattern; raise `InvalidPatternError` or `CannotPreviewError`."""
    return _Reader(text).pattern()


@dataclass(frozen=True, slots=True)
class _Part:
    """Some steps, and what decides whether they may be repeated.

    `empty`: they can match without taking a character. `marks`: there is a group in them;
    `inner_marks`: one that is not just the part itself. `place`: they only look, or are atomic.
    """

    steps: Steps
    empty: bool = True
    marks: bool = False
    inner_marks: bool = False
    place: bool = False


_NAMED_GROUP = re.compile(r"\?<([A-Za-z][A-Za-z0-9]*)>")
_FLAGS = re.compile(r"\?([is]*)(?:-([is]*))?([:)])")
_REPEAT = re.compile(r"([0-9]+)(,?)([0-9]*)(\}?)")
_REFERENCE = re.compile(r"([1-9])(?![0-9])|k<([A-Za-z][A-Za-z0-9]*)>")
_HEX = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})")
_PLACES = {"A": At.BEGIN, "z": At.END, "Z": At.LAST_LINE_END, "b": At.BOUNDARY, "B": At.NO_BOUNDARY}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "a": "\a", "e": "\x1b"}
_NO_ESCAPES = frozenset("CFIJKLMOTUYgijlmoqy")
"""Letters that mean nothing behind a backslash, in any release."""


class _Reader:
    """Reads one pattern, from the left, once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._any_case = False
        self._dot_is_all = False
        self._groups = 0
        self._closed: set[int] = set()
        self._names: dict[str, int] = {}
        self._ascii_only = False

    def pattern(self) -> JavaPattern:
        if any(one == "\0" or ord(one) >= FIRST_ASTRAL or ord(one) in SURROGATES for one in self._text):
            raise CannotPreviewError("a pattern with characters above U+FFFF, or a NUL")
        part = self._alternatives()
        if self._at < len(self._text):
            raise InvalidPatternError("Unmatched closing ')'")
        return JavaPattern(part.steps, self._groups, tuple(self._names.items()), self._ascii_only)

    def _alternatives(self) -> _Part:
        parts = [self._sequence()]
        while self._takes("|"):
            parts.append(self._sequence())
        steps = parts[-1].steps
        for part in reversed(parts[:-1]):
            steps = (Fork(1, len(part.steps) + 2), *part.steps, Jump(len(steps) + 1), *steps)
        return _Part(steps, empty=any(part.empty for part in parts), marks=any(part.marks for part in parts))

    def _sequence(self) -> _Part:
        steps: Steps = ()
        empty, marks = True, False
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            if self._flags_alone():
                continue
            part = self._repeated(self._atom())
            steps, empty, marks = (*steps, *part.steps), empty and part.empty, marks or part.marks
            if len(steps) > MOST_STEPS:
                raise CannotPreviewError("a pattern that is so long, or repeats so much")
        return _Part(steps, empty=empty, marks=marks)

    def _atom(self) -> _Part:
        match self._next():
            case "(":
                return self._group()
            case "[":
                return _one_of(self._class())
            case ".":
                return _one_of(ALL if self._dot_is_all else NO_LINE_END)
            case "^":
                return _Part((At.BEGIN,), place=True)
            case "$":
                return _Part((At.LAST_LINE_END,), place=True)
            case "\\":
                return self._escaped()
            case "*" | "+" | "?" as sign:
                raise InvalidPatternError(f"Dangling meta character '{sign}'")
            case "{":
                raise CannotPreviewError("a { that repeats nothing")
            case literal:
                return _one_of(self._range(literal, literal))

    # --- repeats

    def _repeated(self, part: _Part) -> _Part:
        sign = self._text[self._at : self._at + 1]
        if sign not in {"?", "*", "+", "{"}:
            return part
        low, high = self._bounds()
        lazy = self._takes("?")
        possessive = not lazy and self._takes("+")
        if part.place:
            raise CannotPreviewError(f"{sign} behind what takes no character, or an atomic group")
        if sign != "?" and part.empty:
            raise CannotPreviewError(f"{sign} behind what can be empty")
        if sign != "?" and part.inner_marks:
            raise CannotPreviewError(f"{sign} behind a group with a group in it")
        if possessive and (len(part.steps) != 1 or not isinstance(part.steps[0], OneOf)):
            raise CannotPreviewError(f"{sign}+ behind a group")
        if len(part.steps) * max(low, high or 1) > MOST_STEPS:
            raise CannotPreviewError("a pattern that is so long, or repeats so much")
        steps = _repeats(part.steps, low, high, lazy=lazy)
        return _Part((Atomic(steps),) if possessive else steps, empty=part.empty or low == 0, marks=part.marks)

    def _bounds(self) -> tuple[int, int | None]:
        """Take the quantifier, and return how often at least and at most; None is for ever."""
        sign = self._next()
        if sign != "{":
            return (1 if sign == "+" else 0), (1 if sign == "?" else None)
        found = _REPEAT.match(self._text, self._at)
        if found is None:
            raise InvalidPatternError("Illegal repetition")
        low, high = int(found[1]), int(found[3]) if found[3] else None
        if max(low, high or 0) > MOST_REPEATS:
            raise CannotPreviewError(f"more than {MOST_REPEATS} repeats")
        if not found[4]:
            raise InvalidPatternError("Unclosed counted closure")
        high = high if found[2] else low
        if high is not None and high < low:
            raise InvalidPatternError("Illegal repetition range")
        if high == 0:
            raise CannotPreviewError("{0}")
        self._at = found.end()
        return low, high

    # --- groups

    def _group(self) -> _Part:
        self._depth += 1
        if self._depth > DEEPEST:
            raise CannotPreviewError(f"more than {DEEPEST} groups within each other")
        flags = self._any_case, self._dot_is_all
        part = self._inside()
        self._any_case, self._dot_is_all = flags
        self._depth -= 1
        return part

    def _inside(self) -> _Part:
        """Take what follows the parenthesis, to the one that closes it."""
        for kind in ("?=", "?!", "?>"):
            if self._takes(kind):
                inner = self._to_the_end()
                if inner.marks:
                    raise CannotPreviewError(f"a group within ({kind}")
                steps: Steps = (Atomic(inner.steps) if kind == "?>" else Ahead(inner.steps, wanted=kind == "?="),)
                return _Part(steps, empty=inner.empty or kind != "?>", place=True)
        flags = _FLAGS.match(self._text, self._at)
        if flags is not None:
            self._set(flags)
            inner = self._to_the_end()
            return _Part(inner.steps, empty=inner.empty, marks=inner.marks, inner_marks=inner.marks)
        named = _NAMED_GROUP.match(self._text, self._at)
        if named is None and self._text.startswith("?", self._at):
            raise CannotPreviewError(f"({self._text[self._at : self._at + 3]}")
        self._groups += 1
        number = self._groups
        if named is not None:
            if named[1] in self._names:
                raise InvalidPatternError(f"Named capturing group <{named[1]}> is already defined")
            self._names[named[1]] = number
            self._at = named.end()
        inner = self._to_the_end()
        self._closed.add(number)
        steps = (Mark(2 * number), *inner.steps, Mark(2 * number + 1))
        return _Part(steps, empty=inner.empty, marks=True, inner_marks=inner.marks)

    def _to_the_end(self) -> _Part:
        inner = self._alternatives()
        if not self._takes(")"):
            raise InvalidPatternError("Unclosed group")
        return inner

    def _flags_alone(self) -> bool:
        """Take flags that hold to the end of the group around them, if they stand here."""
        found = _FLAGS.match(self._text, self._at + 1) if self._text[self._at] == "(" else None
        if found is None or found[3] == ":":
            return False
        self._set(found)
        return True

    def _set(self, flags: re.Match[str]) -> None:
        on, off = flags[1], flags[2] or ""
        self._any_case = (self._any_case or "i" in on) and "i" not in off
        self._dot_is_all = (self._dot_is_all or "s" in on) and "s" not in off
        self._at = flags.end()

    # --- characters

    def _escaped(self) -> _Part:
        """Take what follows a backslash outside of a class."""
        letter = self._text[self._at : self._at + 1]
        place = _PLACES.get(letter)
        if place is not None:
            self._at += 1
            self._ascii_only |= letter in "bB"
            if letter == "b" and self._takes("{"):
                raise CannotPreviewError(r"\b{")
            return _Part((place,), place=True)
        if letter == "k" or letter in {*"123456789"}:
            return _Part((Again(self._reference(), self._any_case),))
        found = self._character()
        return _one_of(self._range(found, found) if isinstance(found, str) else found)

    def _reference(self) -> int:
        """Take a reference to a group, and return its number."""
        found = _REFERENCE.match(self._text, self._at)
        if found is None:
            raise CannotPreviewError(rf"\{self._text[self._at : self._at + 2]}")
        if found[2] and found[2] not in self._names:
            raise InvalidPatternError(f"named capturing group <{found[2]}> does not exist")
        number = self._names[found[2]] if found[2] else int(found[1])
        if number not in self._closed:
            raise CannotPreviewError("a reference to a group that does not end before it")
        self._at = found.end()
        return number

    def _class(self) -> Ranges:
        """Take a class, behind its bracket."""
        negated = self._takes("^")
        ranges: Ranges = ()
        while not (ranges and self._takes("]")):
            if self._at == len(self._text):
                raise InvalidPatternError("Unclosed character class")
            if self._text.startswith(("[", "]", "&&"), self._at):
                raise CannotPreviewError(f"{self._text[self._at : self._at + 2]} in a class")
            ranges += self._item()
        return outside(ranges) if negated else ranges

    def _item(self) -> Ranges:
        """Take a character, a range or a class by its letter."""
        first = self._character() if self._takes("\\") else self._next()
        if isinstance(first, tuple):
            return first
        beyond = self._text[self._at + 1 : self._at + 2]
        if not self._text.startswith("-", self._at) or beyond in {"]", "["}:
            return self._range(first, first)
        self._at += 1
        if not beyond:
            raise CannotPreviewError("a range without an end")
        last = self._character() if self._takes("\\") else self._next()
        if isinstance(last, tuple):
            raise CannotPreviewError("a range that ends in a class")
        if last < first:
            raise InvalidPatternError("Illegal character range")
        return self._range(first, last)

    def _character(self) -> str | Ranges:
        """Take what follows a backslash: a character, or a class by its letter."""
        by_number = _HEX.match(self._text, self._at)
        if by_number is not None:
            self._at = by_number.end()
            point = int(by_number[1] or by_number[2], 16)
            if point in SURROGATES:
                raise CannotPreviewError("half a character (U+D800 to U+DFFF)")
            return chr(point)
        letter = self._next()
        if letter in CLASSES:
            return CLASSES[letter]
        if letter in _NO_ESCAPES:
            raise InvalidPatternError("Illegal/unsupported escape sequence")
        if letter not in _CONTROLS and letter.isascii() and letter.isalnum():
            raise CannotPreviewError(rf"\{letter}")
        return _CONTROLS.get(letter, letter)

    def _range(self, first: str, last: str) -> Ranges:
        ranges: Ranges = ((ord(first), ord(last)),)
        return any_case(ranges) if self._any_case else ranges

    def _next(self) -> str:
        if self._at == len(self._text):
            raise CannotPreviewError("a pattern that ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _takes(self, text: str) -> bool:
        """Go on behind the text, if it stands here."""
        found = self._text.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found


def _one_of(ranges: Ranges) -> _Part:
    return _Part((OneOf(ranges),), empty=False)


def _repeats(steps: Steps, low: int, high: int | None, *, lazy: bool) -> Steps:
    """Return the steps, written out as often as they may be taken."""
    size = len(steps)
    if high is None:
        rest: Steps = (_fork(size + 2, lazy=lazy), *steps, Jump(-size - 1))
    else:
        rest = ()
        for _ in range(high - low):
            rest = (_fork(size + len(rest) + 1, lazy=lazy), *steps, *rest)
    return steps * low + rest


def _fork(by: int, *, lazy: bool) -> Fork:
    """Go into what follows or, rather if lazy, past it."""
    return Fork(by, 1) if lazy else Fork(1, by)
