"""What only a restart of the broker makes it use, and until when that must be done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.generation import Generation


@dataclass(frozen=True, slots=True)
class RestartDue:
    """A process reads something only when it starts, and has not been started since it changed.

    `since` is when it changed last, `by` when what the process still uses ends. `generation` is the
    one that it lacks. With `whole` nothing of that generation is in use before the restart, so that a
    listener which serves the old leaf is no proof against the new one. `before` is what was due for an
    earlier generation already.
    """

    generation: int
    since: datetime
    by: datetime
    why: str
    whole: bool = False
    before: RestartDue | None = None

    def after(self, earlier: RestartDue | None) -> RestartDue:
        """Return this one, with the end of what was loaded before an earlier change that was never met by a restart."""
        if earlier is None:
            return self
        return replace(self, by=min(self.by, earlier.by), before=earlier)

    def keeps_out(self, number: int) -> bool:
        """Return whether nothing of a generation is in use before the restart."""
        return self.whole and self.generation == number

    def proven(self) -> RestartDue | None:
        """Return what is due still once the generation is shown to be in use: nobody goes back behind it any more."""
        left = self.before if self.whole else self
        return None if left is None else replace(left, before=None)

    def is_met_by(self, started_at: datetime | None) -> bool:
        """Return whether a process that was started at that time has read what changed; None: nobody knows when."""
        return started_at is not None and started_at > self.since


def raft_due(number: int, before: Generation, after: Generation, since: datetime) -> RestartDue:
    """Return what the controllers' Raft client lacks of a generation: it keeps the stores of the process's start.

    By the same CA it may, until the leaf that it shows has ended. With another CA, or fewer anchors, the
    next election fails: that is due at once.
    """
    is_other_ca = before.anchor != after.anchor or not set(before.anchors) <= set(after.anchors)
    return RestartDue(number, since, since if is_other_ca else before.leaf.not_after, RAFT_CLIENT)


RAFT_CLIENT = (
    "the controllers' Raft client keeps the stores of the process's start, and the controller listener speaks TLS"
)
CONTROLLER_ONLY = "a node that is a controller alone reads its stores when it starts"
EXPIRED = "a broker that runs has a leaf in use that expired, and may take no other between brokers"
"""Why a restart is due, in words for an operator."""
