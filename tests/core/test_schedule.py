"""When a leaf is renewed, and when a try is made again."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.configuration import RenewalPolicy
from agent.core.schedule import (
    CAP,
    EARLIEST,
    FLOOR,
    LATEST,
    REFUSED_CAP,
    REFUSED_FIRST,
    SHORTEST_WINDOW,
    TRIES_BEFORE_EXPIRY,
    WITHOUT_LEAF,
    call_limit,
    draw,
    emergency_delay,
    emergency_instant,
    renewal_instant,
    retry_delay,
)
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from agent.core.certificate import Certificate

LIVES = st.timedeltas(min_value=timedelta(seconds=10), max_value=timedelta(days=800))
SEEDS = st.text(max_size=30)
ISSUER = Ca.root()
KEY = make_key()
REQUEST = make_request()


def make_leaf(life: timedelta) -> Certificate:
    """Make a leaf whose life begins at NOW; X.509 counts whole seconds."""
    return ISSUER.leaf(REQUEST, KEY, not_before=NOW, not_after=NOW + life)


@given(LIVES, SEEDS)
def test_renewal_falls_between_60_and_70_percent_of_the_life(life: timedelta, seed: str) -> None:
    """With nothing set, the renewal is drawn from that window, whatever the seed."""
    leaf = make_leaf(life)
    whole = leaf.not_after - NOW
    instant = renewal_instant(leaf, NOW, RenewalPolicy(), seed)
    assert NOW + whole * 0.6 <= instant <= NOW + whole * 0.7


@given(SEEDS)
def test_renewal_is_drawn_once_and_for_all(seed: str) -> None:
    """The same leaf and seed give the same instant at every look."""
    leaf = make_leaf(timedelta(days=30))
    assert renewal_instant(leaf, NOW, RenewalPolicy(), seed) == renewal_instant(leaf, NOW, RenewalPolicy(), seed)


def test_renewals_of_a_fleet_are_spread() -> None:
    """A thousand hosts with one kind of certificate do not all come at once."""
    draws = sorted(draw(f"kafka{number}", "slot") for number in range(1000))
    deciles = [sum(1 for value in draws if part / 10 <= value < (part + 1) / 10) for part in range(10)]
    assert min(deciles) > 60
    assert draws[0] >= 0
    assert draws[-1] < 1


def test_life_is_counted_from_the_issue_when_the_ca_dates_back() -> None:
    """A leaf dated back by an hour, as AWS Private CA does, is not due the moment that it comes."""
    leaf = ISSUER.leaf(REQUEST, KEY, not_before=NOW - timedelta(hours=1), not_after=NOW + timedelta(hours=1))
    instant = renewal_instant(leaf, NOW, RenewalPolicy(at=0.5), "seed")
    assert instant == NOW + timedelta(minutes=30)


@pytest.mark.parametrize("issued_at", [NOW - timedelta(days=400), NOW + timedelta(days=400)])
def test_a_moment_of_issue_outside_of_the_life_counts_for_nothing(issued_at: object) -> None:
    """A clock that was wrong at the time of issue does not move the renewal."""
    leaf = make_leaf(timedelta(days=10))
    policy = RenewalPolicy(at=0.5)
    assert renewal_instant(leaf, issued_at, policy, "s") == NOW + timedelta(days=5)  # type: ignore[arg-type]


def test_a_set_span_counts_from_the_end() -> None:
    """`renew_before` names the instant outright."""
    leaf = make_leaf(timedelta(days=30))
    assert renewal_instant(leaf, NOW, RenewalPolicy(before=timedelta(days=7)), "s") == NOW + timedelta(days=23)


def test_a_span_longer_than_the_life_does_not_renew_for_ever() -> None:
    """A CA that shortens the life below `renew_before` gets its leaf renewed in the usual window."""
    leaf = make_leaf(timedelta(days=1))
    instant = renewal_instant(leaf, NOW, RenewalPolicy(before=timedelta(days=7)), "s")
    assert NOW + timedelta(days=1) * EARLIEST <= instant <= NOW + timedelta(days=1) * LATEST


@given(LIVES)
def test_the_emergency_lane_is_the_last_twentieth(life: timedelta) -> None:
    """It opens when 5 % of the life are left."""
    leaf = make_leaf(life)
    whole = leaf.not_after - NOW
    assert emergency_instant(leaf, NOW) == leaf.not_after - whole * 0.05


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=100)))
def test_the_emergency_lane_tries_every_twentieth_of_what_remains(rest: timedelta) -> None:
    """A try every min(60 s, a twentieth of what remains), a second at least."""
    delay = emergency_delay(rest)
    assert delay == max(timedelta(seconds=1), min(timedelta(seconds=60), rest / 20))


@given(
    st.integers(1, 10_000),
    st.none() | st.timedeltas(min_value=timedelta(days=-1), max_value=timedelta(days=800)),
    SEEDS,
    st.booleans(),
    st.none() | st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=30)),
)
def test_a_delay_is_never_zero_and_never_endless(
    failures: int, rest: timedelta | None, seed: str, refused: bool, retry_after: timedelta | None
) -> None:
    """Whatever happened, the next try is made, after a while, and not at leisure."""
    delay = retry_delay(failures, rest, seed, refused=refused, retry_after=retry_after)
    assert FLOOR <= delay <= max(REFUSED_CAP, CAP) * 1.5


@given(st.timedeltas(min_value=SHORTEST_WINDOW, max_value=timedelta(days=300)), SEEDS, st.booleans())
def test_at_least_ten_tries_fit_before_expiry(window: timedelta, seed: str, refused: bool) -> None:
    """From the renewal to the end of the leaf the ladder always fits ten tries."""
    passed, tries = timedelta(0), 0
    while passed < window and tries < 10:
        tries += 1
        passed += retry_delay(tries, window - passed, seed, refused=refused)
    assert tries == 10


@given(
    st.timedeltas(min_value=SHORTEST_WINDOW, max_value=timedelta(days=300)),
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=30)),
    SEEDS,
)
def test_ten_tries_fit_although_the_ca_wishes_for_long_pauses(
    window: timedelta, retry_after: timedelta, seed: str
) -> None:
    """`Retry-After` is obeyed only as far as the tries before expiry allow."""
    passed, tries = timedelta(0), 0
    while passed < window and tries < 10:
        tries += 1
        passed += retry_delay(tries, window - passed, seed, retry_after=retry_after)
    assert tries == 10


def test_retry_after_is_obeyed_while_there_is_time() -> None:
    """A CA that asks for five minutes gets five minutes when a month is left."""
    delay = retry_delay(1, timedelta(days=10), "seed", retry_after=timedelta(minutes=5))
    assert delay == timedelta(minutes=5)


def test_delays_grow_and_are_spread() -> None:
    """The ladder doubles, and two hosts do not climb it in step."""
    month = timedelta(days=30)
    middle = [sum((retry_delay(n, month, f"host{h}") for h in range(200)), timedelta()) / 200 for n in range(1, 9)]
    assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(middle))
    assert len({retry_delay(3, month, f"host{h}") for h in range(200)}) > 190


def test_a_refusal_is_asked_again_at_a_slow_pace() -> None:
    """People mend things, but not within a second."""
    assert retry_delay(1, timedelta(days=30), "s", refused=True) >= REFUSED_FIRST / 2
    assert retry_delay(1, timedelta(days=30), "s") < timedelta(seconds=2)


def test_without_a_valid_leaf_nothing_is_waited_out_at_leisure() -> None:
    """The longest pause is a minute, spread, when there is no leaf or it has expired."""
    for rest in (None, timedelta(seconds=-5)):
        assert max(retry_delay(n, rest, "s") for n in range(1, 40)) <= WITHOUT_LEAF * 1.5


@given(st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(minutes=5)), LIVES)
def test_one_call_never_takes_what_ten_need(wish: timedelta, rest: timedelta) -> None:
    """A CA that hangs costs one try, not the time of all."""
    limit = call_limit(wish, rest)
    assert timedelta(seconds=1) <= limit <= max(wish, timedelta(seconds=1))
    assert limit <= max(rest / TRIES_BEFORE_EXPIRY, timedelta(seconds=1))


def test_one_call_may_take_what_it_wishes_when_there_is_nothing_to_lose() -> None:
    """Without a valid leaf the whole time of the settings is given."""
    assert call_limit(timedelta(seconds=30), None) == timedelta(seconds=30)
    assert call_limit(timedelta(seconds=30), timedelta(seconds=-1)) == timedelta(seconds=30)
