"""The steps of a CA rotation that a plan has beside those of every day: ask the peers, go back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.actions import AskPeers, Issue, Publish, Step, Switch
from agent.core.generation import Cause
from agent.core.proof import still_proves
from agent.core.rotation_noting import noted_now
from agent.core.situation import Situation

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.anchors import CaId
    from agent.core.configuration import Wanted
    from agent.core.generation import Generation
    from agent.core.observed import Observed
    from agent.core.rotation_view import RotationView

WHILE_MOVING = timedelta(minutes=5)
"""How often peers are asked while something waits for what they say."""

AT_REST = timedelta(hours=1)
"""How often they are asked otherwise: to notice one that is ahead, or that does not trust the leaf in use."""

RECENT = timedelta(minutes=1)
"""How old what peers have said may be in the moment of a step that relies on it."""


def gated(situation: Situation, step: Step) -> Step | None:
    """Return a step that changes what readers use, from when that may be done; None while a person has paused it.

    No window holds up the leaf that a person asks for; what else there is to change waits for it.
    """
    opens = situation.changes_from
    if opens is None:
        return None
    is_asked_for = situation.record.demanded and step.action in {Issue(), Publish(Cause.LEAF)}
    if is_asked_for or opens <= max(step.due, situation.now):
        return step
    return Step(step.action, opens, f"{step.why}; a maintenance window opens then")


def asked_first(situation: Situation, step: Step | None) -> Step | None:
    """Return a step that relies on what peers say, or the question to them where the last answers are not recent."""
    asked, rotation = situation.observed.peers_asked_at, situation.rotation
    is_of_now = rotation is None or situation.observed.peers.staying == rotation.staying
    is_asked = asked is not None and is_recent(asked, situation.now) and is_of_now
    if step is None or step.due > situation.now or is_asked:
        return step
    return Step(AskPeers(), step.due, f"before this, what the peers say is to be recent: {step.why}")


def if_trusted(situation: Situation, generation: Generation, step: Step | None) -> Step | None:
    """Return a step to a generation; where its leaf is of another CA, as the peers let it."""
    rotation = situation.rotation
    if rotation is None or rotation.standing.expired or not rotation.is_other(generation.chain):
        return step
    return None if rotation.hold_of_chain(generation.chain) is not None else asked_first(situation, step)


def is_recent(asked: datetime, now: datetime) -> bool:
    """Return whether peers were asked so lately that a step may rely on their answers."""
    return timedelta(0) <= now - asked <= RECENT


def ask_peers(situation: Situation) -> Step | None:
    """Something waits for what the peers say, or it is time to see how they are."""
    rotation, asked = situation.rotation, situation.observed.peers_asked_at
    if rotation is None:
        return None
    if rotation.is_moving:
        every, why = WHILE_MOVING, rotation.outlook.why
    elif situation.wanted.looks_at_peers:
        every, why = AT_REST, "they are looked at from time to time"
    else:
        return None
    # What was said before the last switch says nothing of what came of it; one that lies ahead is a clock put right.
    switched = situation.observed.disk.switched_at
    is_after = switched is None or switched > situation.now or (asked is not None and asked >= switched)
    counts = asked is not None and asked <= situation.now and is_after
    if not counts or asked is None:
        return Step(AskPeers(), situation.now, why)
    ends = [until for until in rotation.holds_end if until > situation.now]
    return Step(AskPeers(), min([asked + every, *ends]), why)


def back_to_ca(situation: Situation) -> Step | None:
    """A person has the leaf go back to the CA before, and a generation with such a leaf is kept and still proves."""
    rotation, abort = situation.rotation, situation.record.rotation.abort
    if rotation is None or abort is None or rotation.standing.leaf != abort.away_from:
        return None
    before = kept_of(abort.back_to, situation, rotation)
    if before is None or rotation.hold_of_chain(before.chain) is not None:
        return None
    why = f"{abort.by} has the leaf go back to {rotation.standing.name(abort.back_to)}"
    return asked_first(situation, Step(Switch(before.number), situation.due(situation.record.switching), why))


def kept_of(ca: CaId, situation: Situation, rotation: RotationView) -> Generation | None:
    """Return the newest generation that is kept with a leaf of a CA, and whose truststores lack nothing."""
    held = set(rotation.current.anchors)
    for one in situation.observed.disk.kept:
        is_whole = held <= set(one.anchors) and one.request.same_identity(situation.wanted.request)
        if is_whole and rotation.ca_of(one.chain) == ca and still_proves(situation.candidate(one), situation.now):
            return one
    return None


def noted(seen: Observed, wanted: Wanted, now: datetime) -> Observed:
    """Return what was observed with notes that say since when things are so in a CA rotation."""
    rotation = Situation(seen, wanted, now).rotation
    return seen if rotation is None else replace(seen, record=seen.record.rotating(noted_now(rotation)))
