"""Calls with a token: one alone until its token is known to be taken, then a few at a time.

So a token that has ended, or that lacks a right, is told once and not by two hundred identities.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from agent.errors import IssuanceError
from agent.issuers.vault.cluster import RefusedError
from agent.issuers.vault.deadline import turn
from agent.issuers.vault.pace import Pace, again

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from datetime import timedelta

    from agent.issuers.vault.cluster import Call, Cluster, Told
    from agent.issuers.vault.token import Clocks, Token
    from agent.net.session import Answer

T = TypeVar("T")

AT_ONCE = 6
"""Calls under way at a time: if their token ends just now, so many are refused."""

KNOWN_FOR = 5.0
"""Seconds for which a token that was taken is expected to be taken again."""


class Holder(Protocol):
    """Who has a token."""

    @property
    def current(self) -> Token | None:
        """What is known of the token just now."""

    @property
    def trouble(self) -> IssuanceError | None:
        """Why the token could not be kept."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of it."""

    async def token(self, end: float) -> Token:
        """Return a token to call with; raise `IssuanceError`."""

    async def another(self, refused: Token, end: float, *, taken: bool) -> Token | None:
        """Return a token in place of one that was refused; None when there is none; raise `IssuanceError`.

        `taken` tells whether it had been taken before.
        """

    async def look(self, end: float) -> Token:
        """Return the token with all that can be known of it; raise `IssuanceError`."""

    async def tend(self) -> timedelta | None:
        """Keep it alive."""

    async def close(self, end: float) -> None:
        """Give it back."""


@dataclass(frozen=True, slots=True)
class Errand(Generic[T]):
    """A call that wants a token: how it is made and read with one, and told when it is refused."""

    call: Callable[[str], Call]
    read: Callable[[Answer, str], T]
    refused: Callable[[RefusedError], IssuanceError]


class Gate:
    """Where the calls of one kind, which need the same right, pass with the token of one holder."""

    def __init__(self, cluster: Cluster, holder: Holder, clocks: Clocks, refusals: deque[float]) -> None:
        self._cluster = cluster
        self._holder = holder
        self._monotonic = clocks.monotonic
        self._seats = asyncio.Semaphore(AT_ONCE)
        self._alone = asyncio.Lock()
        self._taken: Token | None = None
        self._taken_at = 0.0
        self._refused: Token | None = None
        self._pace = Pace(clocks.monotonic, refusals)
        self._failed: tuple[float, IssuanceError] | None = None

    async def ask(self, errand: Errand[T], end: float) -> Told[T]:
        """Make the call; after a 403 once more with another token, if there is one.

        Raise `IssuanceError`: what `errand.refused` makes of Vault's no, or why there was no answer.
        """
        since = self._monotonic()
        async with turn(self._seats, end, "waiting for the calls of others"):
            token = await self._holder.token(end)
            try:
                return await self._once(errand, token, since, end)
            except RefusedError as refusal:
                if refusal.status != 403:
                    raise errand.refused(refusal) from refusal
                first = refusal
            other = await self._holder.another(token, end, taken=self._was_taken(token))
            if other is None:
                raise self._stored(errand.refused(first), token) from first
            try:
                return await self._once(errand, other, since, end)
            except RefusedError as refusal:
                error = errand.refused(refusal)
                raise (self._stored(error, other) if refusal.status == 403 else error) from refusal

    async def _once(self, errand: Errand[T], token: Token, since: float, end: float) -> Told[T]:
        self._check(token)
        if self._is_taken(token):
            return await self._call(errand, token, end)
        async with turn(self._alone, end, "waiting for the call of another identity"):
            self._check(token)
            if not self._is_taken(token):
                if self._failed is not None and self._failed[0] > since:
                    raise again(self._failed[1])  # what was asked while this call waited
                try:
                    return await self._call(errand, token, end)
                except IssuanceError as error:
                    self._failed = (self._monotonic(), error)
                    raise
                except RefusedError as refusal:
                    # Told before the next one passes. Of a token that had been taken that is for `ask` to tell:
                    # it has ended, and there may be another.
                    if refusal.status == 403 and not self._was_taken(token):
                        self._stored(errand.refused(refusal), token)
                    raise
        return await self._call(errand, token, end)

    async def _call(self, errand: Errand[T], token: Token, end: float) -> Told[T]:
        try:
            told = await self._cluster.ask(
                errand.call(token.value), lambda answer: errand.read(answer, token.value), end
            )
        except RefusedError as refusal:
            if refusal.status == 403:
                self._pace.count()
                if self._was_taken(token):
                    self._taken_at = float("-inf")
            else:
                self._take(token)  # The right was there; something else is wrong.
            raise
        self._take(token)
        return told

    def _take(self, token: Token) -> None:
        self._taken, self._taken_at = token, self._monotonic()
        if self._refused is None or self._refused.value == token.value:
            self._refused = None
            self._pace.succeeded()

    def _is_taken(self, token: Token) -> bool:
        return self._was_taken(token) and self._monotonic() - self._taken_at < KNOWN_FOR

    def _was_taken(self, token: Token) -> bool:
        return self._taken is not None and self._taken.value == token.value

    def _check(self, token: Token) -> None:
        """Raise the refusal of this very token while its pause lasts."""
        if self._refused is not None and self._refused.value == token.value:
            self._pace.check()

    def _stored(self, error: IssuanceError, token: Token) -> IssuanceError:
        is_stored = self._refused is not None and self._refused.value == token.value and self._pace.left > 0
        if not is_stored:
            self._refused = token
            self._pace.failed(error)
        return error
