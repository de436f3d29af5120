"""Matches a text against the steps of a pattern, one try after the other, as `java.util.regex.Matcher` does.

Python's `re` would not do: nothing stops it once a pattern sends it astray, it holds up every thread
meanwhile, and its releases differ where groups repeat. Here each try is counted.
`agent.core.java_regex` makes the steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

from agent.core.java_ranges import LINE_ENDS
from agent.core.java_text import FIRST_ASTRAL, SURROGATES, CannotPreviewError

if TYPE_CHECKING:
    from agent.core.java_ranges import Ranges

LONGEST_TEXT = 2000
"""Characters; for longer ones Java's own recursion may not have the stack."""

MOST_STEPS = 50_000
"""For one text, all patterns together: a tenth of a second. The rules of Kafka's documentation take 600."""

Span: TypeAlias = tuple[int, int]


class At(Enum):
    """A place in the text that is looked for, and takes none of it."""

    BEGIN = auto()
    END = auto()
    LAST_LINE_END = auto()
    BOUNDARY = auto()
    NO_BOUNDARY = auto()


@dataclass(frozen=True, slots=True)
class OneOf:
    """One character of these."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Fork:
    """Go on by so many steps, and should that fail, by so many others."""

    first: int
    second: int


@dataclass(frozen=True, slots=True)
class Jump:
    """Go on by so many steps."""

    by: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A group begins or ends: those of group n are marks 2n and 2n + 1."""

    number: int


@dataclass(frozen=True, slots=True)
class Again:
    """What a group has matched, once more; `any_case` is about ASCII alone."""

    group: int
    any_case: bool


@dataclass(frozen=True, slots=True)
class Ahead:
    """Whether what follows matches, or does not; it takes nothing."""

    steps: Steps
    wanted: bool


@dataclass(frozen=True, slots=True)
class Atomic:
    """The first way in which these match, and no other."""

    steps: Steps


Step: TypeAlias = OneOf | Fork | Jump | Mark | Again | Ahead | Atomic | At
Steps: TypeAlias = tuple[Step, ...]

_NOWHERE = -1
_WORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")


@dataclass(frozen=True, slots=True)
class Match:
    """Where a pattern matched, and where each group did, None for one that took no part; group 0 is all."""

    start: int
    end: int
    groups: tuple[Span | None, ...]


class Subject:
    """One text and how many steps are left for it; `CannotPreviewError` ends what takes more.

    The error is raised at once for a text that is too long, or has characters of which Java has two.
    """

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST_TEXT:
            raise CannotPreviewError(f"the name has more than {LONGEST_TEXT} characters")
        if any(ord(one) >= FIRST_ASTRAL or ord(one) in SURROGATES for one in text):
            raise CannotPreviewError(
                "the name has characters that are not one to Java (U+D800 to U+DFFF, above U+FFFF)"
            )
        self.text = text
        self._left = MOST_STEPS

    def match(self, steps: Steps, at: int, groups: int, *, whole: bool) -> Match | None:
        """Return the match that begins at a place, or None; with `whole` it must reach the end of the text."""
        marks = [_NOWHERE] * (2 * groups + 2)
        end = self._run(steps, at, marks, whole=whole)
        if end == _NOWHERE:
            return None
        pairs = zip(marks[2::2], marks[3::2], strict=True)
        return Match(at, end, ((at, end), *(None if start == _NOWHERE else (start, stop) for start, stop in pairs)))

    def _run(self, steps: Steps, at: int, marks: list[int], *, whole: bool) -> int:
        """Return where the first way to match ends; marks are set as that way has set them."""
        # Ways not tried yet: which step, and where in the text. A mark to be set back is ~mark, and what it was.
        untried: list[tuple[int, int]] = []
        here = 0
        while True:
            self._count()
            match steps[here] if here < len(steps) else None:
                case None if not whole or at == len(self.text):
                    return at
                case Fork(first, second):
                    untried.append((here + second, at))
                    here += first
                    continue
                case Jump(by):
                    here += by
                    continue
                case Mark(number):
                    untried.append((~number, marks[number]))
                    marks[number] = at
                    here += 1
                    continue
                case None:
                    reached = _NOWHERE
                case step:
                    reached = self._reached(step, at, marks)
            if reached != _NOWHERE:
                here, at = here + 1, reached
                continue
            while untried:
                here, at = untried.pop()
                if here >= 0:
                    break
                marks[~here] = at
            else:
                return _NOWHERE

    def _reached(self, step: OneOf | Again | Ahead | Atomic | At, at: int, marks: list[int]) -> int:
        """Return where the text goes on behind the step."""
        match step:
            case OneOf(ranges):
                return at + 1 if at < len(self.text) and _is_in(ord(self.text[at]), ranges) else _NOWHERE
            case Again(group, any_case):
                return self._again(marks[2 * group : 2 * group + 2], at, any_case=any_case)
            case Ahead(steps, wanted):
                found = self._run(steps, at, marks, whole=False) != _NOWHERE
                return at if found is wanted else _NOWHERE
            case Atomic(steps):
                return self._run(steps, at, marks, whole=False)
            case place:
                return at if self._is_at(place, at) else _NOWHERE

    def _again(self, marks: list[int], at: int, *, any_case: bool) -> int:
        if marks[0] == _NOWHERE:
            return _NOWHERE
        wanted = self.text[slice(*marks)]
        found = self.text[at : at + len(wanted)]
        if any_case:
            wanted, found = wanted.translate(_SMALL), found.translate(_SMALL)
        return at + len(wanted) if found == wanted else _NOWHERE

    def _is_at(self, place: At, at: int) -> bool:
        rest = self.text[at : at + 3]
        match place:
            case At.BEGIN:
                return at == 0
            case At.END:
                return not rest
            case At.LAST_LINE_END:
                between = rest == "\n" and self.text[:at].endswith("\r")
                return not between and (rest in {"", "\r\n"} or (len(rest) == 1 and rest in LINE_ENDS))
            case _:  # between a character of words and another, or not
                before, after = self.text[max(at - 1, 0) : at] in _WORD, rest[:1] in _WORD
                return (before is not after) is (place is At.BOUNDARY)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise CannotPreviewError(f"it takes more than {MOST_STEPS} steps to match")


_SMALL = {ord(capital): ord(capital) + 32 for capital in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def _is_in(point: int, ranges: Ranges) -> bool:
    for first, last in ranges:  # noqa: SIM110 - it is asked for each character of each try, and this is the fastest
        if first <= point <= last:
            return True
    return False
