"""What must last over a restart and cannot be seen on disk or on the wire: `.state.json`, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from agent.core.generation import Cause
from agent.core.rotation_record import RotationRecord
from agent.core.schedule import refuted_delay, retry_delay

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from agent.core.certificate import Certificate
    from agent.core.generation import Generation
    from agent.core.restart import RestartDue


class Lane(StrEnum):
    """What is tried again on its own: one lane that backs off holds up no other."""

    ISSUING = "issuing"
    PUBLISHING = "publishing"
    SETTLING = "settling"
    SWITCHING = "switching"
    REVOKING = "revoking"


IN_DOUBT = "in doubt"
"""The sort of a refusal that asks a person: whether an order became a certificate, nobody can tell."""

REFUTED = "refuted"
"""The sort of a failure in which a leaf was paid for that the proof refuted."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last try of a lane failed, in words for an operator; `reason` is its sort, for metrics."""

    what: str
    advice: str
    at: datetime
    refused: bool = False
    reason: str = ""

    @property
    def refuted(self) -> bool:
        """Whether a leaf was paid for, and the proof refuted it."""
        return self.reason == REFUTED


@dataclass(frozen=True, slots=True)
class Tries:
    """Tries in a row that failed, and when the next is due; `count` is 0 after a success."""

    count: int = 0
    next_at: datetime | None = None
    failure: Failure | None = None

    def failed(
        self, failure: Failure, *, rest: timedelta | None, seed: str, retry_after: timedelta | None = None
    ) -> Tries:
        """Return the tries after one more that failed; `rest` is the time until the current leaf ends."""
        count = self.count + 1
        if failure.refuted:
            delay = refuted_delay(count, rest, seed)
        else:
            delay = retry_delay(count, rest, seed, refused=failure.refused, retry_after=retry_after)
        return Tries(count, failure.at + delay, failure)


@dataclass(frozen=True, slots=True)
class Replaced:
    """A leaf that was in use, and the name of the CA that gave it: no other one can revoke it."""

    issuer: str
    leaf: Certificate


@dataclass(frozen=True, slots=True)
class Record:
    """What the agent notes of one identity.

    `reloaded` and `settled` are the numbers of the last generation whose reload succeeded and
    whose proof is in; `refuted` the generation that was rolled back from, still to be tried again.
    `demanded` says that a person asked for a new leaf, `held_leaf` is the fingerprint of the leaf
    that a person rolled back to. `replaced` are leaves that were in use and may have to be revoked.
    `restart` is what only a restart of the reader brings into use, `restarted` the generation that
    the restart command was last run for. `rotation` is what must last of a CA rotation.
    Each lane has its own tries, so that none holds up another.
    """

    reloaded: int | None = None
    settled: int | None = None
    refuted: int | None = None
    demanded: bool = False
    held_leaf: str | None = None
    replaced: tuple[Replaced, ...] = ()
    issuing: Tries = Tries()
    publishing: Tries = Tries()
    settling: Tries = Tries()
    switching: Tries = Tries()
    revoking: Tries = Tries()
    restart: RestartDue | None = None
    restarted: int | None = None
    rotation: RotationRecord = field(default_factory=RotationRecord)

    def tries(self, lane: Lane) -> Tries:
        """Return the tries of a lane."""
        match lane:
            case Lane.ISSUING:
                return self.issuing
            case Lane.PUBLISHING:
                return self.publishing
            case Lane.SETTLING:
                return self.settling
            case Lane.SWITCHING:
                return self.switching
            case Lane.REVOKING:
                return self.revoking
            case _:
                assert_never(lane)

    def with_tries(self, lane: Lane, tries: Tries) -> Record:
        """Return the notes with other tries of one lane."""
        match lane:
            case Lane.ISSUING:
                return replace(self, issuing=tries)
            case Lane.PUBLISHING:
                return replace(self, publishing=tries)
            case Lane.SETTLING:
                return replace(self, settling=tries)
            case Lane.SWITCHING:
                return replace(self, switching=tries)
            case Lane.REVOKING:
                return replace(self, revoking=tries)
            case _:
                assert_never(lane)

    def switched(self, generation: Generation) -> Record:
        """Return the notes after a switch to a new generation: its readers and proofs are open again.

        A new leaf also answers what a person asked for, and makes an earlier refuted one a thing of the past.
        """
        record = replace(self, reloaded=None, settled=None, publishing=Tries(), settling=Tries())
        if generation.cause is Cause.ADOPTED:
            return replace(record, switching=Tries())
        if generation.cause is not Cause.LEAF:
            return record
        return replace(record, refuted=None, demanded=False, held_leaf=None, issuing=Tries(), switching=Tries())

    def returned(self, number: int) -> Record:
        """Return the notes after a switch to a generation that was written before."""
        if number == self.settled:
            return replace(self, publishing=Tries())
        return replace(self, reloaded=None, settled=None, publishing=Tries(), settling=Tries())

    def rolled_back(self, refuted: int, switching: Tries) -> Record:
        """Return the notes after a roll-back from what a listener refuted; it is tried again in its own lane."""
        record = replace(self, reloaded=None, settled=None, refuted=refuted, settling=Tries(), switching=switching)
        due = self.restart
        return replace(record, restart=due.before) if due is not None and due.generation == refuted else record

    def needing_restart(self, due: RestartDue | None, since: datetime) -> Record:
        """Return the notes after a switch at `since` to what only a restart of the reader brings into use."""
        return self if due is None else replace(self, restart=replace(due, since=since).after(self.restart))

    def rotating(self, rotation: RotationRecord) -> Record:
        """Return the notes with others of the CA rotation."""
        return self if rotation == self.rotation else replace(self, rotation=rotation)

    def started_anew(self, number: int, *, in_sight: bool) -> Record:
        """Return the notes after the restart command: a reader that was started has read the generation.

        What was due stays until its process is seen to be a new one, where that is `in_sight`.
        """
        due = self.restart if in_sight else None
        return replace(self, restarted=number, reloaded=number, settling=Tries(), restart=due)

    def settled_at(self, number: int) -> Record:
        """Return the notes once a generation is shown to be in use."""
        due = self.restart.proven() if self.restart is not None else None
        record = replace(self, reloaded=number, settled=number, settling=Tries(), restart=due)
        return replace(record, refuted=None, switching=Tries()) if self.refuted == number else record
