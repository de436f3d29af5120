"""The trust anchors of an issuer's CA, and those that it lists beside them; asked for rarely and once for all."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

import structlog

from agent.core.anchors import Origin, Sighting
from agent.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.certificate import Certificate

FRESH = 300.0
"""Seconds for which an answer holds; a keeper looks about as often, and anchors change over years."""

BACK_OFF = 10.0
"""Seconds for which a failure holds, so that a thousand identities do not each ask a CA that is down."""

LISTED_WITHIN = 15.0
"""Seconds for what is merely listed, which nobody waits for longer."""


class Anchored(Protocol):
    """What is asked of an issuer here, as `ports.CertificateIssuer` has it."""

    @property
    def name(self) -> str:
        """The name that the settings give it."""

    async def anchors(self) -> tuple[Certificate, ...]:
        """Return the anchors of the CA that it issues under now."""

    async def listed(self) -> tuple[Certificate, ...]:
        """Return the anchors of the other CAs that it holds."""


class IssuerAnchorSource:
    """Asks an issuer for its anchors at most every five minutes, whoever shares it.

    What the issuer lists beside its own is a courtesy: when that cannot be told, it is logged once, `silent`
    says so, and the own anchors are shown alone. None leaves a truststore because it is not shown.
    """

    def __init__(self, issuer: Anchored, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._monotonic = monotonic
        self._turn = asyncio.Lock()
        self._answer: tuple[Sighting, ...] | TrustError = ()
        self._until: float | None = None
        self._asked = -BACK_OFF
        self.silent = ""

    def forget(self) -> None:
        """Ask anew at the next look, unless the answer is a moment old."""
        if self._monotonic() - self._asked >= BACK_OFF:
            self._until = None

    async def sightings(self) -> tuple[Sighting, ...]:
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
        self._asked = self._monotonic()
        try:
            own = tuple(dict.fromkeys(await self._issuer.anchors()))
        except TrustError as error:
            self._answer = error.with_traceback(None)
            self._until = self._monotonic() + BACK_OFF
            return
        source = f"issuer {self._issuer.name}"
        listed = [one for one in dict.fromkeys(await self._listed()) if one not in own]
        self._answer = (
            *(Sighting(anchor, source, Origin.OWN) for anchor in own),
            *(Sighting(anchor, source, Origin.LISTED) for anchor in listed),
        )
        self._until = self._monotonic() + FRESH

    async def _listed(self) -> tuple[Certificate, ...]:
        """Return what the issuer lists; nothing when it cannot tell, which is logged when it is news."""
        try:
            async with asyncio.timeout(LISTED_WITHIN):
                found = await self._issuer.listed()
        except (TrustError, TimeoutError) as error:
            told = error.diagnosis() if isinstance(error, TrustError) else f"no answer within {LISTED_WITHIN:g} s"
            if told != self.silent:
                self.silent = told
                structlog.get_logger().warning(
                    "whether an issuer holds another CA is not known", issuer=self._issuer.name, reason=told
                )
            return ()
        self.silent = ""
        return found
