"""The one place where the wall clock is read."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return this moment, aware, in UTC."""
    return datetime.now(UTC)
