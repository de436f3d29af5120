"""Which anchors may enter a truststore, and which CA each is of."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.anchors import Acceptance, Anchors, Origin, Ruling, Sighting, accepted, by_fingerprint, ca_id, source_of
from tests.material import NOW, Ca

A, B, C = (Ca.root(f"CN=Root {name}") for name in "ABC")
OLD = Ca.root("CN=Root Old", not_before=NOW - timedelta(days=2000))
YES, NO = True, False


def seen(ca: Ca, origin: Origin, accept: Acceptance | None = None, source: str = source_of("ca")) -> Sighting:
    """Return a sighting of a CA's certificate."""
    return Sighting(ca.certificate, source, origin, accept)


def ruling(ca: Ca, *, approved: bool) -> Ruling:
    """Return a person's word on a CA's certificate."""
    return Ruling(ca.certificate.fingerprint, approved, "ann", NOW)


# --- which CA it is -------------------------------------------------------------------------


def test_ca_that_is_renewed_with_its_key_is_the_same() -> None:
    """A name and a key make a CA; its dates do not."""
    renewed = Ca.root("CN=Root A", key=A.key, not_after=NOW + timedelta(days=9000))
    assert renewed.certificate.fingerprint != A.certificate.fingerprint
    assert ca_id(renewed.certificate) == ca_id(A.certificate)


def test_two_cas_of_one_name_are_two() -> None:
    """So are two names of one key."""
    assert ca_id(Ca.root("CN=Root A").certificate) != ca_id(A.certificate)
    assert ca_id(Ca.root("CN=Root Z", key=A.key).certificate) != ca_id(A.certificate)


def test_cross_signed_ca_is_the_same() -> None:
    """Who has signed a CA's certificate is not part of who it is."""
    cross = B.intermediate("CN=Root A", key=A.key)
    assert ca_id(cross.certificate) == ca_id(A.certificate)


# --- what may enter -------------------------------------------------------------------------

AUTOMATIC, ASK = Acceptance.AUTOMATIC, Acceptance.ASK


@pytest.mark.parametrize(
    ("origin", "accept", "enters"),
    [
        (Origin.FILE, None, True),
        (Origin.FILE, AUTOMATIC, True),
        (Origin.FILE, ASK, False),
        (Origin.SYSTEM, None, True),
        (Origin.SYSTEM, AUTOMATIC, True),
        (Origin.SYSTEM, ASK, False),
        (Origin.OWN, None, True),
        (Origin.OWN, AUTOMATIC, True),
        (Origin.OWN, ASK, False),
        (Origin.LISTED, None, False),
        (Origin.LISTED, AUTOMATIC, True),
        (Origin.LISTED, ASK, False),
    ],
)
def test_what_enters_hangs_on_origin_and_settings(origin: Origin, accept: Acceptance | None, enters: bool) -> None:
    """Files, the system and the issuer's own CA enter unless told to ask; what is listed asks unless told not to."""
    sighting = seen(A, origin, accept)
    assert accepted(Anchors((sighting,)), ()) == (((A.certificate,), ()) if enters else ((), (sighting,)))


@pytest.mark.parametrize("origin", list(Origin))
@pytest.mark.parametrize("accept", [None, AUTOMATIC, ASK])
@pytest.mark.parametrize("approved", [True, False])
def test_person_goes_before_everything(origin: Origin, accept: Acceptance | None, approved: bool) -> None:
    """What a person has approved enters, what they have let go neither enters nor waits, wherever it is seen."""
    found = accepted(Anchors((seen(A, origin, accept),)), [ruling(A, approved=approved)])
    assert found == (((A.certificate,), ()) if approved else ((), ()))


@pytest.mark.parametrize("accept", [None, AUTOMATIC, ASK])
def test_ca_that_an_issuer_left_behind_neither_enters_nor_waits(accept: Acceptance | None) -> None:
    """Nor does an approval from before it turned away count; one that a person gives afterwards does."""
    anchors = Anchors((seen(A, Origin.OWN), seen(OLD, Origin.LISTED, accept)))
    own, yes = ((A.certificate,), ()), ruling(OLD, approved=True)
    assert accepted(anchors, ()) == own
    since, earlier = {ca_id(OLD.certificate): yes.at}, {ca_id(OLD.certificate): yes.at - timedelta(days=1)}
    for held in ((), [OLD.certificate]):
        assert accepted(anchors, [yes], held, since) == own
        assert set(accepted(anchors, [yes], held, earlier)[0]) == {A.certificate, OLD.certificate}
        assert accepted(anchors, [], held, earlier) == own
    # Younger than the issuer's own by now, for that was renewed: it has turned away from it all the same.
    renewed = Anchors((seen(OLD, Origin.OWN), seen(A, Origin.LISTED, accept)))
    assert accepted(renewed, (), (), {ca_id(A.certificate): NOW}) == ((OLD.certificate,), ())


