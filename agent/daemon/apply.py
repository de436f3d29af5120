"""Apply one action of a plan through the edges, and note what came of it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.actions import (
    Adopt,
    AskPeers,
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
from agent.core.chain import name_of
from agent.core.hand_edits import added_by_edits, user_of
from agent.core.proof import prove
from agent.core.record import IN_DOUBT, Failure, Lane, Tries
from agent.core.report import BrokerReport
from agent.core.situation import Situation
from agent.daemon.ledger import Ledger
from agent.daemon.orders import Orders
from agent.daemon.proving import Proving
from agent.daemon.publishing import Publisher
from agent.daemon.witnessing import Witnessing
from agent.errors import AgentError, ReaderRefusedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from structlog.typing import FilteringBoundLogger

    from agent.core.actions import Action
    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted
    from agent.core.generation import Generation
    from agent.core.observed import Observed
    from agent.core.plan import Plan
    from agent.core.record import Record
    from agent.daemon.edges import Edges


class Applier:
    """The hands of one identity's keeper: each action once, each failure noted in its lane."""

    def __init__(self, wanted: Wanted, edges: Edges, log: FilteringBoundLogger) -> None:
        self._wanted = wanted
        self._edges = edges
        self._log = log
        self.ledger = Ledger(edges, log)
        self.proving = Proving(wanted, edges, self.ledger, log)
        self.publisher = Publisher(wanted, edges, self.ledger, log, self.proving.forget)
        self.witnessing = Witnessing(wanted, edges, log)
        self._orders = Orders(wanted, edges, self.ledger, log)

    async def apply(self, action: Action, observed: Observed) -> None:
        """Apply the action; whatever an operator can be told of is noted, not raised."""
        situation = Situation(observed, self._wanted, self._edges.clock())
        match action:
            case Issue():
                await self._orders.issue(situation)
            case Publish(cause=cause):
                await self.publisher.publish(cause, situation)
            case Adopt():
                await self.publisher.adopt(situation)
            case Switch(number=number):
                await self._switch(number, situation)
            case RollBack(number=number, refuted=refuted):
                await self._roll_back(number, refuted, situation)
            case Reload() | Restart() | Prove():
                await self.proving.act(action, situation)
            case AskPeers():
                await self.witnessing.ask(situation)
            case Settle() | Remember():
                await self.ledger.note(_noted(action, self.ledger.record))
            case DropPending():
                await self.ledger.catch_up(situation)
                await self._attempt(Lane.PUBLISHING, situation, self._drop_pending())
            case Revoke(leaf=leaf):
                await self._orders.revoke(leaf, situation)

    async def rest(self, plan: Plan, observed: Observed) -> None:
        """Forget the failures of what nobody wants any more: settings, a password or anchors were put back."""
        record, wants_leaf = self.ledger.record, Situation(observed, self._wanted, self._edges.clock()).renewal_reason
        if not any(isinstance(step.action, Publish | Switch | Adopt | DropPending) for step in plan.steps):
            record = replace(record, publishing=Tries())
            if wants_leaf is None:
                self.publisher.findings = ()
        if wants_leaf is None:
            record = replace(record, issuing=Tries())
        if record != self.ledger.record:
            await self.ledger.note(record)

    async def _drop_pending(self) -> None:
        """Forget the pending key, once what it tells of is noted: it alone tells that a demand is answered."""
        if not self.ledger.saved:
            await self.ledger.note(self.ledger.record)
        if not self.ledger.saved:
            raise StoreError("the notes cannot be written", advice="see to the disk; the log says what it refused")
        await self._edges.store.drop_pending()

    def of_broker(self) -> BrokerReport:
        """Return what is known of the broker that no observation shows."""
        return BrokerReport(self.publisher.preflight.judgement, self.proving.look, self.proving.took)

    async def demand(self, *, discard_edits: bool, observed: Observed) -> None:
        """Note that a person wants a new leaf; `discard_edits` takes back edited truststores at once.

        Raises `AgentError` where an edit alone has a peer's leaf taken: nothing of it is taken back then.
        """
        situation = Situation(observed, self._wanted, self._edges.clock())
        if discard_edits:
            if situation.rotation is not None:
                await self._expect_unused(added_by_edits(situation.rotation), situation)
            await self.publisher.discard_edits(situation)
        failure = self.ledger.record.issuing.failure
        in_doubt = failure is not None and failure.reason == IN_DOUBT
        if in_doubt or (self.publisher.findings and situation.pending_answer is not None):
            # Whoever asks for a new leaf means neither the one that was refuted nor an order that nobody can tell of.
            await self._edges.store.drop_pending()
        no_delay = replace(self.ledger.record, issuing=Tries(), publishing=Tries(), held_leaf=None, demanded=True)
        await self.ledger.note(no_delay)

    async def _expect_unused(self, added: Sequence[Certificate], situation: Situation) -> None:
        """Raise `AgentError` where a peer is shown to use a leaf of a CA that edits have added; else log what goes."""
        if not added:
            return
        rotation = (await self._peers_asked(situation)).rotation
        for anchor in added:
            peer = None if rotation is None else user_of(anchor, rotation)
            if peer is not None:
                raise AgentError(
                    f"{self._wanted.name}: {peer} uses a leaf of {name_of(anchor)}, which is in the truststores by an"
                    " edit alone: taken back it would be refused",
                    advice=f"name a file with {name_of(anchor)} in `trust` first",
                )
        self._log.warning(
            "anchors go with the edit of a truststore that is taken back",
            anchors=[f"{name_of(one)} ({one.fingerprint})" for one in added],
        )

    async def _peers_asked(self, situation: Situation) -> Situation:
        """Ask the peers, and return the situation by what they say now."""
        await self.witnessing.ask(situation)
        seen = replace(situation.observed, peers=self.witnessing.peers, peers_asked_at=self.witnessing.asked_at)
        return Situation(seen, self._wanted, self._edges.clock())

    async def roll_back_by_hand(self, number: int | None, observed: Observed) -> str:
        """Switch to an earlier generation that still proves, and hold its leaf; raise `AgentError` if none."""
        situation = Situation(observed, self._wanted, self._edges.clock())
        current = situation.current
        candidates = [generation for generation in observed.disk.kept if _is_meant(generation, number, current)]
        if not candidates:
            wanted = f"generation {number}" if number is not None else "an earlier generation with another leaf"
            kept = ", ".join(str(generation.number) for generation in observed.disk.kept) or "none"
            raise AgentError(f"{self._wanted.name}: {wanted} is not kept", advice=f"there is {kept}")
        target = candidates[0]
        if not target.request.same_identity(self._wanted.request):
            raise AgentError(
                f"{self._wanted.name}: generation {target.number} is of another identity than the settings want: "
                + "; ".join(target.request.differences(self._wanted.request)),
                advice="put the settings back to it first, or it would be replaced at once",
            )
        findings = prove(situation.candidate(target), situation.now)
        if findings:
            raise AgentError(
                f"{self._wanted.name}: generation {target.number} no longer proves: {findings[0]}",
                advice="name another with --to, or have a new leaf issued with `cert-agent renew`",
            )
        if situation.rotation is not None and situation.rotation.is_other(target.chain):
            situation = await self._peers_asked(situation)
        rotation = situation.rotation
        hold = rotation.hold_of_chain(target.chain) if rotation is not None else None
        if hold is not None:
            raise AgentError(
                f"{self._wanted.name}: the leaf of generation {target.number} is of another CA: {hold}",
                advice="`cert-agent ca abort` goes back to the CA before when its peers trust it",
            )
        due = await self.publisher.preflight.expect_taken(target, situation)
        await self._edges.store.switch(target.number)
        self.proving.forget()
        self.ledger.count("rollbacks", "by hand")
        returned = self.ledger.record.returned(target.number).needing_restart(due, self._edges.clock())
        await self.ledger.note(
            replace(
                returned,
                refuted=None,
                demanded=False,
                held_leaf=target.leaf.fingerprint,
                switching=Tries(),
                settled=None,
            )
        )
        return f"{self._wanted.name} is back at generation {target.number}, and its leaf is held"

    # --- switch, roll back -----------------------------------------------------------------

    async def _switch(self, number: int, situation: Situation) -> None:
        lane = Lane.SWITCHING if number == self.ledger.record.refuted else Lane.PUBLISHING
        # Where nothing is current no reader has anything to lose, and what is current it reads already.
        candidate = next((one for one in situation.observed.disk.kept if one.number == number), None)
        asked = candidate if situation.current is not None else None
        try:
            due = await self.publisher.preflight.expect_taken(asked, situation) if asked else None
            await self._edges.store.switch(number)
        except StoreError as error:
            await self.ledger.failed(lane, error, situation)
            return
        except ReaderRefusedError as error:
            self.publisher.findings = self.publisher.preflight.findings
            if lane is Lane.PUBLISHING:
                # It was never current: its leaf is offered again when what must go before it has gone.
                with contextlib.suppress(StoreError):
                    await self._edges.store.discard(number)
            await self.ledger.failed(lane, error, situation)
            return
        if asked is not None:
            self.publisher.findings = ()
        if situation.current is None or situation.current.number != number:
            self.proving.forget()
        await self.ledger.note(self.ledger.record.returned(number).needing_restart(due, self._edges.clock()))
        self._log.info("switched", generation=number)

    async def _roll_back(self, number: int, refuted: int, situation: Situation) -> None:
        if not await self._attempt(Lane.SWITCHING, situation, self._edges.store.switch(number)):
            return
        what = f"generation {refuted} was refuted by a listener and rolled back from"
        # Each try turns a broker's listeners over twice: such a one is left in peace as after a refusal.
        refused = self._wanted.broker is not None
        advice = "see why the listener does not serve it; it is tried again"
        failure = Failure(what, advice, situation.now, refused=refused)
        switching = self.ledger.record.switching.failed(failure, rest=situation.rest, seed=self._wanted.seed)
        self.proving.forget()
        self.ledger.count("rollbacks", "refuted")
        await self.ledger.note(self.ledger.record.rolled_back(refuted, switching))
        self._log.error(
            "rolled back",
            generation=number,
            refuted=refuted,
            next_try=switching.next_at.isoformat(timespec="seconds") if switching.next_at else "",
        )

    # --- notes -----------------------------------------------------------------------------

    async def _attempt(self, lane: Lane, situation: Situation, work: Awaitable[None]) -> bool:
        try:
            await work
        except StoreError as error:
            await self.ledger.failed(lane, error, situation)
            return False
        return True


def _noted(action: Settle | Remember, record: Record) -> Record:
    """Return the notes with what the action has noted."""
    if isinstance(action, Settle):
        return record.settled_at(action.number)
    return replace(record, replaced=action.replaced)


def _is_meant(generation: Generation, number: int | None, current: Generation | None) -> bool:
    """Whether a person means this generation: the one named, or the newest that is older and has another leaf."""
    if number is not None:
        return generation.number == number
    return current is None or (generation.number < current.number and generation.leaf != current.leaf)
