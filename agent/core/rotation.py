"""A CA rotation as one identity sees it: where it stands, and what each step waits for.

Three steps there are: an anchor enters the truststores, a leaf of another CA becomes current, an anchor
leaves. The first harms nobody. Each of the others has a list of guards (`LEAF_GUARDS`,
`RETIREMENT_GUARDS`); a guard that is not content names what it waits for, and the first such holds the
step. Nothing here remembers: the stage is derived from disk, wire and evidence each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.evidence import Verdict
from agent.core.guards import (
    FORCED_GUARDS,
    LEAF_GUARDS,
    MOST_NAMED,
    NOT_OF_USE,
    RETIREMENT_GUARDS,
    Allowed,
    Case,
)
from agent.core.testimony import FRESH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from agent.core.anchors import CaId
    from agent.core.guards import Guard, Hold, Standing
    from agent.core.testimony import Awaited, Peers, Testimony


class Stage(StrEnum):
    """Where an identity is in a CA rotation; the last three are broken states."""

    STEADY = "steady"
    ANCHOR_ADDED = "anchor added"
    LEAF_REISSUED = "leaf reissued"
    LEAF_UNTRUSTED = "leaf untrusted"
    """A peer that meets our leaf is shown not to trust its CA."""
    PEER_AHEAD = "peer ahead"
    """A peer uses a leaf of a CA that no truststore here holds."""
    STORE_EDITED = "store edited"
    """A truststore was edited by hand, so that nobody here decides what it holds."""

    @property
    def is_broken(self) -> bool:
        """Whether a person should act at once."""
        return self in {Stage.LEAF_UNTRUSTED, Stage.PEER_AHEAD, Stage.STORE_EDITED}


def notice_until(asked_at: datetime, away_since: datetime | None, soak: timedelta, now: datetime) -> datetime | None:
    """Return until when a leaf may not go back to a CA that a person wants it to go back to; None: at once.

    `away_since` is when the leaf first went away from that CA. Before a soak is over since then nobody
    can have let its anchor go for this leaf's sake, nor can they by evidence that is about to be too old.
    That is asked of the moment of the switch, which may come long after the wish. Afterwards somebody
    may let it go by evidence from before they heard of the wish, for as long as that counts; and what was
    seen of them before that is over says nothing, for as long again.
    """
    if away_since is not None and away_since <= now < away_since + soak - FRESH:
        return None
    return asked_at + 2 * FRESH


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the rotation of an identity comes to at a moment.

    `leaf_hold` is why a leaf of the target is not to become current, None where it may, or where
    there is nothing to change. `retirements` are the anchors that are to leave, each with its hold.
    """

    stage: Stage
    why: str
    leaf_hold: Hold | None = None
    retirements: tuple[tuple[CaId, Hold | None], ...] = ()
    left: frozenset[CaId] = frozenset()

    @property
    def awaited(self) -> tuple[Awaited, ...]:
        """The answers of peers that the next step waits for: the leaf's, or else those of anchors that are to leave."""
        if self.leaf_hold is not None:
            return self.leaf_hold.awaited
        found = (one for _, hold in self.retirements if hold is not None for one in hold.awaited)
        return tuple(dict.fromkeys(found))


def hold_of(case: Case, guards: Iterable[Guard]) -> Hold | None:
    """Return what holds a step; None: it may be taken."""
    return next((hold for guard in guards if (hold := guard(case)) is not None), None)


def leaf_hold(  # noqa: PLR0913 - what a case is made of
    ca: CaId,
    standing: Standing,
    peers: Peers,
    now: datetime,
    *,
    end: CaId = "",
    is_narrower: bool = False,
    guards: Iterable[Guard] = LEAF_GUARDS,
) -> Hold | None:
    """Return what keeps a leaf of `ca` from becoming current; None: it may.

    One of the CA that the current leaf is of changes nobody's trust, unless its chain `is_narrower`: the
    current one leads to an anchor too that the new one does not. And a leaf that has ended is
    trusted by nobody, so that any other one is better: the one way out when the old CA is gone and
    peers do not trust the new one. `end` is what the chain leads to where that is more than one CA.
    """
    if (ca == standing.leaf and not is_narrower) or standing.expired:
        return None
    return hold_of(Case(ca, standing, peers, Allowed(), now, end), guards)


def retirement_hold(  # noqa: PLR0913 - what a case is made of
    ca: CaId,
    standing: Standing,
    peers: Peers,
    allowed: Allowed,
    now: datetime,
    *,
    guards: Iterable[Guard] = RETIREMENT_GUARDS,
) -> Hold | None:
    """Return what keeps the anchor of `ca` in the truststores; None: it leaves.

    What a person forces leaves whatever it breaks, but for the last anchor that there is, and not out of
    a truststore that was edited by hand.
    """
    case = Case(ca, standing, peers, allowed, now)
    return hold_of(case, FORCED_GUARDS if ca in allowed.forced else guards)


