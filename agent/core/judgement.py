"""What a reader says of a generation before it is switched to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.proof import Remedy

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.broker import BrokerFacts
    from agent.core.evidence import Served
    from agent.core.proof import Finding


class Opinion(StrEnum):
    """Whether the broker would take a generation; unknown never counts as yes."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the rules and the reader itself say of a candidate.

    `findings` speak against it. `restart` says why the running process takes no store at all, so that
    a restart is what the candidate is for; empty where it may. `unknown` says why the reader has no
    verdict of its own, empty where it has one, or where nobody asks for one. `remarks` are what a
    person should know of the reader, `facts` how it is configured, None where that is not known.
    `asked` says whether anybody was to be asked.
    """

    findings: tuple[Finding, ...] = ()
    unknown: str = ""
    remarks: tuple[str, ...] = ()
    facts: BrokerFacts | None = None
    restart: str = ""
    asked: bool = True

    @property
    def opinion(self) -> Opinion:
        """What it comes to, in a word."""
        if self.findings:
            return Opinion.REFUSED
        if not self.asked:
            return Opinion.NOT_ASKED
        return Opinion.UNKNOWN if self.unknown else Opinion.ACCEPTED

    @property
    def restart_mends_it(self) -> bool:
        """Whether all that speaks against it is that the running process cannot take it, and a new one could."""
        return bool(self.findings) and all(finding.remedy is Remedy.RESTART for finding in self.findings)

    @property
    def waits_for_restart(self) -> bool:
        """Whether only a restart could bring it in, be it after a change of server.properties."""
        remedies = {finding.remedy for finding in self.findings}
        return bool(remedies) and remedies <= {Remedy.RESTART, Remedy.RECONFIGURE}


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a broker showed: its listeners, its configuration, and when its process was started.

    `facts` is None while the broker has never been asked, `started_at` where nobody can tell.
    `remarks` are what a person should know of it.
    """

    served: tuple[Served, ...]
    facts: BrokerFacts | None = None
    started_at: datetime | None = None
    remarks: tuple[str, ...] = ()
