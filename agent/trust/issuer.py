"""The trust anchors of an issuer's own CA, asked for rarely and once for all."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from agent.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.certificate import Certificate
    from agent.ports import AnchorSource

FRESH = 300.0
"""Seconds for which an answer holds; a keeper looks about as often, and anchors change over years."""

BACK_OFF = 10.0
"""Seconds for which a failure holds, so that a thousand identities do not each ask a CA that is down."""


class IssuerAnchorSource:
    """Asks an issuer for its anchors at most every five minutes, whoever shares it."""

    def __init__(self, issuer: AnchorSource, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._monotonic = monotonic
        self._turn = asyncio.Lock()
        self._answer: tuple[Certificate, ...] | TrustError = ()
        self._until: float | None = None

    async def anchors(self) -> tuple[Certificate, ...]:
        """Return the anchors, each once; raise `TrustError` when the CA cannot be asked, though it could before.

        An old answer is not given for a new one: what the CA's anchors are now is then unknown,
        and the caller keeps what it has.
        """
        async with self._turn:  # who comes while another asks is given the other's answer
            if self._until is None or self._monotonic() >= self._until:
                await self._ask()
        if isinstance(self._answer, TrustError):
            raise TrustError(self._answer.what, advice=self._answer.advice)
        return self._answer

    async def _ask(self) -> None:
        try:
            self._answer = tuple(dict.fromkeys(await self._issuer.anchors()))
        except TrustError as error:
            self._answer = error.with_traceback(None)
            self._until = self._monotonic() + BACK_OFF
        else:
            self._until = self._monotonic() + FRESH
