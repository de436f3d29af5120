"""What is told of an identity and of the agent."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.core.evidence import Served, Verdict
from agent.core.generation import Cause, Damage, FileDamage, Pending
from agent.core.plan import decide
from agent.core.record import Failure, Lane, Record, Tries
from agent.core.report import blinded, report, unseen
from agent.core.secret import Secret
from agent.core.situation import Anchors, Observed
from agent.core.status import AgentStatus, Counts, Health, IdentityStatus
from tests.core.test_plan import (
    ANSWERED,
    DEAF,
    DOWN,
    DUE,
    EXPIRED,
    FIRST,
    LINK,
    OPEN,
    REQUEST,
    SECOND,
    generation,
    observed,
)
from tests.daemon.world import ADDRESS, WANTED
from tests.material import NOW, make_key

FAILED = Tries(3, NOW, Failure("it broke", "mend it", NOW))


def told(seen: Observed, findings: tuple[str, ...] = ()) -> IdentityStatus:
    """Return the status of what is seen."""
    return report(seen, WANTED, decide(seen, WANTED, NOW), NOW, findings=findings, counts=Counts())


def test_a_good_identity_is_ready() -> None:
    """Nothing is wrong, nothing is to be looked at."""
    status = told(observed(SECOND))
    assert (status.health, status.not_ready, status.concerns) == (Health.PASS, (), ())
    assert status.settled
    assert status.listeners[0].verdict is Verdict.PROVEN
    assert [file.trouble for file in status.files] == ["", "", ""]
    assert status.leaf == status.issued == SECOND.leaf
    assert status.renew_at is not None
    assert status.emergency_at is not None
    assert status.renew_at < status.emergency_at


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        (observed(None), "no certificate yet"),
        (observed(None, trouble="the manifest cannot be read"), "manifest"),
        (observed(generation(1, EXPIRED)), "expired at"),
        (
            observed(generation(1, LINK.leaf(REQUEST, make_key(), not_before=NOW + timedelta(days=1)))),
            "valid from",
        ),
        (
            observed(generation(1, LINK.leaf(REQUEST, make_key(), not_before=NOW - timedelta(days=29)))),
            "renewed long ago",
        ),
        (observed(SECOND, key=None), "private key is lost"),
        (observed(SECOND, damages=(FileDamage("tls.crt", Damage.MISSING),)), "tls.crt is missing"),
        (observed(SECOND, Record(settling=FAILED)), "could not be told"),
        (observed(SECOND, served=DEAF), "serves another leaf"),
        (observed(SECOND, served=DOWN), "connection refused"),
        (observed(SECOND, served={}), "not looked at yet"),
    ],
)
def test_what_keeps_an_identity_from_being_ready_is_named(seen: Observed, word: str) -> None:
    """Each reason is a sentence, and the health is a failure."""
    status = told(seen)
    assert status.health is Health.FAIL
    assert any(word in why for why in status.not_ready), status.not_ready


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        (observed(SECOND, Record(2, 2, issuing=FAILED)), "issuing failed 3 times in a row: it broke (mend it)"),
        (observed(FIRST, Record(1, 1, refuted=2), kept=(SECOND,)), "rolled back from"),
        (observed(generation(1, DUE), Record(1, 1, held_leaf=DUE.fingerprint)), "person rolled back"),
        (observed(SECOND, damages=(FileDamage("ca.crt", Damage.EDITED_TRUSTSTORE),)), "edited by hand"),
        (observed(SECOND, trust=Anchors(None, "gone")), "source of trust cannot be read: gone"),
        (observed(SECOND, peer_trust=Anchors(None, "gone")), "what the peers trust"),
    ],
)
def test_what_a_person_should_look_at_is_named(seen: Observed, word: str) -> None:
    """The identity is ready, and there is something to see to."""
    status = told(seen)
    assert status.health is Health.WARN
    assert any(word in concern for concern in status.concerns), status.concerns


def test_a_refuted_candidate_is_named() -> None:
    """The findings of the last proof are part of the status."""
    status = told(observed(SECOND), ("dates: too old",))
    assert status.findings == ("dates: too old",)
    assert "a candidate was refuted: dates: too old" in status.concerns


def test_an_issued_leaf_is_told_before_it_is_current() -> None:
    """Issued, on disk and served are three facts."""
    status = told(observed(generation(1, DUE), pending=ANSWERED))
    assert ANSWERED.issued is not None
    assert status.issued == ANSWERED.issued.certificates[0]
    assert status.leaf == DUE
    assert isinstance(ANSWERED, Pending)


def test_a_generation_that_is_not_settled_is_told_so() -> None:
    """The reload may have succeeded, and the proof be open."""
    assert not told(observed(SECOND, OPEN)).settled


def test_one_that_was_not_looked_at_is_not_ready() -> None:
    """Silence is no health."""
    assert unseen(WANTED).not_ready == ("not looked at yet",)


@pytest.mark.parametrize("advice", ["", "see to the disk"])
def test_one_that_cannot_be_seen_is_not_ready(advice: str) -> None:
    """The last status stands, and that it cannot be read stands above it."""
    status = blinded(told(observed(SECOND)), Failure("EIO", advice, NOW))
    assert status.health is Health.FAIL
    assert "EIO" in status.not_ready[0]
    assert advice in status.sentence
    assert status.leaf == SECOND.leaf


@pytest.mark.parametrize(
    ("healths", "turning", "health"),
    [
        ([Health.PASS, Health.PASS], True, Health.PASS),
        ([Health.PASS, Health.WARN], True, Health.WARN),
        ([Health.FAIL, Health.WARN], True, Health.FAIL),
        ([Health.PASS], False, Health.FAIL),
        ([], True, Health.PASS),
    ],
)
def test_the_agent_is_as_well_as_its_worst_identity(healths: list[Health], health: Health, *, turning: bool) -> None:
    """An agent whose loop does not turn has failed, whatever its identities were."""
    identities = tuple(replace(unseen(WANTED), health=one, not_ready=()) for one in healths)
    status = AgentStatus("0", "host", "x.yaml", NOW, NOW, turning, identities)
    assert status.health is health
    assert status.ready is turning


def test_every_lane_keeps_its_own_tries() -> None:
    """What fails in one lane says nothing of another."""
    record = Record()
    for lane in Lane:
        record = record.with_tries(lane, replace(FAILED, count=len(lane)))
    assert [record.tries(lane).count for lane in Lane] == [len(lane) for lane in Lane]
    status = told(replace(observed(SECOND), record=replace(record, reloaded=2, settled=2)))
    assert set(status.tries) == set(map(str, Lane))


def test_notes_follow_what_happens() -> None:
    """A switch opens reload and proof, a settled generation closes them, a new leaf ends what was refuted."""
    record = Record(1, 1, refuted=2, demanded=True, held_leaf="x", issuing=FAILED, switching=FAILED)
    switched = record.switched(generation(3))
    assert switched == Record()
    files = record.switched(replace(generation(3), cause=Cause.FILES))
    assert (files.settled, files.refuted, files.demanded) == (None, 2, True)
    assert record.returned(1).settled == 1
    assert record.returned(4).settled is None
    assert record.settled_at(2).refuted is None
    assert record.settled_at(1).refuted == 2
    assert record.rolled_back(7, FAILED).refuted == 7


def test_a_look_without_a_handshake_is_unknown() -> None:
    """Unknown never counts as yes."""
    assert Served(ADDRESS, NOW, None).verdict("ab") is Verdict.UNKNOWN
    assert Served(ADDRESS, NOW, "ab").verdict("ab") is Verdict.PROVEN
    assert Served(ADDRESS, NOW, "cd").verdict("ab") is Verdict.REFUTED


def test_a_secret_is_named_by_its_place() -> None:
    """The value is in no setting, so no message can hold it."""
    assert str(Secret(environment="TOKEN")) == "$TOKEN"
    assert "token" in str(Secret(file=WANTED.directory / "token"))
