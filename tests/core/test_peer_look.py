"""What a look at a peer says of whom it trusts and whose leaves it uses; what nothing shows is never yes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import peer_look
from agent.core.anchors import ca_id
from agent.core.evidence import Served, Verdict
from agent.core.identity import Usage
from agent.core.peer_look import PeerLook, confirm, ends_of, may_be_shown
from agent.core.testimony import Question
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.core.anchors import CaId
    from agent.core.certificate import Certificate
    from agent.core.testimony import Testimony

PROVEN, REFUTED, UNKNOWN = Verdict.PROVEN, Verdict.REFUTED, Verdict.UNKNOWN

OLD, NEW, NAMESAKE, STRANGER = Ca.root("CN=Old"), Ca.root("CN=New"), Ca.root("CN=New"), Ca.root("CN=Stranger")
ROOT = Ca.root("CN=Top")
BELOW = ROOT.intermediate("CN=Below")
OLD_ID, NEW_ID, NAMESAKE_ID, BELOW_ID = (ca_id(ca.certificate) for ca in (OLD, NEW, NAMESAKE, BELOW))
KNOWN = (OLD.certificate, NEW.certificate)


def leaf_of(ca: Ca, ends: timedelta = timedelta(days=30)) -> Certificate:
    """Have a leaf made."""
    return ca.leaf(make_request(), make_key(), not_before=NOW - timedelta(days=9), not_after=NOW + ends)


LEAVES = {ca_id(ca.certificate): leaf_of(ca) for ca in (OLD, NEW, STRANGER, BELOW)}
OLD_LEAF, NEW_LEAF, STRANGE_LEAF, LEAF_BELOW = LEAVES.values()


def names(*cas: Ca) -> frozenset[bytes]:
    """Return the names that a listener gives."""
    return frozenset(ca.certificate.subject.public_bytes() for ca in cas)


def served(
    acceptable: frozenset[bytes] | None = None,
    took: Verdict = UNKNOWN,
    chain: tuple[Certificate, ...] = (OLD_LEAF,),
) -> Served:
    """Return what a visit showed."""
    leaf = chain[0]
    return Served(
        "x", NOW, leaf.fingerprint, leaf.not_after, leaf=leaf, acceptable=acceptable, took_leaf=took, chain=chain
    )


DOWN = Served("x", NOW, None, trouble="nothing listens there", is_down=True)


def told(
    *looks: Served | tuple[CaId | None, Served],
    asks: bool | None = None,
    is_inter_broker: bool = False,
    anchors: Iterable[Certificate] = KNOWN,
    is_broker: bool = False,
) -> Testimony:
    """Return the testimony of a look, in which nothing was shown unless a CA is said."""
    visits = tuple(one if isinstance(one, tuple) else (None, one) for one in looks)
    look = PeerLook("kafka2:9093 (node 2 TLS)", NOW, asks, is_inter_broker, visits)
    return peer_look.as_testimony(look, tuple(anchors), NOW, is_broker=is_broker)


# --- whom it trusts -------------------------------------------------------------------------


def test_names_tell_of_every_root_that_is_known() -> None:
    """What a listener names it takes leaves of; a root that it does not name it takes none of."""
    both = told(served(names(OLD, NEW)))
    assert both.trusts == {OLD_ID: PROVEN, NEW_ID: PROVEN}
    old = told(served(names(OLD)))
    assert old.trusts == {OLD_ID: PROVEN, NEW_ID: REFUTED}
    assert old.meets
    assert old.answer(Question.TRUSTS, NEW_ID) is REFUTED


def test_empty_list_of_names_says_nothing() -> None:
    """A listener that names none asks for any certificate, and who is taken does not show."""
    testimony = told(served(frozenset()))
    assert (testimony.meets, testimony.trusts) == (True, {})
    assert testimony.answer(Question.TRUSTS, OLD_ID) is UNKNOWN


def test_namesakes_are_told_apart_by_a_leaf_alone() -> None:
    """Two CAs of one name: the name proves neither, a leaf that is taken proves its own."""
    anchors = (*KNOWN, NAMESAKE.certificate)
    by_name = told(served(names(OLD, NEW)), anchors=anchors)
    assert by_name.trusts == {OLD_ID: PROVEN}
    taken = told((NEW_ID, served(names(OLD, NEW), PROVEN)), anchors=anchors)
    assert taken.trusts == {OLD_ID: PROVEN, NEW_ID: PROVEN}
    neither = told(served(names(OLD)), anchors=anchors)
    assert neither.trusts == {OLD_ID: PROVEN, NEW_ID: REFUTED, NAMESAKE_ID: REFUTED}


def test_renewed_certificate_of_one_key_is_no_namesake() -> None:
    """A CA's certificate that is renewed with the same key is the same CA."""
    renewed = Ca.root("CN=New", key=NEW.key, not_after=NOW + timedelta(days=9000))
    assert told(served(names(NEW)), anchors=(NEW.certificate, renewed.certificate)).trusts == {NEW_ID: PROVEN}


