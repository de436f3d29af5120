"""Each step of a CA rotation waits for what it needs, says for whom, and is taken when nothing is left to wait for."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.evidence import Verdict
from agent.core.guards import Allowed, Standing
from agent.core.rotation import Stage, leaf_hold, notice_until, outlook, retirement_hold
from agent.core.testimony import FRESH, Awaited, Peers, Question, Word
from agent.core.testimony import Testimony as Known
from tests.material import NOW

A, B, C = "a" * 64, "b" * 64, "c" * 64
NAMES = {A: "CN=Old", B: "CN=New"}
DAY = timedelta(days=1)
YES, NO, UNKNOWN = Verdict.PROVEN, Verdict.REFUTED, Verdict.UNKNOWN
ADDED = Standing(
    leaf=A,
    identity="broker",
    may_use=frozenset({A}),
    holds=frozenset({A, B}),
    loaded=frozenset({A, B}),
    wanted=frozenset({A, B}),
    target=B,
    names=NAMES,
)
"""The new anchor has come, and the new leaf is to follow."""
REISSUED = replace(ADDED, leaf=B, may_use=frozenset({B}), wanted=frozenset({B}), left_since={A: NOW - DAY})
"""The new leaf is in use, and the old anchor is to leave."""
READY = Allowed(soak=DAY, retire=None)
GOOD = Known("b1", NOW, trusts={A: YES, B: YES}, uses=frozenset({B}))
PEERS = Peers((GOOD,))


def of(*testimonies: Known, words: tuple[Word, ...] = (), unknown: str = "") -> Peers:
    """Return peers of which that is known."""
    return Peers(testimonies, words=words, unknown=unknown)


def word(peer: str, question: Question, ca: str) -> Word:
    """Return a person's word."""
    return Word(peer, question, ca, "ann", NOW)


# --- a leaf of another CA -------------------------------------------------------------------


def test_leaf_follows_when_all_is_shown() -> None:
    """With the anchor here in use and every peer shown to trust it nothing holds the leaf."""
    assert leaf_hold(B, ADDED, PEERS, NOW) is None


NODE = Known("n1", NOW, uses=frozenset(), meets=False, is_node=True)


@pytest.mark.parametrize(
    ("standing", "peers", "guard", "why"),
    [
        (replace(ADDED, edited=("truststore.p12",)), PEERS, "nobody_has_edited", "truststore.p12 was edited by hand"),
        (replace(ADDED, waiting=frozenset({B})), PEERS, "anchor_is_accepted", "CN=New waits for a person"),
        (replace(ADDED, holds=frozenset({A}), loaded=frozenset({A})), PEERS, "anchor_is_proven_here", "do not hold"),
        (replace(ADDED, loaded=None), PEERS, "anchor_is_proven_here", "not shown to be in use"),
        (replace(ADDED, loaded=frozenset({A})), PEERS, "anchor_is_proven_here", "not shown to be in use"),
        (
            replace(ADDED, wanted=frozenset(), holds=frozenset({A}), loaded=frozenset({A}), silent="no folder"),
            PEERS,
            "anchor_is_proven_here",
            "do not hold",
        ),
        (ADDED, of(GOOD, unknown="no broker answers"), "peers_are_known", "no broker answers"),
        (ADDED, of(replace(GOOD, trusts={B: NO}, why="refused")), "peers_trust_it", "b1 (refused) is not shown"),
        (ADDED, of(replace(GOOD, trusts={})), "peers_trust_it", "b1 is not shown to trust CN=New"),
        (ADDED, of(GOOD, NODE), "nodes_have_its_anchor", "n1 is not shown to be restarted since it trusts CN=New"),
        (replace(ADDED, unwanted=B), PEERS, "nobody_goes_back", "a person has the leaf go away from CN=New"),
        (replace(ADDED, notice_until=NOW + DAY), PEERS, "notice_was_given", "the way back to CN=New"),
    ],
)
def test_leaf_is_held(standing: Standing, peers: Peers, guard: str, why: str) -> None:
    """Each thing that is missing holds the leaf, with a sentence that names it."""
    hold = leaf_hold(B, standing, peers, NOW)
    assert hold is not None
    assert hold.guard == guard
    assert why in str(hold)


