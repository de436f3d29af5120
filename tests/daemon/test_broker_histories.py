"""Whatever happens to a broker and its host, in any order: nothing is done that was not shown, and all is well at last.

A history is a list of events; after each the agent looks, and the invariants are asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.actions import RollBack, Switch
from agent.core.certificate import Certificate
from agent.core.command import CommandReload
from agent.core.generation import Cause
from agent.errors import AgentError
from tests.daemon.memory_broker import SPEC, UNOPENED
from tests.daemon.world import OF_BROKER, World
from tests.material import NOW, Ca, make_request

if TYPE_CHECKING:
    from agent.core.configuration import Wanted
    from agent.core.plan import Plan

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
STRANGER = Ca.root("CN=Stranger").certificate
OTHER_ROOT = Ca.root("CN=Other Root")
OTHER = OTHER_ROOT.intermediate("CN=Other Intermediate")
REQUESTS = {
    "fewer": make_request(dns=("kafka1.example.com",)),
    "plain": make_request(),
    "more": make_request(dns=("kafka1.example.com", "localhost", "kafka.example.com")),
}


@dataclass(frozen=True)
class Kind:
    """What stays as it is in a history."""

    preflight: bool = True
    tls_controllers: bool = False
    command: bool = False
    in_plain: bool = False
    hides_start: bool = False

    def wanted(self, request: str = "plain") -> Wanted:
        """Return the identity of such a broker."""
        restart = CommandReload(("restart",), Path("/")) if self.command else None
        spec = replace(SPEC, preflight=self.preflight, restart=restart)
        return replace(OF_BROKER, reload=(spec,), request=REQUESTS[request])


class History:
    """A world, what happens in it, and what must hold after each event."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.world = World(kind.wanted())
        self.broker = self.world.broker
        self.broker.tls_controllers, self.broker.in_plain = kind.tls_controllers, kind.in_plain
        self.broker.hides_start = kind.hides_start
        self.first, self.anchors = self.world.ca.intermediate, set[Certificate]()
        self.wishes, self.latest = 1, self.world.now
        self.lied = self.blindly = False

        self.store = self.world.store
        self.seen: set[int] = set()
        self.switch, self.store.switch = self.store.switch, self.watch  # type: ignore[method-assign]

    async def watch(self, number: int) -> None:
        """See that a generation which is new changes one thing, and switch to it."""
        one, before = self.store.generations[number], self.store.generations.get(self.store.current or 0)
        if before is not None and number not in self.seen:
            assert one.cause is Cause.LEAF or one.leaf == before.leaf, "the leaf has changed"
            assert one.cause is Cause.ANCHORS or one.anchors == before.anchors, "the anchors have changed"
        await self.switch(number)
        self.seen.add(number)

    async def run(self, events: list[str]) -> None:
        """Live through the events, and come to an end that is good."""
        await self.world.keeper.turn()
        self.broker.start()
        for name in events:
            try:
                await self.happen(name)
                await self.world.keeper.turn()
            except RuntimeError:
                # The process was killed between two steps; the next one looks anew.
                self.world.restart()
                await self.world.keeper.turn()
            self.invariants()
        await self.end_well()

    async def happen(self, name: str) -> None:
        """Let one thing happen."""
        what, _, how = name.partition(" ")
        if what in {"renew", "rollback", "wanted", "agent", "killed"}:
            await self.of_agent(what, how)
        elif what in {"wait", "anchor", "issuer"}:
            self.of_world(what, how)
        else:
            self.of_broker(what, how)

    async def of_agent(self, what: str, how: str) -> None:
        """Have a person ask for something, or the agent's process end."""
        self.wishes += what in {"wanted", "renew"}
        with contextlib.suppress(AgentError):
            match what:
                case "renew":
                    await self.world.keeper.renew()
                case "rollback":
                    self.blindly |= self.broker.facts is None
                    await self.world.keeper.roll_back()
                case "wanted":
                    self.world.restart(self.kind.wanted(how))
                case "agent":
                    self.world.restart()
                case _:
                    self.world.store.fails_to_switch = 1

    def of_world(self, what: str, how: str) -> None:
        """Let time pass, the clock be put right, or others do something."""
        world, broker = self.world, self.broker
        match what, how:
            case "wait", "back":
                # What the clock says of the start of processes is put right with it.
                world.now -= 40 * MINUTE
                broker.started_at = broker.started_at and broker.started_at - 40 * MINUTE
            case "wait", _:
                world.now += SPANS[how]
            case "anchor", _:
                self.anchors = {*self.anchors - {STRANGER}, *([STRANGER] if how == "added" else [])}
            case _:
                # Its anchor is trusted beside the old one from here on, as whoever replaces a CA must see to.
                self.anchors |= {OTHER_ROOT.certificate} if how == "other" else set()
                world.ca.intermediate = {"other": OTHER, "first": self.first}[how]
        world.ca.extra_anchors = tuple(self.anchors)

    def of_broker(self, what: str, how: str) -> None:
        """Have the broker fail, or be well again."""
        broker = self.broker
        match what:
            case "stop" | "bounce" | "start":
                if what != "start":
                    broker.stop()
                self.world.now += SECOND
                if what != "stop" and not broker.running:
                    broker.start()
            case "login":
                broker.login = "" if how == "works" else how
            case "drops":
                broker.drops = "" if how == "nothing" else how
            case "staged":
                broker.unreadable = "" if how == "readable" else UNOPENED
            case "threads":
                broker.takes = {"quick": timedelta(0), "slow": 2 * SECOND, "late": MINUTE}[how]
            case _:
                broker.command, broker.lies = ["exit code 1"] * (how == "fails"), how == "lies"
                self.lied |= broker.lies

    def invariants(self) -> None:
        """Ask what must hold whenever the agent has looked."""
        world, broker, status = self.world, self.broker, self.world.status
        self.latest = max(self.latest, world.now)
        current = world.current
        if status.settled and broker.running:
            assert broker.serves == {current.leaf.fingerprint}, "settled, and another leaf is served"
            assert broker.knows == {frozenset(current.anchors)}, "settled, and other anchors are taken"
        assert world.store.public[current.number] == current.leaf.public_key
        assert current.leaf.subject == world.wanted.request.subject
        if not (broker.unreadable or world.keeper.record.publishing.failure):
            assert world.now < current.leaf.not_after, "it has expired"
            assert current.leaf.not_before <= max(world.now, self.latest), "it is not valid yet"
            assert broker.starts_with(current) or self.latest > world.now, "a broker could not start with it"
        assert self.kind.command or not broker.commands, "nobody has configured a command"
        twice = [one for one, other in pairwise(broker.restarted) if one == other]
        assert not twice, "restarted twice for a generation"

    async def end_well(self) -> None:
        """Mend all that is broken; restart the broker where that is due, and see the agent settle."""
        world, broker = self.world, self.broker
        broker.login = broker.drops = broker.unreadable = ""
        broker.takes, broker.command, broker.lies = timedelta(0), [], False
        world.store.fails_to_switch = 0
        world.now = max(world.now, self.latest)
        self.start()
        turns, plan = 0, await world.keeper.turn()
        while not turns or not self.is_well(plan):
            assert turns < 60, f"it does not settle: {plan.sentence}"
            world.now = plan.wake_at
            plan = await world.keeper.turn()
            turns += 1
            assert plan.wake_at > world.now
            self.start()
            status = world.status
            if turns == 40 or (status.restart is not None and (not status.settled or turns > 20)):
                world.now += SECOND
                broker.stop()
                self.start()
        self.invariants()
        assert broker.running
        self.of_raft()
        # Once for each wish, and once for each leaf that fell due: for nothing that a proof or a reload lacks.
        assert world.ca.calls <= self.wishes + (self.latest - NOW) / (18 * DAY), "a leaf was paid for that nobody needs"

    def start(self) -> None:
        """Start the broker where it is down; it comes up with any leaf that is valid."""
        if not self.broker.running and not self.broker.start():
            assert self.world.current.leaf.not_after <= self.world.now, f"it does not start: {self.broker.faults[-1]}"

    def is_well(self, plan: Plan) -> bool:
        """Whether the current generation is in use and good, and no other waits to be tried again."""
        waiting = any(isinstance(step.action, Switch | RollBack) for step in plan.steps)
        waiting = waiting and not self.world.status.findings  # for a restart that only a person makes
        return self.world.status.settled and not waiting and self.world.current.leaf.not_after > self.world.now

    def of_raft(self) -> None:
        """Ask that what only a restart mends is told."""
        raft, current = self.broker.raft, self.world.current
        assert raft is not None
        is_behind = (raft.leaf, set(raft.anchors)) != (current.leaf, set(current.anchors))
        # By a command whose word is all that there is, or by a roll-back while the broker had never been asked.
        taken_in = (self.kind.hides_start and self.lied) or self.blindly
        if self.kind.tls_controllers and is_behind and not taken_in:
            assert self.world.status.restart is not None, "an outage that waits for the next election"


SPANS = {"a-little": 10 * SECOND, "minutes": 7 * MINUTE, "hours": 5 * HOUR, "days": 9 * DAY, "weeks": 33 * DAY}
EVENTS = [
    *(f"wait {span}" for span in (*SPANS, "back")),
    *("stop", "start", "bounce"),
    *("login refused", "login works"),
    *("drops everything", "drops nothing"),
    *("staged unreadable", "staged readable"),
    *("threads quick", "threads slow", "threads late"),
    *("command fails", "command lies", "command works"),
    *("anchor added", "anchor removed"),
    *("issuer other", "issuer first"),
    *("wanted fewer", "wanted plain", "wanted more"),
    *("agent", "killed", "renew", "renew", "rollback"),
]
KINDS = st.builds(Kind, st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(KINDS, st.lists(st.sampled_from(EVENTS), max_size=10))
def test_any_history_ends_well_and_nothing_is_settled_that_is_not_served(kind: Kind, events: list[str]) -> None:
    """Ups, downs, restarts, refusals, silent drops, slow threads, leaps of the clock and people's orders."""
    with structlog.testing.capture_logs():
        asyncio.run(History(kind).run(events))
