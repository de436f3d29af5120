"""What of an observation goes into the rules of a CA rotation: each question of the view, answered by values."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.actions import AskPeers, Publish, Switch
from agent.core.anchors import Acceptance, Anchors, Origin, Ruling, Sighting, ca_id
from agent.core.configuration import Retirement, RotationPolicy
from agent.core.evidence import Served, Verdict
from agent.core.generation import Cause, Disk, Issued, Pending
from agent.core.issuing_ca import ca_of
from agent.core.observed import Observed
from agent.core.plan import decide
from agent.core.record import Failure, Record, Tries
from agent.core.rotation import Stage
from agent.core.rotation_noting import noted_now
from agent.core.rotation_plan import AT_REST, WHILE_MOVING, ask_peers
from agent.core.rotation_record import Abort, RotationRecord, Since
from agent.core.situation import Situation
from agent.core.testimony import FRESH, Peers, Question, Word
from agent.core.testimony import Testimony as Known
from agent.core.window import Window
from tests.core.test_plan import KEYS, LINK, REQUEST, ROOT, generation
from tests.daemon.memory_broker import SPEC
from tests.daemon.world import ADDRESS, OF_BROKER, WANTED
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted
    from agent.core.generation import Generation
    from agent.core.rotation_view import RotationView

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
NEW = Ca.root("CN=New Root", not_before=NOW - 30 * DAY)
NEW_LINK = NEW.intermediate("CN=New Intermediate")
OLD_ID, NEW_ID = ca_id(ROOT.certificate), ca_id(NEW.certificate)
OLD_ALONE, NEW_ALONE, OLD_AND_NEW = frozenset({OLD_ID}), frozenset({NEW_ID}), frozenset({OLD_ID, NEW_ID})
NOTHING: frozenset[str] = frozenset()
NEW_LEAF = NEW_LINK.leaf(REQUEST, KEYS[1])
BOTH = (ROOT.certificate, NEW.certificate)
WITH_BOTH = generation(2, anchors=BOTH, anchor=ROOT.certificate, issued_at=NOW - 2 * DAY)
REISSUED = replace(WITH_BOTH, number=3, chain=(NEW_LEAF, NEW_LINK.certificate), anchor=NEW.certificate)
IN_HAND = Pending(
    REQUEST, "ca", "token", NOW, NEW_LEAF.public_key, b"", Issued((NEW_LEAF, NEW_LINK.certificate), NOW - HOUR)
)
PEERS = Peers((Known("b2", NOW, trusts={OLD_ID: Verdict.PROVEN, NEW_ID: Verdict.PROVEN}, uses=frozenset({NEW_ID})),))


def own(ca: Ca, issuer: str = "ca") -> Sighting:
    """Return an issuer's own CA, as seen."""
    return Sighting(ca.certificate, f"issuer {issuer}", Origin.OWN)


def listed(ca: Ca, issuer: str = "ca") -> Sighting:
    """Return a CA that an issuer lists."""
    return Sighting(ca.certificate, f"issuer {issuer}", Origin.LISTED)


def in_file(ca: Ca) -> Sighting:
    """Return a CA that lies in a folder."""
    return Sighting(ca.certificate, "/etc/kafka/ca.d", Origin.FILE)


FLIPPED = Anchors((own(NEW), listed(ROOT)))
BEFORE = Anchors((own(ROOT), listed(NEW)))


def look(
    current: Generation = WITH_BOTH,
    *,
    trust: Anchors = FLIPPED,
    rotation: RotationRecord | None = None,
    kept: tuple[Generation, ...] = (),
    pending: Pending | None = None,
    wanted: Wanted = WANTED,
    at: object = NOW,
    **changes: object,
) -> RotationView:
    """Return the view of an identity whose listener serves what is current, but for the changes."""
    disk = Disk(current, current.leaf.public_key, kept=kept, pending=pending, switched_at=NOW - DAY)
    disk = replace(disk, **{name: changes.pop(name) for name in ("edited", "switched_at") if name in changes})  # type: ignore[arg-type]
    record = Record(reloaded=current.number, settled=current.number, rotation=rotation or RotationRecord())
    own_look = Known(ADDRESS, NOW, {ca_id(one): Verdict.PROVEN for one in current.anchors})
    seen = Observed(
        disk,
        record,
        "layout",
        trust,
        trust,
        {ADDRESS: Served(ADDRESS, NOW, current.leaf.fingerprint)},
        peers=replace(PEERS, own=(own_look,)),
        peers_asked_at=NOW,
    )
    situation = Situation(replace(seen, **changes), wanted, at)  # type: ignore[arg-type]
    assert situation.rotation is not None
    # They were asked when as much was to stay as is now.
    peers = replace(situation.observed.peers, staying=situation.rotation.staying)
    asked = Situation(replace(situation.observed, peers=peers), wanted, at)  # type: ignore[arg-type]
    assert asked.rotation is not None
    return asked.rotation


def noted(**changes: object) -> RotationRecord:
    """Return notes of a rotation."""
    return RotationRecord(**changes)  # type: ignore[arg-type]


# --- whose leaf it is ------------------------------------------------------------------------


def cross(name: str, key_of: Ca, by: Ca) -> Certificate:
    """Return a certificate of a root that another root has signed."""
    return by.intermediate(name, key=key_of.key).certificate


