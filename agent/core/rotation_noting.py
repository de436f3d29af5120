"""What is to be noted of a CA rotation: since when things are so, and what people have said that is of now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core import met
from agent.core.evidence import Verdict
from agent.core.rotation_record import Since
from agent.core.testimony import Question

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.anchors import CaId
    from agent.core.rotation_record import RotationRecord
    from agent.core.rotation_view import RotationView
    from agent.core.testimony import Word


def noted_now(rotation: RotationView) -> RotationRecord:
    """Return what should be noted; the same again where nothing has changed.

    A note from the future was written under a clock that has since been put right.
    """
    noted, standing, now = rotation.noted, rotation.standing, rotation.situation.now
    observed = rotation.situation.observed
    switched = observed.disk.switched_at or rotation.current.made_at
    before = {one.what: one for one in noted.entered}
    leaf = noted.leaf if noted.leaf is not None and noted.leaf.what == standing.leaf else Since(standing.leaf, switched)
    stage = noted.stage
    if stage is None or stage.what != rotation.outlook.stage:
        stage = Since(str(rotation.outlook.stage), now)
    return replace(
        noted,
        words=tuple(word for word in noted.words if _is_of_now(word, rotation)),
        # Whoever is at a third CA by now goes back to none of the two.
        abort=noted.abort if noted.abort and standing.leaf in {noted.abort.away_from, noted.abort.back_to} else None,
        entered=tuple(before.get(ca, Since(ca, switched)) for ca in sorted(standing.holds)),
        left=_left(rotation),
        leaf=leaf,
        own=_own(rotation),
        away=_away(rotation, switched),
        stage=stage,
        owned=_owned(rotation),
        doubtful=_doubtful(rotation),
        ended=_ended(rotation),
        leaving=noted.leaving if standing.silent else tuple(sorted(standing.leaving)),
        met=met.remembered(noted.met, observed.peers, rotation.situation.wanted.rotation, now),
    )


def _own(rotation: RotationView) -> Since | None:
    noted, own, now = rotation.noted.own, rotation.own, rotation.situation.now
    if own is None or (noted is not None and noted.what == own and noted.at <= now):
        return noted
    return Since(own, now)


def _owned(rotation: RotationView) -> tuple[Since, ...]:
    """Return until when the issuer gave leaves of each CA that it has turned away from."""
    noted, own, now = rotation.noted.own, rotation.own, rotation.situation.now
    owned = {one.what: one for one in rotation.noted.owned}
    if noted is not None and own is not None and noted.what != own:
        owned[noted.what] = Since(noted.what, now)
    return tuple(owned[ca] for ca in sorted(owned))


def _away(rotation: RotationView, switched: datetime) -> tuple[Since, ...]:
    """Return since when the leaf was first of another CA than each that it was of, while it could go back to it."""
    standing, leaf = rotation.standing, rotation.noted.leaf
    away = {one.what: one for one in rotation.noted.away}
    if leaf is not None and leaf.what != standing.leaf:
        away.setdefault(leaf.what, Since(leaf.what, switched))
    # Truststores that hold no CA of the identity's own tell nothing of where its leaf may go back to.
    is_apart = standing.leaf not in standing.holds
    return tuple(away[ca] for ca in sorted(away) if is_apart or ca in standing.holds)


def _doubtful(rotation: RotationView) -> tuple[CaId, ...]:
    """Return the CAs of whose leaves nobody has shown that readers use them no more, however many came since."""
    if rotation.is_in_use:
        return ()
    return tuple(sorted(rotation.standing.may_use - {rotation.standing.leaf}))


def _ended(rotation: RotationView) -> Since | None:
    """Return since when the current leaf is seen to have ended: one look by a wrong clock is to lift no guard."""
    leaf, now, noted = rotation.current.leaf, rotation.situation.now, rotation.noted.ended
    if leaf.not_after > now:
        return None
    is_noted = noted is not None and noted.what == leaf.fingerprint and noted.at <= now
    return noted if is_noted else Since(leaf.fingerprint, now)


def _left(rotation: RotationView) -> tuple[Since, ...]:
    """Return since when no leaf of each CA is known to be in use; what is merely unknown now is no return."""
    standing = rotation.standing
    noted = {one.what: one for one in rotation.noted.left}
    left = {ca: noted[ca] for ca in standing.leaving & noted.keys() if not _is_back(ca, rotation)}
    for ca in rotation.outlook.left:
        left.setdefault(ca, Since(ca, rotation.situation.now))
    return tuple(left[ca] for ca in sorted(left))


def _is_back(ca: CaId, rotation: RotationView) -> bool:
    """Whether a leaf of a CA is shown to be in use again."""
    awaited = rotation.peers.awaited(Question.LEFT, ca, rotation.situation.now)
    return ca == rotation.standing.leaf or any(one.shown is Verdict.REFUTED for one in awaited)


def _is_of_now(word: Word, rotation: RotationView) -> bool:
    """Whether a person's word still counts: nobody has turned round since, and no evidence goes against it."""
    standing, ca = rotation.standing, word.ca
    match word.question:
        case Question.LEFT:
            counts = ca in standing.leaving and ca != standing.target
        case Question.RESTARTED_FOR_LEAF:
            counts = ca == standing.leaf
        case _:
            is_asked = ca in {standing.target, rotation.candidate, rotation.candidate_end}
            counts = (is_asked or ca in standing.holds - standing.leaving) and ca != standing.unwanted
    awaited = replace(rotation.peers, words=()).awaited(word.question, ca, rotation.situation.now)
    return counts and word.peer not in {one.peer for one in awaited if one.shown is Verdict.REFUTED}