def test_leaf_is_not_held_by_what_does_not_concern_it() -> None:
    """A host may trust another CA than its peers trust in it; notice of another CA or of yesterday is no matter."""
    elsewhere = replace(ADDED, wanted=frozenset({A}), holds=frozenset({A}), loaded=None)
    assert leaf_hold(B, elsewhere, PEERS, NOW) is None
    assert leaf_hold(B, replace(ADDED, target=C, notice_until=NOW + DAY), PEERS, NOW) is None
    assert leaf_hold(B, replace(ADDED, notice_until=NOW), PEERS, NOW) is None
    assert leaf_hold(B, replace(ADDED, unwanted=C), PEERS, NOW) is None


def test_leaf_of_the_same_ca_is_never_held() -> None:
    """A renewal changes nobody's trust."""
    assert leaf_hold(A, replace(ADDED, edited=("t",)), of(unknown="nobody knows"), NOW) is None


def test_leaf_that_has_ended_is_replaced_by_any() -> None:
    """Nobody trusts it any more, so that nothing is lost; a moment before all is."""
    nobody = of(replace(GOOD, trusts={B: NO}))
    assert leaf_hold(B, ADDED, nobody, NOW) is not None
    assert leaf_hold(B, replace(ADDED, expired=True), nobody, NOW) is None


def test_hold_says_for_whom_it_waits() -> None:
    """Those that are shown to answer no come first, few are named, and all are listed."""
    many = [replace(GOOD, peer=f"b{n}", trusts={}) for n in range(7)]
    hold = leaf_hold(B, ADDED, of(*many, replace(GOOD, peer="bad", trusts={B: NO}, why="it said no")), NOW)
    assert hold is not None
    assert str(hold) == "bad, b0, b1, b2, b3 and 3 more (it said no) is not shown to trust CN=New"
    assert len(hold.awaited) == 8
    assert Awaited("bad", Question.TRUSTS, B, NO, "it said no") in hold.awaited


def test_own_truststore_can_be_vouched_for() -> None:
    """Where nothing shows that readers use the truststore, its own identity is what a word is asked on."""
    hold = leaf_hold(B, replace(ADDED, loaded=None), PEERS, NOW)
    assert hold is not None
    assert hold.awaited == (Awaited("broker", Question.TRUSTS, B),)


# --- an anchor that leaves ------------------------------------------------------------------


def test_anchor_leaves_when_nothing_needs_it() -> None:
    """With every leaf gone, the soak over and leave given nothing holds it."""
    assert retirement_hold(A, REISSUED, PEERS, READY, NOW) is None
    assert retirement_hold(A, REISSUED, PEERS, replace(READY, retire=frozenset({A})), NOW) is None


@pytest.mark.parametrize(
    ("standing", "peers", "allowed", "guard", "why"),
    [
        (replace(REISSUED, edited=("t.p12",)), PEERS, READY, "nobody_has_edited", "t.p12 was edited"),
        (replace(REISSUED, silent="it is empty"), PEERS, READY, "sources_speak", "is silent: it is empty"),
        (replace(REISSUED, wanted=frozenset()), PEERS, READY, "another_stays", "nothing that would stay"),
        (replace(REISSUED, holds=frozenset({A})), PEERS, READY, "another_stays", "nothing that would stay"),
        (replace(REISSUED, target=A), PEERS, READY, "nothing_more_of_it_comes", "the next leaf here is of CN=Old"),
        (replace(REISSUED, leaf=A), PEERS, READY, "own_leaf_has_left", "the leaf here is of CN=Old"),
        (replace(REISSUED, may_use=frozenset({A, B})), PEERS, READY, "own_leaf_has_left", "not shown to be in use"),
        (REISSUED, of(GOOD, unknown="no broker answers"), READY, "peers_are_known", "no broker answers"),
        (REISSUED, of(replace(GOOD, uses=frozenset({A, B}))), READY, "peers_have_left", "use no leaf of CN=Old"),
        (REISSUED, of(replace(GOOD, uses=None)), READY, "peers_have_left", "b1 is not shown"),
        (REISSUED, of(GOOD, NODE), READY, "nodes_have_the_leaf", "n1 is not shown to be restarted since its leaf"),
        (replace(REISSUED, left_since={}), PEERS, READY, "soak_is_over", "is not noted yet"),
        (REISSUED, PEERS, replace(READY, soak=2 * DAY), "soak_is_over", "it soaks until 2026-11-25 12:00:00Z"),
        (replace(REISSUED, left_since={A: NOW + DAY}), PEERS, replace(READY, soak=-DAY), "soak_is_over", "it soaks"),
        (REISSUED, PEERS, Allowed(soak=DAY), "retirement_is_allowed", "`cert-agent ca retire`"),
        (REISSUED, PEERS, replace(READY, retire=frozenset({B})), "retirement_is_allowed", "CN=Old"),
    ],
)
def test_anchor_is_held(standing: Standing, peers: Peers, allowed: Allowed, guard: str, why: str) -> None:
    """Each thing that may still need it, or is not shown not to, holds it."""
    hold = retirement_hold(A, standing, peers, allowed, NOW)
    assert hold is not None
    assert hold.guard == guard
    assert why in str(hold)