def test_a_cross_signed_ca_leads_to_its_own_anchor_where_that_is_known() -> None:
    """A leaf with the cross-signed certificate in its chain is of the CA that signed the leaf, not of its elder."""
    root = Ca.root("CN=Crossed")
    leaf = root.leaf(REQUEST, KEYS[0])
    chain = (leaf, cross("CN=Crossed", root, ROOT))
    assert ca_of(chain, (ROOT.certificate, root.certificate)) == ca_id(root.certificate)
    assert ca_of(chain, (ROOT.certificate,)) == OLD_ID


def test_a_leaf_is_of_its_ca_when_it_has_expired_too() -> None:
    """What matters is who signed it."""
    ended = LINK.leaf(REQUEST, KEYS[0], not_before=NOW - 60 * DAY)
    assert ca_of((ended, LINK.certificate), BOTH) == OLD_ID


def test_leaves_of_an_unknown_ca_are_of_one_ca_and_of_no_known_one() -> None:
    """Its name is all that is known of it."""
    stranger = Ca.root("CN=Stranger")
    one, other = (ca_of((stranger.leaf(REQUEST, make_key()),), BOTH) for _ in range(2))
    assert one == other
    assert one not in {OLD_ID, NEW_ID, ca_id(stranger.certificate)}


def test_an_anchor_that_only_a_kept_generation_led_to_is_known() -> None:
    """A root that is deleted at the issuer and in no truststore here still tells what the leaf is of."""
    current = replace(WITH_BOTH, anchors=(NEW.certificate,), anchor=None)
    assert look(current, trust=Anchors((own(NEW),))).standing.leaf not in {OLD_ID, NEW_ID}
    kept = (generation(1, anchors=(NEW.certificate,), anchor=ROOT.certificate),)
    assert look(current, trust=Anchors((own(NEW),)), kept=kept).standing.leaf == OLD_ID


# --- which CA comes next ---------------------------------------------------------------------


def test_the_newest_own_ca_of_the_issuer_is_the_one_that_it_gives_leaves_of() -> None:
    """Of a CA that shows several, as while it flips, the newest counts; another issuer's counts for nothing."""
    newest = Ca.root("CN=Newest", not_before=NOW - HOUR)
    assert look(trust=Anchors((own(NEW), own(ROOT)))).own == NEW_ID
    assert look(trust=Anchors((own(NEW), own(newest, "other")))).own == NEW_ID
    assert look(trust=Anchors((listed(NEW),))).own is None
    assert look(trust=Anchors((Sighting(NEW.certificate, "issuer ca", Origin.FILE),))).own is None


def test_the_issuers_ca_is_known_from_what_the_peers_trust_too() -> None:
    """An identity whose `trust` names no issuer may name it in `peer_trust`."""
    assert look(trust=Anchors(), peer_trust=FLIPPED).own == NEW_ID


def test_the_next_leaf_is_of_the_one_in_hand_or_else_of_the_issuers_ca_or_where_a_person_goes_back() -> None:
    """A word goes before a leaf in hand, and that before what the issuer shows."""
    assert look().target == NEW_ID
    assert look(trust=BEFORE).target == OLD_ID
    assert look(trust=BEFORE, pending=IN_HAND).target == NEW_ID
    assert look(trust=Anchors()).target is None
    abort = Abort(NEW_ID, OLD_ID, "ann", NOW)
    assert look(rotation=noted(abort=abort), pending=IN_HAND).target == OLD_ID
    assert look(rotation=noted(abort=abort)).standing.unwanted == NEW_ID


@pytest.mark.parametrize(
    ("outdated", "changes"),
    [
        (False, {}),
        (False, {"trust": BEFORE, "rotation": noted(own=Since(OLD_ID, NOW - 2 * HOUR))}),
        (True, {"trust": BEFORE, "rotation": noted(own=Since(OLD_ID, NOW))}),
        (False, {"trust": BEFORE, "rotation": noted(abort=Abort(NEW_ID, OLD_ID, "ann", NOW))}),
        (False, {"trust": Anchors()}),
    ],
    ids=["still its own", "given after it was seen", "turned away since", "a person turned away", "nobody knows"],
)
def test_a_leaf_in_hand_is_outdated_once_its_issuer_has_turned_away(outdated: bool, changes: dict[str, object]) -> None:
    """One that is of neither the CA in use nor the one that leaves come from now; else it was paid for and waits."""
    third = Ca.root("CN=Third", not_before=NOW - HOUR)
    current = replace(WITH_BOTH, chain=(third.leaf(REQUEST, KEYS[2]),), anchors=(*BOTH, third.certificate))
    assert look(current, pending=IN_HAND, **changes).is_outdated is outdated  # type: ignore[arg-type]
    assert not look(REISSUED, pending=IN_HAND, **changes).is_outdated  # type: ignore[arg-type]


def test_a_clock_that_was_put_right_turns_no_leaf_in_hand_away_and_holds_up_no_new_one() -> None:
    """A note from the future was written under a clock that was wrong: it is dated anew, and says nothing meanwhile."""
    wrong = noted(own=Since(OLD_ID, NOW + HOUR))
    third = Ca.root("CN=Third", not_before=NOW - HOUR)
    current = replace(WITH_BOTH, chain=(third.leaf(REQUEST, KEYS[2]),), anchors=(*BOTH, third.certificate))
    assert not look(current, trust=BEFORE, rotation=wrong, pending=IN_HAND).is_outdated
    assert noted_now(look(trust=BEFORE, rotation=wrong)).own == Since(OLD_ID, NOW)
    ahead = replace(WITH_BOTH, issued_at=NOW + HOUR)
    assert look(ahead, rotation=noted(own=Since(NEW_ID, NOW - MINUTE))).reissue_reason


