"""Peers that were met and are named no more: waited for, and forgotten in the end."""

from __future__ import annotations

from datetime import timedelta

from agent.core.configuration import RotationPolicy
from agent.core.met import REMEMBERED, remembered, with_missing
from agent.core.rotation_record import Met
from agent.core.testimony import NOT_ASKED, Peers, Question
from agent.core.testimony import Testimony as Known
from tests.material import NOW

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
POLICY = RotationPolicy(peers=("orders-1",))
SEEN = Peers(
    (
        Known("b1", NOW),
        Known("orders-1", NOW),
        Known("node 1", NOW, is_node=True, meets=False),
        Known("b2 for want of a better name", NOW, passing=True),
    )
)


def test_who_is_found_is_noted_and_who_the_settings_name_is_not() -> None:
    """Nor is a name that stands for a broker which does not say what its listeners are called."""
    assert remembered((), SEEN, POLICY, NOW) == (Met("b1", NOW), Met("node 1", NOW, is_node=True))


def test_the_day_alone_is_noted() -> None:
    """Looks come every few minutes, and each note is an fsync."""
    before = (Met("b1", NOW - DAY + HOUR), Met("node 1", NOW - DAY, is_node=True))
    assert remembered(before, SEEN, POLICY, NOW) == (before[0], Met("node 1", NOW, is_node=True))


def test_who_is_met_no_more_is_forgotten_after_a_month() -> None:
    """A broker that was taken out of service holds up no rotation for ever; nor does a note from a wrong clock."""
    alone = Peers((Known("b1", NOW),))
    before = (Met("b0", NOW - REMEMBERED + HOUR), Met("b9", NOW - REMEMBERED), Met("b8", NOW + REMEMBERED))
    assert remembered(before, alone, POLICY, NOW) == (before[0], Met("b1", NOW))


def test_of_who_is_missing_nothing_is_known() -> None:
    """It is down, and comes back with the stores that it had; of a node its start is what is asked."""
    found = with_missing(Peers((Known("b1", NOW),)), (Met("b1", NOW), Met("b2", NOW - DAY), Met("n", NOW, True)), NOW)
    assert [one.peer for one in found.testimonies] == ["b1", "b2", "n"]
    assert [one.peer for one in found.awaited(Question.TRUSTS, "ca", NOW)] == ["b1", "b2"]
    assert [one.peer for one in found.awaited(Question.RESTARTED_FOR_LEAF, "ca", NOW)] == ["n"]
    assert [one.peer for one in found.awaited(Question.LEFT, "ca", NOW)] == ["b1", "b2"]
    (b2,) = [one for one in found.testimonies if one.peer == "b2"]
    assert b2.why == "it was met on 2026-11-23, and is named no more"


def test_before_the_first_look_nobody_is_missing() -> None:
    """That nobody was asked is what there is to say."""
    assert with_missing(NOT_ASKED, (Met("b2", NOW),), NOW) is NOT_ASKED
