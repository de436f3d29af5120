"""What one identity asks of its CA: a leaf, paid for once, and the end of one that was replaced."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.generation import Order
from agent.core.record import Lane, Tries
from agent.core.schedule import call_limit
from agent.errors import (
    AgentError,
    IssuanceError,
    IssuerRefusedError,
    IssuerUnavailableError,
    OrderLostError,
    StoreError,
)

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted
    from agent.core.generation import Issued, Pending
    from agent.core.situation import Situation
    from agent.daemon.edges import Edges
    from agent.daemon.ledger import Ledger
    from agent.ports import Store

LONGEST_CALL = timedelta(seconds=60)
"""The longest that one call to a CA may take, whatever its settings say."""


class Kept:
    """A pending key, with what is known of its order as it stands on disk."""

    def __init__(self, store: Store, pending: Pending) -> None:
        self._store = store
        self.pending = pending

    async def note(self, order: Order) -> None:
        """Put the order on disk."""
        self.pending = await self._store.keep_order(self.pending, order)


class Orders:
    """The calls of one identity to its CA, each failure noted in its lane."""

    def __init__(self, wanted: Wanted, edges: Edges, ledger: Ledger, log: FilteringBoundLogger) -> None:
        self._wanted = wanted
        self._edges = edges
        self._ledger = ledger
        self._log = log
        self._unwritten: dict[str, Issued] = {}

    async def issue(self, situation: Situation) -> None:
        """Have a leaf issued, or take up the order that stands; the answer is on disk before anything is made of it."""
        store, wanted, second = self._edges.store, self._wanted, self._edges.failover
        issuer = second if second is not None and situation.issuer == second.name else self._edges.issuer
        within = call_limit(LONGEST_CALL, situation.rest)
        try:
            pending = await store.begin(wanted.request, issuer.name, now=situation.now, reuse_key=wanted.reuse_key)
            left = self._left_behind(situation.observed.disk.pending, pending)
            issued = self._unwritten.get(pending.token)
            if issued is None:
                kept = Kept(store, pending)
                try:
                    async with asyncio.timeout(within.total_seconds() + 1):
                        issued = await issuer.issue(pending, note=kept.note, within=within)
                except OrderLostError:
                    await store.drop_pending()
                    raise
                pending, issued = kept.pending, replace(issued, remarks=(*left, *issued.remarks))
                # Held in memory until it is on disk: a full disk must not have a leaf paid for at each try.
                self._unwritten = {pending.token: issued}
            await store.keep_answer(pending, issued)
            self._unwritten = {}
        except TimeoutError:
            self._ledger.count("renewals", "unavailable")
            late = IssuerUnavailableError(
                f"{issuer.name} did not answer within {within.total_seconds():.0f} s",
                advice="see whether it is up",
                reason="time-out",
            )
            await self._ledger.failed(Lane.ISSUING, late, situation)
        except AgentError as error:
            if not isinstance(error, StoreError):
                self._ledger.count("renewals", "refused" if isinstance(error, IssuerRefusedError) else "unavailable")
            await self._ledger.failed(Lane.ISSUING, error, situation)
        else:
            leaf = issued.certificates[0]
            self._ledger.count("renewals", "issued")
            self._log.info(
                "the CA has issued a leaf", serial=f"{leaf.serial_number:x}", until=leaf.not_after.isoformat()
            )
            for remark in issued.remarks:
                self._log.warning("the CA remarks", remark=remark)

    def _left_behind(self, before: Pending | None, pending: Pending) -> tuple[str, ...]:
        """Tell of an order that is given up since another identity, key or CA is wanted by now."""
        if before is None or before.issued is not None or before.token == pending.token or before.order == Order():
            return ()
        remark = left_behind(before)
        self._log.warning(remark)
        return (remark,)

    async def revoke(self, leaf: Certificate, situation: Situation) -> None:
        """Have a leaf revoked that was replaced."""
        within = call_limit(LONGEST_CALL, situation.rest)
        serial = f"{leaf.serial_number:x}"
        try:
            async with asyncio.timeout(within.total_seconds() + 1):
                await self._edges.issuer.revoke(leaf, within=within)
        except (IssuanceError, TimeoutError) as error:
            self._ledger.count("revocations", "failed")
            if isinstance(error, IssuerRefusedError):
                # It may be this one alone: the others come first from now on.
                listed = self._ledger.record.replaced
                last = tuple(one for one in listed if one.leaf == leaf)
                others = tuple(one for one in listed if one.leaf != leaf)
                await self._ledger.note(replace(self._ledger.record, replaced=(*others, *last)))
            late = IssuerUnavailableError(f"the CA did not say in time whether {serial} is revoked", reason="time-out")
            await self._ledger.failed(Lane.REVOKING, error if isinstance(error, IssuanceError) else late, situation)
            return
        self._ledger.count("revocations", "succeeded")
        self._log.info("a replaced leaf is revoked", serial=serial)
        left = tuple(one for one in self._ledger.record.replaced if one.leaf != leaf)
        await self._ledger.note(replace(self._ledger.record, replaced=left, revoking=Tries()))


def left_behind(pending: Pending) -> str:
    """Tell of an order that nobody waits for any more, as a remark on the leaf that came instead."""
    which = pending.order.receipt or f"that of {pending.made_at:%Y-%m-%d %H:%M:%SZ}"
    return f"an order at {pending.issuer} was left behind, and may have been paid for: {which}"
