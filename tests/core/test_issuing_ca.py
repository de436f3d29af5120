"""Which CAs a chain is of: one in the fewest steps, all that it verifies by, and those that it needs."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from agent.core.anchors import ca_id
from agent.core.issuing_ca import ca_of, leads_to, names_of, needed
from tests.material import NOW, Ca, make_key, make_request

OLD = Ca.root("CN=Old Root")
NEW = Ca.root("CN=New Root")
CROSSED = OLD.intermediate("CN=New Root", key=NEW.key)
"""The new root's key and name, signed by the old root."""
BELOW = NEW.intermediate("CN=Below")
LEAF = BELOW.leaf(make_request(), make_key())
OLD_ID, NEW_ID, BELOW_ID = (ca_id(one.certificate) for one in (OLD, NEW, BELOW))


def test_a_cross_signed_ca_counts_as_itself() -> None:
    """The old root is two steps away, and whoever trusts it alone takes the leaf all the same."""
    chain, known = (LEAF, BELOW.certificate, CROSSED.certificate), (OLD.certificate, NEW.certificate)
    assert ca_of(chain, known) == NEW_ID
    assert leads_to(chain, known) == {OLD_ID, NEW_ID}
    assert ca_of(chain, (OLD.certificate,)) == OLD_ID


def test_an_intermediate_ca_that_is_an_anchor_is_nearer_than_its_root() -> None:
    """Peers that stop there know nothing of the root."""
    known = (NEW.certificate, BELOW.certificate)
    assert ca_of((LEAF, BELOW.certificate), known) == BELOW_ID
    assert leads_to((LEAF, BELOW.certificate), known) == {NEW_ID, BELOW_ID}


def test_a_leaf_of_nobody_that_is_known_is_of_a_ca_by_its_name() -> None:
    """Two of them under one name are one, and none that is known."""
    stranger, again = (Ca.root("CN=Stranger").leaf(make_request(), make_key()) for _ in range(2))
    assert ca_of((stranger,), (OLD.certificate,)) == ca_of((again,), ()) not in {OLD_ID, NEW_ID}


def test_an_expired_leaf_and_one_that_is_older_than_its_ca_are_of_it_too() -> None:
    """AWS dates a leaf an hour back, Vault half a minute."""
    young = Ca.root("CN=Young", not_before=NOW)
    hour, day = timedelta(hours=1), timedelta(days=1)
    back = young.leaf(make_request(), make_key(), not_before=NOW - hour, not_after=NOW + day)
    gone = OLD.leaf(make_request(), make_key(), not_before=NOW - 40 * day, not_after=NOW - 9 * day)
    assert ca_of((back,), (young.certificate,)) == ca_id(young.certificate)
    assert ca_of((gone,), (OLD.certificate,)) == OLD_ID


def test_two_cas_of_one_name_are_told_apart_in_words() -> None:
    """By their fingerprints; a name that is there once needs none."""
    twin = Ca.root("CN=Old Root").certificate
    names = names_of((OLD.certificate, NEW.certificate, twin))
    assert names[OLD_ID] == f"CN=Old Root ({OLD.certificate.fingerprint[:16]})"
    assert names[ca_id(twin)] == f"CN=Old Root ({twin.fingerprint[:16]})"
    assert names[NEW_ID] == "CN=New Root"


IDS = st.frozensets(st.sampled_from("abcd"), max_size=4)


@given(IDS, IDS)
def test_what_a_leaf_needs_keeps_it_trusted(cas: frozenset[str], staying: frozenset[str]) -> None:
    """Letting go what it does not need leaves it an anchor, if it had one; with one that stays it needs no other."""
    need = needed(cas, staying)
    assert need <= cas
    assert bool(need) == bool(cas)
    for gone in cas - need:
        assert cas - {gone}
    if cas & staying:
        assert len(need) == 1
        assert need <= staying
    else:
        assert need == cas
