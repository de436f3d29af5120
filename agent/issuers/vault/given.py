"""A token that somebody else has made and looks after: read at each call, renewed if it may be, never revoked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from agent.errors import IssuanceError
from agent.issuers.vault.answer import data
from agent.issuers.vault.cluster import Call, RefusedError
from agent.issuers.vault.deadline import turn, within
from agent.issuers.vault.pace import Pace, refusals
from agent.issuers.vault.token import Token, looked_up, read_token

if TYPE_CHECKING:
    from agent.core.secret import Secret
    from agent.issuers.vault.cluster import Cluster
    from agent.issuers.vault.token import Clocks

LOOKUP = "auth/token/lookup-self"
RENEWAL = "auth/token/renew-self"


class GivenToken:
    """The token that stands in a file or variable, and what `lookup-self` tells of it, if that is allowed."""

    def __init__(self, place: Secret, cluster: Cluster, clocks: Clocks) -> None:
        self._place = place
        self._cluster = cluster
        self._clocks = clocks
        self._turn = asyncio.Lock()
        self._held: Token | None = None
        self._looked = False
        self._closed = asyncio.Event()
        self._pace = Pace(clocks.monotonic, refusals())
        self._log = structlog.get_logger()

    @property
    def current(self) -> Token | None:
        """What is known of the token that was last read."""
        return self._held

    @property
    def trouble(self) -> IssuanceError | None:
        """Why the token could not be looked after; it is another's to do."""
        return None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of the token."""
        held = self._held
        if held is None or held.until is None or held.renewable:
            return ()
        return (
            f"the token in {self._place} ends at {held.until:%Y-%m-%d %H:%MZ} and is not renewed: put another there",
        )

    async def token(self, end: float) -> Token:
        """Return the token that stands there now; raise `IssuerUnavailableError` when there is none."""
        async with within(end, f"reading {self._place}"):
            value = await asyncio.to_thread(read_token, self._place)
        if self._held is None or self._held.value != value:
            whom = f"the token in {self._place}"
            self._held, self._looked = Token(value, self._clocks.monotonic(), whom, known=False), False
        return self._held

    async def another(self, refused: Token, end: float, *, taken: bool) -> Token | None:  # noqa: ARG002 - of no concern
        """Return the token that has been put there since, None while it is the one that was refused."""
        token = await self.token(end)
        return token if token.value != refused.value else None

    async def look(self, end: float) -> Token:
        """Ask what the token is, if that is allowed, and return it; raise `IssuanceError`."""
        token = await self.token(end)
        if self._looked:
            return token
        try:
            told = await self._cluster.ask(Call("GET", LOOKUP, token=token.value), data, end)
        except RefusedError:
            found = token  # of least policy, or no token at all: the next signature tells
        else:
            found = looked_up(token.value, told.value, str(self._place), self._clocks)
        if self._held is token:
            self._held, self._looked = found, True
        return found

    async def tend(self) -> timedelta | None:
        """Renew the token when that is due; return when it is, None when nothing is known of its end."""
        if self._closed.is_set():
            return None
        end = self._cluster.end()
        try:
            self._pace.check()
            async with turn(self._turn, end, "waiting for the token"):
                token = await self.look(end)
                if token.renewable and token.due is not None and token.due <= self._clocks.monotonic():
                    token = await self._renew(token, end)
        except IssuanceError as error:
            if self._closed.is_set():
                return None
            if self._pace.left == 0:
                self._pace.failed(error)
                self._log.warning("the token could not be looked after", what=error.what, advice=error.advice)
            return timedelta(seconds=self._pace.left)
        self._pace.succeeded()
        if not token.renewable or token.due is None:
            return None
        return timedelta(seconds=max(0.0, token.due - self._clocks.monotonic()))

    async def close(self, end: float) -> None:  # noqa: ARG002 - there is nothing to wait for
        """Leave the token as it is: it is not the agent's to revoke."""
        self._closed.set()

    async def _renew(self, token: Token, end: float) -> Token:
        call = Call("POST", RENEWAL, {}, token=token.value)
        try:
            told = await self._cluster.ask(call, lambda answer: data(answer, part="auth"), end)
        except RefusedError as refusal:
            self._log.warning("the token cannot be renewed", place=str(self._place), said=refusal.said)
            renewed = replace(token, renewable=False)
        else:
            renewed = token.renewed(told.value, self._clocks)
        if self._held is token:
            self._held = renewed
        return renewed
