"""What is decided, as a function of what was observed, what is wanted and the time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.actions import (
    Action,
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
    Switch,
)
from agent.core.anchors import Origin
from agent.core.broker import BrokerFacts, ListenerFacts
from agent.core.command import CommandReload
from agent.core.configuration import Listener, RenewalPolicy
from agent.core.evidence import Served, Verdict
from agent.core.files import ClientAuth, PemFiles
from agent.core.generation import Cause, Damage, Disk, FileDamage, FileRecord, Generation, Issued, Pending
from agent.core.kafka_spec import NodeRole, SecurityProtocol
from agent.core.observed import Observed
from agent.core.plan import LOOK, Plan, decide
from agent.core.record import REFUTED, Failure, Record, Replaced, Tries
from agent.core.restart import RAFT_CLIENT, RestartDue
from agent.core.situation import Situation
from tests.daemon.memory_broker import SPEC
from tests.daemon.world import ADDRESS, OF_BROKER, WANTED
from tests.material import NOW, Ca, make_key, make_request, shown

if TYPE_CHECKING:
    from agent.core.certificate import Certificate

ROOT, STRANGER = Ca.root(), Ca.root("CN=Stranger")
LINK = ROOT.intermediate()
REQUEST = make_request()
KEYS = [make_key() for _ in range(3)]
LEAVES = [LINK.leaf(REQUEST, key) for key in KEYS]
EXPIRED = LINK.leaf(REQUEST, KEYS[0], not_before=NOW - timedelta(days=60))
DUE = LINK.leaf(REQUEST, KEYS[0], not_before=NOW - timedelta(days=25))
ANCHORS = shown(ROOT.certificate)


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
    seen = Observed(disk, known, "layout", ANCHORS, ANCHORS, served, peers_asked_at=NOW)
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
        (observed(SECOND, trust=shown(ROOT.certificate, STRANGER.certificate)), Publish(Cause.ANCHORS)),
        (observed(SECOND, trust=shown(trouble="gone")), None),
        (observed(SECOND, Record(), trust=shown(STRANGER.certificate)), Reload(2)),
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
    seen = observed(SECOND, trust=shown(STRANGER.certificate, origin=Origin.FILE, source="/etc/ca.d"))
    assert decide(seen, wanted, NOW).action is None


def test_a_refuted_generation_waits_in_its_own_lane() -> None:
    """It is tried again when its back-off is over, and nothing is issued for it meanwhile."""
    later = Tries(1, NOW + timedelta(minutes=2), Failure("refuted", "", NOW))
    seen = observed(FIRST, Record(1, 1, refuted=2, switching=later), kept=(SECOND,))
    plan = decide(seen, WANTED, NOW)
    assert plan.action is None
    assert plan.wake_at == NOW + timedelta(minutes=2)
    assert "is tried again" in plan.sentence


def test_a_leaf_that_the_proof_refuted_is_not_paid_for_again_in_a_hurry() -> None:
    """Not even in the emergency lane: the next one is billed too, and the emergency does not make it right."""
    ends = LINK.leaf(REQUEST, KEYS[0], not_before=NOW - timedelta(days=30) + timedelta(hours=1))
    wanted, rest = replace(WANTED, reload=(), prove=()), timedelta(days=20)
    for reason, hurried in (("", True), (REFUTED, False)):
        tries = Tries()
        for _ in range(9):
            tries = tries.failed(Failure("x", "", NOW, refused=True, reason=reason), rest=rest, seed="x")
        seen = observed(generation(1, ends), Record(1, 1, issuing=tries))
        assert isinstance(decide(seen, wanted, NOW + timedelta(minutes=30)).action, Issue) is hurried


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
        Restart(1),
        Prove(1),
        Settle(1),
        DropPending(),
        Remember(()),
        Revoke(DUE),
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
SOURCES = st.sampled_from([ANCHORS, shown(trouble="gone"), shown(ROOT.certificate, STRANGER.certificate)])


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


# --- a Kafka broker ----------------------------------------------------------------------------

INTERNAL, CLIENTS = OF_BROKER.proven_at
FACTS = BrokerFacts(
    1,
    tuple(ListenerFacts(name, SecurityProtocol.SSL, asks_clients=ClientAuth.REQUIRED) for name in (INTERNAL, CLIENTS)),
    inter_broker=INTERNAL,
)
RESTARTED = replace(
    OF_BROKER, reload=(replace(SPEC, restart=CommandReload(("systemctl", "restart", "kafka"), Path("/etc"))),)
)
CONTROLLER = replace(OF_BROKER, reload=(replace(SPEC, role=NodeRole.CONTROLLER),))
DAY = timedelta(days=1)
WIDER = make_request(dns=("kafka1.example.com", "localhost", "kafka"))
WIDE, WIDE_TOO = LINK.leaf(WIDER, KEYS[0]), LINK.leaf(WIDER, KEYS[1])
OURS, MORE = (ROOT.certificate,), (ROOT.certificate, STRANGER.certificate)
PARTLY = RestartDue(2, NOW, NOW + DAY, "the Raft client")
WHOLLY = replace(PARTLY, whole=True)


def named(anchors: tuple[Certificate, ...]) -> frozenset[bytes]:
    """Return how a listener names the CAs that it takes."""
    return frozenset(anchor.subject.public_bytes() for anchor in anchors)


def glance(
    leaf: Certificate | None = SECOND.leaf, anchors: tuple[Certificate, ...] = OURS, name: str = INTERNAL
) -> Served:
    """Return what a listener of the broker shows; None for the leaf: it is down."""
    if leaf is None:
        return Served(name, NOW, None, trouble="connection refused")
    return Served(name, NOW, leaf.fingerprint, leaf.not_after, leaf=leaf, acceptable=named(anchors))


def of_broker(current: Generation, record: Record | None = None, *looks: Served, **changes: object) -> Observed:
    """Return what is seen of a broker that uses `current`, but for the looks and changes given."""
    good = {name: glance(current.leaf, current.anchors, name) for name in (INTERNAL, CLIENTS)}
    served = good | {one.listener: one for one in looks}
    return observed(current, record, **{"facts": FACTS, "served": served} | changes)


AWAITED, PARTLY_AWAITED = replace(OPEN, restart=WHOLLY), replace(OPEN, restart=PARTLY)
OLD, GONE = glance(FIRST.leaf), glance(EXPIRED)
OTHERS = generation(2, FIRST.leaf, anchors=MORE, cause=Cause.ANCHORS)
TOLD_OF_OTHERS = of_broker(OTHERS, OPEN, glance(FIRST.leaf, OURS), kept=(FIRST,), trust=shown(*MORE))


@pytest.mark.parametrize(
    ("seen", "plain", "commanded"),
    [
        (of_broker(SECOND), None, None),
        (of_broker(SECOND, OPEN), Settle(2), Settle(2)),
        (of_broker(SECOND, OPEN, glance(None)), Prove(2), Prove(2)),
        (of_broker(SECOND, OPEN, served={}), Prove(2), Prove(2)),
        (of_broker(SECOND, Record()), Reload(2), Reload(2)),
        # What is in use partly is proven first.
        (of_broker(SECOND, PARTLY_AWAITED), Settle(2), Settle(2)),
        (of_broker(SECOND, replace(PARTLY_AWAITED, settled=2)), None, Restart(2)),
        (of_broker(SECOND, replace(PARTLY_AWAITED, settled=2, restarted=2)), None, None),
        (of_broker(SECOND, replace(PARTLY_AWAITED, settled=2, restarted=1)), None, Restart(2)),
        # What is not in use at all has nothing that could be proven.
        (of_broker(SECOND, AWAITED, OLD, kept=(FIRST,)), Reload(2), Restart(2)),
        (of_broker(SECOND, replace(AWAITED, restarted=2), OLD, kept=(FIRST,)), Reload(2), Reload(2)),
        (of_broker(SECOND, replace(Record(), restart=WHOLLY)), Reload(2), Restart(2)),
        (
            of_broker(SECOND, replace(AWAITED, restart=replace(WHOLLY, generation=1)), OLD, kept=(FIRST,)),
            RollBack(1, refuted=2),
            RollBack(1, refuted=2),
        ),
        # A listener refutes what it could use.
        (of_broker(SECOND, OPEN, OLD, kept=(FIRST,)), RollBack(1, refuted=2), RollBack(1, refuted=2)),
        (of_broker(SECOND, OPEN, OLD), Reload(2), Reload(2)),
        (of_broker(SECOND, None, OLD, kept=(FIRST,)), Reload(2), Reload(2)),
        # An expired leaf meets no other broker, and takes no store.
        (of_broker(SECOND, OPEN, GONE, kept=(FIRST,)), Reload(2), Restart(2)),
        # Kafka would not take the way back, or does not take what is current.
        (of_broker(SECOND, OPEN, glance(WIDE), kept=(FIRST,)), Reload(2), Restart(2)),
        (of_broker(generation(2, WIDE_TOO), OPEN, glance(WIDE), kept=(FIRST,)), Reload(2), Reload(2)),
        (
            of_broker(SECOND, OPEN, glance(WIDE), kept=(generation(1, WIDE, request=WIDER),)),
            RollBack(1, refuted=2),
            RollBack(1, refuted=2),
        ),
        # Other anchors are proven by the names of CAs, and gone back from once.
        (of_broker(OTHERS, OPEN, trust=shown(*MORE)), Settle(2), Settle(2)),
        (TOLD_OF_OTHERS, RollBack(1, refuted=2), RollBack(1, refuted=2)),
    ],
)
def test_the_decision_for_a_broker(seen: Observed, plain: Action | None, commanded: Action | None) -> None:
    """With and without a restart command: it runs once a generation, and only for what needs it."""
    assert decide(seen, OF_BROKER, NOW).action == plain
    assert decide(seen, RESTARTED, NOW).action == commanded


def test_a_wait_for_a_restart_says_what_for() -> None:
    """Whoever reads the sentence learns which listener waits, and why."""
    waiting = decide(of_broker(SECOND, AWAITED, OLD, kept=(FIRST,)), OF_BROKER, NOW)
    assert waiting.sentence == "tell the readers now: INTERNAL waits for a restart: the Raft client"
    expired = decide(of_broker(SECOND, OPEN, GONE, kept=(FIRST,)), RESTARTED, NOW)
    assert expired.sentence == (
        f"restart the broker now: INTERNAL serves a leaf that expired at {EXPIRED.not_after.isoformat()}"
    )


def test_anchors_that_were_rolled_back_from_are_tried_again_and_not_written_again() -> None:
    """The sources of trust still hold them, and the generation that has them waits in its own lane: no loop."""
    later = Tries(1, NOW + timedelta(minutes=2), Failure("refuted", "", NOW))
    back = Record(1, refuted=2, switching=later)
    seen = of_broker(FIRST, back, kept=(OTHERS,), trust=shown(*MORE))
    assert decide(seen, OF_BROKER, NOW).action == Settle(1)
    settled = replace(seen, record=replace(back, settled=1))
    plan = decide(settled, OF_BROKER, NOW)
    assert plan.action is None
    assert not any(isinstance(step.action, Publish) for step in plan.steps)
    assert decide(settled, OF_BROKER, NOW + timedelta(minutes=2)).action == Switch(2)
    # Where the way back is refuted too there is no third, and no way forth before its time.
    still = of_broker(FIRST, back, glance(FIRST.leaf, MORE), kept=(OTHERS,), trust=shown(*MORE))
    assert decide(still, OF_BROKER, NOW).action == Reload(1)
    other = replace(settled, trust=shown(ROOT.certificate, LINK.certificate))
    assert decide(other, OF_BROKER, NOW).action == Publish(Cause.ANCHORS)


def test_what_is_refuted_beyond_the_leaf_is_no_reason_to_go_back_to_the_same_anchors() -> None:
    """Files that were rendered again change neither what is served nor what is taken."""
    again = generation(2, FIRST.leaf, cause=Cause.FILES)
    assert decide(of_broker(again, OPEN, glance(WIDE), kept=(FIRST,)), OF_BROKER, NOW).action == Reload(2)
    unlike = of_broker(again, OPEN, glance(FIRST.leaf, MORE), kept=(FIRST,))
    assert decide(unlike, OF_BROKER, NOW).action == Reload(2)


def situation(seen: Observed, wanted: object = OF_BROKER) -> Situation:
    """Return what follows from what is seen."""
    return Situation(seen, wanted, NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "due"),
    [
        (of_broker(SECOND), None),
        (of_broker(SECOND, PARTLY_AWAITED), PARTLY),
        (observed(None, Record(restart=PARTLY), facts=FACTS), PARTLY),
        (of_broker(SECOND, AWAITED, GONE), WHOLLY),
        (of_broker(SECOND, OPEN, OLD), None),
        (of_broker(SECOND, OPEN, replace(OLD, leaf=None)), None),
        (of_broker(SECOND, OPEN, glance(STRANGER.leaf(REQUEST, KEYS[0]))), None),
        (of_broker(SECOND, None, replace(GONE, fingerprint=SECOND.leaf.fingerprint)), None),
    ],
    ids=["all is well", "noted", "nothing is current", "kept out", "would be taken", "unreadable", "trust", "proven"],
)
def test_a_restart_is_due_as_noted_or_as_seen(seen: Observed, due: RestartDue | None) -> None:
    """What the listeners serve shows more than the notes, and less than all that is wrong needs a restart."""
    assert situation(seen).restart_due == due


def test_a_restart_that_is_seen_to_be_due_keeps_the_end_of_an_earlier_one() -> None:
    """It keeps the whole generation out, whatever was due for a part of it."""
    expired = situation(of_broker(SECOND, PARTLY_AWAITED, GONE)).restart_due
    assert expired is not None
    assert (expired.by, expired.before, expired.whole) == (EXPIRED.not_after, PARTLY, True)
    fewer = situation(of_broker(SECOND, OPEN, glance(WIDE), glance(WIDE_TOO, name=CLIENTS))).restart_due
    assert fewer is not None
    assert (fewer.by, fewer.since, fewer.whole) == (min(WIDE.not_after, WIDE_TOO.not_after), NOW, True)
    assert "listener INTERNAL: it lacks SANs" in fewer.why
    assert "listener CLIENTS: it lacks SANs" in fewer.why


OVER_TLS = replace(FACTS, tls_controllers=True)
LAGGING = of_broker(SECOND, facts=OVER_TLS, kept=(FIRST,))


@pytest.mark.parametrize(
    ("seen", "started_at", "lags"),
    [
        (LAGGING, NOW - DAY, True),
        (LAGGING, NOW, True),
        (LAGGING, None, True),
        (LAGGING, NOW + DAY, False),
        (replace(LAGGING, facts=FACTS), None, False),
        (replace(LAGGING, facts=None), None, False),
        (of_broker(SECOND, facts=OVER_TLS), None, False),
        (of_broker(SECOND, facts=OVER_TLS, kept=(THIRD,)), None, False),
        (of_broker(replace(SECOND, cause=Cause.FILES), facts=OVER_TLS, kept=(FIRST,)), None, False),
        (of_broker(replace(SECOND, cause=Cause.ADOPTED), facts=OVER_TLS, kept=(FIRST,)), None, False),
        (of_broker(replace(SECOND, cause=Cause.ANCHORS), facts=OVER_TLS, kept=(FIRST,)), None, True),
        (observed(None, facts=OVER_TLS, kept=(FIRST,)), None, False),
    ],
)
def test_a_raft_client_lags_behind_until_its_process_is_a_later_one(
    seen: Observed, started_at: object, *, lags: bool
) -> None:
    """Over TLS it keeps what it was started with, and the leaf before ends first."""
    lag = RestartDue(2, NOW, FIRST.leaf.not_after, RAFT_CLIENT) if lags else None
    assert situation(seen).lag_of(started_at) == lag  # type: ignore[arg-type]


def test_the_rules_of_kafka_are_asked_of_what_is_seen_to_be_served() -> None:
    """Of a listener that was not seen, or reads no keystore of ours, nobody knows; a controller takes no order."""
    assert len(situation(of_broker(SECOND, None, glance(WIDE))).refusals_of(FIRST)) == 1
    assert situation(of_broker(SECOND, served={})).refusals_of(FIRST) == ()
    assert situation(of_broker(SECOND, None, glance(None))).refusals_of(FIRST) == ()
    assert situation(of_broker(SECOND, None, glance(WIDE)), WANTED).refusals_of(FIRST) == ()
    assert situation(of_broker(SECOND, None, glance(WIDE)), CONTROLLER).refusals_of(FIRST) == ()
    bare = replace(SPEC, listeners=(replace(SPEC.listeners[0], keystore=None),))
    without = replace(OF_BROKER, reload=(bare,))
    assert situation(of_broker(SECOND, None, glance(WIDE)), without).refusals_of(FIRST) == ()


def test_every_listener_has_a_verdict_of_its_last_look() -> None:
    """Those of `prove` are judged by the leaf alone, the broker's by name and by what they name."""
    wanted = replace(OF_BROKER, prove=(Listener(ADDRESS),))
    seen = of_broker(SECOND, None, Served(ADDRESS, NOW, "0" * 64), glance(SECOND.leaf, MORE), kept=(OTHERS, FIRST))
    verdicts = situation(seen, wanted).verdicts
    assert {name: one for name, (one, _) in verdicts.items()} == {
        ADDRESS: Verdict.REFUTED,
        INTERNAL: Verdict.REFUTED,
        CLIENTS: Verdict.PROVEN,
    }
    assert verdicts[ADDRESS][1] == f"it serves {'0' * 16}, not {SECOND.leaf.fingerprint[:16]}"
    assert situation(seen, wanted).generation_before == OTHERS
    empty = situation(observed(None, served=seen.served), wanted)
    assert empty.verdicts[INTERNAL] == (Verdict.UNKNOWN, "there is nothing that it could serve")
    assert empty.generation_before is None
    unasked = situation(of_broker(SECOND, None, replace(glance(), acceptable=None), facts=None)).verdicts
    assert unasked[INTERNAL] == (Verdict.PROVEN, "")
    asked = situation(of_broker(SECOND, None, replace(glance(), acceptable=None))).verdicts
    assert asked[INTERNAL][0] is Verdict.UNKNOWN


