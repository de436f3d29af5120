"""What holds for all tests."""

from __future__ import annotations

import asyncio


def pytest_configure() -> None:
    """Have no event loop made behind the tests' backs.

    Up to Python 3.13 the first question for the current loop makes one that nobody closes, and a
    later test is blamed for it. Once it was set, to nothing, there is none to be asked for.
    """
    asyncio.set_event_loop(None)