def test_leaf_that_was_shown_goes_before_the_names() -> None:
    """A leaf that is taken proves its CA though it is not named; one that is refused refutes it though it is."""
    taken = told((NEW_ID, served(names(OLD), PROVEN)))
    assert taken.trusts == {OLD_ID: PROVEN, NEW_ID: PROVEN}
    refused = told((NEW_ID, served(names(OLD, NEW), REFUTED)))
    assert refused.trusts == {OLD_ID: PROVEN, NEW_ID: REFUTED}
    assert refused.why == "it has refused a leaf of CN=New, though it names that CA as acceptable: its log tells why"
    assert told((NEW_ID, served(names(OLD), REFUTED))).why == "it has refused a leaf of CN=New"


def test_intermediate_that_is_not_named_may_be_trusted_through_its_root() -> None:
    """Of a CA that another CA has issued nothing follows from a name that is not there."""
    assert told(served(names(ROOT)), anchors=(BELOW.certificate, NEW.certificate)).trusts == {NEW_ID: REFUTED}
    assert told(served(names(BELOW)), anchors=(BELOW.certificate,)).trusts == {BELOW_ID: PROVEN}
    crossed = OLD.intermediate("CN=New", key=NEW.key).certificate
    for anchors in ((NEW.certificate, crossed), (crossed, NEW.certificate)):
        assert told(served(names(STRANGER)), anchors=anchors).trusts == {}


def test_visits_that_differ_prove_nothing() -> None:
    """Each thread of a broker has its own stores: what one of them does not take is not taken."""
    assert told(served(names(OLD)), served(names(OLD, NEW))).trusts == {OLD_ID: PROVEN, NEW_ID: REFUTED}
    half = told(served(names(BELOW)), served(names(ROOT)), anchors=(BELOW.certificate,))
    assert half.trusts == {}
    looks = [(NEW_ID, served(names(OLD, NEW), took)) for took in (PROVEN, REFUTED)]
    assert told(*looks).trusts[NEW_ID] is told(*reversed(looks)).trusts[NEW_ID] is REFUTED


@pytest.mark.parametrize("asks", [None, False])
def test_listener_that_asks_for_nothing_meets_no_client(asks: bool | None) -> None:
    """Nobody there looks at our leaf, so that it blocks nothing; the leaf that it serves counts all the same."""
    testimony = told(served(), asks=asks)
    assert (testimony.meets, testimony.trusts) == (False, {})
    assert testimony.answer(Question.TRUSTS, NEW_ID) is PROVEN
    assert testimony.uses == frozenset({OLD_ID})


