"""A close look at a Kafka listener: several handshakes in a row, each offering the agent's own certificate."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.core.evidence import Served, Verdict
from agent.errors import MaterialError
from agent.wire.connection import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    LONGEST_TRY,
    NobodyThereError,
    NoHandshakeError,
    connect,
    failures_told,
    presented,
    server_name,
    split,
)
from agent.wire.dialogue import Dialogue, PeerError, showing_context

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from OpenSSL import SSL

    from agent.core.credentials import Credentials

SHORTEST_TRY = 0.25
"""Seconds; with less a handshake shows nothing, and hides what the one before has shown."""

LONGEST_ANSWER = 2.0
"""Seconds for the answer to a request, and never more than half of what is left of the visit."""


class Visitor:
    """Looks at listeners closely; nothing is sent over a connection but one question that anybody may ask."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock

    async def visit(  # noqa: PLR0913 - what is looked at, for what, how often, how long, and what is shown
        self,
        listener: str,
        address: str,
        *,
        proven: Callable[[Served], bool],
        times: int,
        within: timedelta,
        shown: Credentials | None,
    ) -> Served:
        """Handshake with `host:port` until `times` handshakes in a row are `proven`, or the time is over.

        Each is a new connection without resumption, for each network thread of a broker has its own
        copy of the stores. A handshake that is not proven, or comes to nothing, ends the row; after a
        pause, each twice the one before, the count begins anew. The last handshake of a whole row is
        returned. Where the time is over before:

        - The connection was refused: nobody listens, and what was seen before counts no more.
        - None was proven, and the last try showed a leaf: that handshake is returned.
        - Some were proven and not a whole row: a broker goes over one thread after the other, so that one
          which is seen to use what is wanted has taken it, and is at it still. Nothing speaks against
          it, and too little for it: the fingerprint is None, and `trouble` tells how many came.
        - None was proven, and the last try showed nothing: who hangs is not known to have refused. The
          fingerprint is None, and `trouble` is that of the last try.

        `shown` is offered wherever the listener asks for a certificate. Whether it was taken shows in
        what follows, in each handshake: a request of Kafka's that is answered (proven), an alert or
        the end of the connection (refuted). Silence and anything else leaves it unknown; a listener
        that is proven without an answer is not asked again. One that asks for a certificate and names
        no CA has an empty set of them, which says nothing of whom it takes.

        Nothing is raised, for a listener that is down as little as for a certificate that cannot be shown.
        """
        end = asyncio.get_running_loop().time() + within.total_seconds()
        row = _Row(times)
        try:
            talk = _Talk(showing_context(shown), end)
        except MaterialError as error:
            return self._unknown(listener, address, f"the agent cannot show its own certificate: {error.what}")
        pause = FIRST_PAUSE
        while True:
            try:
                served = await self._handshake(listener, address, talk)
                row.add(served, is_proven=proven(served))
                talk.asks = served.took_leaf is not Verdict.UNKNOWN or row.has_ended
            except NobodyThereError as error:
                row = _Row(times, str(error), is_down=True)
            except NoHandshakeError as error:
                row.fail(str(error))
            if row.is_whole or talk.left < (pause if row.has_ended else 0) + SHORTEST_TRY:
                return row.outcome or replace(self._unknown(listener, address, row.trouble), is_down=row.is_down)
            if row.has_ended:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _handshake(self, listener: str, address: str, talk: _Talk) -> Served:
        """Return what one handshake shows; raise `NoHandshakeError` when there is none."""
        seconds = min(LONGEST_TRY, talk.left)
        with failures_told(seconds):
            host, port = split(address)
            seen = await talk.once(host, port, seconds)
        served = presented(seen.der, listener=listener, address=address, at=self._clock(), others=seen.behind)
        return replace(served, acceptable=seen.acceptable, took_leaf=seen.took_leaf)

    def _unknown(self, listener: str, address: str, trouble: str) -> Served:
        return Served(listener, self._clock(), None, trouble=trouble, address=address)


class _Row:
    """The handshakes of one visit, and what they come to; `Visitor.visit` tells the rules."""

    def __init__(self, times: int, trouble: str = "", *, is_down: bool = False) -> None:
        self._times, self._trouble = times, trouble
        self.is_down = is_down
        self._came = 0
        self._proven: Served | None = None
        self._other: Served | None = None
        self._is_silent = False
        self.has_ended = True

    @property
    def is_whole(self) -> bool:
        return not self.has_ended and self._came >= self._times

    @property
    def outcome(self) -> Served | None:
        """What was seen, None where that is not known."""
        if self.is_whole:
            return self._proven
        return self._other if self._proven is None and not self._is_silent else None

    @property
    def trouble(self) -> str:
        """Why there is no outcome."""
        if self._proven is None:
            return self._trouble
        if self._other is not None and self._came == 0:
            return "it shows what is wanted and something else by turns"
        came = f"only {self._came} of {self._times} handshakes came"
        return f"{came}: {self._trouble}" if self._trouble else came

    def add(self, served: Served, *, is_proven: bool) -> None:
        self.is_down = False
        if is_proven:
            self._came = 1 if self.has_ended else self._came + 1
            self._proven, self._trouble = served, ""
        else:
            self._came = 0
            self._other = served
        self.has_ended, self._is_silent = not is_proven, False

    def fail(self, trouble: str) -> None:
        """Note a try that came to nothing."""
        self._trouble, self.has_ended, self.is_down, self._is_silent = trouble, True, False, True


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one handshake showed."""

    der: bytes
    acceptable: frozenset[bytes] | None
    took_leaf: Verdict
    behind: tuple[bytes, ...]


class _Talk:
    """What one visit says to a listener each time; `end` is of the loop's clock.

    `asks` is whether to find out if the listener takes the agent's leaf.
    """

    def __init__(self, context: SSL.Context, end: float) -> None:
        self._context, self._end = context, end
        self.asks = True

    @property
    def left(self) -> float:
        return self._end - asyncio.get_running_loop().time()

    async def once(self, host: str, port: int, seconds: float) -> _Seen:
        """Return what the listener shows; raise `OSError` or `ValueError` where it shows nothing."""
        until = asyncio.get_running_loop().time() + seconds
        async with asyncio.timeout_at(until):
            connection = await connect(host, port)
        with Dialogue(self._context, connection, server_name(host)) as dialogue:
            took = Verdict.UNKNOWN
            try:
                async with asyncio.timeout_at(until):
                    await dialogue.shake_hands()
            except PeerError:
                if not dialogue.has_shown_key:
                    raise
                took = Verdict.REFUTED if dialogue.has_offered else Verdict.UNKNOWN
            else:
                if dialogue.has_offered and self.asks:
                    took = await self._took(dialogue)
            return _Seen(dialogue.leaf(), dialogue.acceptable(), took, dialogue.behind_leaf())

    async def _took(self, dialogue: Dialogue) -> Verdict:
        """Return whether the listener took our leaf, seen in what it does with a request.

        In TLS 1.3 the client's handshake is over before the listener has looked at its certificate,
        and Kafka judges the name in it later still.
        """
        try:
            async with asyncio.timeout(min(LONGEST_ANSWER, self.left / 2)):
                return Verdict.PROVEN if await dialogue.is_answered() else Verdict.UNKNOWN
        except (PeerError, ConnectionError):
            return Verdict.REFUTED
        except OSError:
            return Verdict.UNKNOWN  # nothing came in time, or no TLS, or no end of it: that says nothing of the leaf
