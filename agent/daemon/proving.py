"""Tell the readers of a generation, and look until their listeners use it; each failure is noted in its lane."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from agent.core.actions import Prove, Reload, Restart
from agent.core.evidence import Verdict
from agent.core.record import Lane, Tries
from agent.core.situation import Situation
from agent.errors import ReloadError

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from structlog.typing import FilteringBoundLogger

    from agent.core.broker import BrokerFacts
    from agent.core.configuration import Wanted
    from agent.core.evidence import Served
    from agent.core.generation import Generation
    from agent.core.judgement import Look
    from agent.daemon.edges import Edges
    from agent.daemon.ledger import Ledger


class Proving:
    """Reloads and proofs of one identity.

    `served` are the looks since the last switch or reload, `look` the last one at the broker, and
    `took` is how long the last proof came after its switch, None where this process saw none.
    """

    def __init__(self, wanted: Wanted, edges: Edges, ledger: Ledger, log: FilteringBoundLogger) -> None:
        self._wanted = wanted
        self._edges = edges
        self._ledger = ledger
        self._log = log
        self._switched_at: datetime | None = None
        self.served: dict[str, Served] = {}
        self.look: Look | None = None
        self.took: timedelta | None = None

    @property
    def facts(self) -> BrokerFacts | None:
        """How the broker is configured; None while it has not been asked."""
        return self.look.facts if self.look else None

    def forget(self) -> None:
        """Take no look for one at what is current from now on."""
        self.served.clear()
        self._switched_at = self._edges.clock()

    async def act(self, action: Reload | Restart | Prove, situation: Situation) -> None:
        """Do it for the current generation."""
        current = situation.current
        if current is None:
            return
        match action:
            case Reload():
                await self._reload(current, situation)
            case Restart():
                await self._restart(current, situation)
            case Prove():
                await self._prove(current, situation)
            case _:
                assert_never(action)

    async def _reload(self, current: Generation, situation: Situation) -> None:
        try:
            for reloader in self._edges.reloaders:
                await reloader.reload(current)
        except ReloadError as error:
            self._ledger.count("reloads", "failed")
            if self._edges.broker is not None:
                # Why it cannot be told may be what it serves: a leaf that has expired.
                await self._look(current, situation)
                await self._note_restart()
            await self._ledger.failed(Lane.SETTLING, error, situation)
            return
        self._ledger.count("reloads", "succeeded")
        self.served.clear()
        await self._ledger.note(replace(self._ledger.record, reloaded=current.number))
        self._log.info("the readers have been told", generation=current.number)

    async def _restart(self, current: Generation, situation: Situation) -> None:
        broker = self._edges.broker
        if broker is None:
            return
        # Whoever has restarted it meanwhile has done what the command is for.
        await self._look(current, situation)
        await self._note_restart()
        if self._seen(situation).restart_due is None:
            return
        # Noted before: a command that is killed for its slowness, or that ends the agent, may have restarted it all
        # the same, and a production broker is not restarted twice by a machine that does not know.
        await self._ledger.note(replace(self._ledger.record, restarted=current.number))
        try:
            await broker.restart(current)
        except ReloadError as error:
            self._ledger.count("restarts", "failed")
            await self._ledger.failed(Lane.SETTLING, error, situation)
            return
        self._ledger.count("restarts", "succeeded")
        self.served.clear()
        in_sight = self.look is not None and self.look.started_at is not None
        await self._ledger.note(self._ledger.record.started_anew(current.number, in_sight=in_sight))
        self._log.warning("the restart command has restarted the broker", generation=current.number)

    async def _prove(self, current: Generation, situation: Situation) -> None:
        await self._look(current, situation)
        await self._note_restart()
        await self._note_lag(current, situation)
        seen = self._seen(situation)
        troubles = []
        for listener, (verdict, why) in seen.verdicts.items():
            self._ledger.count("proofs", verdict)
            if verdict is Verdict.REFUTED:
                troubles.append(f"{listener} does not use generation {current.number}: {why}")
            elif verdict is Verdict.UNKNOWN:
                troubles.append(f"{listener} is not shown to use generation {current.number}: {why}")
        if troubles:
            error = ReloadError("; ".join(troubles), advice="see whether the listener is up and reads the new files")
            await self._ledger.failed(Lane.SETTLING, error, situation)
            return
        if self._ledger.record.settled != current.number:
            self._tell_of_proof(current, seen)
        await self._ledger.note(replace(self._ledger.record, settling=Tries()))

    async def _look(self, current: Generation, situation: Situation) -> None:
        """Look at all listeners, side by side."""
        fingerprint, broker = current.leaf.fingerprint, self._edges.broker
        closely = self._ledger.record.settled != current.number
        async with asyncio.TaskGroup() as group:
            looks = [
                group.create_task(self._edges.prober.look(listener.address, wanted=fingerprint, within=listener.within))
                for listener in self._wanted.prove
            ]
            before = situation.generation_before
            at_broker = group.create_task(broker.look(current, before, closely=closely)) if broker else None
        self.served.update({look.result().listener: look.result() for look in looks})
        if at_broker is not None:
            self.look = at_broker.result()
            self.served.update({served.listener: served for served in self.look.served})

    def _seen(self, situation: Situation) -> Situation:
        """Return the situation as the last look has shown it."""
        observed = replace(situation.observed, served=dict(self.served), facts=self.facts, record=self._ledger.record)
        return Situation(observed, self._wanted, self._edges.clock())

    async def _note_restart(self) -> None:
        """Note that the broker's process was started since what it lacked came."""
        due = self._ledger.record.restart
        if due is not None and self.look is not None and due.is_met_by(self.look.started_at):
            await self._ledger.note(replace(self._ledger.record, restart=None))
            self._log.info("the broker has been restarted", since=due.since.isoformat(timespec="seconds"))

    async def _note_lag(self, current: Generation, situation: Situation) -> None:
        """Note what a restart is due for where nobody knew it at the switch: the broker could not be asked then."""
        record = self._ledger.record
        noted = record.restart is not None and record.restart.generation == current.number
        if noted or self.look is None or current.number in (record.settled, record.restarted):
            return
        lag = self._seen(situation).lag_of(self.look.started_at)
        if lag is not None:
            await self._ledger.note(record.needing_restart(lag, lag.since))

    def _tell_of_proof(self, current: Generation, seen: Situation) -> None:
        looks = [seen.observed.served[listener].at for listener in seen.verdicts]
        self.took = max(looks) - self._switched_at if self._switched_at and looks else None
        self._log.info(
            "proven by handshake",
            listeners=", ".join(seen.verdicts),
            generation=current.number,
            seconds_since_switch=None if self.took is None else round(self.took.total_seconds(), 3),
        )
