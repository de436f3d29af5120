"""The notes of one identity while the agent runs: what must last is written, what is counted is not."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import TYPE_CHECKING

from agent.core.record import Failure, Lane, Record
from agent.core.status import Counts
from agent.errors import IssuanceError, IssuerRefusedError, IssuerUnavailableError, ReaderRefusedError, StoreError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from agent.core.situation import Situation
    from agent.daemon.edges import Edges
    from agent.errors import AgentError


class Ledger:
    """What is noted and counted of one identity.

    The record in memory is the one that counts: a disk that cannot be written must neither lose
    a back-off nor turn into a storm of tries.
    """

    def __init__(self, edges: Edges, log: FilteringBoundLogger) -> None:
        self._edges = edges
        self._log = log
        self._record: Record | None = None
        self._unsaved = False
        self._counters: dict[str, Counter[str]] = {one.name: Counter() for one in fields(Counts)}

    async def open(self) -> None:
        """Read the notes of an earlier life, once."""
        if self._record is None:
            self._record = await self._edges.store.load()

    @property
    def record(self) -> Record:
        """What is noted."""
        return self._record or Record()

    @property
    def saved(self) -> bool:
        """Whether all that is noted is on disk."""
        return not self._unsaved

    def count(self, what: str, result: str) -> None:
        """Count one more of what has happened."""
        self._counters[what][result] += 1

    def counts(self) -> Counts:
        """Return what has happened since the start."""
        return Counts(**{what: dict(counter) for what, counter in self._counters.items()})

    async def note(self, record: Record) -> None:
        """Keep the record, and write it; a disk that fails is told of once and tried again at the next note."""
        self._record = record
        try:
            await self._edges.store.save(record)
        except StoreError as error:
            if not self._unsaved:
                self._log.error(error.what, advice=error.advice)
            self._unsaved = True
        else:
            self._unsaved = False

    async def catch_up(self, situation: Situation) -> None:
        """Note the switch to the pending leaf, if the process ended before it was noted: it answered a demand."""
        current, pending, record = situation.current, situation.observed.disk.pending, self.record
        if current is None or pending is None or pending.issued is None or not record.demanded:
            return
        if current.leaf in pending.issued.certificates and current.number not in (record.reloaded, record.settled):
            await self.note(record.switched(current))

    async def failed(self, lane: Lane, error: AgentError, situation: Situation) -> None:
        """Note one more failure of a lane, and when it is tried again."""
        now = self._edges.clock()
        retry_after = error.retry_after if isinstance(error, IssuerUnavailableError) else None
        reason = error.reason if isinstance(error, IssuanceError) else ""
        refused = isinstance(error, IssuerRefusedError | ReaderRefusedError)
        failure = Failure(error.what, error.advice, now, refused=refused, reason=reason)
        if reason:
            self.count("issuer_errors", reason)
        current = situation.current
        tries = self.record.tries(lane).failed(
            failure,
            rest=current.leaf.not_after - now if current else None,
            seed=situation.wanted.seed,
            retry_after=retry_after,
        )
        next_try = tries.next_at.isoformat(timespec="seconds") if tries.next_at else ""
        self._log.warning(error.what, advice=error.advice, lane=lane, failures=tries.count, next_try=next_try)
        await self.note(self.record.with_tries(lane, tries))
