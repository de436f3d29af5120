"""When a leaf is renewed, and when a try that failed is made again.

All of it is arithmetic on instants that are passed in. What looks random is drawn from a hash
of the identity's seed, so that neither a restart nor a second look moves it.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.configuration import RenewalPolicy

EARLIEST = 0.60
LATEST = 0.70
"""The shares of the lifetime between which a renewal is drawn."""

EMERGENCY = 0.05
"""The last share of the lifetime: back-off and windows no longer count, proofs still do."""

FLOOR = timedelta(milliseconds=50)
"""The shortest delay between two tries; it is never zero."""

FIRST = timedelta(seconds=1)
CAP = timedelta(minutes=10)
"""The first delay of the ladder and its longest."""

REFUSED_FIRST = timedelta(minutes=1)
REFUSED_CAP = timedelta(hours=1)
"""The same after a refusal: people mend things, but not within a second."""

REFUTED_QUICK = 3
REFUTED_CAP = timedelta(days=1)
"""A leaf that was paid for and then refuted is ordered anew a few times as after a refusal, and then ever more rarely:
whatever made it wrong, each order is billed, and no emergency makes the next one right."""

WITHOUT_LEAF = timedelta(minutes=1)
"""The longest delay when there is no valid leaf: an outage is not waited out at leisure."""

URGENT_CAP = timedelta(minutes=1)
URGENT_FLOOR = timedelta(seconds=1)
"""The bounds of the emergency lane's delay."""

SHARE_OF_REST = 8
"""A delay is at most this part of the time that is left, before jitter, so that tries never run out."""

TRIES_BEFORE_EXPIRY = 10
"""The tries that always fit between the renewal instant and the end."""

SHORTEST_WINDOW = timedelta(seconds=2)
"""The least time between renewal and end in which the ladder fits its tries."""

LONGEST_CALL_SHARE = 10
"""One call to a CA may take at most this part of the time that is left, so that a hang costs one try."""


def draw(seed: str, what: str) -> float:
    """Return a number in [0, 1) that depends on its arguments and nothing else."""
    digest = hashlib.sha256(f"{what}\n{seed}".encode()).digest()
    return int.from_bytes(digest[:7]) / (1 << 56)


def beginning(leaf: Certificate, issued_at: datetime) -> datetime:
    """Return what a leaf's lifetime is counted from: the later of its notBefore and its issue.

    AWS Private CA dates a leaf back by an hour; counting from there, a leaf of two hours would be
    due the moment it came. An `issued_at` outside of the leaf's life was noted by a wrong clock
    and counts for nothing.
    """
    return issued_at if leaf.not_before <= issued_at < leaf.not_after else leaf.not_before


def renewal_instant(leaf: Certificate, issued_at: datetime, policy: RenewalPolicy, seed: str) -> datetime:
    """Return the instant from which `leaf` is due for renewal.

    A span that is longer than the whole life would make a leaf due when it comes, and renew for
    ever; such a leaf is renewed as if no span were set.
    """
    start = beginning(leaf, issued_at)
    life = leaf.not_after - start
    if policy.before is not None and policy.before < life:
        return leaf.not_after - policy.before
    share = policy.at if policy.at is not None else EARLIEST + (LATEST - EARLIEST) * draw(seed, "slot")
    return start + life * share


def emergency_instant(leaf: Certificate, issued_at: datetime) -> datetime:
    """Return the instant from which the emergency lane is open: the last twentieth of the lifetime."""
    start = beginning(leaf, issued_at)
    return leaf.not_after - (leaf.not_after - start) * EMERGENCY


def emergency_delay(rest: timedelta) -> timedelta:
    """Return the time between two tries of the emergency lane when `rest` is left of the lifetime."""
    return max(URGENT_FLOOR, min(URGENT_CAP, rest / 20))


def retry_delay(
    failures: int,
    rest: timedelta | None,
    seed: str,
    *,
    refused: bool = False,
    retry_after: timedelta | None = None,
) -> timedelta:
    """Return how long to wait after the given number of failures in a row (one or more).

    `rest` is the time until the current leaf ends; None, zero or less when there is no valid
    leaf. The delay doubles from `FIRST` to `CAP` (slower after a refusal), is never more than a
    part of the rest, is spread by a factor between 0.5 and 1.5, and is never below `FLOOR`.
    `retry_after` is obeyed as far as the part of the rest allows, and for an hour at most.
    """
    first, cap = (REFUSED_FIRST, REFUSED_CAP) if refused else (FIRST, CAP)
    share = None if rest is None or rest <= timedelta(0) else rest / SHARE_OF_REST
    if share is None and not refused:
        cap = WITHOUT_LEAF
    bound = cap if share is None else min(cap, share)
    rung = min(first * float(1 << min(failures - 1, 30)), bound)
    delay = rung * (0.5 + draw(seed, f"try {failures}"))
    if retry_after is not None:
        delay = max(delay, min(retry_after, CAP if share is None else min(share, REFUSED_CAP)))
    return max(FLOOR, delay)


def refuted_delay(failures: int, rest: timedelta | None, seed: str) -> timedelta:
    """Return how long to wait before another leaf is paid for, after that many in a row that the proof refuted."""
    if failures <= REFUTED_QUICK:
        return retry_delay(failures, rest, seed, refused=True)
    rung = min(REFUSED_FIRST * float(4 ** min(failures - REFUTED_QUICK, 10)), REFUTED_CAP)
    return rung * (0.5 + draw(seed, f"try {failures}"))


def call_limit(wish: timedelta, rest: timedelta | None) -> timedelta:
    """Return how long one call to a CA may take: the wish, bounded by a part of what is left, a second at least."""
    if rest is None or rest <= timedelta(0):
        return wish
    return max(timedelta(seconds=1), min(wish, rest / LONGEST_CALL_SHARE))