LOOKS = st.builds(glance, st.sampled_from([*LEAVES, WIDE, EXPIRED, None]), st.sampled_from([OURS, MORE]))
DUES = st.builds(
    RestartDue, st.integers(1, 4), st.just(NOW), SPANS.map(lambda span: NOW + span), st.just("x"), st.booleans()
)


@st.composite
def sights_of_a_broker(draw: st.DrawFn) -> Observed:
    """Draw anything that may be seen of a host with a broker."""
    seen = draw(sights())
    record = replace(seen.record, restart=draw(st.none() | DUES), restarted=draw(NUMBERS))
    looks = {name: replace(draw(LOOKS), listener=name) for name in draw(st.sets(st.sampled_from([INTERNAL, CLIENTS])))}
    facts = draw(st.sampled_from([None, FACTS, replace(FACTS, allow_san_changes=True)]))
    kept = tuple(replace(one, anchors=draw(st.sampled_from([OURS, MORE]))) for one in seen.disk.kept)
    return replace(seen, record=record, served=looks, facts=facts, disk=replace(seen.disk, kept=kept))


@given(sights_of_a_broker(), st.sampled_from([OF_BROKER, RESTARTED, CONTROLLER]))
def test_whatever_is_seen_of_a_broker_the_plan_is_sound(seen: Observed, wanted: object) -> None:
    """No restart without a command and a need, none twice; no way back that Kafka would refuse; no proof unseen."""
    plan = decide(seen, wanted, NOW)  # type: ignore[arg-type]
    now = situation(seen, wanted)
    current, due, record = seen.disk.current, now.restart_due, seen.record
    match plan.action:
        case Restart(number=number):
            assert wanted is RESTARTED
            assert current is not None
            assert due is not None
            assert number == current.number != record.restarted
            assert record.settled == number or due.keeps_out(number)
        case RollBack(number=number, refuted=refuted):
            assert current is not None
            assert number < refuted == current.number != record.settled
            assert due is None or not due.keeps_out(refuted)
            before = next(one for one in seen.disk.kept if one.number == number)
            assert now.refusals_of(before) == ()
            assert (before.leaf, set(before.anchors)) != (current.leaf, set(current.anchors))
        case Settle():
            assert set(now.listeners(Verdict.PROVEN)) == {INTERNAL, CLIENTS}
        case _:
            pass


