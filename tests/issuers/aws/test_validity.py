"""How long a leaf is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.issuer_spec import NearEnd
from agent.errors import IssuerRefusedError
from agent.issuers.aws.validity import SHORT_LIVED, Validity, validity
from tests.material import NOW

DAY = timedelta(days=1)
FAR = NOW + 3650 * DAY


def asked(lifetime: timedelta, end: datetime | None = FAR, *, short_lived: bool = False) -> Validity:
    """Return what is asked for of a CA that shortens."""
    return validity(lifetime, NOW, end, NearEnd.SHORTEN, short_lived=short_lived)


def test_whole_days_are_asked_for_as_days() -> None:
    """As the guides do it, and the same at each repeated call."""
    assert asked(30 * DAY) == Validity("DAYS", 30)
    assert asked(30 * DAY).parameter() == {"Type": "DAYS", "Value": 30}


@pytest.mark.parametrize("lifetime", [timedelta(hours=1), timedelta(hours=23, minutes=59), timedelta(days=1, hours=12)])
def test_parts_of_a_day_are_asked_for_as_an_instant(lifetime: timedelta) -> None:
    """Hours cut down to days would be none, or too few."""
    assert asked(lifetime) == Validity("ABSOLUTE", int((NOW + lifetime).timestamp()))


def test_the_ca_s_end_shortens_and_is_remarked_on() -> None:
    """A child may not outlive its CA."""
    end = NOW + 10 * DAY
    wanted = asked(30 * DAY, end)
    assert (wanted.kind, wanted.value) == ("ABSOLUTE", int(end.timestamp()) - 1)
    assert "the CA itself ends at" in wanted.remarks[0]


def test_a_short_lived_ca_gives_a_week() -> None:
    """The mode SHORT_LIVED_CERTIFICATE refuses more."""
    wanted = asked(30 * DAY, short_lived=True)
    assert (wanted.kind, wanted.value) == ("DAYS", 7)
    assert "seven days" in wanted.remarks[0]
    assert asked(SHORT_LIVED, short_lived=True).remarks == ()


def test_both_bounds_at_once_take_the_nearer() -> None:
    """A short-lived CA that ends within the week."""
    wanted = asked(30 * DAY, NOW + 3 * DAY, short_lived=True)
    assert (wanted.kind, wanted.value) == ("ABSOLUTE", int((NOW + 3 * DAY).timestamp()) - 1)


@pytest.mark.parametrize(("end", "short_lived"), [(NOW + 10 * DAY, False), (FAR, True)])
def test_a_person_may_have_it_refused(end: datetime, short_lived: bool) -> None:
    """`near_end: refuse` asks for nothing that is not what was wanted."""
    with pytest.raises(IssuerRefusedError, match="30 days are wanted") as caught:
        validity(30 * DAY, NOW, end, NearEnd.REFUSE, short_lived=short_lived)
    assert caught.value.reason == "authority"


def test_a_ca_that_has_ended_is_not_asked() -> None:
    """The advice names what to do."""
    with pytest.raises(IssuerRefusedError, match="ended at"):
        asked(DAY, NOW)


@given(
    st.timedeltas(timedelta(seconds=1), timedelta(days=4000)),
    st.timedeltas(timedelta(minutes=1), timedelta(days=4000)),
    st.booleans(),
)
def test_no_leaf_outlives_its_ca_or_is_asked_for_nothing(
    lifetime: timedelta, left: timedelta, short_lived: bool
) -> None:
    """Whatever is wanted: at least a second, never past the CA's end, and no longer than was wanted by a second."""
    wanted = asked(lifetime, NOW + left, short_lived=short_lived)
    end = NOW + wanted.value * DAY if wanted.kind == "DAYS" else datetime.fromtimestamp(wanted.value, UTC)
    assert NOW < end <= NOW + left
    assert end <= NOW + lifetime + timedelta(seconds=1)
    assert wanted.kind == "ABSOLUTE" or wanted.value >= 1
