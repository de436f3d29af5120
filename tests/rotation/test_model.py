"""No leaf in use is ever untrusted by a peer that meets it, whatever happens; and each rule is needed for that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from agent.core import testimony
from agent.core.guards import LEAF_GUARDS, RETIREMENT_GUARDS
from agent.core.rotation import Stage
from agent.core.testimony import Question
from tests.rotation import model
from tests.rotation.model import Rules, Shape
from tests.rotation.people import Scene
from tests.rotation.walks import MINUTES, WAYS, Move, follow, shorten, wander

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.guards import Guard
    from agent.core.testimony import Peers
    from tests.rotation.hosts import Host
    from tests.rotation.walks import Walk

REAL = Rules()

SHAPES = (
    Shape(2, 1),
    Shape(3, 0),
    Shape(2, 1, raft=True),
    Shape(1, 2, mtls=False),
    Shape(2, 1, own_trusted=True),
    Shape(1, 1, reporting=True),
    Shape(2, 2, raft=True, reporting=True),
)

PAIR, TWO, LONE, NODES = Shape(2, 0), Shape(1, 1), Shape(1, 0), Shape(2, 0, raft=True)
FRANK = Shape(1, 1, reporting=True)
OWN = Shape(2, 0, own_trusted=True)


# --- with every rule in place ---------------------------------------------------------------


class Rotations(RuleBasedStateMachine):
    """Everything that may happen, in any order."""

    scene: Scene

    @initialize(shape=st.sampled_from(SHAPES))
    def begin(self, shape: Shape) -> None:
        """Have some hosts steady on one CA."""
        self.scene = Scene(shape, REAL)

    def _name(self, number: int) -> str:
        names = list(self.scene.hosts)
        return names[number % len(names)]

    @rule(host=st.integers(0, 3), crash=st.sampled_from((0, 0, 0, 1, 2)))
    def cycle(self, host: int, crash: int) -> None:
        """An agent takes a step, and may crash before or after it."""
        self.scene.look(self._name(host))
        self.scene.cycle(self._name(host), crash=crash)

    @rule(host=st.integers(0, 3), what=st.sampled_from(("look", "report", "answer", "cycle", "restart", "crash")))
    def act(self, host: int, what: str) -> None:
        """An agent, its process or who looks after it does one thing."""
        getattr(self.scene, what)(self._name(host))

    @rule(host=st.integers(0, 3), what=st.sampled_from(("cut_off", "cut_off_issuer", "silence")))
    def lose(self, host: int, what: str) -> None:
        """A host is cut off from others, from the issuer, or from its source; or is so no more."""
        getattr(self.scene, what)(self._name(host))

    @rule(host=st.integers(0, 3), what=st.sampled_from(("pause", "abort", "resume", "discard")))
    def say(self, host: int, what: str) -> None:
        """A person has a host wait, go back, go on, or take an edit back."""
        getattr(self.scene, what)(self._name(host))

    @rule(
        host=st.integers(0, 3),
        what=st.sampled_from(("add", "remove", "retire", "approve")),
        ca=st.sampled_from("abc"),
        everywhere=st.booleans(),
    )
    def change(self, host: int, what: str, ca: str, everywhere: bool) -> None:
        """An anchor comes, is approved, is taken away or let go, on one host or on all."""
        if everywhere:
            self.scene.everywhere(what, ca)
        else:
            getattr(self.scene, what)(self._name(host), ca)

    @rule(what=st.sampled_from(("flip", "flip", "delete")), ca=st.sampled_from("abc"))
    def issue(self, what: str, ca: str) -> None:
        """The issuer turns to another CA, or loses one."""
        getattr(self.scene, what)(ca)

    @rule(host=st.integers(0, 3), drop=st.sampled_from("abc"), add=st.sampled_from(("", "b", "c")))
    def edit(self, host: int, drop: str, add: str) -> None:
        """A person edits a truststore."""
        self.scene.edit(self._name(host), drop=drop, add=add)

    @rule(host=st.integers(0, 3), ca=st.sampled_from("abc"))
    def force(self, host: int, ca: str) -> None:
        """A person forces an anchor out."""
        self.scene.force(self._name(host), ca)

    @rule(host=st.integers(0, 3), number=st.integers(0, 7))
    def deliver(self, host: int, number: int) -> None:
        """A report arrives, be it late or once more."""
        self.scene.deliver(number, self._name(host))

    @rule(host=st.integers(0, 3), of=st.integers(0, 3), question=st.sampled_from(Question), ca=st.sampled_from("abc"))
    def confirm(self, host: int, of: int, question: Question, ca: str) -> None:
        """A person vouches for a host."""
        self.scene.confirm(self._name(host), self._name(of), question, ca)

    @rule(minutes=st.sampled_from(MINUTES))
    def advance(self, minutes: int) -> None:
        """Time passes."""
        self.scene.advance(minutes)

    @rule()
    def together(self) -> None:
        """Everybody looks, and takes a step."""
        self.scene.together()

    @invariant()
    def nobody_is_untrusted(self) -> None:
        """No peer refuses a leaf that is in use, and no anchor comes or goes that should not."""
        assert not self.scene.violation()

    def teardown(self) -> None:
        """With everyone back it ends."""
        if hasattr(self, "scene"):
            assert self.scene.end()


def run(examples: int, steps: int) -> None:
    """Run the machine, the same way each time."""
    run_state_machine_as_test(
        Rotations,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_nothing_breaks_and_it_ends() -> None:
    """A few orders of events, of which none has a leaf that is in use refused."""
    run(examples=20, steps=30)


@pytest.mark.slow
def test_nothing_breaks_and_it_ends_in_many_orders() -> None:
    """Many more of them."""
    run(examples=120, steps=60)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nothing_breaks_on_long_walks(shape: Shape) -> None:
    """Rotation after rotation with everything that may cross them breaks nothing, and the last one ends."""
    for seed in range(12):
        assert_well(shape, *wander(shape, REAL, seed, 250))


def assert_well(shape: Shape, trouble: str, walk: Walk) -> None:
    """Assert that a walk went well, or show the shortest that did not; and that it comes to an end."""
    assert not trouble, "\n".join(map(str, shorten(shape, REAL, walk)[1]))
    scene = Scene(shape, REAL)
    for move in walk:
        getattr(scene, move.what)(*move.args, **move.named)
    assert scene.end()


def test_it_does_not_end_while_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends it are the words that it asks for: without them hosts that nobody can ask hold it for good."""
    scene = Scene(Shape(2, 1), REAL)
    scene.flip("b")
    monkeypatch.setattr(scene, "answer", lambda _: None)
    assert not scene.end()
    monkeypatch.undo()
    assert scene.end()


