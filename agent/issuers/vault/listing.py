"""The issuers of a mount, which only its list shows: one in waiting before it is the default, one that was left behind.

All of it is read without a token (Vault from 1.11 on, OpenBao).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent.errors import IssuanceError, TrustError
from agent.issuers.vault import paths
from agent.issuers.vault.answer import UNKNOWN_ISSUER, UnusableAnswerError, data
from agent.issuers.vault.certificates import certificate_of_issuer
from agent.issuers.vault.cluster import Call, RefusedError

if TYPE_CHECKING:
    from agent.core.certificate import Certificate
    from agent.core.issuer_spec import VaultSpec
    from agent.issuers.vault.cluster import Cluster
    from agent.net.session import Answer

MOST_ISSUERS = 100
"""Issuers of one mount; each is a call, once. A mount that has more is told of, and none of them is shown."""

ISSUER_ID = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
"""Vault makes UUIDs; anything else would lead the next call astray."""


class Listing:
    """Reads the certificates of a mount's issuers; what an id stands for never changes, so each is read once."""

    def __init__(self, spec: VaultSpec, cluster: Cluster) -> None:
        self._spec = spec
        self._cluster = cluster
        self._known: dict[str, Certificate] = {}

    async def certificates(self, end: float) -> tuple[Certificate, ...]:
        """Return the certificate of each issuer; nothing where the server is too old to list them.

        `end` is on the loop's clock. Raise `TrustError`.
        """
        try:
            found: dict[str, Certificate] = {}
            for one in await self._ids(end):
                certificate = self._known.get(one) or await self._certificate(one, end)
                if certificate is not None:
                    found[one] = certificate
        except IssuanceError as error:
            raise TrustError(error.what, advice=error.advice) from error
        self._known = found
        return tuple(found.values())

    async def _ids(self, end: float) -> tuple[str, ...]:
        try:
            return (await self._cluster.ask(Call("GET", paths.issuers(self._spec)), _ids, end)).value
        except RefusedError as refusal:
            # An empty list is told as 404. Before 1.11 there was none: 404 or 405, or, since a path that
            # does not exist is not one of those that need no token, that the token is missing.
            if refusal.status in (404, 405) or "missing client token" in refusal.said:
                return ()
            raise self._refused(refusal) from refusal

    async def _certificate(self, one: str, end: float) -> Certificate | None:
        """Return an issuer's certificate; None where it was deleted since it was listed."""
        call = Call("GET", paths.issuer(self._spec, one))
        try:
            return (await self._cluster.ask(call, certificate_of_issuer, end)).value
        except RefusedError as refusal:
            if refusal.status == 404 or UNKNOWN_ISSUER in refusal.said:
                return None
            raise self._refused(refusal) from refusal

    def _refused(self, refusal: RefusedError) -> TrustError:
        listed = paths.issuers(self._spec).partition("?")[0]
        return TrustError(
            f"Vault at {refusal.address} does not tell the issuers of mount {self._spec.mount!r}: {refusal.said}",
            advice=f"have whatever stands before Vault let a list of {listed} through, which needs no token",
        )


def _ids(answer: Answer) -> tuple[str, ...]:
    """Return the ids of the list of issuers; raise `UnusableAnswerError`."""
    keys = data(answer).get("keys")
    if not isinstance(keys, list) or not all(isinstance(key, str) and ISSUER_ID.fullmatch(key) for key in keys):
        raise UnusableAnswerError("it answered with a list of issuers that is none")
    if len(keys) > MOST_ISSUERS:
        raise UnusableAnswerError(f"it lists {len(keys)} issuers, more than {MOST_ISSUERS}: delete those of old")
    return tuple(dict.fromkeys(keys))
