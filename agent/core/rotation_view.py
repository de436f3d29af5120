"""The rotation of an identity out of what was observed of it: certificates become CAs, generations what is in use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from agent.core import met
from agent.core.anchors import Origin, by_fingerprint, ca_id
from agent.core.configuration import Retirement
from agent.core.evidence import Verdict
from agent.core.guards import (
    Allowed,
    Case,
    Hold,
    Standing,
    anchor_is_accepted,
    nobody_goes_back,
    nobody_has_edited,
)
from agent.core.identity_cas import IdentityCas
from agent.core.issuing_ca import end_of, leads_to, needed
from agent.core.rotation import Stage, hold_of, leaf_hold, notice_until, outlook
from agent.core.testimony import FRESH, Question

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from agent.core.anchors import CaId
    from agent.core.certificate import Certificate
    from agent.core.rotation import Outlook
    from agent.core.testimony import Awaited, Peers


ENDED = timedelta(minutes=1)
"""For how long the current leaf must be seen to have ended before that counts: a clock may be put right meanwhile."""

STANDS = timedelta(hours=1)
"""How long an issuer that has come back to a CA must stay with it before another leaf is had for that."""

FORGOTTEN = (
    "its notes could not be read, and what people had said is forgotten: say it again, then `cert-agent ca resume`"
)
"""Why no leaf of another CA becomes current, and no anchor enters or leaves, after notes were lost."""

HERE = (nobody_has_edited, anchor_is_accepted, nobody_goes_back)
"""What can hold up a leaf of another CA before any peer is asked."""


@dataclass(frozen=True)
class RotationView(IdentityCas):
    """What follows for the rotation from a situation with a current generation."""

    # --- certificates, and the CAs that they are of ------------------------------------------

    def is_other(self, chain: Sequence[Certificate]) -> bool:
        """Whether some peer that takes the current leaf may not take this one: by its CA, or by one end less."""
        ends = leads_to(self.current.chain, self.known)
        return self.ca_of(chain) != self.standing.leaf or not ends <= leads_to(tuple(chain), self.known)

    @property
    def is_outdated(self) -> bool:
        """Whether the leaf in hand is of a CA that its issuer has been seen to turn away from since it gave it."""
        pending, own, noted = self.situation.pending_answer, self.own, self.noted.own
        if pending is None or pending.issued is None or self.candidate in {None, own, self.standing.leaf}:
            return False
        is_firsts = pending.issuer == self.situation.wanted.issuer
        is_of_now = noted is not None and noted.what == own and pending.issued.at < noted.at <= self.situation.now
        return is_firsts and is_of_now

    @property
    def needs_other_issuer(self) -> bool:
        """Whether the first issuer is down while the leaf is in its last twentieth, and there is a second one."""
        situation, failure = self.situation, self.situation.record.issuing.failure
        is_down = failure is not None and not failure.refused
        return situation.wanted.failover is not None and situation.urgent and is_down

    @property
    def next_issuer(self) -> str:
        """The issuer that is asked next: of the two by turns, while the first is down and every peer trusts both."""
        first, second = self.situation.wanted.issuer, self.situation.wanted.failover
        if second is None or not self.needs_other_issuer or self.failover_hold is not None:
            return first
        return second if self.situation.record.issuing.count % 2 == 1 else first

    @cached_property
    def failover_hold(self) -> Hold | None:
        """What keeps the second issuer from being asked in the first one's place; None: every peer trusts its CA."""
        failover = self.situation.wanted.failover
        ca = self.own_of(failover) if failover is not None else None
        if ca is None:
            return Hold("failover", f"which CA {failover} gives leaves of is not known: name it in `trust`")
        return self.hold_of(ca)

    @property
    def staying(self) -> frozenset[CaId]:
        """The CAs in the truststores that are wanted there: what verifies by one of them needs no other."""
        return self.standing.holds & self.standing.wanted

    # --- what is in use ----------------------------------------------------------------------

    @cached_property
    def is_in_use(self) -> bool:
        """Whether the current generation is shown to be in use: by its listeners, or by the process that reads it."""
        situation = self.situation
        if situation.wanted.proven_at:
            verdicts = situation.verdicts
            shown = all(name in verdicts and verdicts[name][0] is Verdict.PROVEN for name in situation.wanted.proven_at)
            if not shown or situation.record.settled != self.current.number:
                return False
        return bool(situation.wanted.proven_at) or self.is_read

    @property
    def is_read(self) -> bool:
        """Whether the process that reads the files when it starts was started after the switch."""
        started, switched = self.situation.observed.reader_started_at, self.situation.observed.disk.switched_at
        return started is not None and switched is not None and started > switched

    @property
    def _shows_anchors(self) -> bool:
        """Whether what shows the leaf in use shows the truststores too: a broker names the CAs that it takes."""
        return self.is_in_use and (self.situation.wanted.broker is not None or self.is_read)

    def _word(self, question: Question, ca: CaId) -> bool:
        """Whether a person has vouched for this identity itself."""
        own = self.situation.wanted.name
        return any((word.peer, word.question, word.ca) == (own, question, ca) for word in self.noted.words)

    @cached_property
    def standing(self) -> Standing:
        """Where the identity stands."""
        situation, current = self.situation, self.current
        wanted = situation.wanted
        leaf = self.ca_of(current.chain)
        holds = frozenset(map(ca_id, current.anchors)) if wanted.has_truststores else frozenset()
        loaded = holds if self._shows_anchors else frozenset(ca for ca in holds if self._loads(ca))
        accepted_now = frozenset(map(ca_id, self.accepted[0])) if wanted.has_truststores else frozenset()
        kept = () if self.is_in_use else situation.observed.disk.kept
        chains = (current.chain, *(one.chain for one in kept if one.leaf.not_after > situation.now))
        needs = [needed(leads_to(chain, self.known), holds & accepted_now) for chain in chains]
        own = needs[0]
        may_use = {ca for one in needs for ca in one} | (
            (set() if self.is_in_use else set(self.noted.doubtful)) & holds
        )
        silent = situation.observed.trust.trouble or situation.observed.trust.silent
        if silent:
            # Silence is no wish that anything should leave which was not to leave before.
            let_go = {one.fingerprint for one in self.noted.rulings if not one.approved}
            ruled = {ca_id(one) for one in current.anchors if one.fingerprint in let_go}
            accepted_now |= holds - ruled - set(self.noted.leaving)
        waiting = frozenset(ca_id(one.anchor) for one in self.waiting) if wanted.has_truststores else frozenset()
        listed = {ca_id(one.anchor) for one in situation.observed.trust.sightings if one.origin is Origin.LISTED}
        abort = self.noted.abort
        away = {one.what: one.at for one in self.noted.away}
        return Standing(
            leaf=leaf,
            end=end_of(current.chain, self.known),
            identity=wanted.name,
            may_use=frozenset(ca for ca in may_use if ca in own or not self._word(Question.LEFT, ca)),
            holds=holds,
            loaded=loaded,
            wanted=accepted_now,
            waiting=waiting - accepted_now,
            coming=frozenset(listed & accepted_now) - {leaf},
            target=self.target,
            unwanted=abort.away_from if abort else None,
            left_since={one.what: one.at for one in self.noted.left},
            expired=self._has_ended,
            edited=situation.edited_truststores,
            silent=silent,
            notice_until=(
                notice_until(abort.at, away.get(abort.back_to), wanted.rotation.soak, situation.now)
                if abort and leaf == abort.away_from
                else None
            ),
            names=self.names,
        )

    @property
    def _has_ended(self) -> bool:
        """Whether the current leaf is seen to have ended, and has been for a moment."""
        leaf, now, ended = self.current.leaf, self.situation.now, self.noted.ended
        is_noted = ended is not None and ended.what == leaf.fingerprint
        return leaf.not_after <= now and is_noted and ended is not None and ended.at + ENDED <= now

    def _loads(self, ca: CaId) -> bool:
        """Whether one CA is shown to be in a truststore in use: the listeners here trust it, or a person says so.

        One that asks for no certificate shows by its leaf that it has read the files, and no more is to be seen.
        """
        own = [one for one in self.situation.observed.peers.own if abs(self.situation.now - one.at) <= FRESH]
        looked = bool(own) and all(one.trusts.get(ca) is Verdict.PROVEN if one.meets else self.is_in_use for one in own)
        return looked or self._word(Question.TRUSTS, ca)

    # --- what follows ------------------------------------------------------------------------

    @cached_property
    def peers(self) -> Peers:
        """What is known of the peers, with what people have said, and what our own node's start shows."""
        observed = self.situation.observed
        found = replace(met.with_missing(observed.peers, self.noted.met, self.situation.now), words=self.noted.words)
        if not any(one.is_node and one.started_at is not None for one in found.testimonies):
            return found
        since = {
            Question.RESTARTED_FOR_ANCHOR: {one.what: one.at for one in self.noted.entered},
            Question.RESTARTED_FOR_LEAF: {one.what: one.at for one in ([self.noted.leaf] if self.noted.leaf else [])},
        }
        told = []
        for one in found.testimonies:
            if one.started_at is None:
                told.append(one)
                continue
            restarted = {
                (question, ca): Verdict.PROVEN if one.started_at > at else Verdict.REFUTED
                for question, instants in since.items()
                for ca, at in instants.items()
            }
            told.append(replace(one, restarted=restarted))
        return replace(found, testimonies=tuple(told))

    @cached_property
    def allowed(self) -> Allowed:
        """What a person or the settings allow."""
        policy = self.situation.wanted.rotation
        let_go = {one.fingerprint: one.force for one in self.noted.rulings if not one.approved}
        ruled = {ca_id(one): let_go[one.fingerprint] for one in self.known if one.fingerprint in let_go}
        automatic = policy.retire is Retirement.AUTOMATIC
        return Allowed(
            soak=policy.soak,
            retire=None if automatic else frozenset(ruled),
            forced=frozenset(ca for ca, force in ruled.items() if force),
        )

    @cached_property
    def outlook(self) -> Outlook:
        """Where the rotation stands, and what each of its steps waits for."""
        return outlook(self.standing, self.peers, self.allowed, self.situation.now)

    def hold_of(self, ca: CaId) -> Hold | None:
        """Return what keeps a leaf of a CA from becoming current, whatever its chain; None: it may."""
        return leaf_hold(ca, self.standing, self.peers, self.situation.now)

    def hold_of_chain(self, chain: Sequence[Certificate]) -> Hold | None:
        """Return what keeps a leaf with its chain from becoming current; None: it may."""
        ca, end = self.ca_of(chain), end_of(tuple(chain), self.known)
        is_other = self.is_other(chain)
        if self.noted.forgotten and is_other and not self.standing.expired:
            return Hold("nothing_is_forgotten", FORGOTTEN)
        return leaf_hold(ca, self.standing, self.peers, self.situation.now, end=end, is_narrower=is_other)

    @cached_property
    def candidate_hold(self) -> Hold | None:
        """What keeps the leaf in hand from becoming current; None: it may, or there is none."""
        return None if self.candidate is None or self.chain_in_hand is None else self.hold_of_chain(self.chain_in_hand)

    @property
    def holds_end(self) -> tuple[datetime, ...]:
        """When holds end by themselves: a soak, a notice."""
        holds = (self.candidate_hold, self.outlook.leaf_hold, *(hold for _, hold in self.outlook.retirements))
        ends = [hold.until for hold in holds if hold is not None and hold.until is not None]
        ended = self.noted.ended
        return (*ends, *([ended.at + ENDED] if ended is not None else []))

    @property
    def reissue_reason(self) -> str | None:
        """Why a leaf of another CA should be had before the current one is due, as half a sentence; None: no need.

        The issuer gives leaves of another CA than the current one is of, and nothing here holds that
        up. A leaf in hand is what peers are asked with. An issuer that gave the current leaf after it was
        seen to be of that CA contradicts itself, and is not asked again and again.
        """
        own, standing, noted, now = self.own, self.standing, self.noted.own, self.situation.now
        if own is None or own != self.target or own == standing.leaf or not self.current.issuer:
            return None  # of what was taken over nobody knows where it came from: it is replaced when it is due
        turned = self.noted.turned_from.get(own)
        if turned is not None and turned <= now < turned + STANDS:
            return None  # it has just turned back: whoever turns back and forth would have a leaf for each turn
        is_firsts = self.current.issuer == self.situation.wanted.issuer
        if is_firsts and noted is not None and noted.what == own and noted.at <= self.current.issued_at <= now:
            return None
        case = Case(own, standing, self.peers, self.allowed, self.situation.now)
        if hold_of(case, HERE) is not None or own in standing.entering:
            return None
        return f"{self.situation.wanted.issuer} gives leaves of {standing.name(own)} by now"

    @property
    def awaited(self) -> tuple[Awaited, ...]:
        """The answers of peers that the next step waits for."""
        if self.candidate_hold is not None and self.candidate_hold.awaited:
            return self.candidate_hold.awaited
        if self.needs_other_issuer and self.failover_hold is not None and self.failover_hold.awaited:
            return self.failover_hold.awaited
        return self.outlook.awaited

    @cached_property
    def wanted_anchors(self) -> tuple[Certificate, ...]:
        """The anchors that the truststores should hold now.

        What they hold, and what is accepted; without what may leave, once nothing enters any more, and
        without a certificate of a CA whose renewed one, of the same key, has come in its place.
        """
        now, held = self.situation.now, self.current.anchors
        if self.noted.forgotten:
            return by_fingerprint(held)
        accepted_now = self.accepted[0]
        fingerprints = {one.fingerprint for one in accepted_now}
        renewed = {ca_id(one) for one in accepted_now if one.not_before <= now < one.not_after}
        leaving = frozenset() if self.standing.entering else self.retiring
        stays = []
        for one in held:
            ca = ca_id(one)
            is_replaced = one.fingerprint not in fingerprints and ca in renewed and not self.standing.silent
            if not is_replaced and ca not in leaving:
                stays.append(one)
        return by_fingerprint((*stays, *accepted_now))

    @property
    def retiring(self) -> frozenset[CaId]:
        """The CAs whose anchors may leave now."""
        return frozenset(ca for ca, hold in self.outlook.retirements if hold is None)

    @cached_property
    def lost_by_edits(self) -> str:
        """Which CAs the truststores hold that those lack which a person has edited, in words; empty: none."""
        lost = {
            ca
            for _, anchors in self.situation.observed.disk.edited
            for ca in self.standing.holds - self.standing.leaving - set(map(ca_id, anchors))
        }
        return ", ".join(sorted(self.standing.name(ca) for ca in lost))

    @property
    def is_moving(self) -> bool:
        """Whether peers' evidence matters now: a leaf of another CA is to come, or an anchor to leave."""
        standing = self.standing
        moves = standing.target not in {None, standing.leaf} or self.candidate_hold is not None
        is_broken = self.outlook.stage in {Stage.LEAF_UNTRUSTED, Stage.PEER_AHEAD}
        moves = moves or self.needs_other_issuer
        return moves or bool(standing.leaving) or bool(standing.entering) or is_broken
