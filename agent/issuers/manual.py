"""A CA that only people can ask: what is due is told to them, and what they bring is proven like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.issuer_status import Examined, IssuerStatus, Opinion
from agent.errors import IssuerRefusedError, TrustError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from agent.core.certificate import Certificate
    from agent.core.generation import Issued, Pending
    from agent.core.identity import Request
    from agent.ports import AnchorSource, Note

REASON = "by hand"
"""The sort of the refusal that asks a person to have a CSR signed."""

ELSEWHERE = "name the file with its root as `anchors`, or `trust` and `peer_trust` of the identity"


class Manual:
    """Refuses each call with what a person is to do, so that the identity's pace, status and alarms are the usual ones.

    The pending key stays as it is: the CSR that was printed for it holds until its leaf comes.
    """

    def __init__(self, name: str, clock: Callable[[], datetime], anchors: AnchorSource | None) -> None:
        self._name = name
        self._clock = clock
        self._anchors = anchors
        self._asked_at: datetime | None = None

    @property
    def name(self) -> str:
        """The name that the settings give it."""
        return self._name

    async def issue(
        self,
        pending: Pending,
        *,
        note: Note,  # noqa: ARG002 - of the port: no order is placed here
        within: timedelta,  # noqa: ARG002 - of the port
    ) -> Issued:
        """Refuse: a person is to have the CSR signed."""
        self._asked_at = self._clock()
        raise IssuerRefusedError(
            f"a leaf for {pending.request.subject.rfc4514_string() or 'an empty subject'} is to be signed by hand",
            advice="print the CSR with `cert-agent csr NAME`, have it signed, and `cert-agent import NAME CHAIN`",
            reason=REASON,
        )

    async def anchors(self) -> tuple[Certificate, ...]:
        """Return what the file of anchors holds now, each once."""
        if self._anchors is None:
            raise TrustError(f"the issuer {self.name} names no anchors", advice=ELSEWHERE)
        return tuple(dict.fromkeys(sighting.anchor for sighting in await self._anchors.sightings()))

    async def listed(self) -> tuple[Certificate, ...]:
        """Return nothing: whatever the file of anchors holds is the CA's own."""
        return ()

    async def revoke(self, leaf: Certificate, *, within: timedelta) -> None:  # noqa: ARG002 - of the port
        """Refuse: the CA cannot be called; the settings never ask for it."""
        raise IssuerRefusedError(
            f"the leaf {leaf.serial_number:x} was signed by hand, and is to be revoked by hand",
            advice="ask whoever runs the CA",
            reason=REASON,
        )

    async def tend(self) -> timedelta | None:
        """There is no login."""
        return None

    async def examine(self, requests: Sequence[Request]) -> tuple[Examined, ...]:
        """Look at the anchors; what a person will sign cannot be told."""
        sentence = f"people sign for {len(requests)} identities: `cert-agent csr NAME`, then `cert-agent import`"
        found = [Examined("signing", Opinion.UNKNOWN, sentence)]
        if self._anchors is not None:
            try:
                anchors = await self.anchors()
            except TrustError as error:
                found.append(Examined("anchors", Opinion.BAD, error.diagnosis()))
            else:
                first = min(anchor.not_after for anchor in anchors)
                ended = first <= self._clock()
                sentence = f"there are {len(anchors)}, and the first of them ends {first:%Y-%m-%d}"
                found.append(Examined("anchors", Opinion.BAD if ended else Opinion.GOOD, sentence))
        return tuple(found)

    def status(self) -> IssuerStatus:
        """Return when a leaf was last wanted: nothing is wrong with a CA that nobody calls."""
        return IssuerStatus(name=self.name, kind="manual", asked_at=self._asked_at)

    async def close(self) -> None:
        """Nothing is held."""
