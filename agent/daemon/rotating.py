"""What a person says of a CA rotation: of an anchor, of a peer, and whether it goes on or back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.anchors import Ruling, accepted, ca_id
from agent.core.evidence import Verdict
from agent.core.guards import NOT_OF_USE, RETIREMENT_GUARDS, Allowed, Case, soak_is_over
from agent.core.rotation import retirement_hold
from agent.core.rotation_record import Abort, Pause
from agent.core.rotation_report import lacks_way_back
from agent.core.testimony import Word
from agent.errors import AgentError, NotConcernedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from structlog.typing import FilteringBoundLogger

    from agent.core.anchors import CaId
    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted
    from agent.core.rotation_record import RotationRecord
    from agent.core.rotation_view import RotationView
    from agent.core.situation import Situation
    from agent.daemon.edges import Edges
    from agent.daemon.ledger import Ledger

SHORTEST_PREFIX = 16
"""Hexadecimal digits of a fingerprint that name an anchor, if no other begins so."""


class RotationByHand:
    """Notes what people say; each method returns a sentence, and raises `AgentError` with nothing noted."""

    def __init__(self, wanted: Wanted, edges: Edges, ledger: Ledger, log: FilteringBoundLogger) -> None:
        self._wanted = wanted
        self._edges = edges
        self._ledger = ledger
        self._log = log

    async def approve(self, fingerprint: str, by: str, situation: Situation) -> str:
        """Let an anchor into the truststores that a source of trust shows; raise `AgentError` for one left behind."""
        seen = situation.observed.trust.seen
        anchor = self._named(fingerprint, seen)
        ruling, name = Ruling(anchor.fingerprint, approved=True, by=by, at=situation.now), self._name(anchor, situation)
        held = situation.current.anchors if situation.current is not None else ()
        if anchor not in accepted(situation.observed.trust, (ruling,), held, self._noted.turned_from)[0]:
            raise AgentError(
                f"{self._wanted.name}: {name} stays out: its issuer has left it behind for the CA that it issues under",
                advice="where it is to be trusted all the same, name a file with it in `trust`",
            )
        await self._rule(ruling)
        return f"{self._wanted.name}: {name} may enter the truststores"

    async def retire(self, fingerprint: str, by: str, situation: Situation, *, force: bool) -> str:
        """Let an anchor go; raise `AgentError` where a leaf in use needs it, unless it is forced.

        Where only the soak is not over yet it is noted, and leaves then.
        """
        rotation = self._rotation(situation)
        anchor = self._named(fingerprint, (*rotation.current.anchors, *situation.observed.trust.seen))
        name, ca = self._name(anchor, situation), ca_id(anchor)
        self._expect_alone(anchor, name, rotation)
        standing = replace(rotation.standing, wanted=rotation.standing.wanted - {ca})
        allowed = Allowed(rotation.allowed.soak, None, frozenset({ca}) if force else frozenset())
        forced = retirement_hold(ca, standing, rotation.peers, allowed, situation.now)
        held = retirement_hold(ca, standing, rotation.peers, replace(allowed, forced=frozenset()), situation.now)
        if forced is not None and (force or forced.guard != soak_is_over.__name__):
            raise AgentError(
                f"{self._wanted.name}: {name} stays: {forced}",
                advice="" if force else "mend that first; `--force` has it leave all the same, and breaks what it says",
            )
        case = Case(ca, standing, rotation.peers, allowed, situation.now)
        broken = [str(hold) for guard in RETIREMENT_GUARDS if guard not in NOT_OF_USE and (hold := guard(case))]
        if force and broken:
            self._log.warning("an anchor is let go by force", anchor=name, by=by, breaks="; ".join(broken))
        await self._rule(Ruling(anchor.fingerprint, approved=False, by=by, at=situation.now, force=force))
        if force:
            when = f", by force, although {'; '.join(broken)}" if broken else ""
        else:
            when = f"; {held}" if held is not None else ""
        return f"{self._wanted.name}: {name} is to leave the truststores{when}"

    def _expect_alone(self, anchor: Certificate, name: str, rotation: RotationView) -> None:
        """Raise `AgentError` where another certificate of an anchor's CA is accepted: the CA itself stays."""
        others = [one for one in rotation.accepted[0] if ca_id(one) == ca_id(anchor) and one != anchor]
        if others:
            raise AgentError(
                f"{self._wanted.name}: {name} stays: {others[0].fingerprint[:SHORTEST_PREFIX]} is the same CA, and"
                " accepted",
                advice="the old certificate leaves by itself when its source shows it no more",
            )

    async def confirm(self, peer: str, by: str, situation: Situation) -> str:
        """Take a person's word for what the rotation waits for of a peer, and nothing shows."""
        awaited, names = self._rotation(situation).awaited, self._rotation(situation).standing
        asked = [one for one in awaited if one.peer == peer]
        if not asked:
            others = ", ".join(sorted({one.peer for one in awaited})) or "nobody"
            raise NotConcernedError(
                f"{self._wanted.name} waits for nothing of {peer}",
                advice=f"it waits for {others}: `cert-agent ca status`",
            )
        unknown = [one for one in asked if one.shown is Verdict.UNKNOWN]
        if not unknown:
            raise AgentError(
                f"{self._wanted.name}: {peer} is seen to be otherwise, and no word goes against that"
                + (f": {asked[0].why}" if asked[0].why else ""),
                advice="see to that peer",
            )
        words = [Word(one.peer, one.question, one.ca, by, situation.now) for one in unknown]
        noted = self._noted
        keys = {(word.peer, word.question, word.ca) for word in words}
        kept = [word for word in noted.words if (word.peer, word.question, word.ca) not in keys]
        await self._note(replace(noted, words=(*kept, *words)))
        told = "; ".join(f"{one.peer} {one.question} {names.name(one.ca)}" for one in unknown)
        self._log.info("a person vouches for a peer", by=by, what=told)
        return f"{self._wanted.name}: by the word of {by}, {told}"

    async def abort(self, by: str, situation: Situation) -> str:
        """Have the leaf stay with the CA that it is of, or go back to the one that it was of before.

        Said again it changes nothing: neither where to, nor since when others have notice.
        """
        rotation = self._rotation(situation)
        standing, noted = rotation.standing, self._noted
        if noted.abort is not None:
            await self._note(noted)  # where the disk did not keep it before
            return f"{self._wanted.name} is going back to {standing.name(noted.abort.back_to)} already"
        target = standing.target
        if target is not None and target != standing.leaf:
            abort = Abort(target, standing.leaf, by, situation.now)
        else:
            abort = Abort(standing.leaf, self._before(rotation), by, situation.now)
        if situation.observed.disk.pending is not None and rotation.candidate == abort.away_from:
            await self._edges.store.drop_pending()
        await self._note(replace(noted, abort=abort))
        away, back = standing.name(abort.away_from), standing.name(abort.back_to)
        self._log.warning("a person has a CA rotation go back", by=by, away_from=away, back_to=back)
        lacks = lacks_way_back(self._with_notes(situation))
        told = f"; {lacks}" if lacks else ""
        return f"{self._wanted.name}: the leaf goes back to {back}, and away from {away}{told}"

    def _before(self, rotation: RotationView) -> CaId:
        """Return the CA that the leaf was of last; raise `AgentError` when there is none to go back to."""
        away = sorted(rotation.noted.away, key=lambda one: one.at, reverse=True)
        found = next((one.what for one in away if one.what != rotation.standing.leaf), None)
        if found is None:
            raise AgentError(
                f"{self._wanted.name}: there is no CA to go back to, the truststores hold no anchor of one before",
                advice="to stay with another leaf of the same CA use `cert-agent rollback`",
            )
        return found

    async def pause(self, by: str, situation: Situation) -> str:
        """Have what readers use stay as it is, but for what is urgent."""
        await self._note(replace(self._noted, pause=Pause(by, situation.now)))
        self._log.warning("a person has paused the identity", by=by)
        return f"{self._wanted.name} is paused: nothing that readers use changes before the leaf's last twentieth"

    async def resume(self, by: str, situation: Situation) -> str:
        """End a pause, or where nobody has paused it have a rotation go on that was to go back."""
        noted = self._noted
        pause, abort = noted.pause, noted.abort
        if noted.forgotten:
            await self._note(replace(noted, forgotten=False))
            self._log.warning("a person has the identity go on without its earlier notes", by=by)
            return f"{self._wanted.name} goes on without its earlier notes"
        if pause is None and abort is None:
            return f"{self._wanted.name} is not paused"
        rotation = situation.rotation
        back = rotation.standing.name(abort.back_to) if abort is not None and rotation is not None else ""
        if pause is not None:
            await self._note(replace(noted, pause=None))
            told = f"the pause by {pause.by} has ended"
            if abort is not None:
                told += (
                    f"; its leaf still goes back to {back}, by the word of {abort.by}:"
                    " `cert-agent ca resume` once more ends that"
                )
        else:
            await self._note(replace(noted, abort=None))
            told = f"its leaf need not go back to {back} any more"
        self._log.info("a person has the identity go on", by=by, what=told)
        return f"{self._wanted.name} goes on: {told}"

    # --- notes -----------------------------------------------------------------------------

    @property
    def _noted(self) -> RotationRecord:
        return self._ledger.record.rotation

    def _with_notes(self, situation: Situation) -> Situation:
        """Return a situation as it is by the notes of now."""
        return replace(situation, observed=replace(situation.observed, record=self._ledger.record))

    async def _rule(self, ruling: Ruling) -> None:
        noted = self._noted
        others = tuple(one for one in noted.rulings if one.fingerprint != ruling.fingerprint)
        await self._note(replace(noted, rulings=(*others, ruling)))
        self._log.warning(
            "a person has approved an anchor" if ruling.approved else "a person lets an anchor go",
            fingerprint=ruling.fingerprint,
            by=ruling.by,
        )

    async def _note(self, rotation: RotationRecord) -> None:
        """Note it, and raise `AgentError` where the disk does not keep it: a person must not rely on what is lost."""
        await self._ledger.note(replace(self._ledger.record, rotation=rotation))
        if not self._ledger.saved:
            raise AgentError(
                f"{self._wanted.name}: it holds until the agent ends, and is not on disk",
                advice="see to the disk, and say it again",
            )

    def _rotation(self, situation: Situation) -> RotationView:
        if situation.rotation is None:
            raise NotConcernedError(
                f"{self._wanted.name} has no certificate yet, and takes part in no rotation", advice="wait for it"
            )
        return situation.rotation

    def _name(self, anchor: Certificate, situation: Situation) -> str:
        rotation = situation.rotation
        return rotation.standing.name(ca_id(anchor)) if rotation is not None else anchor.fingerprint[:SHORTEST_PREFIX]

    def _named(self, fingerprint: str, anchors: Iterable[Certificate]) -> Certificate:
        wanted = fingerprint.replace(":", "").lower()
        found = {one.fingerprint: one for one in anchors if one.fingerprint.startswith(wanted)}
        if len(wanted) < SHORTEST_PREFIX:
            raise AgentError(
                f"{fingerprint!r} is too short to name an anchor",
                advice=f"write {SHORTEST_PREFIX} digits of it at least",
            )
        if not found:
            raise NotConcernedError(
                f"{self._wanted.name} knows no anchor with the fingerprint {fingerprint}",
                advice="`cert-agent ca status` lists those that it knows",
            )
        if len(found) > 1:
            raise AgentError(f"several anchors begin with {fingerprint}", advice="write the whole fingerprint")
        return next(iter(found.values()))