# --- what is replaced --------------------------------------------------------------------------


def test_a_replaced_leaf_is_noted_and_revoked_when_nothing_reaches_it() -> None:
    """Only one of the same CA, once all listeners are proven to have left it, and never one that has ended."""
    wanted = replace(WANTED, revoke=True)
    assert decide(observed(SECOND, kept=(FIRST,)), wanted, NOW).action == Remember((Replaced("ca", FIRST.leaf),))
    mine, theirs, ended = Replaced("ca", FIRST.leaf), Replaced("other", LEAVES[0]), Replaced("ca", EXPIRED)
    noted = Record(2, 2, replaced=(theirs, mine))
    assert decide(observed(SECOND, noted), wanted, NOW).action == Revoke(FIRST.leaf)
    assert decide(observed(SECOND, noted, kept=(FIRST,)), wanted, NOW).action is None
    assert decide(observed(SECOND, replace(noted, replaced=(theirs,))), wanted, NOW).action is None
    assert decide(observed(SECOND, noted), WANTED, NOW).action is None
    assert decide(observed(SECOND, replace(noted, settled=None)), wanted, NOW).action == Settle(2)
    assert decide(observed(SECOND, noted, served=DOWN), wanted, NOW).action == Prove(2)
    assert decide(observed(SECOND, noted, served={}), replace(wanted, prove=(), reload=()), NOW).action is None
    over = decide(observed(SECOND, replace(noted, replaced=(ended, mine))), wanted, NOW)
    assert over.action == Remember((mine,))


