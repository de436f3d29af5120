"""A token that the agent has made: renewed at two thirds of its life, replaced at its end, revoked when it leaves."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from agent.core.issuer_spec import CertificateLogin
from agent.errors import IssuanceError, IssuerUnavailableError
from agent.issuers.vault.answer import data, nothing
from agent.issuers.vault.cluster import Call, RefusedError
from agent.issuers.vault.deadline import turn
from agent.issuers.vault.given import RENEWAL
from agent.issuers.vault.pace import Pace

if TYPE_CHECKING:
    from collections import deque

    from agent.core.issuer_spec import VaultLogin
    from agent.issuers.vault.cluster import Cluster
    from agent.issuers.vault.login import Login
    from agent.issuers.vault.token import Clocks, Token

REVOCATION = "auth/token/revoke-self"

FRESH = 60.0
"""Seconds; a token that is younger and was never of use is not made again: another would not be either."""

MOST_LEFT = 8
"""Tokens that were replaced and wait to be revoked; those before them end by themselves."""


class MadeToken:
    """The token of a login; one login at a time, and none again before the pause after a failed one."""

    def __init__(
        self, spec: VaultLogin, login: Login, cluster: Cluster, clocks: Clocks, refusals: deque[float]
    ) -> None:
        self._by_certificate = isinstance(spec, CertificateLogin)
        self._login = login
        self._cluster = cluster
        self._clocks = clocks
        self._turn = asyncio.Lock()
        self._held: Token | None = None
        self._left: list[Token] = []
        self._closed = asyncio.Event()
        self._pace = Pace(clocks.monotonic, refusals)
        self._trouble: IssuanceError | None = None
        self._log = structlog.get_logger()

    @property
    def current(self) -> Token | None:
        """The token that is held."""
        return self._held

    @property
    def trouble(self) -> IssuanceError | None:
        """Why the token could not be renewed or replaced when that was due."""
        return self._trouble

    @property
    def remarks(self) -> tuple[str, ...]:
        """Nothing: what is wrong with the login is a trouble."""
        return ()

    async def token(self, end: float) -> Token:
        """Return the token, made now if there is none that lives; raise `IssuanceError`."""
        held = self._alive()
        if held is not None:
            return held
        async with turn(self._turn, end, "waiting for the login of another call"):
            return self._alive() or await self._make(end)

    async def another(self, refused: Token, end: float, *, taken: bool) -> Token | None:
        """Return a token in place of one that was refused; None when it is too new for another to fare better."""
        async with turn(self._turn, end, "waiting for the login of another call"):
            held = self._alive()
            if held is not None and held.value != refused.value:
                return held
            if not taken and self._clocks.monotonic() - refused.made_at < FRESH:
                return None
            return await self._make(end)

    async def look(self, end: float) -> Token:
        """Return the token: what its login told is all that there is to know."""
        return await self.token(end)

    async def tend(self) -> timedelta | None:
        """Renew or replace the token when that is due; return when it is, None before the first login."""
        if self._held is None:
            return None
        end = self._cluster.end()
        try:
            async with turn(self._turn, end, "waiting for the login of another call"):
                held = self.current
                if held is None:  # It was closed while this waited.
                    return None
                await self._tend(held, end)
                await self._revoke_left(end)
        except IssuanceError as error:
            if self._closed.is_set():
                return None
            if self._trouble is None or self._trouble.what != error.what:
                self._log.warning("the login at Vault could not be kept", what=error.what, advice=error.advice)
            self._trouble = error
            if self._pace.left == 0:
                self._pace.failed(error)
            return timedelta(seconds=self._pace.left)
        self._trouble = None
        held = self.current  # another one than before, or none since it was closed
        if held is None or held.due is None:
            return None
        return timedelta(seconds=max(0.0, held.due - self._clocks.monotonic()))

    async def close(self, end: float) -> None:
        """Revoke the tokens that were made; a failure is only logged, for they end by themselves.

        A login that is under way is waited for, so that its token is revoked too.
        """
        self._closed.set()
        self._login.close()
        try:
            async with asyncio.timeout_at(end), self._turn:
                held, self._held = self._alive(), None
                if held is not None and not self._login.hands_over(held):
                    self._leave(held)
                await self._revoke_left(end)
        except TimeoutError:
            self._held = None
            self._log.warning("the login at Vault could not be given back in time")

    # --- making, renewing, revoking --------------------------------------------------------

    def _alive(self) -> Token | None:
        held = self._held
        return held if held is not None and held.lives(self._clocks.monotonic()) else None

    async def _make(self, end: float) -> Token:
        if self._closed.is_set():
            raise IssuerUnavailableError(
                "there is no login at Vault any more, for the agent has given it back",
                advice="it stops, or has read other settings; with those it is tried again",
                reason="login",
            )
        self._pace.check()
        try:
            token = await self._login.make(end)
        except IssuanceError as error:
            self._pace.count()
            self._pace.failed(error)
            raise
        self._pace.succeeded()
        before = self._alive()
        if before is not None:
            self._leave(before)
        self._held, self._trouble = token, None
        return token

    async def _tend(self, held: Token, end: float) -> None:
        if self._by_certificate and await self._login.certificate(end) != held.certificate:
            # Renewed it could not be: a token goes with the certificate that it was made with.
            await self._make(end)
            return
        if held.due is None or self._clocks.monotonic() < held.due:
            return
        if held.renewable and held.lives(self._clocks.monotonic()):
            self._pace.check()
            try:
                call = Call("POST", RENEWAL, {}, token=held.value)
                told = await self._cluster.ask(call, lambda answer: data(answer, part="auth"), end)
            except RefusedError as refusal:
                self._log.info("the login at Vault cannot be renewed; another one is made", said=refusal.said)
            except IssuerUnavailableError as error:
                # What does not reach Vault would not reach it as a login either.
                if error.reason != "server":
                    self._pace.failed(error)
                    raise
            else:
                self._held = held.renewed(told.value, self._clocks)
                self._pace.succeeded()
                return
        await self._make(end)

    def _leave(self, token: Token) -> None:
        if not token.batch:
            self._left = [*self._left, token][-MOST_LEFT:]

    async def _revoke_left(self, end: float) -> None:
        while self._left:
            token = self._left.pop(0)
            if not token.lives(self._clocks.monotonic()):
                continue
            try:
                await self._cluster.ask(Call("POST", REVOCATION, {}, token=token.value), nothing, end)
            except RefusedError as refusal:
                self._log.info("a login at Vault was not given back", said=refusal.said)
            except IssuanceError as error:
                self._log.info("a login at Vault was not given back", said=error.what)
