"""What an identity should be, and every way in which a leaf can differ from it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from agent.core.certificate import Sans
from agent.core.identity import KeyAlgorithm, Mismatch, Request, Usage, mismatches
from tests.material import BOTH, Ca, make_key, make_request

CA = Ca.root()
LABELS = st.text("abcdefghij", min_size=1, max_size=8)
REQUESTS = st.builds(
    Request,
    subject=LABELS.map(lambda name: x509.Name.from_rfc4514_string(f"CN={name},OU=Brokers")),
    sans=st.builds(
        Sans.of,
        dns=st.lists(LABELS).map(tuple),
        ip=st.lists(st.ip_addresses().map(str)).map(tuple),
        uri=st.lists(LABELS.map(lambda name: f"spiffe://{name}")).map(tuple),
    ),
    usages=st.frozensets(st.sampled_from(Usage)),
    key=st.sampled_from(KeyAlgorithm),
    lifetime=st.timedeltas(timedelta(seconds=1), timedelta(days=800)),
)


@pytest.mark.slow
@given(REQUESTS)
def test_a_request_is_read_back(request_: Request) -> None:
    """What a generation records is the request that was made."""
    assert Request.from_json(request_.as_json()) == request_


@given(st.permutations(["b.example.com", "a.example.com", "A.example.com"]))
def test_names_have_one_normal_form(names: list[str]) -> None:
    """Neither order nor case nor repetition makes another identity."""
    assert Sans.of(dns=tuple(names)) == Sans.of(dns=("a.example.com", "b.example.com"))
    assert Sans.of(ip=("2001:db8:0::1", "2001:DB8::1")).ip == ("2001:db8::1",)
    assert not Sans.of()
    assert Sans.of(uri=("spiffe://a",))


def test_an_address_that_is_none_is_refused() -> None:
    """A typo does not become a name."""
    with pytest.raises(ValueError, match=r"10\.0\.0\.300"):
        Sans.of(ip=("10.0.0.300",))


def test_another_lifetime_is_the_same_identity() -> None:
    """A lifetime is a wish for the next leaf."""
    assert make_request().same_identity(make_request(lifetime=timedelta(days=1)))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"subject": "CN=other"}, "subject"),
        ({"dns": ("kafka2.example.com",)}, "DNS SANs"),
        ({"ip": ()}, "IP SANs 127.0.0.1 → none"),
        ({"uri": ("spiffe://a",)}, "URI SANs"),
        ({"usages": frozenset({Usage.CLIENT})}, "usages"),
        ({"key": KeyAlgorithm.RSA_2048}, "key ec-p256 → rsa-2048"),
    ],
)
def test_each_difference_is_named(change: dict[str, Any], word: str) -> None:
    """The log tells what has changed, and nothing else."""
    subject = change.pop("subject", "CN=kafka1.example.com,OU=Brokers,O=MyOrg")
    other = make_request(subject, **change)
    assert not make_request().same_identity(other)
    (difference,) = make_request().differences(other)
    assert word in difference


def test_a_leaf_that_is_as_asked_has_no_mismatch() -> None:
    """Subject, names, usages and key are those of the request."""
    request = make_request(uri=("spiffe://example.com/kafka1",))
    assert mismatches(CA.leaf(request, make_key()), request) == ()


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (make_request("CN=kafka1.example.com,O=MyOrg"), "subject"),
        (make_request("O=MyOrg,OU=Brokers,CN=kafka1.example.com"), "subject"),
        (make_request(dns=("kafka1.example.com",)), "DNS SANs"),
        (make_request(dns=("kafka1.example.com", "localhost", "more.example.com")), "DNS SANs"),
        (make_request(ip=("127.0.0.1", "10.0.0.1")), "IP SANs"),
        (make_request(uri=("spiffe://more",)), "URI SANs"),
        (make_request(usages=frozenset({Usage.SERVER})), "usages"),
    ],
)
def test_each_mismatch_of_a_leaf_is_named(answer: Request, what: str) -> None:
    """A name too few fails clients, a name too many lets this key pose as another host."""
    (mismatch,) = mismatches(CA.leaf(answer, make_key()), make_request())
    assert mismatch.what == what
    assert "asked for" in str(mismatch)


def test_another_kind_of_key_is_a_mismatch() -> None:
    """The settings asked for RSA, the leaf is of an elliptic curve."""
    request = make_request(key=KeyAlgorithm.RSA_2048)
    assert [one.what for one in mismatches(CA.leaf(request, make_key()), request)] == ["key"]


def test_a_leaf_without_usages_may_be_used_for_anything() -> None:
    """RFC 5280, 4.2.1.12: without the extension there is no restriction."""
    leaf = CA.leaf(make_request(usages=frozenset()), make_key())
    assert leaf.extended_key_usage is None
    assert mismatches(leaf, make_request(usages=BOTH)) == ()


def test_a_mismatch_of_nothing_says_none() -> None:
    """An empty value is told as such."""
    assert str(Mismatch("IP SANs", "", "10.0.0.1")) == "IP SANs: asked for none, got 10.0.0.1"