def test_soak_ends_to_the_moment() -> None:
    """A moment before the soak is over it is not; the hold says when it is."""
    just = retirement_hold(A, REISSUED, PEERS, READY, NOW - timedelta(seconds=1))
    assert just is not None
    assert just.until == NOW
    assert retirement_hold(A, REISSUED, PEERS, READY, NOW) is None


def test_force_breaks_what_it_breaks_and_no_more() -> None:
    """What a person forces out leaves though peers use it; the last anchor stays, and so does an edit."""
    forced = Allowed(forced=frozenset({A}))
    used = of(replace(GOOD, uses=frozenset({A})), unknown="nobody knows")
    assert retirement_hold(A, replace(REISSUED, leaf=A, silent="x"), used, forced, NOW) is None
    last = retirement_hold(A, replace(REISSUED, holds=frozenset({A})), used, forced, NOW)
    edited = retirement_hold(A, replace(REISSUED, edited=("t",)), used, forced, NOW)
    assert last is not None
    assert edited is not None
    assert (last.guard, edited.guard) == ("another_stays", "nobody_has_edited")
    assert retirement_hold(B, REISSUED, PEERS, forced, NOW) is not None


# --- the way back ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("away", "asked", "now", "until"),
    [
        (None, NOW, NOW, NOW + 2 * FRESH),
        (NOW, NOW, NOW, None),
        (NOW, NOW, NOW + DAY - FRESH - timedelta(seconds=1), None),
        (NOW, NOW, NOW + DAY - FRESH, NOW + 2 * FRESH),
        (NOW, NOW + 2 * DAY, NOW + 2 * DAY, NOW + 2 * DAY + 2 * FRESH),
        (NOW + DAY, NOW, NOW, NOW + 2 * FRESH),
    ],
)
def test_way_back_is_free_while_nobody_can_have_let_go(
    away: datetime | None, asked: datetime, now: datetime, until: datetime | None
) -> None:
    """Before a soak can be over the way back is free; later, or where nobody knows, notice is given first."""
    assert notice_until(asked, away, DAY, now) == until


# --- where it stands ------------------------------------------------------------------------

STEADY = replace(REISSUED, holds=frozenset({B}), loaded=frozenset({B}), left_since={})