# --- without one of them --------------------------------------------------------------------


@dataclass(frozen=True)
class Hunt:
    """Where an outage is looked for: in which cluster, and on which kind of walk."""

    shape: Shape
    ways: tuple[str, ...] = WAYS
    most: int = 700


HUNTS: dict[str, Hunt] = {
    "leaf: nobody_has_edited": Hunt(PAIR, ("edited",)),
    "leaf: anchor_is_accepted": Hunt(PAIR, ("bare",)),
    "leaf: anchor_is_proven_here": Hunt(PAIR),
    "leaf: peers_are_known": Hunt(PAIR),
    "leaf: peers_trust_it": Hunt(PAIR),
    "leaf: nodes_have_its_anchor": Hunt(NODES),
    "leaf: nobody_goes_back": Hunt(PAIR, ("crossed",)),
    "leaf: notice_was_given": Hunt(FRANK, ("late",)),
    "retirement: nobody_has_edited": Hunt(PAIR, ("edited",)),
    "retirement: sources_speak": Hunt(OWN),
    "retirement: another_stays": Hunt(LONE, ("bare", "crossed")),
    "retirement: nothing_more_of_it_comes": Hunt(PAIR, ("unsaid",)),
    "retirement: own_leaf_has_left": Hunt(PAIR, ("stuck",)),
    "retirement: peers_are_known": Hunt(PAIR, ("stuck",)),
    "retirement: peers_have_left": Hunt(TWO, ("crossed", "stuck")),
    "retirement: nodes_have_the_leaf": Hunt(NODES, ("meant",)),
    "retirement: soak_is_over": Hunt(FRANK, ("late",)),
    "retirement: retirement_is_allowed": Hunt(PAIR),
}

RARE = frozenset({"leaf: notice_was_given", "retirement: soak_is_over", "retirement: peers_are_known"})
"""Found within seconds and not within one: two hosts must act between two looks."""


def without(name: str) -> Rules:
    """Return the rules without one guard."""
    kind, _, guard = name.partition(": ")

    def rest(guards: Sequence[Guard]) -> tuple[Guard, ...]:
        return tuple(one for one in guards if one.__name__ != guard)

    if kind == "leaf":
        return replace(REAL, leaf_guards=rest(LEAF_GUARDS))
    # The note of since when a CA's leaves are gone is started anew too while our own is of it: either is enough.
    notes_own = guard != "own_leaf_has_left"
    return replace(REAL, retirement_guards=rest(RETIREMENT_GUARDS), notes_own=notes_own)


def found(rules: Rules, hunt: Hunt, steps: int = 200) -> str:
    """Return the first outage of a hunt, empty where there is none."""
    walks = (wander(hunt.shape, rules, seed, steps, hunt.ways) for seed in range(1, hunt.most))
    return next((trouble for trouble, _ in walks if trouble), "")


def test_every_guard_is_hunted() -> None:
    """No guard is added without a walk that shows what it is for."""
    leaf = {f"leaf: {guard.__name__}" for guard in LEAF_GUARDS}
    assert set(HUNTS) == leaf | {f"retirement: {guard.__name__}" for guard in RETIREMENT_GUARDS}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in RARE else []) for name in HUNTS]
)
def test_outage_is_found_without(name: str) -> None:
    """Without any one guard something breaks that must not."""
    assert found(without(name), HUNTS[name])