def test_a_leaf_of_the_second_issuer_is_never_outdated_by_what_the_first_shows() -> None:
    """It was asked for because the first is down."""
    wanted = replace(WANTED, failover="second")
    pending = replace(IN_HAND, issuer="second")
    seen = look(trust=BEFORE, rotation=noted(own=Since(OLD_ID, NOW)), pending=pending, wanted=wanted)
    assert seen.candidate == NEW_ID
    assert not seen.is_outdated


def test_two_cas_of_one_name_are_told_apart_by_their_fingerprints_and_others_are_not() -> None:
    """A sentence must not leave a person guessing which of two is meant."""
    twin = Ca.root("CN=Test Root,O=MyOrg")
    names = look(trust=Anchors((own(ROOT), own(twin), own(NEW)))).names
    assert names[OLD_ID] == f"CN=Test Root,O=MyOrg ({ROOT.certificate.fingerprint[:16]})"
    assert names[ca_id(twin.certificate)].endswith(f"({twin.certificate.fingerprint[:16]})")
    assert names[NEW_ID] == "CN=New Root"


# --- what is in use --------------------------------------------------------------------------

KEPT = (generation(1, anchors=BOTH, anchor=ROOT.certificate),)


def test_what_is_proven_and_settled_is_in_use() -> None:
    """Then no leaf of an earlier generation is."""
    seen = look(REISSUED, kept=KEPT)
    assert seen.is_in_use
    assert seen.standing.may_use == NEW_ALONE


@pytest.mark.parametrize(
    "changes",
    [
        {"served": {}},
        {"served": {ADDRESS: Served(ADDRESS, NOW, None, trouble="connection refused")}},
        {"served": {ADDRESS: Served(ADDRESS, NOW, KEPT[0].leaf.fingerprint)}},
        {"record": Record(reloaded=3)},
    ],
    ids=["not looked at", "down", "serves the old one", "not settled"],
)
def test_what_is_not_shown_to_be_in_use_leaves_the_leaves_before_in_use(changes: dict[str, object]) -> None:
    """In use, and not only on no disk: readers may have any leaf loaded that is kept and has not ended."""
    seen = look(REISSUED, kept=KEPT, **changes)  # type: ignore[arg-type]
    assert not seen.is_in_use
    assert seen.standing.may_use == OLD_AND_NEW
    ended = generation(1, LINK.leaf(REQUEST, KEYS[0], not_before=NOW - 60 * DAY), anchors=BOTH)
    assert look(REISSUED, kept=(ended,), **changes).standing.may_use == {NEW_ID}  # type: ignore[arg-type]


def test_a_reader_that_nobody_can_look_at_uses_what_was_current_when_it_started() -> None:
    """Its process started after the switch, or it may use the leaf before; at the same moment is before."""
    wanted = replace(WANTED, reload=(), prove=())
    for started, in_use in ((None, False), (NOW - DAY, False), (NOW - DAY + MINUTE, True)):
        seen = look(REISSUED, kept=KEPT, wanted=wanted, reader_started_at=started, peers=Peers())
        assert seen.is_in_use is in_use
        assert seen.standing.may_use == (NEW_ALONE if in_use else OLD_AND_NEW)
        assert seen.standing.loaded == (seen.standing.holds if in_use else NOTHING)
    assert not look(REISSUED, kept=KEPT, wanted=wanted, reader_started_at=NOW, switched_at=None).is_in_use


def test_a_persons_word_has_the_leaf_before_be_left_and_never_the_current_one() -> None:
    """The word is for the identity by its name, and for the one CA."""
    wanted = replace(WANTED, reload=(), prove=())
    words = (Word("broker", Question.LEFT, OLD_ID, "ann", NOW), Word("broker", Question.LEFT, NEW_ID, "ann", NOW))
    assert look(REISSUED, kept=KEPT, wanted=wanted, rotation=noted(words=words)).standing.may_use == NEW_ALONE
    others = (Word("b2", Question.LEFT, OLD_ID, "ann", NOW),)
    assert look(REISSUED, kept=KEPT, wanted=wanted, rotation=noted(words=others)).standing.may_use == OLD_AND_NEW


def test_a_listener_that_serves_the_leaf_shows_its_truststore_by_the_names_that_it_takes() -> None:
    """All of them have to, lately; one that names none shows it by its leaf. A person's word does too."""
    one = Known(ADDRESS, NOW, {OLD_ID: Verdict.PROVEN, NEW_ID: Verdict.REFUTED})
    assert look(peers=Peers(own=(one,))).standing.loaded == OLD_ALONE
    assert look(peers=Peers()).standing.loaded == NOTHING
    good = replace(one, trusts={OLD_ID: Verdict.PROVEN, NEW_ID: Verdict.PROVEN})
    assert look(peers=Peers(own=(good, one))).standing.loaded == OLD_ALONE
    assert look(peers=Peers(own=(good,))).standing.loaded == OLD_AND_NEW
    stale = replace(good, at=NOW - FRESH - MINUTE)
    assert look(peers=Peers(own=(stale,))).standing.loaded == NOTHING
    assert look(peers=Peers(own=(good,)), served={}).standing.loaded == OLD_AND_NEW
    asks_nobody = replace(one, trusts={}, meets=False)
    assert look(peers=Peers(own=(asks_nobody,))).standing.loaded == OLD_AND_NEW
    assert look(peers=Peers(own=(asks_nobody,)), served={}).standing.loaded == NOTHING
    word = Word("broker", Question.TRUSTS, NEW_ID, "ann", NOW)
    assert look(peers=Peers(), rotation=noted(words=(word,))).standing.loaded == NEW_ALONE