# --- what holds what up ------------------------------------------------------------------------


def test_other_anchors_wait_for_the_readers_unless_those_cannot_be_told() -> None:
    """What a broker that is down finds when it starts must be right."""
    later = Tries(1, NOW + timedelta(minutes=1), Failure("down", "", NOW))
    seen = of_broker(SECOND, Record(), trust=shown(*MORE))
    assert decide(seen, OF_BROKER, NOW).action == Reload(2)
    seen = of_broker(SECOND, Record(settling=later), trust=shown(*MORE))
    assert decide(seen, OF_BROKER, NOW).action == Publish(Cause.ANCHORS)


@pytest.mark.parametrize(
    ("count", "refused", "cause"),
    [
        (0, True, Cause.ANCHORS),
        (1, True, Cause.LEAF),
        (2, True, Cause.ANCHORS),
        (3, True, Cause.LEAF),
        (1, False, Cause.ANCHORS),
    ],
)
def test_of_two_changes_that_are_refused_each_has_its_turn(count: int, cause: Cause, *, refused: bool) -> None:
    """They share a lane, and the first would have every try of it; one that nobody refuses goes in its order."""
    tries = Tries(count, NOW, Failure("no", "", NOW, refused=refused) if count else None)
    record = Record(1, 1, publishing=tries)
    seen = of_broker(generation(1, DUE), record, trust=shown(*MORE), pending=ANSWERED)
    assert decide(seen, OF_BROKER, NOW).action == Publish(cause)
    alone = of_broker(generation(1, DUE), record, trust=shown(*MORE), pending=PENDING)
    assert Publish(Cause.ANCHORS) in [step.action for step in decide(alone, OF_BROKER, NOW).steps]
    early = of_broker(FIRST, record, trust=shown(*MORE), pending=ANSWERED)
    assert Publish(Cause.ANCHORS) in [step.action for step in decide(early, OF_BROKER, NOW).steps]


