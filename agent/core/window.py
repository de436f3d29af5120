"""Maintenance windows: when what readers use may change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import tzinfo


@dataclass(frozen=True, slots=True)
class Window:
    """A window that opens at the times of a cron expression (five fields, as in crontab(5)) and stays open for a while.

    The expression is read in `zone`; a time that a change of the clocks skips or repeats is met once.
    """

    cron: str
    length: timedelta
    zone: tzinfo = UTC

    def opened(self, now: datetime) -> datetime:
        """Return when it opened last, up to `now`."""
        from cronsim import CronSim

        # A search backwards leaves out the moment that it starts from, and cron knows whole minutes alone.
        moments = CronSim(self.cron, now.astimezone(self.zone) + timedelta(minutes=1), reverse=True)
        return next(moment.astimezone(UTC) for moment in moments if moment <= now)

    def opens(self, now: datetime) -> datetime:
        """Return when it opens next, after `now`."""
        from cronsim import CronSim

        moments = CronSim(self.cron, now.astimezone(self.zone))
        return next(moment.astimezone(UTC) for moment in moments if moment > now)


def opens_at(windows: Iterable[Window], now: datetime) -> datetime:
    """Return from when a change may be made: `now` within a window or where there is none, else the next opening."""
    windows = tuple(windows)
    if not windows or any(now < window.opened(now) + window.length for window in windows):
        return now
    return min(window.opens(now) for window in windows)
