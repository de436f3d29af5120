"""What a handshake showed: proven, refuted or unknown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class Verdict(StrEnum):
    """What a proof came to; unknown never counts as yes."""

    PROVEN = "proven"
    REFUTED = "refuted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Served:
    """What one listener presented in a handshake.

    `fingerprint` is that of the leaf, None when no handshake came so far; `trouble` then says why.
    `not_after` is the end of the served leaf.
    """

    address: str
    at: datetime
    fingerprint: str | None
    not_after: datetime | None = None
    trouble: str = ""

    def verdict(self, wanted: str) -> Verdict:
        """Return whether the leaf with the fingerprint `wanted` was served."""
        if self.fingerprint is None:
            return Verdict.UNKNOWN
        return Verdict.PROVEN if self.fingerprint == wanted else Verdict.REFUTED
