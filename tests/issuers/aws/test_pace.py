"""Calls go evenly, and more slowly after a throttle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from agent.issuers.aws.pace import SLOWEST, Pace

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(pace: Pace, bucket: float, calls: int) -> tuple[float, int]:
    """Make calls at a service with a token bucket of so many a second; return its time and how many it throttled."""
    now, tokens, filled_at, throttled = 0.0, bucket, 0.0, 0
    while calls:
        now, pace = pace.place(now)
        tokens = min(bucket, tokens + (now - filled_at) * bucket)
        filled_at = now
        if tokens >= 1:
            tokens, calls, pace = tokens - 1, calls - 1, pace.granted()
        else:
            throttled, pace = throttled + 1, pace.throttled(now)
    return now, throttled


def test_a_service_that_gives_less_is_met_with_few_throttles() -> None:
    """Four hundred calls at ten a second against five: less than a tenth is throttled, and little time is lost."""
    took, throttled = run(Pace.of(10), bucket=5, calls=400)
    assert throttled <= 40
    assert took < 400 / 5 * 1.5


def test_a_service_that_gives_enough_throttles_nothing() -> None:
    """The configured pace is kept."""
    took, throttled = run(Pace.of(10), bucket=25, calls=100)
    assert throttled == 0
    assert took < 10.5


def test_one_burst_of_throttles_is_one_cut() -> None:
    """Calls that were on their way say nothing new."""
    once = Pace.of(10).throttled(1.0)
    assert once.rate == 5
    assert once.throttled(1.5) == once


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100)), max_size=60))
def test_the_pace_stays_within_its_bounds(events: Sequence[tuple[bool, float]]) -> None:
    """Whatever happens, it is neither nothing nor more than configured, and the next place is never in the past."""
    pace, now = Pace.of(10), 0.0
    for throttled, pause in events:
        now += pause
        at, pace = pace.place(now)
        assert at >= now
        pace = pace.throttled(at) if throttled else pace.granted()
        assert SLOWEST <= pace.rate <= 10
