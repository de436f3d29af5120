"""Write a generation, prove it before anybody reads it, and switch to it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from agent.core.anchors import accepted, by_fingerprint
from agent.core.chain import name_of, order
from agent.core.generation import Cause, Draft
from agent.core.identity import request_of
from agent.core.proof import Candidate, Finding, Remedy, prove
from agent.core.record import REFUTED, Lane, Tries
from agent.daemon.preflight import Preflight
from agent.errors import AgentError, IssuerRefusedError, MaterialError, ReaderRefusedError, StoreError, TrustError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from structlog.typing import FilteringBoundLogger

    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted
    from agent.core.generation import FileDamage, Generation, Pending
    from agent.core.restart import RestartDue
    from agent.core.situation import Situation
    from agent.daemon.edges import Edges
    from agent.daemon.ledger import Ledger

ASK_ANEW_AFTER = 5
"""Proofs in a row that a candidate may fail for want of trust before another leaf is asked for.

The peers' anchors may be put right at any moment, and then the leaf that is paid for will do; but
a CA that left out a link of the chain once must not leave the host without a certificate.
"""


class Write(Protocol):
    """Writes a generation that nobody reads yet (`Store.stage`, `Store.adopt`)."""

    async def __call__(self, draft: Draft, *, now: datetime) -> tuple[Generation, tuple[FileDamage, ...]]:
        """Return it, and what does not read back."""


class Publisher:
    """Makes the generations of one identity; `findings` are why the last one was not switched to."""

    def __init__(
        self,
        wanted: Wanted,
        edges: Edges,
        ledger: Ledger,
        log: FilteringBoundLogger,
        forget_looks: Callable[[], None],
    ) -> None:
        self._wanted = wanted
        self._edges = edges
        self._ledger = ledger
        self._log = log
        self.preflight = Preflight(wanted, edges, ledger, log)
        self._forget_looks = forget_looks
        self.findings: tuple[str, ...] = ()

    async def publish(self, cause: Cause, situation: Situation) -> None:
        """Make a generation of what has changed; what fails is noted in its lane."""
        try:
            if cause is Cause.LEAF:
                await self._publish_leaf(situation)
            elif situation.current is not None:
                await self._write(self._draft(cause, situation, situation.current), situation)
        except AgentError as error:
            await self._ledger.failed(Lane.PUBLISHING, error, situation)

    async def discard_edits(self, situation: Situation) -> None:
        """Write edited truststores anew from the sources; raise `AgentError` when that fails."""
        if situation.current is not None and situation.key_is_whole:
            draft = self._draft(Cause.FILES, situation, situation.current, carry=())
            # What is to enter anyway may be what the edit was for: it is not gone for a moment in between.
            entering = situation.rotation.wanted_anchors if situation.rotation is not None else ()
            draft = replace(draft, anchors=by_fingerprint((*draft.anchors, *entering)))
            await self._write(draft, situation)

    async def _publish_leaf(self, situation: Situation) -> None:
        pending = situation.observed.disk.pending
        if pending is None or pending.issued is None:
            return  # gone between two looks: the next look decides anew
        leaf, *others = pending.issued.certificates
        chain = order(leaf, others)
        draft = Draft(
            cause=Cause.LEAF,
            request=pending.request,
            issuer=pending.issuer,
            chain=chain,
            anchors=self._anchors(situation),
            issued_at=pending.issued.at,
            remarks=pending.issued.remarks,
            carry=situation.edited_truststores,
            anchor=situation.anchor_of(chain, pending.request),
        )
        candidate = Candidate(
            request=pending.request,
            chain=chain,
            key=pending.public_key,
            peer_anchors=peer_anchors(situation),
        )
        findings = prove(candidate, situation.now)
        if findings:
            await self._refuted(findings, pending, situation)
            return
        # While the switch is not on disk among the notes, what is pending tells that a demand is answered.
        if await self._write(draft, situation) and self._ledger.saved:
            await self._edges.store.drop_pending()

    async def adopt(self, situation: Situation) -> None:
        """Make the first generation of what stands there; it is in use, so that nothing need be proven before."""
        found = situation.adoptable
        if found is None:
            return  # gone between two looks: the next look decides anew
        request = request_of(found.leaf, self._wanted.request) or self._wanted.request
        anchors = self._accepted(situation) or found.anchors
        draft = Draft(
            cause=Cause.ADOPTED,
            request=request,
            issuer="",
            chain=found.chain,
            anchors=anchors,
            issued_at=found.leaf.not_before,
            remarks=found.remarks,
            # What a truststore holds beside our sources was put there for a reason that nobody told us.
            carry=tuple(name for name, held in found.truststores if not set(held) <= set(anchors)),
            anchor=situation.anchor_of(found.chain, request),
        )
        for remark in found.remarks:
            self._log.warning(remark)
        try:
            await self._write(draft, situation, self._edges.store.adopt, Lane.SWITCHING)
        except AgentError as error:
            await self._ledger.failed(Lane.SWITCHING, error, situation)

    async def _write(
        self, draft: Draft, situation: Situation, write: Write | None = None, lane: Lane = Lane.PUBLISHING
    ) -> bool:
        """Stage, see that every store opens, and switch; return whether it was switched to."""
        store = self._edges.store
        generation, damages = await (write or store.stage)(draft, now=situation.now)
        if damages:
            await store.discard(generation.number)
            await self._unopened(damages, situation, lane)
            return False
        try:
            due = await self._expect_taken(generation, situation)
            await store.switch(generation.number)
        except AgentError:
            # A full disk is not to be filled by each try. One that is current after all is refused, and stays.
            with contextlib.suppress(StoreError):
                await store.discard(generation.number)
            raise
        self._forget_looks()
        self.findings = ()
        self._ledger.count("publications", generation.cause)
        await self._ledger.note(self._ledger.record.switched(generation).needing_restart(due, self._edges.clock()))
        self._log.info(
            "switched",
            generation=generation.number,
            changed=str(generation.cause),
            directory=str(self._wanted.directory),
            until=generation.leaf.not_after.isoformat(),
        )
        return True

    async def _expect_taken(self, generation: Generation, situation: Situation) -> RestartDue | None:
        """Have the broker asked about a written generation; files that it reads already need no asking."""
        if generation.cause is Cause.ADOPTED:
            return None
        try:
            return await self.preflight.expect_taken(generation, situation)
        except ReaderRefusedError:
            self.findings = self.preflight.findings
            raise

    def _draft(
        self, cause: Cause, situation: Situation, current: Generation, *, carry: tuple[str, ...] | None = None
    ) -> Draft:
        return Draft(
            cause=cause,
            request=current.request,
            issuer=current.issuer,
            chain=current.chain,
            anchors=situation.rotation.wanted_anchors
            if cause is Cause.ANCHORS and situation.rotation
            else current.anchors,
            issued_at=current.issued_at,
            remarks=current.remarks,
            carry=situation.edited_truststores if carry is None else carry,
            anchor=current.anchor or situation.anchor_of(current.chain, current.request),
        )

    def _anchors(self, situation: Situation) -> tuple[Certificate, ...]:
        """Return what the truststores of a new leaf hold: what they held, so that one thing changes at a time."""
        if situation.current is not None:
            return situation.current.anchors
        anchors, trust = self._accepted(situation), situation.observed.trust
        if not anchors and self._wanted.has_truststores:
            waiting = "; ".join(name_of(one) for one in trust.seen)
            why = trust.trouble or f"{waiting or 'what is seen'} waits for `cert-agent ca approve`"
            raise TrustError(f"there is nothing to write into the truststores: {why}")
        return anchors

    @staticmethod
    def _accepted(situation: Situation) -> tuple[Certificate, ...]:
        """Return the anchors that may be in a truststore; none while a source is silent: the first one is whole."""
        trust = situation.observed.trust
        return () if trust.trouble else accepted(trust, situation.record.rotation.rulings)[0]

    async def _refuted(self, findings: Sequence[Finding], pending: Pending, situation: Situation) -> None:
        """Keep the files as they are; say why, and either wait with this leaf or ask for another."""
        self.findings = tuple(map(str, findings))
        self._ledger.count("renewals", "refuted")
        remedies = {finding.remedy for finding in findings}
        if Remedy.TRUST in remedies:
            # The CA may be a new one, that the sources have not been asked about since.
            for source in (*self._edges.trust, *self._edges.peer_trust):
                source.forget()
        what = "the issued leaf is refuted: " + "; ".join(self.findings)
        patience = Remedy.NEW_LEAF not in remedies and self._ledger.record.publishing.count + 1 < ASK_ANEW_AFTER
        advice = "mended by " + ", ".join(sorted(remedies)) + f"; the CA is {pending.issuer}"
        if patience:
            await self._ledger.failed(Lane.PUBLISHING, MaterialError(what, advice=advice), situation)
            return
        await self._edges.store.drop_pending()
        await self._ledger.note(replace(self._ledger.record, publishing=Tries()))
        # A CA that gives receipts bills, and the next leaf may be as wrong.
        reason = REFUTED if pending.order.receipt else "refused"
        if reason == REFUTED:
            advice += "; another is paid for ever more rarely, and at once with `cert-agent renew`"
        await self._ledger.failed(Lane.ISSUING, IssuerRefusedError(what, advice=advice, reason=reason), situation)

    async def _unopened(self, damages: Sequence[FileDamage], situation: Situation, lane: Lane) -> None:
        self.findings = tuple(f"stores: {damage}" for damage in damages)
        what = "the written files do not read back: " + "; ".join(map(str, damages))
        await self._ledger.failed(lane, StoreError(what, advice="see to the disk and the store passwords"), situation)


def peer_anchors(situation: Situation, *, advice: str = "") -> tuple[Certificate, ...]:
    """Return what the peers trust; raise `TrustError`, with that advice, when it cannot be read."""
    peer_trust = situation.observed.peer_trust
    if peer_trust.anchors is None:
        what = f"the chain cannot be proven against what the peers trust: {peer_trust.trouble}"
        raise TrustError(what, advice=advice)
    return peer_trust.anchors
