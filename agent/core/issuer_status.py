"""What is known of a CA beside the leaves that it gives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.certificate import Certificate


class Opinion(StrEnum):
    """What an examination came to; what cannot be told without issuing is unknown."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Examined:
    """One question that an examination of a CA asked, and the answer in a sentence for an operator."""

    what: str
    opinion: Opinion
    sentence: str


@dataclass(frozen=True, slots=True)
class IssuerStatus:
    """How a CA was when it was last spoken to.

    `trouble` is why the last call failed, empty after one that succeeded, and `reason` its sort.
    `login` says as whom the agent is logged in, `login_until` when that ends. `authority` is the
    CA's own certificate, `remarks` what a person should know of it.
    """

    name: str
    kind: str
    trouble: str = ""
    reason: str = ""
    asked_at: datetime | None = None
    authority: Certificate | None = None
    login: str = ""
    login_until: datetime | None = None
    remarks: tuple[str, ...] = ()
