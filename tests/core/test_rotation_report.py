"""What is told of a CA rotation: stage, anchors, peers, restarts, and what a person should look at."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.anchors import Anchors, Origin, Ruling, Sighting
from agent.core.evidence import Verdict
from agent.core.record import Failure, Record, Tries
from agent.core.rotation import Stage
from agent.core.rotation_record import Abort, Pause, RotationRecord, Since
from agent.core.rotation_report import concerns, lacks_way_back, restart_due, rotation_status, undated
from agent.core.situation import Situation
from agent.core.status import AwaitedStatus
from agent.core.testimony import Peers, Question, Word
from agent.core.testimony import Testimony as Known
from agent.core.window import Window
from tests.core.test_plan import ROOT, generation, observed
from tests.core.test_rotation_view import (
    BEFORE,
    FLIPPED,
    IN_HAND,
    NEW,
    NEW_ID,
    OLD_ID,
    PEERS,
    REISSUED,
    SECOND,
    TWO,
    URGENT,
    WITH_BOTH,
    listed,
    look,
    noted,
    own,
)
from tests.daemon.world import WANTED
from tests.material import NOW, Ca

if TYPE_CHECKING:
    from agent.core.status import RotationStatus

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
OLD_NAME, NEW_NAME = "CN=Test Root,O=MyOrg", "CN=New Root"
DISTRUSTS = Known("b2", NOW, trusts={OLD_ID: Verdict.PROVEN, NEW_ID: Verdict.REFUTED}, uses=frozenset({OLD_ID}))


def told(current: object = WITH_BOTH, **changes: object) -> RotationStatus:
    """Return what is told of a rotation."""
    status = rotation_status(look(current, **changes).situation)  # type: ignore[arg-type]
    assert status is not None
    return status


def looked_at(current: object = WITH_BOTH, **changes: object) -> list[str]:
    """Return what a person should look at."""
    return list(concerns(look(current, **changes).situation))  # type: ignore[arg-type]


def by_others(*testimonies: Known) -> Peers:
    """Return peers, and own listeners that name what the truststores hold."""
    return replace(PEERS, testimonies=testimonies, own=look().situation.observed.peers.own)


def test_an_identity_without_a_certificate_is_in_no_rotation() -> None:
    """There is nothing to tell yet."""
    situation = Situation(observed(None), WANTED, NOW)
    assert rotation_status(situation) is None
    assert restart_due(situation) is None
    assert list(concerns(situation)) == []


def test_a_steady_identity_has_one_ca_and_nothing_to_look_at() -> None:
    """Its leaf and the next are of it."""
    status = told(generation(2), trust=Anchors((own(ROOT),)))
    assert (status.stage, status.why) == (Stage.STEADY, "one CA, and nothing to change")
    assert (status.leaf_ca, status.target_ca, status.paused, status.aborted) == (OLD_NAME, OLD_NAME, "", "")
    assert (status.opens_at, status.awaited, status.since) == (None, (), None)
    assert looked_at(generation(2), trust=Anchors((own(ROOT),))) == []


def test_a_stage_is_dated_by_its_own_note_alone() -> None:
    """The note of the stage before says nothing of this one."""
    status = told(REISSUED, rotation=noted(stage=Since(str(Stage.LEAF_REISSUED), NOW - HOUR)))
    assert (status.stage, status.since) == (Stage.LEAF_REISSUED, NOW - HOUR)
    assert told(REISSUED, rotation=noted(stage=Since(str(Stage.STEADY), NOW - HOUR))).since is None


def test_a_target_that_nobody_knows_is_empty() -> None:
    """A source that shows no CA of the issuer's own: it is known when the leaf comes."""
    assert told(trust=Anchors()).target_ca == ""


@pytest.mark.parametrize(
    ("state", "current", "changes"),
    [
        ("trusted", WITH_BOTH, {}),
        ("trusted", REISSUED, {}),
        ("entering", generation(2), {}),
        ("waiting", generation(2), {"trust": BEFORE}),
        (
            "gone",
            generation(2),
            {
                "trust": BEFORE,
                "rotation": noted(rulings=(Ruling(NEW.certificate.fingerprint, approved=False, by="a", at=NOW),)),
            },
        ),
        ("leaving", WITH_BOTH, {"trust": Anchors((own(ROOT),))}),
    ],
)
def test_what_becomes_of_an_anchor_is_told(state: str, current: object, changes: dict[str, object]) -> None:
    """One word each, with the sources that show it."""
    status = told(current, **changes)
    anchor = next(one for one in status.anchors if one.anchor == NEW.certificate)
    assert anchor.state == state
    expected = () if state == "leaving" else ("issuer ca",)
    assert anchor.sources == expected