def test_a_broker_that_is_proven_shows_its_truststore_whole() -> None:
    """Its proof is of both: the leaf that it serves, and the CAs that it names."""
    served = {
        one.name: Served(
            one.name,
            NOW,
            WITH_BOTH.leaf.fingerprint,
            leaf=WITH_BOTH.leaf,
            acceptable=frozenset(anchor.subject.public_bytes() for anchor in BOTH),
        )
        for one in SPEC.listeners
    }
    assert look(wanted=OF_BROKER, served=served, peers=Peers()).standing.loaded == OLD_AND_NEW
    fewer = {
        name: replace(one, acceptable=frozenset({ROOT.certificate.subject.public_bytes()}))
        for name, one in served.items()
    }
    assert look(wanted=OF_BROKER, served=fewer, peers=Peers()).standing.loaded == NOTHING


# --- where it stands -------------------------------------------------------------------------


def test_what_is_accepted_waiting_and_coming() -> None:
    """Approved or the issuer's own: wanted; listed and not ruled on: waiting; listed and wanted: one day to issue."""
    seen = look(generation(2), trust=BEFORE).standing
    assert (seen.wanted, seen.waiting, seen.coming) == (OLD_ALONE, NEW_ALONE, NOTHING)
    approved = noted(rulings=(Ruling(NEW.certificate.fingerprint, approved=True, by="ann", at=NOW),))
    seen = look(generation(2), trust=BEFORE, rotation=approved).standing
    assert (seen.wanted, seen.waiting, seen.coming) == (OLD_AND_NEW, NOTHING, NEW_ALONE)
    assert seen.entering == NEW_ALONE
    turned = noted(rulings=(Ruling(NEW.certificate.fingerprint, approved=False, by="ann", at=NOW),))
    seen = look(generation(2), trust=BEFORE, rotation=turned).standing
    assert (seen.wanted, seen.waiting) == (OLD_ALONE, NOTHING)


def test_silence_edits_and_an_end_are_told() -> None:
    """Of the sources, of the disk, of the clock."""
    standing = look(trust=replace(FLIPPED, trouble="permission denied")).standing
    assert standing.silent == "permission denied"
    assert not look().standing.silent
    end = WITH_BOTH.leaf.not_after
    seen = noted(ended=Since(WITH_BOTH.leaf.fingerprint, end))
    assert not look(at=end - MINUTE, rotation=seen).standing.expired
    assert not look(at=end).standing.expired
    assert not look(at=end + MINUTE - timedelta(seconds=1), rotation=seen).standing.expired
    assert look(at=end + MINUTE, rotation=seen).standing.expired
    assert not look(at=end + MINUTE, rotation=noted(ended=Since("another", end))).standing.expired


def test_one_look_by_a_clock_that_is_wrong_lifts_no_guard() -> None:
    """That the leaf has ended is noted, forgotten when the clock is put right, and counts when it lasts."""
    end = WITH_BOTH.leaf.not_after
    first = noted_now(look(at=end + DAY))
    assert first.ended == Since(WITH_BOTH.leaf.fingerprint, end + DAY)
    assert noted_now(look(at=end - DAY, rotation=first)).ended is None
    assert noted_now(look(at=end + 2 * DAY, rotation=first)).ended == first.ended


def test_a_notice_is_given_only_while_the_leaf_has_still_to_go_back() -> None:
    """Once it is back nobody need be warned."""
    abort = Abort(NEW_ID, OLD_ID, "ann", NOW - MINUTE)
    policy = replace(WANTED, rotation=RotationPolicy(peers=(), soak=DAY))
    gone = noted(abort=abort, away=(Since(OLD_ID, NOW - 2 * DAY),))
    assert look(REISSUED, rotation=gone, wanted=policy).standing.notice_until == abort.at + 2 * FRESH
    assert look(WITH_BOTH, rotation=gone, wanted=policy).standing.notice_until is None
    fresh = noted(abort=abort, away=(Since(OLD_ID, NOW - HOUR),))
    assert look(REISSUED, rotation=fresh, wanted=policy).standing.notice_until is None


def test_our_own_node_is_judged_by_when_it_was_started_and_others_are_not() -> None:
    """Before the anchor or leaf came is a no; what nobody sees stays unknown."""
    notes = noted(entered=(Since(NEW_ID, NOW - HOUR),), leaf=Since(NEW_ID, NOW - MINUTE))
    node = Known("n1", NOW, uses=frozenset(), meets=False, is_node=True)
    for started, anchor, leaf in (
        (NOW - HOUR, Verdict.REFUTED, Verdict.REFUTED),
        (NOW - 30 * MINUTE, Verdict.PROVEN, Verdict.REFUTED),
        (NOW, Verdict.PROVEN, Verdict.PROVEN),
    ):
        peers = look(rotation=notes, peers=Peers((replace(node, started_at=started), replace(node, peer="n2")))).peers
        assert peers.verdicts(Question.RESTARTED_FOR_ANCHOR, NEW_ID, NOW) == (anchor, Verdict.UNKNOWN)
        assert peers.verdicts(Question.RESTARTED_FOR_LEAF, NEW_ID, NOW) == (leaf, Verdict.UNKNOWN)
        assert peers.verdicts(Question.RESTARTED_FOR_ANCHOR, OLD_ID, NOW)[0] is Verdict.UNKNOWN


