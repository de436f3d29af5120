"""Decide what to do for one identity: observed, wanted and the time in, one plan out.

`CONCERNS` is the whole policy, most pressing first. Each concern looks at the situation and
names one step with the instant from which it is due. The plan's action is the first step that is
due; with none due, the agent sleeps until the earliest. After an action everything is observed
anew, so that a crash anywhere leaves a difference that the next look sees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.actions import (
    Adopt,
    DropPending,
    Issue,
    Prove,
    Publish,
    Reload,
    Remember,
    Restart,
    Revoke,
    RollBack,
    Settle,
    Step,
    Switch,
)
from agent.core.anchors import by_fingerprint, ca_id
from agent.core.evidence import Verdict
from agent.core.generation import Cause, Damage
from agent.core.issuing_ca import ca_of
from agent.core.proof import still_proves
from agent.core.record import Replaced
from agent.core.rotation_plan import ask_peers, asked_first, back_to_ca, gated, if_trusted
from agent.core.situation import Situation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from agent.core.actions import Action
    from agent.core.configuration import Wanted
    from agent.core.generation import Generation
    from agent.core.observed import Observed

LOOK = timedelta(minutes=5)
"""The longest time between two looks at disk, listeners and anchors when nothing is due."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now (None: nothing), when to look again, and both as one human sentence.

    `steps` are all that the concerns named, for those who want to see what comes after.
    """

    action: Action | None
    wake_at: datetime
    sentence: str
    steps: tuple[Step, ...] = field(default=())


def decide(observed: Observed, wanted: Wanted, now: datetime) -> Plan:
    """Return the plan for one identity; it depends on its arguments and nothing else."""
    situation = Situation(observed, wanted, now)
    steps = tuple(step for concern in CONCERNS if (step := concern(situation)) is not None)
    due = next((step for step in steps if step.due <= now), None)
    if due is not None:
        return Plan(due.action, now, f"{due.action} now: {due.why}", steps)
    wake_at = min([now + LOOK, *(step.due for step in steps)])
    first = min(steps, key=lambda step: step.due, default=None)
    sentence = f"{first.action} at {_clock(first.due)}: {first.why}" if first else "nothing to do"
    return Plan(None, wake_at, sentence, steps)


def _lost_link(situation: Situation) -> Step | None:
    """Nothing readable is current, but a whole generation is there: it need not be paid for again."""
    if situation.current is not None:
        return None
    for generation in _in_use_first(situation):
        usable = generation.number != situation.record.refuted and generation.request.same_identity(
            situation.wanted.request
        )
        if usable and still_proves(situation.candidate(generation), situation.now):
            trouble = situation.observed.disk.trouble or "nothing is current"
            why = f"{trouble}, and generation {generation.number} is whole"
            return Step(Switch(generation.number), situation.due(situation.record.publishing), why)
    return None


def _in_use_first(situation: Situation) -> list[Generation]:
    """Return the generations that are kept, those first that readers may have loaded.

    What was shown to be in use comes before what a person went back to, and that before a leaf of the CA
    that was last in use: to one of another CA, or one that was turned away from, readers' peers may be no
    friends. The newest is the first of its kind.
    """
    record, kept = situation.record, situation.observed.disk.kept
    known = by_fingerprint(
        (*situation.peer_anchors, *situation.observed.trust.seen, *(a for g in kept for a in g.anchors))
    )
    noted, abort = record.rotation.leaf, record.rotation.abort

    def rank(one: Generation) -> tuple[bool, bool, bool, bool, int]:
        ca = ca_of(one.chain, known)
        is_away = abort is not None and ca == abort.away_from
        is_of_last = noted is None or ca == noted.what
        return (
            is_away,
            one.number != record.settled,
            record.held_leaf not in {None, one.leaf.fingerprint},
            not is_of_last,
            -one.number,
        )

    return sorted(kept, key=rank)


def _found_files(situation: Situation) -> Step | None:
    """Valid files of an earlier life stand where the links belong: they become the first generation, as they are."""
    found = situation.adoptable
    if found is None or situation.pending_answer is not None:
        return None
    why = f"{', '.join(found.names)} stand there and are valid until {_clock(found.leaf.not_after)}"
    # In a lane of its own: what keeps them from being taken over keeps no leaf from being published.
    return Step(Adopt(), situation.due(situation.record.switching), why)


def _damaged_files(situation: Situation) -> Step | None:
    """Files were lost, altered or are wanted otherwise while key and leaf are whole: render them again."""
    current = situation.current
    if current is None or not situation.key_is_whole:
        return None
    due = situation.due(situation.record.publishing)
    damages = [damage for damage in situation.observed.disk.damages if damage.damage is not Damage.EDITED_TRUSTSTORE]
    broken = [damage for damage in damages if damage.damage is not Damage.WRONG_LINK]
    if broken:
        return _unedited(situation, Step(Publish(Cause.FILES), due, "; ".join(map(str, broken))))
    if current.layout != situation.observed.layout:
        return _unedited(situation, Step(Publish(Cause.FILES), due, "the configuration wants other files"))
    if damages:
        return Step(Switch(current.number), due, "; ".join(map(str, damages)))
    return None


def _settling(situation: Situation) -> Step | None:
    """The current generation is not shown to be in use yet: reload, prove, then settle or roll back."""
    current, record, wanted = situation.current, situation.record, situation.wanted
    if current is None:
        return None
    due = situation.due(record.settling)
    settled = record.settled == current.number
    restart = _restart(situation, current, due)
    if restart is not None:
        return restart
    if wanted.reload and record.reloaded != current.number and not settled:
        return Step(Reload(current.number), due, f"the readers know nothing of generation {current.number} yet")
    if situation.unseen:
        return Step(Prove(current.number), due, f"what {', '.join(situation.unseen)} serves is not known yet")
    refuted = situation.listeners(Verdict.REFUTED)
    if refuted:
        return _refuted(situation, current, ", ".join(refuted))
    unknown = situation.listeners(Verdict.UNKNOWN)
    if unknown:
        return Step(Prove(current.number), due, f"no handshake with {', '.join(unknown)} so far")
    if not settled and (wanted.reload or wanted.prove):
        return Step(Settle(current.number), due, "the readers know it and its proofs are in")
    if wanted.proven_at:
        why = "what the listeners serve is looked at from time to time"
        return Step(Prove(current.number), situation.last_look + LOOK, why)
    return None


def _restart(situation: Situation, current: Generation, due: datetime) -> Step | None:
    """A restart brings into use what nothing else does: run the command, once a generation, where there is one.

    What the running process can use already is proven first: the restart is for the rest.
    """
    broker, record = situation.wanted.broker, situation.record
    if broker is None or broker.restart is None or record.restarted == current.number:
        return None
    awaited = situation.restart_due
    if awaited is None:
        return None
    if record.settled != current.number and not awaited.keeps_out(current.number):
        return None
    return Step(Restart(current.number), due, awaited.why)


def _refuted(situation: Situation, current: Generation, listeners: str) -> Step:
    """A listener does not use the generation: back to the one before, if that may be current again, else hold.

    What waits for a restart of the broker is no proof against the files.
    """
    record, awaited, before = situation.record, situation.restart_due, situation.way_back
    again = Reload(current.number) if situation.wanted.reload else Prove(current.number)
    due = situation.due(record.settling)
    if record.settled == current.number:
        return Step(again, due, f"{listeners} no longer serves the leaf of generation {current.number}")
    if awaited is not None and awaited.keeps_out(current.number):
        # Telling it again brings the other listeners along, and whoever restarts it is noticed.
        return Step(again, due, f"{listeners} waits for a restart: {awaited.why}")
    why = f"{listeners} does not serve the leaf of generation {current.number}"
    if before is not None:
        return Step(RollBack(before.number, refuted=current.number), situation.due(record.switching), why)
    return Step(again, due, f"{why}, and there is none to go back to")


def _refuted_candidate(situation: Situation) -> Step | None:
    """A leaf that was rolled back from is paid for and whole: try it again, never issue anew for it."""
    candidate = situation.refuted_candidate
    if candidate is None:
        return None
    why = f"generation {candidate.number} was rolled back from and is tried again"
    step = gated(situation, Step(Switch(candidate.number), situation.due(situation.record.switching), why))
    return if_trusted(situation, candidate, step)


def _other_anchors(situation: Situation) -> Step | None:
    """The truststores should hold other anchors; not before the readers know the last change."""
    current, rotation = situation.current, situation.rotation
    if current is None or rotation is None or not situation.wanted.has_truststores or not situation.key_is_whole:
        return None
    # Readers that cannot be told do not keep what they find at their next start from being right.
    is_open = situation.reload_is_open and not situation.record.settling.count
    wanted, held = set(rotation.wanted_anchors), set(current.anchors)
    if wanted == held or is_open or _is_turn_of_leaf(situation):
        return None
    refuted = situation.refuted_candidate
    if refuted is not None and set(refuted.anchors) == wanted:
        return None  # they are written and were rolled back from: that generation is tried again in its own time
    names = rotation.standing.names
    gained = _named("enter", sorted(names[ca_id(one)] for one in wanted - held))
    lost = _named("leave", sorted(names[ca_id(one)] for one in held - wanted))
    why = f"the truststores change: {', '.join(filter(None, (gained, lost)))}"
    step = gated(situation, Step(Publish(Cause.ANCHORS), situation.due(situation.record.publishing), why))
    step = _unedited(situation, step) if step is not None else None
    return asked_first(situation, step) if rotation.retiring and not wanted - held else step


def _named(verb: str, names: Sequence[str]) -> str:
    """Say what some anchors do, the first of them by name."""
    if not names:
        return ""
    return f"{names[0]} and {len(names) - 1} more {verb}" if names[1:] else f"{names[0]} is to {verb}"


def _is_turn_of_leaf(situation: Situation) -> bool:
    """Whether a leaf in hand goes before other anchors: of two that a reader refuses, each may be what the other needs.

    They share a lane, and the first would have every try of it.
    """
    tries = situation.record.publishing
    is_refused = tries.failure is not None and tries.failure.refused
    is_ready = situation.pending_answer is not None and situation.renewal_reason is not None
    return is_refused and is_ready and tries.count % 2 == 1


def _leaf(situation: Situation) -> Step | None:
    """The leaf is missing, not what is wanted, asked for by a person, or due."""
    reason = situation.renewal_reason
    if reason is not None:
        if situation.pending_answer is not None and not _is_of_second(situation):
            return _leaf_in_hand(situation, reason)
        return gated(situation, Step(Issue(), situation.due(situation.record.issuing), reason))
    at = situation.next_renewal
    if at is None:
        return None
    why = "the leaf is held by a person's roll-back" if situation.held else "its renewal falls there"
    return Step(Issue(), max(at, situation.now + timedelta(microseconds=1)), why)


def _is_of_second(situation: Situation) -> bool:
    """Whether the leaf in hand is of the second issuer, and held: the first one may give a leaf that is not."""
    pending, rotation = situation.pending_answer, situation.rotation
    if pending is None or rotation is None or pending.issuer == situation.wanted.issuer:
        return False
    return rotation.candidate_hold is not None


def _outdated(situation: Situation) -> Step | None:
    """The leaf in hand is of a CA that the issuer, or a person, has turned away from since."""
    rotation = situation.rotation
    if rotation is None or not rotation.is_outdated:
        return None
    name = rotation.standing.name(rotation.candidate or "")
    return Step(
        DropPending(), situation.due(situation.record.publishing), f"the leaf in hand is of {name}, no longer wanted"
    )


def _leaf_in_hand(situation: Situation, reason: str) -> Step | None:
    """A leaf is to become current; one of another CA when every peer is shown to trust it, and not before."""
    rotation = situation.rotation
    step = gated(situation, Step(Publish(Cause.LEAF), situation.due(situation.record.publishing), reason))
    if rotation is None or step is None:
        return step
    if rotation.candidate_hold is not None:
        return None  # the peers are asked again, and the status says what for
    chain = rotation.chain_in_hand
    is_other = chain is not None and rotation.is_other(chain) and not rotation.standing.expired
    return asked_first(situation, step) if is_other else _unedited(situation, step)


def _unedited(situation: Situation, step: Step) -> Step | None:
    """Return a step whose files readers will read anew, unless a person's edit would take from them what they need.

    The emergency lane goes ahead: a leaf that ends breaks more.
    """
    rotation = situation.rotation
    return None if rotation is not None and rotation.lost_by_edits and not situation.urgent else step


def _left_over(situation: Situation) -> Step | None:
    """A crash around a switch left a pending leaf that is a generation: it was switched to, or it is to be."""
    pending, current = situation.observed.disk.pending, situation.current
    if pending is None or pending.issued is None or current is None:
        return None
    leaf = pending.issued.certificates[0]
    made = next((one for one in (current, *situation.observed.disk.kept) if one.leaf == leaf), None)
    if made is None:
        return None
    due = situation.due(situation.record.publishing)
    # What a person went back from is not gone to again; a leaf that is needed since was paid for after that.
    is_given_up = situation.held and situation.renewal_reason is None
    past = made.number <= current.number or made.number == situation.record.refuted or is_given_up
    if past or not still_proves(situation.candidate(made), situation.now):
        return Step(DropPending(), due, "the pending leaf has become a generation")
    step = gated(
        situation, Step(Switch(made.number), due, f"generation {made.number} was written and never switched to")
    )
    return if_trusted(situation, made, step)


def _replaced(situation: Situation) -> Step | None:
    """A leaf that was in use is to be revoked one day: it must be known when its generation is gone."""
    if not situation.wanted.revoke or situation.current is None:
        return None
    now, noted = situation.now, situation.record.replaced
    known = {situation.current.leaf, *(one.leaf for one in noted)}
    kept = [Replaced(one.issuer, one.leaf) for one in reversed(situation.observed.disk.kept) if one.leaf not in known]
    # In the order in which they are to be revoked: what was refused has been put last, and stays there.
    wanted = tuple(one for one in dict.fromkeys((*noted, *kept)) if one.leaf.not_after > now)
    return None if wanted == noted else Step(Remember(wanted), now, "the list of replaced leaves has changed")


def _revocable(situation: Situation) -> Step | None:
    """A proven renewal has replaced a leaf, and no generation holds it: nobody will use it again."""
    current, wanted = situation.current, situation.wanted
    if not wanted.revoke or current is None or situation.record.settled != current.number:
        return None
    if not wanted.proven_at or len(situation.listeners(Verdict.PROVEN)) < len(wanted.proven_at):
        return None
    reachable = {current.leaf, *(generation.leaf for generation in situation.observed.disk.kept)}
    for one in situation.record.replaced:
        # One of another CA is for nobody here to revoke; it ends by itself.
        if one.leaf not in reachable and one.issuer == wanted.issuer:
            why = f"the leaf {one.leaf.serial_number:x} is replaced, and no roll-back reaches it"
            return Step(Revoke(one.leaf), situation.due(situation.record.revoking), why)
    return None


CONCERNS: tuple[Callable[[Situation], Step | None], ...] = (
    _found_files,
    _lost_link,
    _left_over,
    _outdated,
    _replaced,
    _damaged_files,
    _settling,
    back_to_ca,
    _other_anchors,
    _refuted_candidate,
    _leaf,
    ask_peers,
    _revocable,
)


def _clock(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%SZ")