def test_an_older_ca_of_the_issuer_is_left_behind() -> None:
    """Neither waiting nor entering: it is listed, and that is all."""
    older = Ca.root("CN=Older", not_before=NOW - 1000 * DAY)
    status = told(trust=Anchors((own(NEW), listed(older))))
    assert next(one for one in status.anchors if one.anchor == older.certificate).state == "left behind"


def test_an_anchor_is_listed_once_with_all_of_its_sources_and_why_it_stays() -> None:
    """Of what is to leave the reason is told that it has not left."""
    in_folder = Sighting(NEW.certificate, "/etc/ca.d", Origin.FILE)
    status = told(REISSUED, trust=Anchors((*FLIPPED.sightings, in_folder)))
    old, new = sorted(status.anchors, key=lambda one: one.anchor == NEW.certificate)
    assert new.sources == ("issuer ca", "/etc/ca.d")
    assert (new.held, old.state) == ("", "leaving")
    assert old.held == f"since when no leaf of {OLD_NAME} is in use is not noted yet"


def test_of_each_peer_what_matters_is_told() -> None:
    """Whether it trusts the leaf in use and the next one, and whether it has left what is to leave."""
    status = told(pending=IN_HAND, peers=by_others(DISTRUSTS))
    assert status.peers[0].verdicts == {
        f"trusts {OLD_NAME}": Verdict.PROVEN,
        f"trusts {NEW_NAME}": Verdict.REFUTED,
        f"has left {OLD_NAME}": Verdict.REFUTED,
    }
    word = Word("b3", Question.TRUSTS, NEW_ID, "ann", NOW)
    status = told(peers=by_others(DISTRUSTS, Known("b3", NOW, why="down")), rotation=noted(words=(word,)))
    assert [one.peer for one in status.peers] == ["b2", "b3"]
    assert status.peers[1].verdicts[f"trusts {NEW_NAME}"] is Verdict.PROVEN
    assert status.peers[1].verdicts[f"trusts {OLD_NAME}"] is Verdict.UNKNOWN
    assert status.peers[1].why == "down"


def test_what_is_waited_for_is_told_by_peer_and_as_a_concern() -> None:
    """The leaf in hand is named with its CA; each peer once."""
    status = told(pending=IN_HAND, peers=by_others(DISTRUSTS, replace(DISTRUSTS, peer="b4")))
    assert status.awaited == ("b2", "b4")
    assert status.awaits[0] == AwaitedStatus("b2", f"trusts {NEW_NAME}", Verdict.REFUTED)
    assert status.why == f"the next leaf is of {NEW_NAME}; held: b2, b4 is not shown to trust {NEW_NAME}"
    assert looked_at(pending=IN_HAND, peers=by_others(DISTRUSTS)) == [
        f"a leaf of {NEW_NAME} is in hand, and held: b2 is not shown to trust {NEW_NAME}"
    ]


def test_a_leaf_in_hand_that_nobody_aims_at_tells_why_it_is_held() -> None:
    """The stage's own sentence would say nothing of it."""
    abort = noted(abort=Abort(NEW_ID, OLD_ID, "ann", NOW))
    status = told(pending=IN_HAND, rotation=abort)
    assert status.why == f"held: a person has the leaf go away from {NEW_NAME}: `cert-agent ca resume` ends that"
    assert status.aborted == f"by ann at {NOW:%Y-%m-%d %H:%M:%SZ}: back to {OLD_NAME}"