def test_a_leaf_of_the_wanted_identity_that_was_rolled_back_from_is_not_paid_for_again() -> None:
    """What is current is of the old identity; the new one's leaf is in hand and waits for its turn."""
    later = Tries(1, NOW + timedelta(minutes=2), Failure("refuted", "", NOW))
    candidate = generation(3, WIDE, request=WIDER)
    seen = of_broker(SECOND, Record(2, 2, refuted=3, switching=later), kept=(candidate,))
    plan = decide(seen, replace(OF_BROKER, request=WIDER), NOW)
    assert plan.action is None
    assert Issue() not in [step.action for step in plan.steps]


def test_a_leaf_that_is_needed_is_switched_to_although_another_is_held() -> None:
    """It was written and never switched to; what a person went back from is something else."""
    old = generation(1, request=make_request("CN=old"))
    record = Record(1, 1, held_leaf=old.leaf.fingerprint)
    assert action(observed(old, record, kept=(generation(2, LEAVES[0]),), pending=ANSWERED)) == Switch(2)


def test_a_way_back_leads_to_what_is_served() -> None:
    """Of two generations that would do, the newer may have been refuted before; where neither is served, none will."""
    seen = of_broker(THIRD, Record(reloaded=3), OLD, glance(FIRST.leaf, name=CLIENTS), kept=(SECOND, FIRST))
    assert decide(seen, OF_BROKER, NOW).action == RollBack(1, refuted=3)
    seen = of_broker(THIRD, Record(reloaded=3), glance(DUE), glance(DUE, name=CLIENTS), kept=(SECOND, FIRST))
    assert decide(seen, OF_BROKER, NOW).action == Reload(3)


def test_what_may_be_loaded_still_is_known_after_a_roll_back_too() -> None:
    """It is a newer generation then."""
    back = generation(1, FIRST.leaf, anchors=OURS)
    assert situation(of_broker(back, kept=(replace(OTHERS, number=3),))).generation_before == replace(OTHERS, number=3)
    assert situation(of_broker(SECOND, kept=(FIRST,))).generation_before is None


def test_no_emergency_hurries_a_leaf_that_is_paid_for_and_refuted_again_and_again() -> None:
    """The next one is billed too, and the pace is its own."""
    failure = Failure("wrong", "", NOW, refused=True, reason=REFUTED)
    slow = Tries(5).failed(failure, rest=timedelta(days=1), seed="x")
    late = situation(observed(generation(1, LINK.leaf(REQUEST, KEYS[0], not_before=NOW - timedelta(days=29)))))
    assert late.urgent
    assert slow.next_at is not None
    assert late.due(slow) == slow.next_at
    refused = replace(slow, failure=replace(failure, reason="refused"))
    assert late.due(refused) < slow.next_at
