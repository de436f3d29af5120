"""Signing by hand: the CSR that a person has signed elsewhere, and the answer that they bring back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.chain import MOST_CERTIFICATES, NoPath, find_path, issuer_of, order
from agent.core.generation import Issued, Order
from agent.core.proof import Candidate, Remedy, prove
from agent.core.record import Tries
from agent.daemon.orders import left_behind
from agent.daemon.publishing import peer_anchors
from agent.errors import AgentError, MaterialError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from structlog.typing import FilteringBoundLogger

    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted
    from agent.core.generation import Pending
    from agent.core.situation import Situation
    from agent.daemon.edges import Edges
    from agent.daemon.ledger import Ledger

NO_PEM = "bring it in PEM: `openssl x509 -inform der` converts DER, `openssl pkcs7 -print_certs` a .p7b"

NO_PEERS = "try again once that can be read, or name its root in a file as `peer_trust`"


class ByHand:
    """Prints what is to be signed for one identity, and takes the answer in; what is refused changes nothing."""

    def __init__(self, wanted: Wanted, edges: Edges, ledger: Ledger, log: FilteringBoundLogger) -> None:
        self._wanted = wanted
        self._edges = edges
        self._ledger = ledger
        self._log = log

    async def csr(self, situation: Situation) -> bytes:
        """Return the DER of the pending key's CSR; the key is made where there is none for what is wanted.

        Raise `AgentError` while a leaf is in hand that is not used yet: another key would discard it.
        """
        wanted, answered = self._wanted, situation.pending_answer
        if answered is not None and answered.issued is not None:
            leaf = answered.issued.certificates[0]
            raise AgentError(
                f"{wanted.name} has a leaf in hand, {leaf.serial_number:x}, that a new CSR would throw away",
                advice=f"have it used with `cert-agent renew {wanted.name}`, which drops one that was refuted",
            )
        pending = await self._edges.store.begin(
            wanted.request, wanted.issuer, now=situation.now, reuse_key=wanted.reuse_key
        )
        return pending.csr

    async def take_in(self, certificates: Sequence[Certificate], situation: Situation) -> bool:
        """Prove a person's answer, keep it and note that it is to be used; return whether there is anything to do.

        False: the leaf is in use already. Raise `AgentError`, with nothing noted and the pending key
        as it was, for what fits no pending key or does not prove.
        """
        certificates = tuple(dict.fromkeys(certificates))
        if not certificates:
            raise MaterialError("there is no certificate in PEM in it", advice=NO_PEM)
        if len(certificates) > MOST_CERTIFICATES:
            raise MaterialError(
                f"{len(certificates)} certificates are no chain",
                advice="bring the leaf and the CAs between it and a root",
            )
        fitting = self._fitting(certificates, situation)
        if fitting is None:
            # Whoever brings the leaf that is in use wants no other, whatever was asked for before.
            if self._ledger.record.demanded:
                await self._ledger.note(replace(self._ledger.record, demanded=False, issuing=Tries()))
            return False
        pending, leaf = fitting
        chain = order(leaf, certificates)
        trusted = peer_anchors(situation, advice=NO_PEERS)
        candidate = Candidate(pending.request, chain, pending.public_key, trusted)
        findings = prove(candidate, situation.now)
        if findings:
            remedies = {finding.remedy.value for finding in findings}
            advice = f"mended by {', '.join(sorted(remedies))}"
            if Remedy.TRUST in remedies and _breaks_off(candidate, certificates, situation.now):
                # Whoever is told of trust here would widen that of the peers.
                others = sorted(remedies - {Remedy.TRUST})
                advice = f"bring the certificate of {issuer_of(chain[-1])} too"
                advice += f"; the rest is mended by {', '.join(others)}" if others else ""
            raise MaterialError(
                f"{self._wanted.name}: the leaf is refuted: {'; '.join(map(str, findings))}",
                advice=f"{advice}; the pending key stays, and so does its CSR",
            )
        # Whoever waits for an order of this key's waits in vain from here on.
        remarks = () if pending.order == Order() else (left_behind(pending),)
        await self._edges.store.keep_answer(pending, Issued(chain, situation.now, remarks))
        # An answer without this note, should the process end between the two, is used when a leaf is due.
        record = self._ledger.record
        await self._ledger.note(replace(record, issuing=Tries(), publishing=Tries(), demanded=True))
        self._log.info(
            "a person has brought a leaf", serial=f"{leaf.serial_number:x}", until=leaf.not_after.isoformat()
        )
        return True

    def _fitting(self, certificates: Sequence[Certificate], situation: Situation) -> tuple[Pending, Certificate] | None:
        """Return the pending key and its leaf, None for the leaf in use; raise `AgentError` when none fits."""
        name, disk = self._wanted.name, situation.observed.disk
        pending, anew = disk.pending, f"print a new CSR with `cert-agent csr {self._wanted.name}`"
        known = {generation.leaf for generation in (*disk.kept, *([disk.current] if disk.current else []))}
        key = pending.public_key if pending else None
        leaves = [one for one in certificates if one.public_key == key and one not in known]
        if pending is None or not leaves:
            if disk.current is not None and disk.current.leaf in certificates:
                return None
            raise self._unfit(certificates, situation, anew)
        if len(leaves) > 1:
            raise AgentError(
                f"{len(leaves)} leaves in it are of the pending key of {name}",
                advice="bring one of them, with its chain",
            )
        if pending.issuer != self._wanted.issuer:
            raise AgentError(
                f"the pending key of {name} is meant for {pending.issuer}, and not for {self._wanted.issuer}",
                advice=anew,
            )
        if not pending.request.same_identity(self._wanted.request):
            differences = "; ".join(pending.request.differences(self._wanted.request))
            raise AgentError(f"another identity is wanted of {name} by now: {differences}", advice=anew)
        return pending, leaves[0]

    def _unfit(self, certificates: Sequence[Certificate], situation: Situation, anew: str) -> AgentError:
        name = self._wanted.name
        for generation in situation.observed.disk.kept:
            if generation.leaf in certificates:
                return AgentError(
                    f"generation {generation.number} of {name} holds this leaf already",
                    advice=f"go to it with `cert-agent rollback {name} --to {generation.number}`",
                )
        if all(one.is_ca or (one.is_ca is None and one.self_issued) for one in certificates):
            return AgentError(
                f"no pending key of {name} fits: there are none but certificates of CAs in it",
                advice="bring the leaf with its chain; anchors are named in the configuration",
            )
        return AgentError(f"no pending key of {name} fits this leaf", advice=anew)


def _breaks_off(candidate: Candidate, brought: Sequence[Certificate], now: datetime) -> bool:
    """Return whether the chain is good as far as it goes, and whoever issued its last is neither brought nor known."""
    leaf, *intermediates = candidate.chain
    last = candidate.chain[-1]
    # One that its own key has signed is brought itself.
    if any(one.subject == last.issuer for one in (*brought, *candidate.peer_anchors)):
        return False
    return not isinstance(find_path(leaf, intermediates, [last], now, candidate.request.usages), NoPath)