def test_ca_in_waiting_is_not_left_behind_when_the_own_one_is_renewed() -> None:
    """The issuer's root has a new certificate, of the same key, that is younger than the CA that was approved."""
    again = Ca.root(A.certificate.subject.rfc4514_string(), key=A.key, not_before=NOW)
    anchors = Anchors((seen(again, Origin.OWN), seen(OLD, Origin.LISTED), seen(A, Origin.LISTED)))
    taken, waiting = accepted(anchors, [ruling(OLD, approved=True)])
    assert set(taken) == {again.certificate, OLD.certificate, A.certificate}
    assert waiting == ()


def test_age_is_compared_within_one_issuer() -> None:
    """What another issuer issues under says nothing of a CA in waiting."""
    young = Ca.root("CN=Young", not_before=NOW)
    anchors = Anchors((seen(young, Origin.OWN, source=source_of("other")), seen(A, Origin.LISTED, AUTOMATIC)))
    assert set(accepted(anchors, ())[0]) == {young.certificate, A.certificate}


def test_oldest_own_is_what_counts() -> None:
    """An issuer with several certificates of its own has left behind what is older than all of them."""
    young = Ca.root("CN=Young", not_before=NOW)
    for own in ((seen(young, Origin.OWN), seen(OLD, Origin.OWN)), (seen(OLD, Origin.OWN), seen(young, Origin.OWN))):
        found = accepted(Anchors((*own, seen(A, Origin.LISTED, AUTOMATIC))), ())
        assert set(found[0]) == {young.certificate, OLD.certificate, A.certificate}
        found = accepted(
            Anchors((seen(young, Origin.OWN), seen(A, Origin.OWN), seen(OLD, Origin.LISTED, AUTOMATIC))), ()
        )
        assert set(found[0]) == {young.certificate, A.certificate}
        assert found[1] == ()


def test_one_source_that_accepts_is_enough() -> None:
    """An anchor that one source would ask about and another hands over is accepted and waits for nobody."""
    anchors = Anchors((seen(A, Origin.LISTED), seen(A, Origin.FILE, source="folder"), seen(B, Origin.LISTED)))
    taken, waiting = accepted(anchors, ())
    assert taken == (A.certificate,)
    assert [one.anchor for one in waiting] == [B.certificate]


def test_approved_anchor_stays_while_nobody_shows_it() -> None:
    """A CA that was approved and vanishes from its issuer stays until the issuer has gone on to a newer one."""
    young = Ca.root("CN=Young", not_before=NOW)
    yes, own = [ruling(young, approved=True)], Anchors((seen(A, Origin.OWN),))
    assert set(accepted(own, yes, [young.certificate])[0]) == {A.certificate, young.certificate}
    assert accepted(own, yes) == accepted(own, (), [young.certificate]) == ((A.certificate,), ())
    assert accepted(own, [ruling(young, approved=False)], [young.certificate]) == ((A.certificate,), ())
    old = [ruling(OLD, approved=True)]
    assert set(accepted(own, old, [OLD.certificate])[0]) == {A.certificate, OLD.certificate}
    assert accepted(own, old, [OLD.certificate], {ca_id(OLD.certificate): old[0].at}) == ((A.certificate,), ())
    assert accepted(Anchors(), old, [OLD.certificate]) == ((OLD.certificate,), ())


sightings = st.builds(
    Sighting,
    st.sampled_from([ca.certificate for ca in (A, B, C, OLD)]),
    st.sampled_from((source_of("ca"), "folder")),
    st.sampled_from(Origin),
    st.sampled_from((None, AUTOMATIC, ASK)),
)
rulings = st.dictionaries(st.sampled_from((A, B, C, OLD)), st.booleans()).map(
    lambda found: [ruling(ca, approved=approved) for ca, approved in found.items()]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(sightings, max_size=8), rulings)
def test_nothing_enters_that_was_not_seen_and_accepted(found: list[Sighting], said: list[Ruling]) -> None:
    """What enters was seen; what a person let go is in neither list; nothing both enters and waits."""
    taken, waiting = accepted(Anchors(tuple(found)), said)
    words = {one.fingerprint: one.approved for one in said}
    assert set(taken) <= {one.anchor for one in found}
    assert not set(taken) & {one.anchor for one in waiting}
    for anchor in taken:
        willing = [one for one in found if one.anchor == anchor and one.accept is not ASK]
        willing = [one for one in willing if one.origin is not Origin.LISTED or one.accept is AUTOMATIC]
        assert words.get(anchor.fingerprint, bool(willing))
    assert all(
        one.origin is not Origin.OWN or one.anchor in taken for one in found if words.get(one.anchor.fingerprint)
    )
    assert all(one.anchor.fingerprint not in words for one in waiting)


# --- what sources show ----------------------------------------------------------------------


def test_what_could_be_read_counts_beside_what_could_not() -> None:
    """With a source that is silent nobody knows all anchors, and those of the others are seen."""
    found = (seen(A, Origin.FILE), seen(A, Origin.SYSTEM), seen(B, Origin.FILE))
    both = by_fingerprint((B.certificate, A.certificate, A.certificate))
    assert len(both) == 2
    assert Anchors(found).anchors == Anchors(found).seen == both
    assert Anchors(found, trouble="it is not there").anchors is None
    assert Anchors(found, trouble="it is not there").seen == both
