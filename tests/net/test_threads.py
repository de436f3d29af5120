"""Blocking work in a thread, and what a cancellation does to it."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from agent.net.threads import in_thread


async def test_the_result_and_the_error_come_back() -> None:
    """What the work returns or raises is the caller's."""
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 1, 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_waits_for_the_end_of_the_work(*, fails: bool) -> None:
    """However often it is cancelled, the caller goes on only after the work has ended."""
    ended, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        time.sleep(0.2)
        ended.set()
        if fails:
            raise OSError("too late")

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