@pytest.mark.parametrize("lane", ["issuing", "publishing"])
def test_a_leaf_that_is_not_there_yet_tells_what_has_failed(lane: str) -> None:
    """No guard holds it, and no leaf is in hand: else nobody would know why the stage goes on and on."""
    tries = Tries(3, NOW, Failure("the CA is away", "", NOW))
    failed = Record(2, 2, issuing=tries) if lane == "issuing" else Record(2, 2, publishing=tries)
    assert told(record=failed).why == f"the next leaf is of {NEW_NAME}; failed so far: the CA is away"
    held = told(record=failed, pending=IN_HAND, peers=by_others(DISTRUSTS))
    assert "failed so far" not in held.why
    assert "failed so far" not in told(REISSUED, record=failed).why


def test_an_abort_that_lacks_a_leaf_of_the_ca_before_is_a_concern() -> None:
    """While the issuer gives others, no generation is kept that lacks nothing, and none is in hand."""
    back = noted(abort=Abort(NEW_ID, OLD_ID, "ann", NOW))
    lacks = lacks_way_back(look(REISSUED, rotation=back).situation)
    assert lacks == (
        f"no generation with a leaf of {OLD_NAME} is kept to go back to, and ca gives leaves of {NEW_NAME}:"
        f" have ca give leaves of {OLD_NAME}"
    )
    assert lacks in looked_at(REISSUED, rotation=back)
    lean = generation(2, issued_at=NOW - 2 * DAY)  # its truststores hold the old CA alone
    assert lacks_way_back(look(REISSUED, rotation=back, kept=(lean,)).situation) == lacks
    assert lacks_way_back(look(REISSUED, rotation=back, kept=(WITH_BOTH,)).situation) == ""
    assert lacks_way_back(look(REISSUED, rotation=back, trust=BEFORE).situation) == ""
    assert lacks_way_back(look(REISSUED, rotation=back, trust=Anchors()).situation) == ""
    assert lacks_way_back(look(rotation=back).situation) == ""
    assert lacks_way_back(look(REISSUED).situation) == ""


@pytest.mark.parametrize("moment", ["2026-11-24 12:00:00Z", "2026-11-24T12:00:00+00:00", "2026-11-24T12:00:00.123456Z"])
def test_sentences_that_differ_in_a_moment_alone_are_one(moment: str) -> None:
    """As sentences here write it."""
    assert undated(f"known of {moment}, held") == undated("known of 2026-11-25 01:02:03Z, held")
    assert undated("held by b2") != undated("held by b3")


def test_a_pause_is_told_with_who_and_when() -> None:
    """And how it ends."""
    paused = noted(pause=Pause("ann", NOW))
    assert told(rotation=paused).paused == f"by ann at {NOW:%Y-%m-%d %H:%M:%SZ}"
    assert told(rotation=paused).opens_at is None
    assert "ann has paused it: `cert-agent ca resume` ends that" in looked_at(rotation=paused)


def test_a_window_is_told_while_it_is_closed() -> None:
    """It is noon; one opens at two in the night, and one is open."""
    nightly = replace(WANTED, windows=(Window("0 2 * * *", HOUR),))
    assert told(wanted=nightly).opens_at == (NOW + DAY).replace(hour=2)
    assert told(wanted=replace(WANTED, windows=(Window("0 12 * * *", HOUR),))).opens_at is None


def test_a_new_ca_is_a_concern_with_the_command_that_lets_it_in() -> None:
    """Its whole fingerprint, for a person to compare."""
    assert looked_at(generation(2), trust=BEFORE) == [
        f"issuer ca shows a new CA, {NEW_NAME}: `cert-agent ca approve {NEW.certificate.fingerprint}` lets it in"
    ]


def test_a_broken_state_is_a_concern_and_an_edit_has_its_own() -> None:
    """An edited store is told of by the name of its file, and not twice."""
    refuses = replace(DISTRUSTS, trusts={NEW_ID: Verdict.REFUTED})
    found = looked_at(REISSUED, peers=by_others(refuses))
    assert found[0].startswith("the CA rotation is broken, leaf untrusted: b2 does not trust the leaf in use")
    ahead = looked_at(peers=by_others(replace(DISTRUSTS, ahead="CN=Far Ahead")))
    assert ahead[0].startswith("the CA rotation is broken, peer ahead: b2 uses a leaf of CN=Far Ahead")
    files = tuple(replace(one, edited=one.name == "ca.crt") for one in WITH_BOTH.files)
    edited = replace(WITH_BOTH, files=files)
    assert told(edited).stage is Stage.STORE_EDITED
    assert not any("broken" in one for one in looked_at(edited))