def test_broker_behind_a_listener_that_asks_for_nothing_is_vouched_for_by_a_person() -> None:
    """It meets our leaf as a client, and what it trusts then cannot be seen; at another listener it does not."""
    testimony = told(served(), asks=False, is_inter_broker=True, is_broker=True)
    assert (testimony.meets, testimony.trusts) == (True, {})
    assert "`cert-agent ca confirm 'kafka2:9093 (node 2 TLS)'`" in testimony.why
    assert told(served(), asks=False, is_inter_broker=False, is_broker=True).meets is False
    assert told(served(), asks=False, is_inter_broker=True, is_broker=False).meets is False


def test_what_a_listener_does_goes_before_what_it_is_configured_to() -> None:
    """One that asks although it should not meets our leaf; one that does not although it should is not known."""
    assert told(served(names(OLD)), asks=False).trusts == {OLD_ID: PROVEN, NEW_ID: REFUTED}
    silent = told(served(), asks=True)
    assert (silent.meets, silent.trusts) == (True, {})
    assert silent.why == "it is configured to ask for certificates, and has asked for none"


def test_listener_that_is_down_says_nothing() -> None:
    """Whom it trusts and what it uses is as unknown as what it will do when it is up again."""
    testimony = told((OLD_ID, DOWN), asks=True)
    assert (testimony.meets, testimony.trusts, testimony.uses) == (True, {}, None)
    assert testimony.why == "nothing listens there"
    assert testimony.answer(Question.LEFT, NEW_ID) is UNKNOWN
    assert told(DOWN, asks=False).meets is False
    assert told(DOWN, asks=None).meets is True


# --- whose leaves it uses -------------------------------------------------------------------


def test_leaf_that_is_served_tells_its_ca() -> None:
    """The CA of a leaf in use is not to leave, and any other one may."""
    testimony = told(served(chain=(NEW_LEAF,)))
    assert testimony.uses == frozenset({NEW_ID})
    assert testimony.answer(Question.LEFT, NEW_ID) is REFUTED
    assert testimony.answer(Question.LEFT, OLD_ID) is PROVEN


def test_leaf_is_led_to_its_root_by_the_chain_that_is_served() -> None:
    """An intermediate comes with the leaf; where it does not, the root alone verifies nothing."""
    anchors = (ROOT.certificate, OLD.certificate)
    assert told(served(chain=(LEAF_BELOW, BELOW.certificate)), anchors=anchors).uses == frozenset(
        {ca_id(ROOT.certificate)}
    )
    alone = told(served(chain=(LEAF_BELOW,)), anchors=anchors)
    assert (alone.uses, alone.ahead) == (None, "CN=Below")


def test_cross_signed_leaf_is_of_both_cas() -> None:
    """Whoever trusts one of them alone verifies by it, so neither is left while the chain leads to both."""
    crossed = OLD.intermediate("CN=New", key=NEW.key)
    assert told(served(chain=(NEW_LEAF, crossed.certificate))).uses == frozenset({OLD_ID, NEW_ID})


def test_cross_signed_leaf_needs_no_ca_that_goes_where_the_other_stays() -> None:
    """Or no old root would ever leave whose CA had signed for the new one."""
    crossed = OLD.intermediate("CN=New", key=NEW.key)
    look = PeerLook("x", NOW, looks=((None, served(chain=(NEW_LEAF, crossed.certificate))),))
    for staying, uses in (({NEW_ID}, {NEW_ID}), ({OLD_ID}, {OLD_ID}), (set(), {OLD_ID, NEW_ID})):
        told = peer_look.as_testimony(look, KNOWN, NOW, is_broker=False, staying=frozenset(staying))
        assert told.uses == frozenset(uses)