def test_what_may_leave_is_what_the_settings_or_a_person_let_go() -> None:
    """By themselves all may; else those of a ruling, by force those of a forced one; an approval lets none go."""
    ask = replace(WANTED, rotation=RotationPolicy(peers=(), retire=Retirement.ASK, soak=2 * DAY))
    let_go = Ruling(ROOT.certificate.fingerprint, approved=False, by="ann", at=NOW)
    kept = Ruling(NEW.certificate.fingerprint, approved=True, by="ann", at=NOW)
    allowed = look(rotation=noted(rulings=(let_go, kept)), wanted=ask).allowed
    assert (allowed.retire, allowed.forced, allowed.soak) == (OLD_ALONE, NOTHING, 2 * DAY)
    forced = look(rotation=noted(rulings=(replace(let_go, force=True),)), wanted=ask).allowed
    assert forced.forced == OLD_ALONE
    assert look(wanted=ask).allowed.retire == NOTHING
    assert look().allowed.retire is None


# --- a new leaf before its time --------------------------------------------------------------


def test_a_leaf_of_the_issuers_new_ca_is_had_before_the_old_one_is_due() -> None:
    """It is what the peers are asked with."""
    assert look().reissue_reason == "ca gives leaves of CN=New Root by now"


@pytest.mark.parametrize(
    ("current", "changes"),
    [
        (REISSUED, {}),
        (WITH_BOTH, {"trust": BEFORE}),
        (WITH_BOTH, {"trust": Anchors()}),
        (replace(WITH_BOTH, issuer=""), {}),
        (replace(WITH_BOTH, issued_at=NOW), {"rotation": noted(own=Since(NEW_ID, NOW - MINUTE))}),
        (WITH_BOTH, {"rotation": noted(abort=Abort(NEW_ID, OLD_ID, "ann", NOW))}),
        (generation(2), {}),
        (WITH_BOTH, {"edited": (("ca.crt", BOTH),), "current_edited": True}),
    ],
    ids=[
        "it is of it",
        "nothing new",
        "nobody knows",
        "taken over",
        "it contradicts itself",
        "a person goes back",
        "the anchor is not here",
        "edited",
    ],
)
def test_no_leaf_is_asked_for_that_could_not_become_current(current: Generation, changes: dict[str, object]) -> None:
    """What a CA bills is not had in vain, nor again and again."""
    given = dict(changes)
    if given.pop("current_edited", False):
        files = tuple(replace(one, edited=one.name == "ca.crt") for one in current.files)
        current = replace(current, files=files)
    assert look(current, **given).reissue_reason is None  # type: ignore[arg-type]


def test_another_issuer_is_asked_although_it_was_seen_before_the_current_leaf_came() -> None:
    """It never gave that leaf, and so contradicts nothing."""
    current = replace(WITH_BOTH, issuer="before", issued_at=NOW)
    assert look(current, rotation=noted(own=Since(NEW_ID, NOW - MINUTE))).reissue_reason


# --- what the truststores should hold --------------------------------------------------------


def renewed(**dates: object) -> Ca:
    """Return the old root's certificate, made anew with the same key."""
    return Ca.root("CN=Test Root,O=MyOrg", key=ROOT.key, **dates)  # type: ignore[arg-type]


def test_a_renewed_certificate_replaces_the_one_before_it() -> None:
    """Where it is valid and all sources speak; until then both are held."""
    again = renewed(not_before=NOW - HOUR)
    current = generation(2)
    assert look(current, trust=Anchors((own(again),))).wanted_anchors == (again.certificate,)
    both = {ROOT.certificate, again.certificate}
    assert set(look(current, trust=Anchors((own(again),), "one is silent")).wanted_anchors) == both
    early = renewed(not_before=NOW + HOUR)
    assert set(look(current, trust=Anchors((own(early),))).wanted_anchors) == {ROOT.certificate, early.certificate}
    over = renewed(not_before=NOW - 3 * DAY, not_after=NOW - DAY)
    assert ROOT.certificate in look(current, trust=Anchors((own(over),))).wanted_anchors


def test_both_certificates_of_a_ca_stay_where_both_are_shown() -> None:
    """A folder that holds the two wants the two."""
    again = renewed(not_before=NOW - HOUR)
    seen = look(generation(2), trust=Anchors((own(again), own(ROOT))))
    assert set(seen.wanted_anchors) == {ROOT.certificate, again.certificate}


SOAKED = noted(left=(Since(OLD_ID, NOW - 2 * DAY),))


def test_an_old_anchor_leaves_when_nothing_holds_it_and_not_while_another_enters() -> None:
    """One thing changes at a time: what enters comes first."""
    assert look(REISSUED, rotation=SOAKED).wanted_anchors == (NEW.certificate,)
    extra = Ca.root("CN=Extra")
    trust = Anchors((*FLIPPED.sightings, Sighting(extra.certificate, "/etc/ca.d", Origin.FILE)))
    assert set(look(REISSUED, rotation=SOAKED, trust=trust).wanted_anchors) == {*BOTH, extra.certificate}
    assert set(look(REISSUED, rotation=SOAKED, trust=replace(FLIPPED, trouble="silent")).wanted_anchors) == set(BOTH)
    assert set(look(REISSUED).wanted_anchors) == set(BOTH)


