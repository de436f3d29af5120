"""Keep one identity: observe it, decide, apply one action, and look again until nothing is due."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from agent.core.plan import Plan, decide
from agent.core.report import report
from agent.core.situation import Anchors, Observed
from agent.daemon.apply import Applier
from agent.errors import AgentError, TrustError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted
    from agent.core.evidence import Served
    from agent.core.record import Record
    from agent.core.status import IdentityStatus
    from agent.daemon.edges import Edges
    from agent.ports import AnchorSource

MOST_ACTIONS = 30
"""Actions in one cycle; a cycle that wants more has met a rule that contradicts another."""


class Keeper:
    """The loop of one identity; nothing that fails here holds up another."""

    def __init__(self, wanted: Wanted, edges: Edges) -> None:
        self.wanted = wanted
        self._edges = edges
        self._log = structlog.get_logger().bind(identity=wanted.name)
        self._applier = Applier(wanted, edges, self._log)
        self._turn = asyncio.Lock()
        self._awake = asyncio.Event()
        self._last: tuple[Observed, Plan] | None = None
        self._said = ""
        self.turned_at: datetime | None = None

    async def keep(self) -> None:
        """Turn until cancelled."""
        while True:
            self._awake.clear()
            plan = await self.turn()
            await self._nap(plan.wake_at)

    def wake(self) -> None:
        """Have the identity looked at now: the clock jumped, anchors changed, or a person asked."""
        self._awake.set()

    async def turn(self) -> Plan:
        """Observe, decide and apply until nothing is due; return the last plan."""
        async with self._turn:
            for _ in range(MOST_ACTIONS):
                plan = await self.look()
                self._say(plan)
                if plan.action is None:
                    self.turned_at = self._edges.clock()
                    return plan
                observed = self._last[0] if self._last else await self._observe()
                await self._applier.apply(plan.action, observed)
            raise RuntimeError(f"{self.wanted.name}: {MOST_ACTIONS} actions and still: {plan.sentence}")

    async def look(self) -> Plan:
        """Observe and decide; nothing is changed."""
        observed = await self._observe()
        plan = decide(observed, self.wanted, self._edges.clock())
        self._last = (observed, plan)
        return plan

    async def renew(self, *, discard_edits: bool = False) -> str:
        """Have a new leaf issued, whenever the current one is due; return what came of it."""
        async with self._turn:
            await self._applier.demand(discard_edits=discard_edits, observed=await self._observe())
        before = self._applier.ledger.record
        plan = await self.turn()
        self.wake()
        if self._applier.ledger.record.demanded:
            failure = self._applier.ledger.record.issuing.failure or self._applier.ledger.record.publishing.failure
            raise AgentError(
                f"{self.wanted.name} is not renewed yet: {failure.what if failure else plan.sentence}",
                advice=(failure.advice if failure else "") or "it is tried again by itself; see `cert-agent status`",
            )
        return f"{self.wanted.name} is renewed; {plan.sentence}" if before.demanded else plan.sentence

    async def roll_back(self, number: int | None = None) -> str:
        """Go back to the generation before, or the one named, and stay there; return what came of it."""
        async with self._turn:
            sentence = await self._applier.roll_back_by_hand(number, await self._observe())
        plan = await self.turn()
        self.wake()
        return f"{sentence}; {plan.sentence}"

    def status(self, now: datetime) -> IdentityStatus | None:
        """Return how the identity is, from the last look; None before the first."""
        if self._last is None:
            return None
        observed, plan = self._last
        return report(
            replace(observed, record=self._applier.ledger.record, served=dict(self._applier.served)),
            self.wanted,
            plan,
            now,
            findings=self._applier.findings,
            counts=self._applier.ledger.counts(),
        )

    @property
    def record(self) -> Record:
        """What is noted of the identity."""
        return self._applier.ledger.record

    @property
    def served(self) -> dict[str, Served]:
        """What the listeners were last seen to serve."""
        return self._applier.served

    async def _observe(self) -> Observed:
        disk, trust, peer_trust = (
            await self._edges.store.read(),
            await self._anchors(self._edges.trust),
            await self._anchors(self._edges.peer_trust),
        )
        await self._applier.ledger.open()
        return Observed(
            disk=disk,
            record=self._applier.ledger.record,
            layout=self._edges.store.layout,
            trust=trust,
            peer_trust=peer_trust,
            served=dict(self._applier.served),
        )

    @staticmethod
    async def _anchors(sources: Sequence[AnchorSource]) -> Anchors:
        """Join the sources; one that cannot be read makes the whole unknown, so that nothing ever shrinks by it."""
        found: dict[str, Certificate] = {}
        try:
            for source in sources:
                found.update({anchor.fingerprint: anchor for anchor in await source.anchors()})
        except TrustError as error:
            return Anchors(None, error.diagnosis())
        return Anchors(tuple(found[fingerprint] for fingerprint in sorted(found)))

    def _say(self, plan: Plan) -> None:
        if plan.sentence != self._said:
            self._said = plan.sentence
            self._log.info(plan.sentence)

    async def _nap(self, wake_at: datetime) -> None:
        """Sleep until the instant by the wall clock; a jump of that clock wakes all keepers."""
        span = (wake_at - self._edges.clock()).total_seconds()
        try:
            async with asyncio.timeout(max(0.0, span)):
                await self._awake.wait()
        except TimeoutError:
            return