@pytest.mark.parametrize(
    ("standing", "peers", "stage", "why"),
    [
        (STEADY, PEERS, Stage.STEADY, "one CA, and nothing to change"),
        (replace(STEADY, target=None), PEERS, Stage.STEADY, "one CA, and nothing to change"),
        (replace(STEADY, waiting=frozenset({A})), PEERS, Stage.STEADY, "CN=Old was seen, and waits for"),
        (replace(ADDED, holds=frozenset({A}), loaded=frozenset({A})), PEERS, Stage.STEADY, "a new CA is seen: CN=New"),
        (ADDED, of(replace(GOOD, trusts={})), Stage.ANCHOR_ADDED, "the next leaf is of CN=New; held: b1 is not shown"),
        (ADDED, PEERS, Stage.ANCHOR_ADDED, "the next leaf is of CN=New"),
        (
            replace(ADDED, waiting=frozenset({C})),
            PEERS,
            Stage.ANCHOR_ADDED,
            "the next leaf is of CN=New; the CA cccccccccccccccc was seen",
        ),
        (replace(ADDED, target=A, coming=frozenset({B})), PEERS, Stage.ANCHOR_ADDED, "CN=New is trusted here"),
        (
            replace(ADDED, wanted=frozenset({A}), holds=frozenset({A})),
            PEERS,
            Stage.ANCHOR_ADDED,
            "the next leaf is of CN=New",
        ),
        (REISSUED, PEERS, Stage.LEAF_REISSUED, "CN=Old is to leave the truststores; held: nothing needs CN=Old"),
        (
            REISSUED,
            of(replace(GOOD, trusts={B: NO}, why="it said no")),
            Stage.LEAF_UNTRUSTED,
            "b1 does not trust the leaf in use (it said no): give it the anchor of CN=New",
        ),
        (REISSUED, of(replace(GOOD, trusts={B: NO})), Stage.LEAF_UNTRUSTED, "b1 does not trust the leaf in use: give"),
        (STEADY, of(replace(GOOD, ahead="CN=Newer")), Stage.PEER_AHEAD, "b1 uses a leaf of CN=Newer"),
        (replace(STEADY, holds=frozenset({A, B}), unwanted=A), PEERS, Stage.ANCHOR_ADDED, "a person has the leaf stay"),
        (replace(STEADY, edited=("t.p12",)), PEERS, Stage.STORE_EDITED, "t.p12 was edited by hand"),
    ],
)
def test_stage_and_its_sentence(standing: Standing, peers: Peers, stage: Stage, why: str) -> None:
    """The stage follows from what is there, the broken ones first, and says what it waits for."""
    found = outlook(standing, peers, Allowed(soak=DAY), NOW)
    assert found.stage is stage
    assert found.why.startswith(why)
    assert stage.is_broken == (stage in {Stage.LEAF_UNTRUSTED, Stage.PEER_AHEAD, Stage.STORE_EDITED})


def test_what_nobody_meets_and_what_is_old_breaks_nothing() -> None:
    """A listener that asks for no leaf does not mistrust ours, and what was seen an hour ago is not so now."""
    blind = replace(GOOD, trusts={B: NO}, meets=False)
    old = replace(GOOD, trusts={B: NO}, ahead="CN=Newer", at=NOW - 2 * FRESH)
    assert outlook(STEADY, of(blind, old), READY, NOW).stage is Stage.STEADY


def test_answers_that_are_awaited_are_those_of_the_next_step() -> None:
    """Before the leaf has followed nobody is asked for what matters after it."""
    blind = of(replace(GOOD, trusts={}, uses=None))
    first = outlook(replace(ADDED, wanted=frozenset({B})), blind, READY, NOW)
    assert [one.question for one in first.awaited] == [Question.TRUSTS]
    later = outlook(REISSUED, blind, READY, NOW)
    assert [one.question for one in later.awaited] == [Question.LEFT]
    assert outlook(STEADY, PEERS, READY, NOW).awaited == ()


def test_soak_starts_when_nothing_uses_the_ca() -> None:
    """Neither the soak nor a person's leave has to be there for that; each other guard has."""
    fresh = replace(REISSUED, left_since={})
    assert outlook(fresh, PEERS, Allowed(), NOW).left == {A}
    assert outlook(fresh, of(replace(GOOD, uses=None)), Allowed(), NOW).left == frozenset()
    assert outlook(replace(fresh, silent="x"), PEERS, Allowed(), NOW).left == frozenset()


def test_what_enters_and_what_leaves() -> None:
    """It is what is wanted and not there, and what is there and not wanted."""
    standing = Standing(A, holds=frozenset({A, B}), wanted=frozenset({B, C}))
    assert standing.entering == {C}
    assert standing.leaving == {A}
    assert standing.name(A) == "the CA aaaaaaaaaaaaaaaa"


# --- laws of evidence -----------------------------------------------------------------------

