"""How fast AWS is asked: evenly, and more slowly after it has throttled a call.

The service names no rate that it always grants, so the pace finds it: it is halved by a throttled
call and grows again by a little with each that was not (as TCP does it: additive increase,
multiplicative decrease).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

SLOWEST = 0.2
"""Calls a second, however often AWS throttles."""

GROWTH = 0.02
"""What each call that was not throttled adds to the pace, as a share of the configured one."""

CALM = 2.0
"""Seconds for which one cut of the pace lasts: calls that were on their way then say nothing new."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Calls a second at most and now, and the instants (of a steady clock, in seconds) that follow from them."""

    most: float
    rate: float
    next_at: float = 0.0
    cut_at: float = float("-inf")

    @classmethod
    def of(cls, most: float) -> Pace:
        """Return a pace that begins as fast as it may be."""
        return cls(most=most, rate=most)

    def place(self, now: float) -> tuple[float, Pace]:
        """Return when the next call may be made, and the pace after it."""
        at = max(now, self.next_at)
        return at, replace(self, next_at=at + 1 / self.rate)

    def throttled(self, now: float) -> Pace:
        """Return the pace after a call that AWS throttled."""
        if now - self.cut_at < CALM:
            return self
        rate = max(SLOWEST, self.rate / 2)
        # The pause lets the bucket at AWS fill again.
        return replace(self, rate=rate, cut_at=now, next_at=max(self.next_at, now + 1 / rate))

    def granted(self) -> Pace:
        """Return the pace after a call that was not throttled."""
        return replace(self, rate=min(self.most, self.rate + self.most * GROWTH))


class Queue:
    """Lets calls go one after the other at a pace; a change of the pace holds for all who still wait."""

    def __init__(self, most: float) -> None:
        self._pace = Pace.of(most)
        self._turn = asyncio.Lock()

    async def turn(self) -> None:
        """Wait until it is this call's turn, in the order of coming."""
        async with self._turn:
            now = asyncio.get_running_loop().time()
            at, self._pace = self._pace.place(now)
            if at > now:
                await asyncio.sleep(at - now)

    def throttled(self) -> None:
        """Go on more slowly."""
        self._pace = self._pace.throttled(asyncio.get_running_loop().time())

    def granted(self) -> None:
        """Go on a little faster, up to the pace that is configured."""
        self._pace = self._pace.granted()
