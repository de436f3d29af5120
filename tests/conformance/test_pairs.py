"""Cases in which each two values meet: all of them do, and there are few cases."""

from __future__ import annotations

from itertools import combinations, product
from math import prod

from hypothesis import given
from hypothesis import strategies as st

from tests.conformance.pairs import pairwise

SIZES = st.lists(st.integers(1, 4), min_size=2, max_size=4)


def dimensions(sizes: list[int]) -> dict[str, list[int]]:
    """Return dimensions of so many values each."""
    return {f"d{number}": list(range(size)) for number, size in enumerate(sizes)}


@given(SIZES)
def test_every_two_values_of_two_dimensions_meet(sizes: list[int]) -> None:
    """No pair is missing, and each case has a value of each dimension."""
    wanted = dimensions(sizes)
    cases = pairwise(wanted)
    assert all(list(case) == list(wanted) for case in cases)
    for one, other in combinations(wanted, 2):
        assert {(case[one], case[other]) for case in cases} == set(product(wanted[one], wanted[other]))


@given(SIZES)
def test_the_cases_are_few(sizes: list[int]) -> None:
    """There are as many as the two largest dimensions need at least, and never one that adds nothing."""
    cases = pairwise(dimensions(sizes))
    first, second, *_ = sorted(sizes, reverse=True)
    assert first * second <= len(cases) <= prod(sizes)
    seen: set[tuple[tuple[str, int], tuple[str, int]]] = set()
    for case in cases:
        pairs = set(combinations(case.items(), 2))
        assert not pairs <= seen
        seen |= pairs


def test_the_cases_are_the_same_each_time() -> None:
    """Workers that make them by themselves agree on them, and ten values each of three need no hundred more."""
    wanted = {name: list(range(6)) for name in "abc"}
    assert pairwise(wanted) == pairwise(wanted)
    assert len(pairwise(wanted)) < 6**2 * 1.7
