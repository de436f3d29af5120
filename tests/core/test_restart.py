"""What only a restart of the broker brings into use: since when, by when, and what meets it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from agent.core.record import Record, Tries
from agent.core.restart import RestartDue
from tests.material import NOW

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
DUE = RestartDue(2, NOW, NOW + 5 * DAY, "why")
WHOLE = replace(DUE, whole=True)
LATER = RestartDue(3, NOW + DAY, NOW + 9 * DAY, "later")

MOMENTS = st.timedeltas(timedelta(0), 30 * DAY).map(lambda span: NOW + span)
DUES = st.builds(RestartDue, st.integers(1, 5), MOMENTS, MOMENTS, st.just("why"), st.booleans())


def test_a_process_that_was_started_later_has_read_what_changed() -> None:
    """One of the same instant may have been a moment too early, and of one that nobody sees nothing is known."""
    assert DUE.is_met_by(NOW + SECOND)
    assert not DUE.is_met_by(NOW)
    assert not DUE.is_met_by(NOW - SECOND)
    assert not DUE.is_met_by(None)


def test_what_was_never_met_keeps_its_date() -> None:
    """The process has loaded the oldest of all, and that ends first."""
    both = LATER.after(DUE)
    assert (both.generation, both.since, both.by, both.why) == (3, LATER.since, DUE.by, "later")
    assert both.before == DUE
    assert LATER.after(None) == LATER


def test_a_generation_is_kept_out_by_its_own_due_alone() -> None:
    """What an earlier one waits for is no reason to wait with a later one, which the process may take."""
    assert WHOLE.keeps_out(2)
    assert not WHOLE.keeps_out(3)
    assert not DUE.keeps_out(2)


def test_a_proof_ends_what_kept_a_generation_out_and_leaves_the_raft_client_s() -> None:
    """It is in use; what the Raft client has is another matter."""
    assert DUE.proven() == DUE
    assert WHOLE.proven() is None
    assert replace(LATER, whole=True).after(DUE).proven() == DUE
    assert LATER.after(WHOLE).proven() == replace(LATER, by=DUE.by)


@given(st.lists(DUES, min_size=1, max_size=4))
def test_the_first_end_of_all_is_the_date(dues: list[RestartDue]) -> None:
    """However many changes went unmet; and a proof never makes the date later while anything is due."""
    due: RestartDue | None = None
    for one in dues:
        due = one.after(due)
    assert due is not None
    assert due.by == min(one.by for one in dues)
    left = due.proven()
    assert left is None or left.before is None
    assert due.whole or left == replace(due, before=None)


# --- in the notes ------------------------------------------------------------------------------


def test_a_switch_notes_what_is_due_from_its_own_moment() -> None:
    """The judgement was earlier, and a process that was started between the two has not read it."""
    record = Record().needing_restart(DUE, NOW + SECOND)
    assert record.restart == replace(DUE, since=NOW + SECOND)
    assert record.needing_restart(None, NOW + DAY) == record
    again = record.needing_restart(LATER, NOW + DAY).restart
    assert again is not None
    assert again.before == record.restart


def test_a_roll_back_takes_its_own_due_along_and_no_other() -> None:
    """What was due before it is due again."""
    record = Record().needing_restart(DUE, NOW)
    assert record.rolled_back(2, Tries()).restart is None
    assert record.rolled_back(3, Tries()).restart == DUE
    assert record.needing_restart(LATER, LATER.since).rolled_back(3, Tries()).restart == DUE
    assert Record().rolled_back(2, Tries()).restart is None


def test_a_settled_generation_waits_for_nothing() -> None:
    """It is in use; the Raft client may wait still."""
    assert replace(Record(), restart=WHOLE).settled_at(2).restart is None
    assert replace(Record(), restart=DUE).settled_at(2).restart == DUE
    assert Record().settled_at(2).restart is None


def test_the_word_of_the_restart_command_counts_where_nobody_can_see_the_process() -> None:
    """Where its start can be seen, what is due stays until it is."""
    record = Record(restart=DUE, settling=Tries(3))
    seen, unseen = (record.started_anew(2, in_sight=in_sight) for in_sight in (True, False))
    assert (seen.restart, seen.restarted, seen.reloaded, seen.settling) == (DUE, 2, 2, Tries())
    assert unseen == replace(seen, restart=None)
