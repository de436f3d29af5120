"""One host of the model: its files, its process, its agent's notes, and what its agent remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.material import NOW

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.testimony import Question, Testimony


@dataclass(frozen=True)
class Leaf:
    """A leaf: its CA, its end, and whether its own host is set to trust that CA."""

    ca: str
    not_after: datetime
    is_wanted: bool = True


@dataclass(frozen=True)
class Report:
    """What a host's agent tells the others."""

    peer: str
    at: datetime
    trusts: frozenset[str]
    uses: frozenset[str]
    at_start: frozenset[str]
    started_with: str | None


@dataclass
class Host:
    """One host: its files, its process, its agent's notes, and what its agent remembers."""

    name: str
    is_broker: bool
    disk: frozenset[str]
    leaf: Leaf
    source: frozenset[str]
    loaded: frozenset[str] = frozenset()
    at_start: frozenset[str] = frozenset()
    leaf_loaded: Leaf = field(init=False)
    leaf_at_start: Leaf = field(init=False)
    switched_at: datetime = NOW
    pending: bool = False
    manifest: frozenset[str] | None = None
    approved: frozenset[str] = frozenset()
    asks: bool = False
    silent: bool = False
    reachable: bool = True
    issuer_reachable: bool = True
    candidate: str | None = None
    # Notes, which last.
    paused: bool = False
    abort: tuple[str, str, datetime] | None = None
    retire: frozenset[str] = frozenset()
    forced: frozenset[str] = frozenset()
    left: dict[str, datetime] = field(default_factory=dict)
    away: dict[str, datetime] = field(default_factory=dict)
    leaf_noted: str = ""
    target_noted: tuple[str | None, datetime] = (None, NOW)
    words: dict[tuple[str, Question, str], datetime] = field(default_factory=dict)
    # What the agent remembers, until it crashes.
    knows_peers: bool = False
    seen: dict[str, Testimony] = field(default_factory=dict)
    told: dict[str, Report] = field(default_factory=dict)
    # What a person is to blame for, or what nobody could help.
    edit_loaded: bool = False
    edit_started: bool = False
    forced_away: frozenset[str] = frozenset()
    excused: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Have the process started with what is on disk."""
        self.leaf_noted = self.leaf.ca
        self.start()

    def start(self) -> None:
        """Start the process anew: all that is on disk comes into use."""
        self.reload()
        self.at_start, self.leaf_at_start = self.disk, self.leaf
        self.edit_started = self.edit_loaded

    def reload(self) -> None:
        """Have the process load what is on disk."""
        self.loaded, self.leaf_loaded, self.pending = self.disk, self.leaf, False
        self.edit_loaded = self.manifest is not None

    def crash(self) -> None:
        """Lose what the agent remembers; notes stay."""
        self.knows_peers, self.seen, self.told = False, {}, {}

    @property
    def accepted(self) -> frozenset[str]:
        """The CAs of the source that may enter, were it read."""
        return self.source & self.approved if self.asks else self.source
