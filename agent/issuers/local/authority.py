"""What an embedded CA consists of, and what is due to be made of it at a moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.issuers.local.signer import Signer

ANNOUNCED = timedelta(days=1)
"""How long a root's successor is a trust anchor before anything is signed below it.

The agents of all hosts look at their anchors every five minutes; a day is for those that are down.
"""


class Due(Enum):
    """What is to be made."""

    INTERMEDIATE = auto()
    ANNOUNCE = auto()
    """A successor of the root: first as an anchor only, so that truststores know it when it signs."""
    SUCCEED = auto()
    """The successor becomes the root, with an intermediate below it."""
    FORGET = auto()
    """A successor that nobody needs: a rotation broke off, or a clock that was ahead has been put right."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A root, the intermediate below it, which signs leaves, and the roots before and after it.

    `successor` is the root that is to follow, `retired` are those that were replaced.
    """

    root: Certificate
    intermediate: Signer
    successor: Certificate | None = None
    retired: tuple[Certificate, ...] = ()

    def others(self, now: datetime) -> tuple[Certificate, ...]:
        """Return the roots beside the current one: the one that is to follow it, and each before it until it ends."""
        after = (self.successor,) if self.successor else ()
        return (*after, *self.still_trusted(now))

    def still_trusted(self, now: datetime) -> tuple[Certificate, ...]:
        """Return the retired roots that have not ended."""
        return tuple(root for root in self.retired if root.not_after > now)

    def ends(self) -> datetime:
        """Return when the chain of a leaf ends."""
        return min(self.root.not_after, self.intermediate.certificate.not_after)

    def due(self, now: datetime) -> Due | None:
        """Return what is to be made first, or None while all will last.

        A root that has ended without a successor is left: the clock may be wrong, and a new root
        under a wrong clock would undo the CA. A person says so.
        """
        root, after = self.root, self.successor
        if after is not None and (after.not_after <= now or after.not_before > now):
            after = None  # of no use; a new one is written over it
        if not in_last_fifth(root, now):
            if self.successor is not None:
                return Due.FORGET
        elif after is not None:
            if now - after.not_before >= ANNOUNCED or root.not_after - now <= ANNOUNCED:
                return Due.SUCCEED
        elif root.not_after > now:
            return Due.ANNOUNCE
        between = self.intermediate.certificate
        if in_last_fifth(between, now) and between.not_after < root.not_after:
            return Due.INTERMEDIATE
        return None


def in_last_fifth(certificate: Certificate, now: datetime) -> bool:
    """Return whether less than a fifth of the certificate's life is left."""
    return certificate.not_after - now < (certificate.not_after - certificate.not_before) / 5
