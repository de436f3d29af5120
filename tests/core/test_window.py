"""Maintenance windows: when they open and close, on the days too when the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.window import Window, opens_at
from tests.material import NOW

ZURICH = ZoneInfo("Europe/Zurich")
NIGHTLY = Window("0 2 * * *", timedelta(hours=2))


def utc(text: str) -> datetime:
    """Return an instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_without_windows_it_is_always_open() -> None:
    """Who names no window has changes made at any time."""
    assert opens_at((), NOW) == NOW


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-11-24 01:59:59", "2026-11-24 02:00:00"),
        ("2026-11-24 02:00:00", "2026-11-24 02:00:00"),
        ("2026-11-24 02:00:30", "2026-11-24 02:00:30"),
        ("2026-11-24 03:59:59", "2026-11-24 03:59:59"),
        ("2026-11-24 04:00:00", "2026-11-25 02:00:00"),
        ("2026-11-24 23:00:00", "2026-11-25 02:00:00"),
    ],
)
def test_window_includes_its_start_and_not_its_end(now: str, opens: str) -> None:
    """It is open from the minute of its expression until its length is over."""
    assert opens_at([NIGHTLY], utc(now)) == utc(opens)


def test_any_of_several_windows_will_do() -> None:
    """Of several the one that is open counts, or the one that opens first."""
    sunday = Window("0 12 * * 0", timedelta(hours=6))
    assert opens_at([NIGHTLY, sunday], utc("2026-11-29 13:00:00")) == utc("2026-11-29 13:00:00")
    assert opens_at([NIGHTLY, sunday], utc("2026-11-29 05:00:00")) == utc("2026-11-29 12:00:00")
    assert opens_at([sunday, NIGHTLY], utc("2026-11-29 19:00:00")) == utc("2026-11-30 02:00:00")


def test_window_longer_than_its_period_never_closes() -> None:
    """One that opens anew before it closes is always open."""
    always = Window("0 * * * *", timedelta(hours=1))
    assert opens_at([always], utc("2026-11-24 02:59:59")) == utc("2026-11-24 02:59:59")


def test_expression_is_read_in_its_zone() -> None:
    """Two in the morning in Zurich is one in UTC in winter, and midnight in summer."""
    night = Window("0 2 * * *", timedelta(hours=1), ZURICH)
    assert night.opens(utc("2026-01-10 12:00:00")) == utc("2026-01-11 01:00:00")
    assert night.opens(utc("2026-07-10 12:00:00")) == utc("2026-07-11 00:00:00")


def test_time_that_the_clocks_skip_is_met_once() -> None:
    """On the last Sunday of March 02:30 does not exist in Zurich: it opens once that day, and again the next."""
    night = Window("30 2 * * *", timedelta(minutes=20), ZURICH)
    first = night.opens(utc("2026-03-28 12:00:00"))
    assert utc("2026-03-29 00:30:00") <= first <= utc("2026-03-29 01:30:00")
    assert night.opens(first) == utc("2026-03-30 00:30:00")
    assert opens_at([night], first) == first


def test_time_that_the_clocks_repeat_is_met_once() -> None:
    """On the last Sunday of October 02:30 comes twice in Zurich, and the window opens at one of them."""
    night = Window("30 2 * * *", timedelta(minutes=20), ZURICH)
    first = night.opens(utc("2026-10-24 12:00:00"))
    assert first in {utc("2026-10-25 00:30:00"), utc("2026-10-25 01:30:00")}
    assert night.opens(first) == utc("2026-10-26 01:30:00")


def test_length_is_time_that_passes() -> None:
    """A window of three hours over the night of the change is open for three hours, whatever the clocks show."""
    night = Window("0 1 * * *", timedelta(hours=3), ZURICH)
    spring, autumn = utc("2026-03-29 00:00:00"), utc("2026-10-24 23:00:00")
    for opened in (spring, autumn):
        assert night.opened(opened) == opened
        last = opened + timedelta(hours=3) - timedelta(seconds=1)
        assert opens_at([night], last) == last
        closed = opened + timedelta(hours=3)
        assert opens_at([night], closed) > closed


@settings(max_examples=40, deadline=None)
@given(
    now=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - of bounds
    cron=st.sampled_from(("*/15 * * * *", "0 2 * * *", "30 2 * * 0", "5 4 1 * *")),
    zone=st.sampled_from((UTC, ZURICH, ZoneInfo("Australia/Lord_Howe"))),
)
def test_it_opened_before_and_opens_after(now: datetime, cron: str, zone: ZoneInfo) -> None:
    """The last opening is not after now, the next is after it, and nothing opens between the two."""
    window = Window(cron, timedelta(minutes=5), zone)
    opened, opens = window.opened(now), window.opens(now)
    assert opened <= now < opens
    assert opened <= opens_at([window], now) <= opens
    assert opens_at([window], opens) == opens
