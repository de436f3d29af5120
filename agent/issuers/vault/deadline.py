"""A time limit on the loop's clock whose end is told as the CA's not answering."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from agent.errors import IssuerUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def within(end: float, what: str) -> AsyncIterator[None]:
    """Raise `IssuerUnavailableError` when the block has not ended by then; `what` says what it does."""
    try:
        async with asyncio.timeout_at(end):
            yield
    except TimeoutError:
        raise IssuerUnavailableError(
            f"{what} took too long",
            advice="see whether disk and network are well; it is tried again",
            reason="time-out",
        ) from None


@asynccontextmanager
async def turn(lock: asyncio.Lock | asyncio.Semaphore, end: float, what: str) -> AsyncIterator[None]:
    """Hold a lock, which may be waited for until the time limit and held for longer."""
    async with within(end, what):
        await lock.acquire()
    try:
        yield
    finally:
        lock.release()