def test_what_an_edited_truststore_lacks_is_named_unless_it_is_to_leave_anyway() -> None:
    """A person who takes out what is leaving takes nothing from anybody that stays in use."""
    assert look(trust=Anchors((own(ROOT), own(NEW))), edited=(("ca.crt", (ROOT.certificate,)),)).lost_by_edits == (
        "CN=New Root"
    )
    assert look(REISSUED, edited=(("ca.crt", (NEW.certificate,)),)).lost_by_edits == ""
    assert look(edited=(("ca.crt", BOTH),)).lost_by_edits == ""


# --- what is noted ---------------------------------------------------------------------------


def test_since_when_anchors_and_leaf_are_there_is_the_moment_of_the_switch_and_stays() -> None:
    """A note is taken once, dated by the disk, and goes with what it is about."""
    notes = noted_now(look(REISSUED))
    assert {one.what: one.at for one in notes.entered} == {OLD_ID: NOW - DAY, NEW_ID: NOW - DAY}
    assert notes.leaf == Since(NEW_ID, NOW - DAY)
    before = noted(entered=(Since(NEW_ID, NOW - 9 * DAY),), leaf=Since(NEW_ID, NOW - 5 * DAY))
    again = noted_now(look(REISSUED, rotation=before, switched_at=NOW))
    assert {one.what: one.at for one in again.entered} == {OLD_ID: NOW, NEW_ID: NOW - 9 * DAY}
    assert again.leaf == before.leaf
    alone = replace(REISSUED, anchors=(NEW.certificate,))
    assert [one.what for one in noted_now(look(alone, rotation=notes)).entered] == [NEW_ID]


def test_the_first_time_away_from_a_ca_is_noted_and_kept_while_its_anchor_is_here() -> None:
    """It is what the way back goes by."""
    notes = noted_now(look(REISSUED, rotation=noted(leaf=Since(OLD_ID, NOW - 9 * DAY))))
    assert notes.away == (Since(OLD_ID, NOW - DAY),)
    assert noted_now(look(REISSUED, rotation=notes, switched_at=NOW)).away == notes.away
    alone = replace(REISSUED, anchors=(NEW.certificate,))
    assert noted_now(look(alone, rotation=notes)).away == ()


def test_since_when_no_leaf_of_a_ca_is_used_is_noted_until_one_is_again() -> None:
    """A use that is seen takes it back, and what is merely unknown does not."""
    notes = noted_now(look(REISSUED))
    assert notes.left == (Since(OLD_ID, NOW),)
    later = NOW + HOUR

    def at(peer: Known) -> RotationRecord:
        seen = look(REISSUED, rotation=notes, at=later, peers=Peers((peer,), own=PEERS.own), peers_asked_at=later)
        return noted_now(seen)

    uses_both = Known("b2", later, uses=frozenset({OLD_ID, NEW_ID}))
    assert at(replace(uses_both, uses=frozenset({NEW_ID}))).left == notes.left
    assert at(replace(uses_both, uses=None)).left == notes.left
    assert at(replace(uses_both, at=NOW)).left == notes.left
    assert at(uses_both).left == ()
    assert noted_now(look(WITH_BOTH, rotation=notes, trust=FLIPPED)).left == ()


def test_the_stage_and_the_issuers_ca_are_dated_when_they_change() -> None:
    """A stage that lasts keeps its date; an issuer that cannot be asked keeps its CA."""
    notes = noted_now(look(REISSUED))
    assert notes.stage == Since(str(Stage.LEAF_REISSUED), NOW)
    assert notes.own == Since(NEW_ID, NOW)
    later = noted_now(look(REISSUED, rotation=notes, at=NOW + HOUR))
    assert (later.stage, later.own) == (notes.stage, notes.own)
    silent = noted_now(look(REISSUED, rotation=notes, at=NOW + HOUR, trust=Anchors((), "silent")))
    assert silent.own == notes.own
    turned = noted_now(look(REISSUED, rotation=notes, at=NOW + HOUR, trust=BEFORE))
    assert turned.own == Since(OLD_ID, NOW + HOUR)


@pytest.mark.parametrize(
    ("lasts", "question", "which"),
    [
        (True, Question.TRUSTS, "new"),
        (False, Question.TRUSTS, "another"),
        (True, Question.LEFT, "old"),
        (False, Question.LEFT, "new"),
        (True, Question.RESTARTED_FOR_ANCHOR, "new"),
        (True, Question.RESTARTED_FOR_LEAF, "old"),
        (False, Question.RESTARTED_FOR_LEAF, "new"),
    ],
)
def test_a_word_lasts_while_its_question_is_of_now(lasts: bool, question: Question, which: str) -> None:
    """One that nobody asks any more is for no later rotation, and none outlives evidence against it."""
    ca = {"new": NEW_ID, "old": OLD_ID, "another": "c" * 64}[which]
    word = Word("b9", question, ca, "ann", NOW)
    assert noted_now(look(rotation=noted(words=(word,)))).words == ((word,) if lasts else ())


