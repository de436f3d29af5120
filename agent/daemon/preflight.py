"""Ask the broker before a switch, and note after it what only a restart brings into use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.generation import Cause
from agent.core.judgement import Judgement, Opinion
from agent.core.kafka_spec import NodeRole
from agent.core.principal_guard import guard
from agent.core.proof import Remedy
from agent.core.reload_rules import no_start
from agent.core.restart import CONTROLLER_ONLY, EXPIRED, RestartDue, raft_due
from agent.errors import ReaderRefusedError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from agent.core.broker import BrokerFacts
    from agent.core.configuration import Wanted
    from agent.core.generation import Generation
    from agent.core.situation import Situation
    from agent.daemon.edges import Edges
    from agent.daemon.ledger import Ledger


class Preflight:
    """Asks the broker of one identity for its verdict on a generation that is written and not current.

    `judgement` is the last one, None while nothing was asked.
    """

    def __init__(self, wanted: Wanted, edges: Edges, ledger: Ledger, log: FilteringBoundLogger) -> None:
        self._wanted = wanted
        self._edges = edges
        self._ledger = ledger
        self._log = log
        self.judgement: Judgement | None = None

    @property
    def findings(self) -> tuple[str, ...]:
        """What speaks against the generation that was asked about last."""
        return tuple(map(str, self.judgement.findings)) if self.judgement else ()

    async def expect_taken(self, candidate: Generation, situation: Situation) -> RestartDue | None:
        """Ask the broker; return what only a restart will bring into use once the generation is switched to.

        Raise `ReaderRefusedError` for one that the broker refuses, unless its restart is to bring it in.
        """
        judgement = await self._judge(candidate, situation)
        if judgement.findings and not (self._by_restart(judgement, situation) or self._by_hand(judgement)):
            what = "; ".join(map(str, judgement.findings))
            remedies = ", ".join(sorted({finding.remedy.value for finding in judgement.findings}))
            whose = "the broker would not take" if self._edges.broker is not None else "nobody is to switch to"
            raise ReaderRefusedError(f"{whose} generation {candidate.number}: {what}", advice=f"mended by {remedies}")
        return self._restart_due(judgement, candidate, situation)

    async def _judge(self, candidate: Generation, situation: Situation) -> Judgement:
        broker, current = self._edges.broker, situation.current
        judgement = Judgement() if broker is None else await broker.judge(candidate, current)
        guarded = guard(self._wanted, judgement.facts, current.leaf if current else None, candidate.leaf)
        judgement = replace(judgement, findings=(*judgement.findings, *guarded))
        if self._wanted.broker is not None and (judgement.restart_mends_it or not judgement.findings):
            unfit = no_start(self._wanted.broker, judgement.facts, current, candidate, situation.now)
            judgement = replace(judgement, findings=(*judgement.findings, *unfit))
        self.judgement = judgement
        if broker is None and not guarded:
            return judgement
        self._ledger.count("preflights", judgement.opinion)
        for finding in judgement.findings:
            self._ledger.count("refusals", finding.check)
        if judgement.opinion is Opinion.UNKNOWN:
            self._log.warning("the broker has not said what it thinks of a generation", why=judgement.unknown)
        return judgement

    def _by_restart(self, judgement: Judgement, situation: Situation) -> bool:
        """Whether a restart is to bring it in: the command's, or one that nobody gets around.

        A process that has an expired leaf is restarted one day, and must not find that leaf then.
        """
        broker, current = self._wanted.broker, situation.current
        if broker is None or not judgement.restart_mends_it:
            return False
        return broker.restart is not None or (current is not None and current.leaf.not_after <= situation.now)

    def _by_hand(self, judgement: Judgement) -> bool:
        """Whether a person asked for what a stopped broker takes: another password or type is theirs to bring along."""
        remedies = {finding.remedy for finding in judgement.findings}
        return self._ledger.record.demanded and bool(judgement.unknown) and remedies == {Remedy.RECONFIGURE}

    def _restart_due(self, judgement: Judgement, candidate: Generation, situation: Situation) -> RestartDue | None:
        before, broker, now = situation.current, self._wanted.broker, situation.now
        if before is None or broker is None:
            return None
        why = "; ".join(map(str, judgement.findings)) or judgement.restart
        if not why and judgement.unknown and before.leaf.not_after <= now:
            why = f"{EXPIRED} at {before.leaf.not_after.isoformat()}"
        if why:
            return RestartDue(candidate.number, now, before.leaf.not_after, why, whole=True)
        if broker.role is NodeRole.CONTROLLER:
            return RestartDue(candidate.number, now, before.leaf.not_after, CONTROLLER_ONLY, whole=True)
        if candidate.cause is not Cause.FILES and _has_tls_controllers(judgement.facts):
            return raft_due(candidate.number, before, candidate, now)
        return None


def _has_tls_controllers(facts: BrokerFacts | None) -> bool:
    return facts is not None and facts.tls_controllers
