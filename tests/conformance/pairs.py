"""Every pair of values meets in some case: what breaks a CA is mostly two things that do not go together."""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def pairwise(dimensions: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return few cases in which each two values of two dimensions stand together at least once.

    Greedy, and the same each time: of all cases the one that has most pairs that are still missing.
    """
    names = list(dimensions)
    everything = [dict(zip(names, values, strict=True)) for values in product(*dimensions.values())]
    missing = {pair for case in everything for pair in _pairs(case)}
    cases = []
    while missing:
        best = max(everything, key=lambda case: len(_pairs(case) & missing))
        missing -= _pairs(best)
        cases.append(best)
    return cases


def _pairs(case: Mapping[str, Any]) -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    return set(combinations(case.items(), 2))
