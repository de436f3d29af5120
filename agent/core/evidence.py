"""What a handshake showed: proven, refuted or unknown."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.certificate import Certificate


class Verdict(StrEnum):
    """What a proof came to; unknown never counts as yes."""

    PROVEN = "proven"
    REFUTED = "refuted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Served:
    """What one listener presented in its last handshake.

    `listener` is its address, or its name where the settings know it by name; `address` is where
    it was looked at. `fingerprint` is that of the leaf, None when no handshake came so far, and
    `trouble` then says why. `leaf` is None too where what was served cannot be read, and `not_after`
    is its end. `acceptable` are the names (DER) of the CAs whose certificates the listener takes from
    clients (RFC 8446, 4.2.4; RFC 5246, 7.4.4), None when it asked for no certificate or was not
    looked at so closely; `took_leaf` says whether it took the one that the agent showed. `is_down` says
    that nobody listened there: no process has anything loaded. `chain` is what was presented, leaf first,
    without what cannot be read; it is empty where the leaf cannot be, or the look was none so close.
    """

    listener: str
    at: datetime
    fingerprint: str | None
    not_after: datetime | None = None
    trouble: str = ""
    address: str = ""
    leaf: Certificate | None = field(default=None, repr=False)
    acceptable: frozenset[bytes] | None = field(default=None, repr=False)
    took_leaf: Verdict = Verdict.UNKNOWN
    is_down: bool = False
    chain: tuple[Certificate, ...] = field(default=(), repr=False)

    def verdict(self, wanted: str) -> Verdict:
        """Return whether the leaf with the fingerprint `wanted` was served."""
        if self.fingerprint is None:
            return Verdict.UNKNOWN
        return Verdict.PROVEN if self.fingerprint == wanted else Verdict.REFUTED
