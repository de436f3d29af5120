"""What is decided, as a function of what was observed, what is wanted and the time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.configuration import RenewalPolicy
from agent.core.evidence import Served
from agent.core.files import PemFiles
from agent.core.generation import Cause, Damage, Disk, FileDamage, FileRecord, Generation, Issued, Pending
from agent.core.plan import (
    LOOK,
    Action,
    Adopt,
    DropPending,
    Issue,
    Plan,
    Prove,
    Publish,
    Reload,
    RollBack,
    Settle,
    Switch,
    decide,
)
from agent.core.record import Failure, Record, Tries
from agent.core.situation import Anchors, Observed
from tests.daemon.world import ADDRESS, WANTED
from tests.material import NOW, Ca, make_key, make_request

ROOT, STRANGER = Ca.root(), Ca.root("CN=Stranger")
LINK = ROOT.intermediate()
REQUEST = make_request()
KEYS = [make_key() for _ in range(3)]
LEAVES = [LINK.leaf(REQUEST, key) for key in KEYS]
EXPIRED = LINK.leaf(REQUEST, KEYS[0], not_before=NOW - timedelta(days=60))
DUE = LINK.leaf(REQUEST, KEYS[0], not_before=NOW - timedelta(days=25))
ANCHORS = Anchors((ROOT.certificate,))


def generation(number: int, leaf: object = None, **changes: object) -> Generation:
    """Return a generation of one of the leaves."""
    chosen = leaf or LEAVES[number % 3]
    made = Generation(
        number=number,
        cause=Cause.LEAF,
        request=REQUEST,
        issuer="ca",
        chain=(chosen, LINK.certificate),  # type: ignore[arg-type]
        anchors=(ROOT.certificate,),
        issued_at=chosen.not_before,  # type: ignore[attr-defined]
        made_at=NOW,
        layout="layout",
        files=tuple(FileRecord(name, "00") for name in WANTED.names),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def observed(current: Generation | None, record: Record | None = None, **changes: object) -> Observed:
    """Return what is seen of a host where all is well with `current`, but for the changes."""
    number = current.number if current else None
    disk = Disk(current, current.leaf.public_key if current else None)
    served = {ADDRESS: Served(ADDRESS, NOW, current.leaf.fingerprint)} if current else {}
    known = record or Record(reloaded=number, settled=number)
    seen = Observed(disk, known, "layout", ANCHORS, ANCHORS, served)
    for name in ("key", "damages", "kept", "pending", "trouble"):
        if name in changes:
            seen = replace(seen, disk=replace(seen.disk, **{name: changes.pop(name)}))  # type: ignore[arg-type]
    return replace(seen, **changes)  # type: ignore[arg-type]


def action(seen: Observed) -> Action | None:
    """Return what is decided."""
    return decide(seen, WANTED, NOW).action


FIRST, SECOND = generation(1), generation(2)
OPEN = Record(reloaded=2)
PENDING = Pending(REQUEST, "ca", "token", NOW, LEAVES[0].public_key, b"")
ANSWERED = replace(PENDING, issued=Issued((LEAVES[0], LINK.certificate), NOW))
DEAF = {ADDRESS: Served(ADDRESS, NOW, "0" * 64)}
DOWN = {ADDRESS: Served(ADDRESS, NOW, None, trouble="connection refused")}


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (observed(SECOND), None),
        (observed(None), Issue()),
        (observed(None, trouble="the manifest cannot be read"), Issue()),
        (observed(None, pending=ANSWERED), Publish(Cause.LEAF)),
        (observed(None, kept=(SECOND, FIRST)), Switch(2)),
        (observed(None, Record(refuted=2), kept=(SECOND, FIRST)), Switch(1)),
        (observed(None, kept=(generation(1, EXPIRED),)), Issue()),
        (observed(None, kept=(generation(1, request=make_request("CN=old")),)), Issue()),
        (observed(SECOND, damages=(FileDamage("tls.crt", Damage.MISSING),)), Publish(Cause.FILES)),
        (observed(SECOND, damages=(FileDamage("tls.crt", Damage.WRONG_LINK),)), Switch(2)),
        (observed(SECOND, damages=(FileDamage("ca.crt", Damage.EDITED_TRUSTSTORE),)), None),
        (observed(SECOND, layout="other"), Publish(Cause.FILES)),
        (observed(SECOND, key=None), Issue()),
        (observed(SECOND, key=None, damages=(FileDamage("tls.key", Damage.MISSING),)), Issue()),
        (observed(SECOND, key=b"other"), Issue()),
        (observed(SECOND, Record()), Reload(2)),
        (observed(SECOND, OPEN, served={}), Prove(2)),
        (observed(SECOND, OPEN, served=DOWN), Prove(2)),
        (observed(SECOND, OPEN), Settle(2)),
        (observed(SECOND, OPEN, served=DEAF, kept=(FIRST,)), RollBack(1, refuted=2)),
        (observed(SECOND, OPEN, served=DEAF), Reload(2)),
        (observed(SECOND, OPEN, served=DEAF, kept=(generation(1, SECOND.leaf),)), Reload(2)),
        (observed(SECOND, OPEN, served=DEAF, kept=(generation(1, EXPIRED),)), Reload(2)),
        (observed(SECOND, served=DEAF, kept=(FIRST,)), Reload(2)),
        (observed(FIRST, Record(reloaded=1, refuted=2), served=DEAF, kept=(SECOND,)), Reload(1)),
        (observed(SECOND, trust=Anchors((ROOT.certificate, STRANGER.certificate))), Publish(Cause.ANCHORS)),
        (observed(SECOND, trust=Anchors(None, "gone")), None),
        (observed(SECOND, Record(), trust=Anchors((STRANGER.certificate,))), Reload(2)),
        (observed(FIRST, Record(1, 1, refuted=2), kept=(SECOND,)), Switch(2)),
        (observed(generation(1, DUE)), Issue()),
        (observed(generation(1, DUE), pending=ANSWERED), Publish(Cause.LEAF)),
        (observed(generation(1, DUE), pending=PENDING), Issue()),
        (observed(generation(1, EXPIRED)), Issue()),
        (observed(SECOND, Record(2, 2, demanded=True)), Issue()),
        (observed(generation(1, request=make_request("CN=old"))), Issue()),
        (observed(generation(1, DUE), Record(1, 1, held_leaf=DUE.fingerprint)), None),
        (observed(generation(3), pending=ANSWERED), DropPending()),
        (observed(generation(1, DUE), pending=replace(ANSWERED, issuer="other")), Issue()),
        (observed(generation(1, DUE), pending=replace(ANSWERED, request=make_request("CN=old"))), Issue()),
    ],
)
def test_the_decision(seen: Observed, wanted: Action | None) -> None:
    """Each situation has its one action, or none."""
    plan = decide(seen, WANTED, NOW)
    assert plan.action == wanted
    assert plan.sentence
    assert plan == decide(seen, WANTED, NOW)


def test_a_stale_answer_is_not_used() -> None:
    """A leaf that has expired since it came is asked for anew."""
    stale = replace(PENDING, issued=Issued((EXPIRED,), NOW - timedelta(days=59)))
    assert action(observed(None, pending=stale)) == Issue()
    came_so = replace(PENDING, issued=Issued((EXPIRED,), NOW))
    assert action(observed(None, pending=came_so)) == Publish(Cause.LEAF)


def test_without_reload_and_proof_a_switch_is_enough() -> None:
    """Who configures neither has no reader that could be told or asked."""
    wanted = replace(WANTED, reload=(), prove=())
    plan = decide(observed(SECOND, Record(), served={}), wanted, NOW)
    assert plan.action is None
    assert isinstance(plan.steps[0].action, Issue)
    deaf = decide(observed(SECOND, OPEN, served=DEAF), replace(WANTED, reload=()), NOW)
    assert deaf.action == Prove(2)


def test_an_identity_without_truststores_has_no_use_for_anchors() -> None:
    """Other anchors change no file, so they change nothing."""
    wanted = replace(WANTED, files=(PemFiles(combined="tls.pem"),))
    seen = observed(SECOND, trust=Anchors((STRANGER.certificate,)))
    assert decide(seen, wanted, NOW).action is None


def test_a_refuted_generation_waits_in_its_own_lane() -> None:
    """It is tried again when its back-off is over, and nothing is issued for it meanwhile."""
    later = Tries(1, NOW + timedelta(minutes=2), Failure("refuted", "", NOW))
    seen = observed(FIRST, Record(1, 1, refuted=2, switching=later), kept=(SECOND,))
    plan = decide(seen, WANTED, NOW)
    assert plan.action is None
    assert plan.wake_at == NOW + timedelta(minutes=2)
    assert "is tried again" in plan.sentence


def test_a_long_nap_is_cut_to_a_look() -> None:
    """Nothing is due for weeks, and the disk is looked at within five minutes all the same."""
    wanted = replace(WANTED, prove=(), reload=(), renewal=RenewalPolicy(at=0.9))
    plan = decide(observed(SECOND), wanted, NOW)
    assert plan.action is None
    assert plan.wake_at == NOW + LOOK
    assert "its renewal falls there" in plan.sentence


def test_listeners_are_looked_at_from_time_to_time() -> None:
    """Five minutes after the last look, and at once when that look lies in the future."""
    plan = decide(observed(SECOND), WANTED, NOW)
    assert plan.wake_at == NOW + LOOK
    future = {ADDRESS: Served(ADDRESS, NOW + timedelta(days=1), SECOND.leaf.fingerprint)}
    assert action(observed(SECOND, served=future)) == Prove(2)


def test_nothing_to_do_is_said_so() -> None:
    """A refuted candidate that is in hand leaves nothing but to wait for its lane."""
    wanted = replace(WANTED, prove=(), reload=())
    plan = decide(replace(observed(SECOND), record=Record(2, 2)), wanted, NOW)
    assert "ask the CA" in plan.sentence
    assert Plan(None, NOW, "nothing to do").steps == ()


@pytest.mark.parametrize(
    "one",
    [
        Issue(),
        Adopt(),
        *map(Publish, set(Cause) - {Cause.ADOPTED}),
        Switch(1),
        RollBack(1, 2),
        Reload(1),
        Prove(1),
        Settle(1),
        DropPending(),
    ],
)
def test_every_action_can_be_told(one: Action) -> None:
    """Each is a phrase of plain words."""
    assert str(one)
    assert str(one)[0].islower()


SPANS = st.timedeltas(timedelta(days=-1), timedelta(days=1))
TRIES = st.builds(
    Tries,
    st.integers(0, 30),
    st.none() | SPANS.map(lambda span: NOW + span),
    st.none() | st.builds(Failure, st.just("x"), st.just(""), SPANS.map(lambda span: NOW + span), st.booleans()),
)
NUMBERS = st.none() | st.integers(1, 4)
RECORDS = st.builds(
    Record,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.booleans(),
    st.none() | st.sampled_from([LEAVES[0].fingerprint, DUE.fingerprint]),
    TRIES,
    TRIES,
    TRIES,
    TRIES,
)
GENERATIONS = st.builds(generation, st.integers(1, 4), st.sampled_from([*LEAVES, DUE, EXPIRED]))
DAMAGES = st.lists(st.builds(FileDamage, st.sampled_from(WANTED.names), st.sampled_from(Damage)), max_size=3).map(tuple)
SERVED = st.sampled_from([*(leaf.fingerprint for leaf in (*LEAVES, DUE)), None, "0" * 64])
SOURCES = st.sampled_from([ANCHORS, Anchors(None, "gone"), Anchors((ROOT.certificate, STRANGER.certificate))])


@st.composite
def sights(draw: st.DrawFn) -> Observed:
    """Draw anything that may be seen of a host."""
    current = draw(st.none() | GENERATIONS)
    key = None if current is None else draw(st.sampled_from([None, b"other", current.leaf.public_key]))
    kept = sorted(draw(st.lists(GENERATIONS, max_size=2)), key=lambda one: -one.number)
    disk = Disk(current, key, draw(DAMAGES), tuple(kept), draw(st.sampled_from([None, PENDING, ANSWERED])), "")
    fingerprint = draw(SERVED)
    served = {ADDRESS: Served(ADDRESS, NOW + draw(SPANS), fingerprint)} if draw(st.booleans()) else {}
    layout = draw(st.sampled_from(["layout", "other"]))
    return Observed(disk, draw(RECORDS), layout, draw(SOURCES), draw(SOURCES), served)


@given(sights())
def test_whatever_is_seen_the_plan_is_sound(seen: Observed) -> None:
    """One action or a nap of at most five minutes; evidence, not paperwork, decides what may be done."""
    plan = decide(seen, WANTED, NOW)
    current = seen.disk.current
    whole = current is not None and seen.disk.key == current.leaf.public_key
    if plan.action is None:
        assert NOW < plan.wake_at <= NOW + LOOK
    else:
        assert plan.wake_at == NOW
    match plan.action:
        case Issue():
            due = not whole or seen.record.demanded or (current is not None and current.leaf in (DUE, EXPIRED))
            assert due, "a leaf was asked for that nobody needs"
        case RollBack(number=number, refuted=refuted):
            assert current is not None
            before = next(one for one in seen.disk.kept if one.number == number)
            assert number < refuted == current.number
            assert before.leaf != current.leaf
            assert before.leaf.not_after > NOW
            assert seen.served[ADDRESS].fingerprint not in (None, current.leaf.fingerprint)
        case Publish(cause=Cause.ANCHORS):
            assert seen.trust.anchors is not None
            assert whole
        case Publish(cause=Cause.FILES):
            assert whole
        case Settle():
            assert current is not None
            assert seen.served[ADDRESS].fingerprint == current.leaf.fingerprint
        case _:
            pass


THIRD = generation(3)
STALE = replace(PENDING, issued=Issued((EXPIRED, LINK.certificate), NOW))


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (observed(SECOND, kept=(THIRD, FIRST), pending=ANSWERED), Switch(3)),
        (observed(SECOND, kept=(FIRST,), pending=replace(ANSWERED, issued=Issued((LEAVES[1],), NOW))), DropPending()),
        (observed(THIRD, pending=ANSWERED), DropPending()),
        (observed(SECOND, Record(2, 2, refuted=3), kept=(THIRD,), pending=ANSWERED), DropPending()),
        (
            observed(SECOND, Record(2, 2, held_leaf=SECOND.leaf.fingerprint), kept=(THIRD,), pending=ANSWERED),
            DropPending(),
        ),
        (observed(SECOND, kept=(generation(3, EXPIRED),), pending=STALE), DropPending()),
        (observed(THIRD, Record(3, 3, demanded=True), pending=ANSWERED), DropPending()),
    ],
    ids=["written", "older", "current", "refuted", "held", "expired", "demanded"],
)
def test_a_pending_leaf_that_is_a_generation_is_switched_to_or_forgotten(seen: Observed, wanted: Action) -> None:
    """Written and never switched to: it is paid for. Whatever was switched to once, or is not to be, is forgotten."""
    assert action(seen) == wanted
    assert not isinstance(decide(seen, WANTED, NOW).action, Issue)