def test_an_edit_that_lacks_a_ca_in_use_is_a_concern() -> None:
    """What it lacks, and what comes of it."""
    trust = Anchors((own(ROOT), Sighting(NEW.certificate, "/etc/ca.d", Origin.FILE)))
    found = looked_at(trust=trust, edited=(("ca.crt", (ROOT.certificate,)),))
    assert any(f"edited by hand lacks {NEW_NAME}: nothing is written beside it" in one for one in found)


def test_a_second_issuer_that_is_not_asked_is_a_concern_while_the_first_is_down() -> None:
    """In the last twentieth, with what keeps it; before that nobody need know."""
    down = Record(2, 2, issuing=Tries(1, URGENT, Failure("down", "", URGENT)))
    trust = Anchors((own(ROOT),))
    found = looked_at(record=down, wanted=SECOND, trust=trust, at=URGENT)
    assert "ca is down, and second is not asked in its place: which CA second gives leaves of is not known" in str(
        found
    )
    assert not any("is down" in one for one in looked_at(record=down, wanted=SECOND, trust=trust))
    good = replace(PEERS, testimonies=tuple(replace(one, at=URGENT) for one in PEERS.testimonies))
    shown = Known("own", URGENT, {OLD_ID: Verdict.PROVEN, NEW_ID: Verdict.PROVEN})
    fine = looked_at(record=down, wanted=SECOND, trust=TWO, at=URGENT, peers=replace(good, own=(shown,)))
    assert not any("is down" in one for one in fine)


# --- restarts --------------------------------------------------------------------------------

NODE = Known("n2", NOW, uses=frozenset(), meets=False, is_node=True, why="nobody sees it")
NOTES = RotationRecord(entered=(Since(NEW_ID, NOW - 3 * HOUR), Since(OLD_ID, NOW - 9 * DAY)), leaf=Since(NEW_ID, NOW))


@pytest.mark.parametrize("pending", [None, IN_HAND])
def test_a_leaf_that_waits_for_nodes_has_a_restart_due(pending: object) -> None:
    """Since its anchor came, by the end of the leaf in use; whether the leaf is in hand yet or not."""
    peers = by_others(*PEERS.testimonies, NODE)
    due = restart_due(look(pending=pending, peers=peers, rotation=NOTES).situation)  # type: ignore[arg-type]
    assert due is not None
    assert (due.generation, due.since, due.by) == (2, NOW - 3 * HOUR, WITH_BOTH.leaf.not_after)
    assert due.why == f"n2 (nobody sees it) is not shown to be restarted since it trusts {NEW_NAME}"
    assert not due.whole


def test_an_anchor_that_waits_for_nodes_has_a_restart_due() -> None:
    """Since the new leaf came, by its end."""
    notes = replace(NOTES, leaf=Since(NEW_ID, NOW - 2 * HOUR))
    peers = by_others(*PEERS.testimonies, NODE)
    situation = look(REISSUED, peers=peers, rotation=notes).situation
    due = restart_due(situation)
    assert due is not None
    assert (due.generation, due.since, due.by) == (3, NOW - 2 * HOUR, REISSUED.leaf.not_after)
    assert due.why == f"n2 (nobody sees it) is not shown to be restarted since its leaf is of {NEW_NAME}"
    assert f"nodes are to be restarted by {due.by.isoformat()}: {due.why}" in list(concerns(situation))


def test_no_restart_is_due_that_would_bring_nothing_about() -> None:
    """While a peer does not trust the CA, while nothing changes, and once each was vouched for."""
    assert restart_due(look(peers=by_others(DISTRUSTS, NODE), rotation=NOTES).situation) is None
    steady = look(generation(2), trust=Anchors((own(ROOT),)), peers=by_others(NODE))
    assert restart_due(steady.situation) is None
    word = Word("n2", Question.RESTARTED_FOR_ANCHOR, NEW_ID, "ann", NOW)
    vouched = look(peers=by_others(*PEERS.testimonies, NODE), rotation=replace(NOTES, words=(word,)))
    assert restart_due(vouched.situation) is None