def test_who_takes_a_chain_of_two_cas_trusts_one_of_them() -> None:
    """Which one nobody knows; the names that it gives tell of the chain too, where nothing was seen of the leaf."""
    crossed = OLD.intermediate("CN=New", key=NEW.key)
    ends = ends_of((NEW_LEAF, crossed.certificate), KNOWN)
    assert ends is not None
    for acceptable, took, verdict in (
        (names(STRANGER), PROVEN, PROVEN),
        (names(OLD), UNKNOWN, PROVEN),
        (names(STRANGER), UNKNOWN, REFUTED),
        (names(OLD, NEW), REFUTED, REFUTED),
        (frozenset(), UNKNOWN, None),
    ):
        look = PeerLook("x", NOW, looks=((ends[0], served(acceptable, took)),), ends={ends[0]: ends[1]})
        told = peer_look.as_testimony(look, KNOWN, NOW, is_broker=False)
        assert told.trusts.get(ends[0]) is verdict
        assert told.trusts.get(NEW_ID) is (PROVEN if acceptable == names(OLD, NEW) else REFUTED if acceptable else None)


def test_leaf_that_is_trusted_itself_is_its_own_ca() -> None:
    """A truststore may hold the very certificate that a host serves."""
    alone = leaf_of(STRANGER)
    assert told(served(chain=(alone,)), anchors=(alone,)).uses == frozenset({ca_id(alone)})


def test_leaves_of_two_threads_are_both_in_use() -> None:
    """A broker that goes over from one leaf to the other serves both for a while."""
    assert told(served(chain=(OLD_LEAF,)), served(chain=(NEW_LEAF,))).uses == frozenset({OLD_ID, NEW_ID})
    assert told(served(chain=(OLD_LEAF,)), served(chain=(STRANGE_LEAF,))).uses is None


def test_peer_that_is_ahead_is_told_with_its_ca() -> None:
    """Its leaf is of a CA that nobody here knows, be it one of the same name as another."""
    testimony = told(served(chain=(STRANGE_LEAF,)))
    assert (testimony.uses, testimony.ahead) == (None, "CN=Stranger")
    assert testimony.why == "what it serves is of CN=Stranger, which is not known here"
    assert told(served(chain=(NEW_LEAF,)), anchors=(NAMESAKE.certificate,)).ahead == "CN=New"


def test_listener_that_no_broker_meets_is_ahead_of_none() -> None:
    """Clients may be served a leaf of a CA that brokers need not know."""
    outside = told(served(chain=(STRANGE_LEAF,)), is_broker=True)
    assert (outside.uses, outside.ahead) == (None, "")
    assert told(served(chain=(STRANGE_LEAF,)), is_broker=True, is_inter_broker=True).ahead == "CN=Stranger"


def test_leaf_that_is_expired_or_does_not_verify_is_of_no_ca_ahead() -> None:
    """Nothing says then that a new CA is in use there, and nothing that the old one is not."""
    old = leaf_of(OLD, -timedelta(days=1))
    expired = told(served(chain=(old,)))
    assert (expired.uses, expired.ahead) == (None, "")
    assert "expired at 2026-11-23T12:00:00+00:00" in expired.why
    ended = Ca.root("CN=Old", key=OLD.key, not_after=NOW - timedelta(hours=1))
    invalid = told(served(), anchors=(ended.certificate,))
    assert (invalid.uses, invalid.ahead) == (None, "")
    assert "what it serves does not verify: CN=Old expired" in invalid.why


def test_leaf_that_cannot_be_read_is_of_no_known_ca() -> None:
    """It is served, and what it is nobody knows."""
    unreadable = Served("x", NOW, "ff", trouble="what it serves is not a certificate that can be read")
    testimony = told(unreadable)
    assert (testimony.uses, testimony.meets) == (None, False)
    assert testimony.why == unreadable.trouble


# --- other peers, and what is shown ---------------------------------------------------------


def test_node_is_asked_for_its_process_alone() -> None:
    """It meets no leaf and serves none; when its process was started goes along."""
    node = peer_look.as_testimony(PeerLook("node 2", NOW, is_node=True, started_at=NOW), (), NOW, is_broker=True)
    assert (node.is_node, node.meets, node.uses, node.started_at) == (True, False, frozenset(), NOW)
    assert node.answer(Question.RESTARTED_FOR_ANCHOR, NEW_ID) is UNKNOWN
    assert node.answer(Question.LEFT, NEW_ID) is PROVEN