questions, cas, verdicts = st.sampled_from(Question), st.sampled_from((A, B, C)), st.sampled_from(Verdict)
testimonies = st.builds(
    Known,
    st.sampled_from(("b1", "b2", "c1")),
    st.integers(-40, 40).map(lambda minutes: NOW + timedelta(minutes=minutes)),
    trusts=st.dictionaries(cas, verdicts),
    uses=st.none() | st.frozensets(cas),
    meets=st.booleans(),
    is_node=st.booleans(),
    restarted=st.dictionaries(st.tuples(questions, cas), verdicts),
)
words = st.builds(Word, st.sampled_from(("b1", "b2", "c1")), questions, cas, st.just("ann"), st.just(NOW))
FEW = settings(max_examples=40, deadline=None)

groups = st.builds(Peers, st.lists(testimonies, max_size=4).map(tuple), words=st.lists(words, max_size=4).map(tuple))


@FEW
@given(groups, questions, cas)
def test_yes_is_fresh_evidence_or_a_word_against_none(peers: Peers, question: Question, ca: str) -> None:
    """A peer is not awaited only if it is shown, freshly, to say yes, or if nothing is known and a person vouches."""
    given_by = {one.peer for one in peers.words if (one.question, one.ca) == (question, ca)}
    expected = []
    for one in peers.testimonies:
        shown = one.answer(question, ca) if abs(NOW - one.at) <= FRESH else UNKNOWN
        if shown is NO or (shown is UNKNOWN and one.peer not in given_by):
            expected.append((one.peer, shown))
    assert [(one.peer, one.shown) for one in peers.awaited(question, ca, NOW)] == expected


@FEW
@given(groups, questions, cas)
def test_word_never_outweighs_evidence(peers: Peers, question: Question, ca: str) -> None:
    """However many people vouch for it, a peer that is shown to answer no stays awaited."""
    vouched = replace(peers, words=tuple(word(peer, question, ca) for peer in ("b1", "b2", "c1")))
    refuted = [one for one in peers.awaited(question, ca, NOW) if one.shown is NO]
    assert list(vouched.awaited(question, ca, NOW)) == refuted


@FEW
@given(groups, testimonies, st.sampled_from((ADDED, REISSUED)))
def test_another_peer_never_lifts_a_hold(peers: Peers, more: Known, standing: Standing) -> None:
    """Whatever is known of one more peer, what was held before is held."""
    with_more = replace(peers, testimonies=(*peers.testimonies, more))
    if leaf_hold(B, standing, peers, NOW) is not None:
        assert leaf_hold(B, standing, with_more, NOW) is not None
    if retirement_hold(A, standing, peers, READY, NOW) is not None:
        assert retirement_hold(A, standing, with_more, READY, NOW) is not None


@FEW
@given(groups, questions, cas, st.data())
def test_forgetting_never_answers_yes(peers: Peers, question: Question, ca: str, data: st.DataObject) -> None:
    """What a peer was shown to do can be forgotten; without a word for it that leaves more to wait for, never less."""
    silent = replace(peers, words=())
    forgotten = tuple(
        Known(one.peer, one.at, meets=one.meets, is_node=one.is_node) if data.draw(st.booleans()) else one
        for one in silent.testimonies
    )
    before = {one.peer for one in silent.awaited(question, ca, NOW)}
    assert before <= {one.peer for one in replace(silent, testimonies=forgotten).awaited(question, ca, NOW)}


@FEW
@given(testimonies, questions, cas)
def test_old_evidence_says_when_it_was(one: Known, question: Question, ca: str) -> None:
    """Evidence that is out of date answers nothing, and the operator reads of when it is."""
    for awaited in Peers((one,)).awaited(question, ca, NOW):
        assert ("what is known of it is of" in awaited.why) == (abs(NOW - one.at) > FRESH)


def test_evidence_is_fresh_up_to_its_bound() -> None:
    """It counts for as long as it may, and not a second longer; from a clock that is ahead as well."""
    for at, is_fresh in ((FRESH, True), (FRESH + timedelta(seconds=1), False)):
        for sign in (1, -1):
            peers = Peers((replace(GOOD, at=NOW + sign * at),))
            assert (peers.awaited(Question.TRUSTS, B, NOW) == ()) is is_fresh