def test_a_word_is_forgotten_once_it_is_seen_to_be_wrong() -> None:
    """The peer refuses the CA: should it fall silent later, the word does not stand in for it again."""
    word = Word("b2", Question.TRUSTS, NEW_ID, "ann", NOW)
    refuses = Known("b2", NOW, trusts={NEW_ID: Verdict.REFUTED})
    silent = Known("b2", NOW)
    assert noted_now(look(rotation=noted(words=(word,)), peers=Peers((silent,)))).words == (word,)
    assert noted_now(look(rotation=noted(words=(word,)), peers=Peers((refuses,)))).words == ()


# --- cross-signed CAs, and intermediate ones that are anchors ---------------------------------

CROSSED = ROOT.intermediate("CN=New Root", key=NEW.key)
OF_BOTH = generation(
    2, NEW.leaf(REQUEST, KEYS[2]), chain=(NEW.leaf(REQUEST, KEYS[2]), CROSSED.certificate), anchors=BOTH
)


def test_a_cross_signed_leaf_holds_up_no_retirement_of_the_ca_that_signed_for_its_own() -> None:
    """It verifies by the new root that stays; while that is in no truststore it needs the old one."""
    seen = look(OF_BOTH)
    assert (seen.standing.leaf, seen.standing.may_use) == (NEW_ID, NEW_ALONE)
    asks = replace(own(NEW), accept=Acceptance.ASK)
    assert look(replace(OF_BOTH, anchors=(ROOT.certificate,)), trust=Anchors((asks,))).standing.may_use == OLD_AND_NEW


def test_an_issuer_whose_intermediate_is_an_anchor_gives_leaves_of_no_other_ca() -> None:
    """The leaf is of the intermediate, and so of the root that the issuer shows: nothing is to be replaced."""
    anchors = (ROOT.certificate, LINK.certificate)
    seen = look(generation(2, anchors=anchors), trust=Anchors((own(ROOT), in_file(LINK))))
    assert seen.standing.leaf == ca_id(LINK.certificate)
    assert seen.target == seen.standing.leaf
    assert seen.reissue_reason is None
    assert seen.outlook.stage is Stage.STEADY
    other = ROOT.intermediate("CN=Other Link")
    given = replace(IN_HAND, issued=Issued((other.leaf(REQUEST, KEYS[1]), other.certificate), NOW))
    both = Anchors((own(ROOT), in_file(LINK), in_file(other)))
    held = look(generation(2, anchors=(*anchors, other.certificate)), trust=both, pending=given)
    assert held.candidate == ca_id(other.certificate)
    assert held.candidate_hold is not None


# --- when peers are asked --------------------------------------------------------------------

ASKED = replace(WANTED, rotation=replace(WANTED.rotation, listeners=("b2:9093",)))
STEADY = {"current": generation(2), "trust": Anchors((own(ROOT),))}


def due(**changes: object) -> object:
    """Return when peers are to be asked; None: never."""
    step = ask_peers(look(**changes).situation)  # type: ignore[arg-type]
    return step.due if step else None


def test_peers_are_asked_often_while_something_moves_and_seldom_otherwise() -> None:
    """Five minutes, an hour, never where there is nobody to look at."""
    assert due() == NOW + WHILE_MOVING
    assert due(**STEADY, wanted=ASKED) == NOW + AT_REST
    assert due(**STEADY) is None
    assert due(current=generation(2), trust=BEFORE, wanted=WANTED) is None


def test_peers_are_asked_anew_once_less_is_to_stay() -> None:
    """What verified by an anchor that was to stay needed no other then."""
    seen = look(REISSUED, rotation=SOAKED)
    observed, wanted = seen.situation.observed, seen.situation.wanted
    assert decide(observed, wanted, NOW).action == Publish(Cause.ANCHORS)
    before = replace(observed.peers, staying=frozenset({OLD_ID, NEW_ID}))
    assert decide(replace(observed, peers=before), wanted, NOW).action == AskPeers()


def test_peers_are_asked_when_a_soak_ends() -> None:
    """The sentence says until when it soaks, and nobody waits for the next look after that."""
    wanted = replace(WANTED, rotation=replace(WANTED.rotation, soak=DAY))
    since = {"current": REISSUED, "wanted": wanted}
    assert due(**since, rotation=noted(left=(Since(OLD_ID, NOW - DAY + MINUTE),))) == NOW + MINUTE
    assert due(**since, rotation=noted(left=(Since(OLD_ID, NOW - DAY + HOUR),))) == NOW + WHILE_MOVING
    assert due(**since, rotation=noted(left=(Since(OLD_ID, NOW - 2 * DAY),))) == NOW + WHILE_MOVING


def test_peers_are_asked_anew_after_a_switch_after_a_restart_and_when_the_clock_was_put_right() -> None:
    """Answers of before the switch, of nobody, or of tomorrow say nothing of now."""
    assert due(peers_asked_at=None) == NOW
    assert due(peers_asked_at=NOW + MINUTE) == NOW
    assert due(peers_asked_at=NOW - MINUTE, switched_at=NOW) == NOW
    assert due(peers_asked_at=NOW - MINUTE, switched_at=NOW + DAY) == NOW - MINUTE + WHILE_MOVING


