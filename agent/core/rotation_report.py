"""Tell where an identity stands in a CA rotation: stage, anchors, peers, and what is waited for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent.core.anchors import ca_id
from agent.core.guards import nodes_have_its_anchor, nodes_have_the_leaf
from agent.core.restart import RestartDue
from agent.core.rotation import Stage
from agent.core.rotation_plan import kept_of
from agent.core.rotation_view import FORGOTTEN
from agent.core.status import AnchorStatus, AwaitedStatus, PeerStatus, RotationStatus
from agent.core.testimony import Question

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.guards import Hold
    from agent.core.rotation_view import RotationView
    from agent.core.situation import Situation

TRUSTED = "trusted"
ENTERING = "entering"
WAITING = "waiting"
LEAVING = "leaving"
GONE = "gone"
LEFT_BEHIND = "left behind"
"""What becomes of an anchor: it is in the truststores, is to enter, waits for a person, is to leave, was let go by a
person, or is one that an issuer still lists and has issued under before."""

MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")
"""A moment as sentences tell it."""


def rotation_status(situation: Situation) -> RotationStatus | None:
    """Return where the rotation stands; None while there is no certificate."""
    rotation = situation.rotation
    if rotation is None:
        return None
    outlook, standing, noted = rotation.outlook, rotation.standing, rotation.noted
    hold = rotation.candidate_hold
    why = outlook.why if hold is None or outlook.stage.is_broken or str(hold) in outlook.why else f"held: {hold}"
    opens = situation.changes_from
    stage = noted.stage if noted.stage is not None and noted.stage.what == outlook.stage else None
    return RotationStatus(
        stage=outlook.stage,
        why=why + _failed_so_far(situation, rotation),
        since=stage.at if stage else None,
        leaf_ca=standing.name(standing.leaf),
        target_ca=standing.name(standing.target) if standing.target is not None else "",
        anchors=tuple(_anchors(situation, rotation)),
        peers=tuple(_peers(rotation)),
        awaits=tuple(
            AwaitedStatus(one.peer, f"{one.question} {standing.name(one.ca)}", one.shown, one.why)
            for one in rotation.awaited
        ),
        paused=f"by {noted.pause.by} at {noted.pause.at:%Y-%m-%d %H:%M:%SZ}" if noted.pause else "",
        aborted=(
            f"by {noted.abort.by} at {noted.abort.at:%Y-%m-%d %H:%M:%SZ}: back to {standing.name(noted.abort.back_to)}"
            if noted.abort
            else ""
        ),
        opens_at=opens if opens is not None and opens > situation.now else None,
    )


def restart_due(situation: Situation) -> RestartDue | None:
    """Return the restarts of nodes that the rotation waits for; None while it waits for none.

    Since when: since the new CA's anchor came, or the leaf. By when: the leaf in use ends then, and nothing
    can take its place before.
    """
    rotation = situation.rotation
    if rotation is None:
        return None
    standing, noted, outlook = rotation.standing, rotation.noted, rotation.outlook
    entered = {one.what: one.at for one in noted.entered}
    leaf_since = noted.leaf.at if noted.leaf is not None else None
    next_ca = standing.target if rotation.candidate_hold is None else rotation.candidate
    holds: list[tuple[Hold | None, str, datetime | None]] = [
        (rotation.candidate_hold or outlook.leaf_hold, nodes_have_its_anchor.__name__, entered.get(next_ca or "")),
        *((hold, nodes_have_the_leaf.__name__, leaf_since) for _, hold in outlook.retirements),
    ]
    for hold, guard, since in holds:
        if hold is not None and hold.guard == guard:
            current = rotation.current
            return RestartDue(current.number, since or current.made_at, current.leaf.not_after, str(hold))
    return None


def concerns(situation: Situation) -> Iterator[str]:
    """Name what a person should look at: a new CA, a broken state, what has waited for long."""
    rotation = situation.rotation
    if rotation is None:
        return
    for sighting in rotation.waiting:
        name, fingerprint = rotation.standing.name(ca_id(sighting.anchor)), sighting.anchor.fingerprint
        yield f"{sighting.source} shows a new CA, {name}: `cert-agent ca approve {fingerprint}` lets it in"
    outlook = rotation.outlook
    if outlook.stage.is_broken and outlook.stage is not Stage.STORE_EDITED:
        yield f"the CA rotation is broken, {outlook.stage}: {outlook.why}"
    if rotation.candidate_hold is not None:
        name = rotation.standing.name(rotation.candidate or "")
        yield f"a leaf of {name} is in hand, and held: {rotation.candidate_hold}"
    if rotation.needs_other_issuer and rotation.failover_hold is not None:
        wanted = situation.wanted
        yield f"{wanted.issuer} is down, and {wanted.failover} is not asked in its place: {rotation.failover_hold}"
    nodes = restart_due(situation)
    if nodes is not None:
        yield f"nodes are to be restarted by {nodes.by.isoformat()}: {nodes.why}"
    if rotation.lost_by_edits:
        yield (
            f"a truststore that was edited by hand lacks {rotation.lost_by_edits}: nothing is written beside it before"
            " the leaf's last twentieth; `cert-agent renew --discard-edits` takes the edit back"
        )
    lacks = lacks_way_back(situation)
    if lacks:
        yield lacks
    if rotation.noted.forgotten:
        yield FORGOTTEN
    if rotation.noted.pause is not None:
        yield f"{rotation.noted.pause.by} has paused it: `cert-agent ca resume` ends that"


def undated(sentence: str) -> str:
    """Return a sentence without its moments: two that differ in nothing else say the same."""
    return MOMENT.sub("", sentence)


def lacks_way_back(situation: Situation) -> str:
    """Say what is to be done so that the leaf can go back to where a person wants it; empty: nothing.

    Without a generation that is kept a leaf of that CA must come from the issuer, which gives what it gives.
    """
    rotation, abort = situation.rotation, situation.record.rotation.abort
    if rotation is None or abort is None or rotation.standing.leaf == abort.back_to:
        return ""
    is_coming = rotation.candidate == abort.back_to or rotation.own in {None, abort.back_to}
    if is_coming or kept_of(abort.back_to, situation, rotation) is not None:
        return ""
    standing, issuer = rotation.standing, situation.wanted.issuer
    name, own = standing.name(abort.back_to), standing.name(rotation.own or "")
    return (
        f"no generation with a leaf of {name} is kept to go back to, and {issuer} gives leaves of {own}:"
        f" have {issuer} give leaves of {name}"
    )


def _failed_so_far(situation: Situation, rotation: RotationView) -> str:
    """Return what keeps the next leaf from coming where no guard holds it, as the end of a sentence."""
    standing, record = rotation.standing, situation.record
    failure = record.issuing.failure or record.publishing.failure
    if standing.target in {None, standing.leaf} or rotation.candidate_hold is not None or failure is None:
        return ""
    return f"; failed so far: {failure.what}"


def _anchors(situation: Situation, rotation: RotationView) -> Iterator[AnchorStatus]:
    sightings = situation.observed.trust.sightings
    held = {one.fingerprint for one in rotation.current.anchors}
    waiting = {one.anchor.fingerprint for one in rotation.waiting}
    holds = dict(rotation.outlook.retirements)
    anchors = {one.fingerprint: one for one in (*rotation.current.anchors, *situation.observed.trust.seen)}
    for fingerprint, anchor in sorted(anchors.items()):
        sources = tuple(dict.fromkeys(one.source for one in sightings if one.anchor.fingerprint == fingerprint))
        hold = holds.get(ca_id(anchor)) if fingerprint in held else None
        state = _state(anchor, rotation, is_held=fingerprint in held, is_waiting=fingerprint in waiting)
        yield AnchorStatus(anchor, state, sources, str(hold) if hold is not None else "")


def _state(anchor: Certificate, rotation: RotationView, *, is_held: bool, is_waiting: bool) -> str:
    if is_held:
        return LEAVING if ca_id(anchor) in rotation.standing.leaving else TRUSTED
    if is_waiting:
        return WAITING
    if any(one.fingerprint == anchor.fingerprint and not one.approved for one in rotation.noted.rulings):
        return GONE
    return ENTERING if anchor in rotation.wanted_anchors else LEFT_BEHIND


def _peers(rotation: RotationView) -> Iterator[PeerStatus]:
    """Tell of each peer what matters now: whether it trusts the next CA and the one in use, and whether it has left."""
    standing, peers, now = rotation.standing, rotation.peers, rotation.situation.now
    asked = [(Question.TRUSTS, ca) for ca in dict.fromkeys((standing.leaf, rotation.candidate, standing.target)) if ca]
    asked += [(Question.LEFT, ca) for ca in sorted(standing.leaving)]
    verdicts = {key: peers.verdicts(*key, now) for key in asked}
    for index, one in enumerate(peers.testimonies):
        told = {f"{question} {standing.name(ca)}": verdicts[question, ca][index] for question, ca in asked}
        yield PeerStatus(one.peer, one.at, told, one.why)
