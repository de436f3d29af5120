"""What was observed of one identity: disk, notes, sources of trust, listeners and peers, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.core.anchors import Anchors
from agent.core.testimony import NOT_ASKED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from agent.core.broker import BrokerFacts
    from agent.core.evidence import Served
    from agent.core.generation import Disk
    from agent.core.record import Record
    from agent.core.testimony import Peers


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at an identity: disk, notes, sources of trust, and what the listeners serve.

    `layout` is that of the wanted files. `served` holds the looks since the last switch or reload
    only, so that an old look never speaks for a new generation. `facts` are those of the broker,
    None while it has never been asked. `peers` is what they said when they were asked, at
    `peers_asked_at`, None while they were not; `reader_started_at` is when the process was started that
    reads the files as it starts, None where nobody can tell.
    """

    disk: Disk
    record: Record
    layout: str
    trust: Anchors = field(default_factory=Anchors)
    peer_trust: Anchors = field(default_factory=Anchors)
    served: Mapping[str, Served] = field(default_factory=dict)
    facts: BrokerFacts | None = None
    peers: Peers = NOT_ASKED
    peers_asked_at: datetime | None = None
    reader_started_at: datetime | None = None