def test_a_step_that_relies_on_peers_asks_them_right_before() -> None:
    """Answers older than a minute are asked for anew, before the switch, the way back and the retirement."""
    for seen, action in (
        (look(pending=IN_HAND), Publish(Cause.LEAF)),
        (look(REISSUED, rotation=SOAKED), Publish(Cause.ANCHORS)),
        (
            look(
                REISSUED,
                kept=(WITH_BOTH,),
                rotation=noted(abort=Abort(NEW_ID, OLD_ID, "ann", NOW - DAY), away=(Since(OLD_ID, NOW - DAY),)),
            ),
            Switch(2),
        ),
    ):
        observed, wanted = seen.situation.observed, seen.situation.wanted
        assert decide(observed, wanted, NOW).action == action
        assert decide(replace(observed, peers_asked_at=NOW - 2 * MINUTE), wanted, NOW).action == AskPeers()
        assert decide(replace(observed, peers_asked_at=NOW - MINUTE), wanted, NOW).action == action


@pytest.mark.parametrize("how", ["rolled back from", "left over"])
def test_a_leaf_of_another_ca_that_is_written_already_waits_for_the_peers_too(how: str) -> None:
    """One that a listener did not serve and that is tried again, and one that a crash kept from being switched to."""
    given: dict[str, object] = {"kept": (REISSUED,)}
    if how == "rolled back from":
        given["record"] = Record(2, 2, refuted=3)
    else:
        given["pending"] = IN_HAND
    seen = look(**given)  # type: ignore[arg-type]
    observed, wanted = seen.situation.observed, seen.situation.wanted
    assert decide(observed, wanted, NOW).action == Switch(3)
    assert decide(replace(observed, peers_asked_at=NOW - 2 * MINUTE), wanted, NOW).action == AskPeers()
    refuses = Known("b2", NOW, trusts={NEW_ID: Verdict.REFUTED})
    held = replace(observed, peers=replace(observed.peers, testimonies=(refuses,)))
    assert decide(held, wanted, NOW).action is None


def test_a_pause_and_a_window_hold_what_is_written_already() -> None:
    """A second try changes what readers use as the first did."""
    closed = replace(WANTED, windows=(Window("0 2 * * *", HOUR),))
    for given in ({"record": Record(2, 2, refuted=3)}, {"pending": IN_HAND}):
        seen = look(kept=(REISSUED,), wanted=closed, **given).situation
        assert decide(seen.observed, closed, NOW).action is None


GOING_BACK = noted(abort=Abort(NEW_ID, OLD_ID, "ann", NOW - DAY), away=(Since(OLD_ID, NOW - DAY),))


def test_the_way_back_leads_to_a_leaf_of_the_old_ca_whose_truststores_lack_nothing() -> None:
    """Not to another leaf of the new CA, nor to a generation of before the new anchor."""

    def chosen(*kept: Generation) -> object:
        seen = look(REISSUED, kept=kept, rotation=GOING_BACK).situation
        return decide(seen.observed, seen.wanted, NOW).action

    other_leaf = replace(REISSUED, number=2, chain=(NEW_LINK.leaf(REQUEST, KEYS[2]), NEW_LINK.certificate))
    whole, bare = replace(WITH_BOTH, number=1), generation(1, anchor=ROOT.certificate)
    assert chosen(other_leaf, whole) == Switch(1)
    assert chosen(bare) is None
    assert chosen(other_leaf) is None
    assert chosen(replace(whole, request=make_request("CN=old"))) is None


def test_a_leaf_that_a_person_rolled_back_to_is_not_replaced_for_a_new_ca() -> None:
    """They hold it until its last twentieth, or until they ask for another."""
    held = Record(2, 2, held_leaf=WITH_BOTH.leaf.fingerprint)
    seen = look(record=held).situation
    assert seen.renewal_reason is None
    assert look().situation.renewal_reason is not None


# --- a second issuer -------------------------------------------------------------------------

SECOND = replace(WANTED, failover="second")
TWO = Anchors((own(ROOT), own(NEW, "second")))
URGENT = WITH_BOTH.leaf.not_after - DAY


def failing(count: int, *, refused: bool = False) -> Record:
    """Return notes of tries at the issuer that failed."""
    return Record(2, 2, issuing=Tries(count, URGENT, Failure("down", "", URGENT, refused=refused)))


@pytest.mark.parametrize(
    ("issuer", "changes"),
    [
        ("second", {}),
        ("ca", {"record": failing(2)}),
        ("second", {"record": failing(3)}),
        ("ca", {"record": failing(1, refused=True)}),
        ("ca", {"record": Record(2, 2)}),
        ("ca", {"at": NOW}),
        ("ca", {"wanted": WANTED}),
        ("ca", {"trust": Anchors((own(ROOT),))}),
        ("ca", {"peers": replace(PEERS, unknown="nobody has said")}),
    ],
    ids=["by turns", "of two", "and again", "refused", "never failed", "early", "no second", "its CA", "peers"],
)
def test_which_issuer_is_asked_next(issuer: str, changes: dict[str, object]) -> None:
    """The second by turns, while the first is down in the last twentieth and everybody trusts both."""
    own_look = Known(ADDRESS, URGENT, {OLD_ID: Verdict.PROVEN, NEW_ID: Verdict.PROVEN})
    peers = Peers(tuple(replace(one, at=URGENT) for one in PEERS.testimonies), own=(own_look,))
    given: dict[str, object] = {"record": failing(1), "at": URGENT, "wanted": SECOND, "trust": TWO, "peers": peers}
    assert look(**(given | changes)).situation.issuer == issuer  # type: ignore[arg-type]