def test_what_a_leaf_that_is_shown_leads_to_is_all_that_it_verifies_by() -> None:
    """Whatever its dates are; of a leaf of nobody that is known it is nothing."""
    anchors = (ROOT.certificate, OLD.certificate)
    assert ends_of((LEAF_BELOW, BELOW.certificate), anchors) == (
        ca_id(ROOT.certificate),
        frozenset({ca_id(ROOT.certificate)}),
    )
    assert ends_of((OLD_LEAF,), anchors) == (OLD_ID, frozenset({OLD_ID}))
    assert ends_of((STRANGE_LEAF,), anchors) is None
    both = ends_of((LEAF_BELOW, BELOW.certificate), (*anchors, BELOW.certificate))
    assert both is not None
    assert both[1] == {ca_id(ROOT.certificate), ca_id(BELOW.certificate)}
    assert both[0] not in both[1]


def test_leaf_that_nobody_would_take_of_a_client_is_not_shown() -> None:
    """A server's alone, or one out of its time, is refused whoever trusts its CA."""
    servers = OLD.leaf(make_request(usages=frozenset({Usage.SERVER})), make_key())
    anybodys = OLD.leaf(make_request(usages=frozenset()), make_key())
    shown = [may_be_shown(leaf, NOW) for leaf in (OLD_LEAF, anybodys, servers)]
    assert shown == [True, True, False]
    assert not may_be_shown(OLD_LEAF, NOW + timedelta(days=60))


def test_command_is_whole_in_a_shell_whatever_the_peer_is_called() -> None:
    """A broker says itself what it is called."""
    assert confirm("host") == "`cert-agent ca confirm host`"
    assert confirm("a'; rm -rf / #") == """`cert-agent ca confirm 'a'"'"'; rm -rf / #'`"""


# --- laws -----------------------------------------------------------------------------------

CAS = (OLD, NEW, NAMESAKE, STRANGER, BELOW, ROOT)
IDS = [ca_id(ca.certificate) for ca in CAS]
ACCEPTABLE = st.none() | st.frozensets(st.sampled_from(CAS)).map(lambda cas: names(*cas))
VISITS = st.lists(
    st.tuples(
        st.none() | st.sampled_from(IDS),
        st.just(DOWN)
        | st.builds(served, ACCEPTABLE, st.sampled_from(Verdict), st.sampled_from([(one,) for one in LEAVES.values()])),
    ),
    max_size=3,
)


@given(VISITS, st.none() | st.booleans(), st.booleans(), st.booleans(), st.sets(st.sampled_from(CAS)))
def test_nothing_is_proven_that_nothing_shows(
    visits: list[tuple[CaId | None, Served]],
    asks: bool | None,
    is_inter_broker: bool,
    is_broker: bool,
    known: set[Ca],
) -> None:
    """A CA is trusted only where its leaf was taken or its name alone stood there, and by no visit against it."""
    testimony = told(
        *visits,
        asks=asks,
        is_inter_broker=is_inter_broker,
        is_broker=is_broker,
        anchors=[ca.certificate for ca in known],
    )
    for ca in CAS:
        key, name = ca_id(ca.certificate), ca.certificate.subject.public_bytes()
        took = {one.took_leaf for shown, one in visits if shown == key} - {UNKNOWN}
        named = [name in one.acceptable for _, one in visits if one.acceptable]
        is_alone = ca in known and sum(other.certificate.subject == ca.certificate.subject for other in known) == 1
        if testimony.trusts.get(key) is PROVEN:
            assert took == {PROVEN} or (not took and is_alone and named and all(named))
        if not testimony.meets:
            assert not any(one.acceptable is not None for _, one in visits)
            assert not (is_broker and is_inter_broker)
    if testimony.uses is not None:
        served_by = {shown for shown, leaf in LEAVES.items() if any(one.leaf == leaf for _, one in visits)}
        assert testimony.uses == frozenset(served_by)
        assert served_by