def test_outage_is_found_where_unknown_counts_as_yes() -> None:
    """A peer that nobody can ask may be the one that trusts nothing."""
    assert found(replace(REAL, is_credulous=True), Hunt(PAIR))


@pytest.mark.slow
def test_outage_is_found_where_evidence_never_ages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of long ago says nothing of a host that has gone back since."""
    monkeypatch.setattr(testimony, "FRESH", timedelta(days=9999))
    assert found(REAL, Hunt(FRANK, ("late",)))


def test_outage_is_found_where_each_leaf_counts_as_expired() -> None:
    """The way out of the deadlock is for a leaf that nobody trusts any more, and for no other."""
    assert found(replace(REAL, always_expired=True), Hunt(PAIR))


@pytest.mark.slow
def test_outage_is_found_where_nobody_looks_again() -> None:
    """Two hosts may act on what each saw of the other before: a handshake tells nobody what comes next."""
    assert found(replace(REAL, looks_again=False), Hunt(PAIR, ("late", "unsaid")))


# --- many hosts -----------------------------------------------------------------------------


class Crowd(Scene):
    """So many hosts that what is seen of each is seen once, for all who look at that moment."""

    known: dict[bool, Peers]

    def ask(self) -> None:
        """Have everybody looked at, and each report arrive."""
        self.known = {}
        reports = {name: self.written(host) for name, host in self.hosts.items()}
        for name in ("b0", "c0"):
            host = self.hosts[name]
            host.told = reports
            self.look(name)
            self.known[host.is_broker] = super().peers(host)

    def peers(self, host: Host) -> Peers:
        """Return what all hosts of its kind know."""
        return self.known[host.is_broker]


@pytest.mark.slow
def test_thousand_hosts_go_through() -> None:
    """A hundred brokers and nine hundred clients go from one CA to another, each by its own agent's rules."""
    crowd = Crowd(Shape(100, 900, reporting=True), replace(REAL, looks_again=False))
    names = list(crowd.hosts)

    def turn(minutes: int) -> None:
        crowd.ask()
        for name in names:
            crowd.cycle(name)
        assert not crowd.violation()
        crowd.advance(minutes)

    crowd.everywhere("add", "b")
    turn(1)
    crowd.everywhere("restart")
    crowd.flip("b")
    turn(31)  # what is wanted is told, and told early enough
    turn(1)
    assert {host.leaf.ca for host in crowd.hosts.values()} == {"b"}
    crowd.everywhere("restart")
    crowd.everywhere("remove", "a")
    crowd.everywhere("retire", "a")
    turn(24 * 60)
    turn(1)
    crowd.ask()
    assert {host.disk for host in crowd.hosts.values()} == {frozenset("b")}
    assert {crowd.outlook(host).stage for host in crowd.hosts.values()} == {Stage.STEADY}


# --- walks that went wrong once -------------------------------------------------------------


def crossing() -> Walk:
    """Return a walk on which a client lets the old anchor go while a broker goes back to it, and neither has heard."""
    turn = Move("together")
    every = [Move("everywhere", ("restart",)), turn, turn]
    there = [Move("everywhere", ("add", "b")), *every, Move("flip", ("b",)), *every, Move("advance", (31,)), *every]
    soaked = [*every, Move("remove", ("c0", "a")), *every, Move("advance", (24 * 60,)), turn]
    asked = [Move("abort", ("b0",)), Move("cycle", ("b0",)), Move("advance", (5,))]
    heard = [Move("report", ("c0",)), Move("deliver", (-1, "b0")), Move("advance", (9,))]
    gone = [Move("retire", ("c0", "a")), Move("look", ("c0",)), Move("cycle", ("c0",)), Move("restart", ("c0",))]
    back = [Move("advance", (2,)), Move("look", ("b0",)), Move("cycle", ("b0",))]
    return (*there, *soaked, *asked, *heard, *gone, *back)


def test_notice_lasts_until_what_was_seen_before_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others must have heard of the way back, and then be seen to trust it still: twice the age of evidence."""
    assert follow(FRANK, REAL, crossing())[0] == ""
    monkeypatch.setattr(model, "notice_until", lambda asked_at, *_: asked_at + testimony.FRESH)
    assert follow(FRANK, REAL, crossing())[0] == "c0 does not trust the leaf of b0, which is of a"


def test_walk_is_shortened_to_what_matters() -> None:
    """What is left of a walk that goes wrong still goes wrong, and no move of it can be missed."""
    rules = without("leaf: peers_trust_it")
    walk = next(walk for trouble, walk in (wander(PAIR, rules, seed, 200) for seed in range(50)) if trouble)
    trouble, short = shorten(PAIR, rules, walk)
    assert trouble
    assert len(short) < len(walk)
    assert not any(follow(PAIR, rules, short[:at] + short[at + 1 :])[0] for at in range(len(short)))
    assert all(str(move) for move in short)