def outlook(  # noqa: PLR0913 - what is known, what is allowed, and the rules
    standing: Standing,
    peers: Peers,
    allowed: Allowed,
    now: datetime,
    *,
    leaf_guards: Sequence[Guard] = LEAF_GUARDS,
    retirement_guards: Sequence[Guard] = RETIREMENT_GUARDS,
) -> Outlook:
    """Return where the rotation stands, and what each of its steps waits for."""
    hold = None
    if standing.target is not None and standing.target != standing.leaf:
        hold = leaf_hold(standing.target, standing, peers, now, guards=leaf_guards)
    retirements = tuple(
        (ca, retirement_hold(ca, standing, peers, allowed, now, guards=retirement_guards))
        for ca in sorted(standing.leaving)
    )
    of_use = [guard for guard in retirement_guards if guard not in NOT_OF_USE]
    left = frozenset(ca for ca, _ in retirements if hold_of(Case(ca, standing, peers, allowed, now), of_use) is None)
    stage, why = _stage(standing, peers, now)
    if not stage.is_broken:
        why = _why(standing, why, hold, retirements)
    return Outlook(stage, why, hold, retirements, left)


def _stage(standing: Standing, peers: Peers, now: datetime) -> tuple[Stage, str]:
    fresh = [one for one in peers.testimonies if abs(now - one.at) <= FRESH]
    untrusted = [one for one in fresh if one.meets and one.trusts.get(standing.taken_as) is Verdict.REFUTED]
    if untrusted:
        first = untrusted[0]
        why = f" ({first.why})" if first.why else ""
        return Stage.LEAF_UNTRUSTED, (
            f"{', '.join(one.peer for one in untrusted[:MOST_NAMED])} does not trust the leaf in use{why}: give it"
            f" the anchor of {standing.name(standing.leaf)}, or go back with `cert-agent ca abort`"
        )
    ahead = next((found for one in fresh if (found := _ahead(one, standing))), None)
    if ahead is not None:
        return Stage.PEER_AHEAD, ahead
    if standing.edited:
        return Stage.STORE_EDITED, (
            f"{', '.join(standing.edited)} was edited by hand and takes part in no rotation:"
            " `cert-agent renew --discard-edits` takes it back"
        )
    target = standing.target
    if target is not None and target != standing.leaf:
        is_added = target in standing.holds or target not in standing.wanted | standing.waiting
        if is_added:
            return Stage.ANCHOR_ADDED, f"the next leaf is of {standing.name(target)}"
        return Stage.STEADY, f"a new CA is seen: {standing.name(target)}"
    if standing.unwanted is not None and standing.unwanted != standing.leaf and standing.unwanted in standing.holds:
        return Stage.ANCHOR_ADDED, f"a person has the leaf stay away from {standing.name(standing.unwanted)}"
    if standing.coming & standing.holds:
        names = ", ".join(standing.name(ca) for ca in sorted(standing.coming & standing.holds))
        return Stage.ANCHOR_ADDED, f"{names} is trusted here, and issues nothing yet"
    if standing.leaving:
        names = ", ".join(standing.name(ca) for ca in sorted(standing.leaving))
        return Stage.LEAF_REISSUED, f"{names} is to leave the truststores"
    return Stage.STEADY, ""


def _ahead(one: Testimony, standing: Standing) -> str | None:
    """Say that a peer uses a leaf that no truststore here trusts; None where it does not, or nobody here meets it."""
    name = one.ahead
    if not name and one.shows and one.uses and standing.holds and not one.uses & standing.holds:
        name = " or ".join(standing.name(ca) for ca in sorted(one.uses))
    if not name:
        return None
    return (
        f"{one.peer} uses a leaf of {name}, which no truststore here holds: name its CA in `trust`,"
        " or approve it with `cert-agent ca approve`"
    )


def _why(standing: Standing, why: str, hold: Hold | None, retirements: Sequence[tuple[CaId, Hold | None]]) -> str:
    """Return what the stage waits for, in one sentence."""
    if hold is not None:
        return f"{why}; held: {hold}" if why else str(hold)
    # What keeps the old anchor is no reason why the leaf is not there.
    is_leafs_turn = standing.target not in {None, standing.leaf}
    held = None if is_leafs_turn else next((hold for _, hold in retirements if hold is not None), None)
    if held is not None and why:
        return f"{why}; held: {held}"
    waiting = ", ".join(standing.name(ca) for ca in sorted(standing.waiting))
    if waiting:
        asks = f"{waiting} was seen, and waits for `cert-agent ca approve`"
        return f"{why}; {asks}" if why else asks
    return why or "one CA, and nothing to change"
