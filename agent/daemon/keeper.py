"""Keep one identity: observe it, decide, apply one action, and look again until nothing is due."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from agent.core.anchors import Anchors
from agent.core.observed import Observed
from agent.core.plan import LOOK, Plan, decide
from agent.core.record import Failure, Tries
from agent.core.report import blinded, report, unseen
from agent.core.rotation import Stage
from agent.core.rotation_plan import noted
from agent.core.rotation_report import concerns, rotation_status, undated
from agent.core.situation import Situation
from agent.daemon.apply import Applier
from agent.daemon.by_hand import ByHand
from agent.daemon.rotating import RotationByHand
from agent.errors import AgentError, StoreError, TrustError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from agent.core.anchors import Sighting
    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted
    from agent.core.issuer_status import IssuerStatus
    from agent.core.record import Record
    from agent.core.status import IdentityStatus
    from agent.daemon.edges import Edges
    from agent.ports import AnchorSource

MOST_ACTIONS = 30
"""Actions in one cycle; a cycle that wants more has met a rule that contradicts another."""

LONGEST_TURN = timedelta(minutes=15)
"""A turn that lasts longer hangs: every call that it makes has a deadline, and they add up to less."""


class Keeper:
    """The loop of one identity; nothing that fails here holds up another."""

    def __init__(self, wanted: Wanted, edges: Edges) -> None:
        self.wanted = wanted
        self._edges = edges
        self._log = structlog.get_logger().bind(identity=wanted.name)
        self._applier = Applier(wanted, edges, self._log)
        self._by_hand = ByHand(wanted, edges, self._applier.ledger, self._log)
        self._rotation = RotationByHand(wanted, edges, self._applier.ledger, self._log)
        self._turn = asyncio.Lock()
        self._awake = asyncio.Event()
        self._last: tuple[Observed, Plan] | None = None
        self._said = ""
        self._warned: set[str] = set()
        self._concerned: set[str] = set()
        self._stage = Stage.STEADY
        self._blind = Tries()
        self._retired = False
        self._over_by: float | None = None

    async def keep(self) -> None:
        """Turn until cancelled."""
        while True:
            self._awake.clear()
            try:
                plan = await self.turn()
            except StoreError as error:
                wake_at = self._blinded(error)
            else:
                wake_at = plan.wake_at
            await self._nap(wake_at)

    def wake(self) -> None:
        """Have the identity looked at now: the clock jumped, anchors changed, or a person asked."""
        self._awake.set()

    async def turn(self) -> Plan:
        """Observe, decide and apply until nothing is due; return the last plan."""
        async with self._turn:
            self._expect_kept()
            self._expect_within(0)
            for _ in range(MOST_ACTIONS):
                observed, plan = await self._look()
                await self._applier.ledger.note(observed.record)
                self._say(plan)
                if plan.action is None:
                    self._tell_of_rotation(observed)
                    await self._applier.rest(plan, observed)
                    return plan
                await self._applier.apply(plan.action, observed)
        raise RuntimeError(f"{self.wanted.name}: {MOST_ACTIONS} actions and still: {plan.sentence}")

    async def look(self) -> Plan:
        """Observe and decide; nothing is changed."""
        async with self._turn:
            _, plan = await self._look()
            return plan

    async def step_down(self) -> None:
        """Let the turn that somebody else started come to its end, and turn no more: another keeper takes over."""
        async with self._turn:
            self._retired = True

    def _expect_kept(self) -> None:
        if self._retired:
            raise AgentError(f"{self.wanted.name} is configured anew", advice="ask again")

    def is_stuck(self) -> bool:
        """Whether a turn, or a nap, lasts longer than all deadlines together allow."""
        return self._over_by is not None and asyncio.get_running_loop().time() > self._over_by

    def _expect_within(self, nap: float) -> None:
        self._over_by = asyncio.get_running_loop().time() + nap + LONGEST_TURN.total_seconds()

    async def _look(self) -> tuple[Observed, Plan]:
        observed = await self._observe()
        plan = decide(observed, self.wanted, self._edges.clock())
        self._last = (observed, plan)
        self._blind = Tries()
        self._warn(observed)
        return observed, plan

    def _warn(self, observed: Observed) -> None:
        """Log once what a person should know and no failure tells: edits that are held, silent sources, the CA."""
        situation = Situation(observed, self.wanted, self._edges.clock())
        held = {f"{name} was edited by hand and is held as it is" for name in situation.edited_truststores}
        silent = {
            f"{what} cannot be read: {source.trouble}"
            for what, source in (("a source of trust", observed.trust), ("what the peers trust", observed.peer_trust))
            if source.trouble
        }
        told = {f"{self._edges.issuer.name}: {remark}" for remark in self._edges.issuer.status().remarks}
        for remark in sorted(told - self._warned):
            self._log.warning("of the CA", remark=remark)
        for warning in sorted(held - self._warned):
            self._log.warning(warning, advice="`cert-agent renew --discard-edits` takes it back")
        for warning in sorted(silent - self._warned):
            self._log.warning(warning, advice="what the truststores hold stays until it can")
        self._warned = held | silent | told

    def _tell_of_rotation(self, observed: Observed) -> None:
        """Log where a CA rotation stands when that changes, and once each what a person should look at.

        That is told at the end of a turn: in the midst of one things are so for a moment.
        """
        situation = Situation(observed, self.wanted, self._edges.clock())
        stage = situation.rotation.outlook.stage if situation.rotation is not None else self._stage
        if stage != self._stage and (status := rotation_status(situation)) is not None:
            self._stage = stage
            self._log.info("the CA rotation", stage=str(stage), why=status.why)
        found = {undated(one): one for one in concerns(situation)}
        for key in sorted(found.keys() - self._concerned):
            self._log.warning("of the CA rotation", concern=found[key])
        self._concerned = set(found)

    def _blinded(self, error: StoreError) -> datetime:
        """Note that the disk could not be read: nothing is decided on what was not seen."""
        now = self._edges.clock()
        leaf = self._last[0].disk.current.leaf if self._last and self._last[0].disk.current else None
        failure = Failure(error.what, error.advice, now)
        rest = leaf.not_after - now if leaf else None
        self._blind = self._blind.failed(failure, rest=rest, seed=self.wanted.seed)
        self._log.error(error.what, advice=error.advice, failures=self._blind.count)
        return self._blind.next_at or now + LOOK

    async def renew(self, *, discard_edits: bool = False) -> str:
        """Have a new leaf issued, whenever the current one is due; return what came of it."""
        self._forget_sources()
        async with self._turn:
            await self._applier.demand(discard_edits=discard_edits, observed=await self._observe())
        return await self._renewed()

    async def csr(self) -> bytes:
        """Return the DER of the CSR that a person is to have signed; the same until its leaf comes."""
        async with self._turn:
            self._expect_kept()
            return await self._by_hand.csr(await self._situation())

    async def take_in(self, certificates: Sequence[Certificate]) -> str:
        """Take in the leaf and chain that a person brings; return what came of it, raise `AgentError` when refused."""
        async with self._turn:
            self._expect_kept()
            is_news = await self._by_hand.take_in(certificates, await self._situation())
            if is_news:
                # What was found wrong with an earlier answer says nothing of this one.
                self._applier.publisher.findings = ()
        if is_news:
            return await self._renewed()
        plan = await self.turn()
        return f"{self.wanted.name} has this leaf in use already; next: {plan.sentence}"

    async def _situation(self) -> Situation:
        return Situation(await self._observe(), self.wanted, self._edges.clock())

    async def _renewed(self) -> str:
        """Do what is due, and return what came of the leaf that a person asked for or brought."""
        plan = await self.turn()
        self.wake()
        record = self._applier.ledger.record
        if record.demanded:
            self._expect_free()
            failure = record.issuing.failure or record.publishing.failure
            raise AgentError(
                f"{self.wanted.name} is not renewed yet: {failure.what if failure else plan.sentence}",
                advice=(failure.advice if failure else "") or "it is tried again by itself; see `cert-agent status`",
            )
        if record.refuted is not None:
            raise AgentError(
                f"{self.wanted.name}: a listener does not serve the new leaf, and it was rolled back from",
                advice="see why the listener does not read the new files; it is tried again by itself",
            )
        if not self.status(self._edges.clock()).settled:
            failure = record.settling.failure
            raise AgentError(
                f"{self.wanted.name} is renewed on disk, and not shown to be in use: "
                f"{failure.what if failure else plan.sentence}",
                advice=(failure.advice if failure else "") or "it is tried again by itself; see `cert-agent status`",
            )
        return f"{self.wanted.name} is renewed; next: {plan.sentence}"

    def _expect_free(self) -> None:
        """Raise `AgentError` where a guard of the CA rotation, or a person, holds the leaf that is asked for."""
        if self._last is None:
            return
        situation = Situation(self._last[0], self.wanted, self._edges.clock())
        rotation, pause = situation.rotation, situation.record.rotation.pause
        if pause is not None and not situation.urgent:
            raise AgentError(
                f"{self.wanted.name} is not renewed yet: it is paused by {pause.by}: `cert-agent ca resume` ends that",
                advice="the leaf comes by itself then",
            )
        if rotation is not None and rotation.candidate_hold is not None:
            name = rotation.standing.name(rotation.candidate or "")
            raise AgentError(
                f"{self.wanted.name} is not renewed yet: a leaf of {name} is in hand, and held:"
                f" {rotation.candidate_hold}",
                advice=f"it becomes current by itself then; `cert-agent ca status {self.wanted.name}` tells what for",
            )

    async def roll_back(self, number: int | None = None) -> str:
        """Go back to the generation before, or the one named, and stay there; return what came of it."""
        async with self._turn:
            sentence = await self._applier.roll_back_by_hand(number, await self._observe())
        plan = await self.turn()
        self.wake()
        return f"{sentence}; {plan.sentence}"

    async def approve(self, fingerprint: str, *, by: str) -> str:
        """Let an anchor into the truststores that a source of trust shows; return what came of it."""
        return await self._ruled(lambda situation: self._rotation.approve(fingerprint, by, situation))

    async def retire(self, fingerprint: str, *, by: str, force: bool) -> str:
        """Let an anchor leave the truststores; raise `AgentError` where a leaf in use needs it."""
        await self._have_looked()
        return await self._ruled(lambda situation: self._rotation.retire(fingerprint, by, situation, force=force))

    async def confirm(self, peer: str, *, by: str) -> str:
        """Take a person's word for what the rotation waits for of a peer."""
        await self._have_looked()
        return await self._ruled(lambda situation: self._rotation.confirm(peer, by, situation))

    async def abort(self, *, by: str) -> str:
        """Have the leaf stay with its CA, or go back to the one before."""
        return await self._ruled(lambda situation: self._rotation.abort(by, situation))

    async def pause(self, *, by: str) -> str:
        """Have what readers use stay as it is, but for what is urgent."""
        return await self._ruled(lambda situation: self._rotation.pause(by, situation))

    async def resume(self, *, by: str) -> str:
        """End a pause, or where nobody has paused it have a rotation go on that was to go back."""
        return await self._ruled(lambda situation: self._rotation.resume(by, situation))

    def _forget_sources(self) -> None:
        """See what the sources of trust show now: a person who says something has reason to."""
        for source in (*self._edges.trust, *self._edges.peer_trust):
            source.forget()

    async def _have_looked(self) -> None:
        """See listeners and peers before they are judged by: a process that has just been started knows nothing."""
        if self._last is None:
            await self.turn()

    async def _ruled(self, rule: Callable[[Situation], Awaitable[str]]) -> str:
        """Note what a person says of the rotation, and do what follows."""
        self._forget_sources()
        async with self._turn:
            self._expect_kept()
            sentence = await rule(await self._situation())
        plan = await self.turn()
        self.wake()
        return f"{sentence}; next: {plan.sentence}"

    def status(self, now: datetime) -> IdentityStatus:
        """Return how the identity is, from the last look."""
        if self._last is None:
            status = unseen(self.wanted)
        else:
            observed, plan = self._last
            status = report(
                replace(observed, record=self._applier.ledger.record, served=dict(self._applier.proving.served)),
                self.wanted,
                plan,
                now,
                findings=self._applier.publisher.findings,
                counts=self._applier.ledger.counts(),
                broker=self._applier.of_broker() if self.wanted.broker else None,
            )
        return blinded(status, self._blind.failure) if self._blind.failure else status

    @property
    def issuers(self) -> tuple[IssuerStatus, ...]:
        """How the CAs of this identity were when they were last spoken to."""
        known = (self._edges.issuer, self._edges.failover)
        return tuple(issuer.status() for issuer in known if issuer is not None)

    @property
    def record(self) -> Record:
        """What is noted of the identity."""
        return self._applier.ledger.record

    async def _observe(self) -> Observed:
        disk, trust, peer_trust = (
            await self._edges.store.read(),
            await self._anchors(self._edges.trust),
            await self._anchors(self._edges.peer_trust),
        )
        await self._applier.ledger.open()
        witnessing = self._applier.witnessing
        await witnessing.look()
        seen = Observed(
            disk=disk,
            record=self._applier.ledger.record,
            layout=self._edges.store.layout,
            trust=trust,
            peer_trust=peer_trust,
            served=dict(self._applier.proving.served),
            facts=self._applier.proving.facts,
            peers=witnessing.peers,
            peers_asked_at=witnessing.asked_at,
            reader_started_at=witnessing.reader_started_at,
        )
        return noted(seen, self.wanted, self._edges.clock())

    @staticmethod
    async def _anchors(sources: Sequence[AnchorSource]) -> Anchors:
        """Join the sources; one that cannot be read holds up no other, and nothing ever shrinks by it."""
        found: list[Sighting] = []
        troubles, silent = [], []
        for source in sources:
            try:
                found += await source.sightings()
                silent += [source.silent] if source.silent else []
            except TrustError as error:
                troubles.append(error.diagnosis())
        return Anchors(tuple(found), "; ".join(troubles), "; ".join(silent))

    def _say(self, plan: Plan) -> None:
        if plan.sentence != self._said:
            self._said = plan.sentence
            self._log.info(plan.sentence)

    async def _nap(self, wake_at: datetime) -> None:
        """Sleep until the instant by the wall clock; a jump of that clock wakes all keepers."""
        span = max(0.0, (wake_at - self._edges.clock()).total_seconds())
        self._expect_within(span)
        try:
            async with asyncio.timeout(span):
                await self._awake.wait()
        except TimeoutError:
            return
