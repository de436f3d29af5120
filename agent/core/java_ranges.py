"""Sets of characters as `java.util.regex` has them without its flags `u` and `U`: of ASCII, unless told otherwise."""

from __future__ import annotations

from typing import TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Code points, from the first to the last of each range."""

_LAST = 0x10FFFF
ALL: Ranges = ((0, _LAST),)

_CAPITALS, _SMALLS = (0x41, 0x5A), (0x61, 0x7A)
_DISTANCE = 0x20
"""From a capital letter to the small one."""


def outside(ranges: Ranges) -> Ranges:
    """Return all code points that are in none of the ranges."""
    gaps: list[tuple[int, int]] = []
    start = 0
    for first, last in sorted(ranges):
        if start < first:
            gaps.append((start, first - 1))
        start = max(start, last + 1)
    return *gaps, (start, _LAST)


def any_case(ranges: Ranges) -> Ranges:
    """Return the ranges, and the letters of ASCII that differ from one in them by their case alone."""
    return ranges + _moved(ranges, _CAPITALS, _DISTANCE) + _moved(ranges, _SMALLS, -_DISTANCE)


def _moved(ranges: Ranges, part: tuple[int, int], by: int) -> Ranges:
    """Return what the ranges have of a part, so much further on."""
    common = ((max(first, part[0]), min(last, part[1])) for first, last in ranges)
    return tuple((first + by, last + by) for first, last in common if first <= last)


_DIGITS: Ranges = ((0x30, 0x39),)
_WORDS: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACES: Ranges = ((0x09, 0x0D), (0x20, 0x20))

CLASSES = {
    "d": _DIGITS,
    "w": _WORDS,
    "s": _SPACES,
    "D": outside(_DIGITS),
    "W": outside(_WORDS),
    "S": outside(_SPACES),
}
"""By the letter that stands behind the backslash."""

LINE_ENDS = "\n\r\x85\u2028\u2029"
"""What `.` does not match, and `$` may stand before."""

NO_LINE_END = outside(tuple((ord(one), ord(one)) for one in LINE_ENDS))
