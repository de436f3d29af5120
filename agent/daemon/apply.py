"""Apply one action of a plan through the edges, and note what came of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.evidence import Verdict
from agent.core.plan import (
    Adopt,
    DropPending,
    Issue,
    Prove,
    Publish,
    Reload,
    Remember,
    Revoke,
    RollBack,
    Settle,
    Switch,
)
from agent.core.proof import prove
from agent.core.record import IN_DOUBT, Failure, Lane, Tries
from agent.core.situation import Situation
from agent.daemon.ledger import Ledger
from agent.daemon.orders import Orders
from agent.daemon.publishing import Publisher
from agent.errors import (
    AgentError,
    ReloadError,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from structlog.typing import FilteringBoundLogger

    from agent.core.configuration import Wanted
    from agent.core.evidence import Served
    from agent.core.generation import Generation
    from agent.core.plan import Action
    from agent.core.record import Record
    from agent.core.situation import Observed
    from agent.daemon.edges import Edges


class Applier:
    """The hands of one identity's keeper: each action once, each failure noted in its lane."""

    def __init__(self, wanted: Wanted, edges: Edges, log: FilteringBoundLogger) -> None:
        self._wanted = wanted
        self._edges = edges
        self._log = log
        self.ledger = Ledger(edges, log)
        self.served: dict[str, Served] = {}
        self.publisher = Publisher(wanted, edges, self.ledger, log, self.served.clear)
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
            case Reload():
                await self._reload(situation)
            case Prove():
                await self._prove(situation)
            case Settle() | Remember():
                await self.ledger.note(_noted(action, self.ledger.record))
            case DropPending():
                await self.ledger.catch_up(situation)
                await self._attempt(Lane.PUBLISHING, situation, self._drop_pending())
            case Revoke(leaf=leaf):
                await self._orders.revoke(leaf, situation)

    async def _drop_pending(self) -> None:
        """Forget the pending key, once what it tells of is noted: it alone tells that a demand is answered."""
        if not self.ledger.saved:
            await self.ledger.note(self.ledger.record)
        if not self.ledger.saved:
            raise StoreError("the notes cannot be written", advice="see to the disk; the log says what it refused")
        await self._edges.store.drop_pending()

    async def demand(self, *, discard_edits: bool, observed: Observed) -> None:
        """Note that a person wants a new leaf; `discard_edits` takes back edited truststores at once."""
        situation = Situation(observed, self._wanted, self._edges.clock())
        if discard_edits:
            await self.publisher.discard_edits(situation)
        failure = self.ledger.record.issuing.failure
        in_doubt = failure is not None and failure.reason == IN_DOUBT
        if in_doubt or (self.publisher.findings and situation.pending_answer is not None):
            # Whoever asks for a new leaf means neither the one that was refuted nor an order that nobody can tell of.
            await self._edges.store.drop_pending()
        no_delay = replace(self.ledger.record, issuing=Tries(), publishing=Tries(), held_leaf=None, demanded=True)
        await self.ledger.note(no_delay)

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
        await self._edges.store.switch(target.number)
        self.served.clear()
        self.ledger.count("rollbacks", "by hand")
        returned = self.ledger.record.returned(target.number)
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
        if await self._attempt(lane, situation, self._edges.store.switch(number)):
            if situation.current is None or situation.current.number != number:
                self.served.clear()
            await self.ledger.note(self.ledger.record.returned(number))
            self._log.info("switched", generation=number)

    async def _roll_back(self, number: int, refuted: int, situation: Situation) -> None:
        if not await self._attempt(Lane.SWITCHING, situation, self._edges.store.switch(number)):
            return
        what = f"generation {refuted} was refuted by a listener and rolled back from"
        failure = Failure(what, "see why the listener does not serve it; it is tried again", situation.now)
        switching = self.ledger.record.switching.failed(failure, rest=situation.rest, seed=self._wanted.seed)
        self.served.clear()
        self.ledger.count("rollbacks", "refuted")
        await self.ledger.note(self.ledger.record.rolled_back(refuted, switching))
        self._log.error(
            "rolled back",
            generation=number,
            refuted=refuted,
            next_try=switching.next_at.isoformat(timespec="seconds") if switching.next_at else "",
        )

    # --- reload, prove ---------------------------------------------------------------------

    async def _reload(self, situation: Situation) -> None:
        current = situation.current
        if current is None:
            return
        try:
            for reloader in self._edges.reloaders:
                await reloader.reload(current)
        except ReloadError as error:
            self.ledger.count("reloads", "failed")
            await self.ledger.failed(Lane.SETTLING, error, situation)
            return
        self.ledger.count("reloads", "succeeded")
        self.served.clear()
        await self.ledger.note(replace(self.ledger.record, reloaded=current.number))
        self._log.info("the readers have been told", generation=current.number)

    async def _prove(self, situation: Situation) -> None:
        current = situation.current
        if current is None:
            return
        fingerprint = current.leaf.fingerprint
        async with asyncio.TaskGroup() as group:
            looks = [
                group.create_task(self._edges.prober.look(listener.address, wanted=fingerprint, within=listener.within))
                for listener in self._wanted.prove
            ]
        troubles = []
        for look in looks:
            served = look.result()
            verdict = served.verdict(fingerprint)
            self.served[served.address] = served
            self.ledger.count("proofs", verdict)
            if verdict is Verdict.REFUTED:
                troubles.append(f"{served.address} serves {(served.fingerprint or '')[:16]}, not {fingerprint[:16]}")
            elif verdict is Verdict.UNKNOWN:
                troubles.append(f"{served.address} is not shown to serve the leaf: {served.trouble}")
        if troubles:
            error = ReloadError("; ".join(troubles), advice="see whether the listener is up and reads the new files")
            await self.ledger.failed(Lane.SETTLING, error, situation)
            return
        if self.ledger.record.settled != current.number:
            proven = ", ".join(look.result().address for look in looks)
            self._log.info("proven by handshake", listeners=proven, generation=current.number)
        await self.ledger.note(replace(self.ledger.record, settling=Tries()))

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
