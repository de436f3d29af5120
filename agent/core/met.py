"""Peers that were met and are named no more: one that is down when the agent starts is in no cluster's metadata."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.rotation_record import Met
from agent.core.testimony import NOT_ASKED, Testimony

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.configuration import RotationPolicy
    from agent.core.testimony import Peers

REMEMBERED = timedelta(days=30)
"""How long a peer is waited for that is met no more; whoever takes one out of service vouches for it, or waits."""

A_DAY = timedelta(days=1)
"""How exactly it is noted when a peer was met last: the notes are not to be written at every look."""


def remembered(noted: tuple[Met, ...], peers: Peers, policy: RotationPolicy, now: datetime) -> tuple[Met, ...]:
    """Return the peers that were met, those of the last look among them; hosts that the settings name need no note."""
    found = {one.peer: one for one in noted if abs(now - one.at) < REMEMBERED}
    for one in peers.testimonies:
        before = found.get(one.peer)
        is_news = before is None or before.is_node != one.is_node or abs(now - before.at) >= A_DAY
        if one.peer not in (policy.peers or ()) and is_news and not one.passing:
            found[one.peer] = Met(one.peer, now, one.is_node)
    return tuple(found[name] for name in sorted(found))


def with_missing(peers: Peers, noted: tuple[Met, ...], now: datetime) -> Peers:
    """Return what is known of the peers, beside those that were met before and are named no more: of them nothing is.

    Before the first look nobody is missing.
    """
    if peers == NOT_ASKED:
        return peers
    named = {one.peer for one in peers.testimonies}
    missing = tuple(_missing(one, now) for one in noted if one.peer not in named)
    return replace(peers, testimonies=(*peers.testimonies, *missing)) if missing else peers


def _missing(one: Met, now: datetime) -> Testimony:
    why = f"it was met on {one.at:%Y-%m-%d}, and is named no more"
    if one.is_node:
        return Testimony(one.peer, now, uses=frozenset(), meets=False, is_node=True, why=why)
    return Testimony(one.peer, now, why=why)
