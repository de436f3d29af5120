"""A renewal keeps the principal that ACLs hang on, unless the operator allows another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from agent.core.broker import BrokerFacts, ListenerFacts
from agent.core.configuration import PrincipalPolicy, Wanted
from agent.core.kafka_spec import SecurityProtocol
from agent.core.principal_guard import guard, principal_of
from agent.core.proof import Remedy
from tests.daemon.world import OF_BROKER, WANTED
from tests.material import Ca, make_key, make_request

if TYPE_CHECKING:
    from agent.core.certificate import Certificate

ROOT = Ca.root()
KEY = make_key()
BEFORE = ROOT.leaf(make_request("CN=kafka1,OU=Brokers,O=MyOrg"), KEY)
AGAIN = ROOT.leaf(make_request("CN=kafka1,OU=Brokers,O=MyOrg"), make_key())
MOVED = ROOT.leaf(make_request("CN=kafka1,OU=Kafka,O=MyOrg"), KEY)
BY_CN = "RULE:CN=(.*?),.*/$1/"
BY_OU = "RULE:.*OU=(.*?),.*/$1/L"


def of(rules: str | None, base: Wanted = WANTED, *, may_change: bool = False) -> Wanted:
    """Return an identity with these rules in its settings."""
    return replace(base, principal=PrincipalPolicy(rules, may_change))


def facts(*listeners: ListenerFacts) -> BrokerFacts:
    """Return a broker with these listeners."""
    return BrokerFacts(1, listeners)


TLS = ListenerFacts("CLIENTS", SecurityProtocol.SSL)
CN, OU = replace(TLS, principal_rules=BY_CN), replace(TLS, name="OTHERS", principal_rules=BY_OU)
PLAIN = ListenerFacts("PLAIN", SecurityProtocol.PLAINTEXT, principal_rules=BY_OU)
CUSTOM = replace(TLS, principal_builder="org.example.Builder")
STRANGE = replace(TLS, principal_rules="RULE:")
ENDLESS = replace(TLS, principal_rules=",".join([BY_OU] * 1000))


@pytest.mark.parametrize(
    ("wanted", "broker", "before", "after", "words"),
    [
        # One name is one principal, whatever the rules are.
        (OF_BROKER, None, BEFORE, AGAIN, ()),
        (OF_BROKER, facts(OU, CUSTOM, STRANGE), BEFORE, AGAIN, ()),
        (of(BY_OU), None, BEFORE, AGAIN, ()),
        # A first leaf changes nothing.
        (OF_BROKER, facts(OU), None, MOVED, ()),
        # The settings' own rules go before the broker's.
        (of(BY_OU), None, BEFORE, MOVED, ("the principal changes from User:brokers to User:kafka",)),
        (of(BY_CN), None, BEFORE, MOVED, ()),
        (of(BY_CN, OF_BROKER), facts(OU), BEFORE, MOVED, ()),
        # Those of each TLS listener, by name.
        (OF_BROKER, facts(CN), BEFORE, MOVED, ()),
        (OF_BROKER, facts(CN, OU), BEFORE, MOVED, ("listener OTHERS: the principal changes from User:brokers",)),
        (OF_BROKER, facts(CN, PLAIN), BEFORE, MOVED, ()),
        (OF_BROKER, facts(TLS, OU), BEFORE, MOVED, ("listener CLIENTS: ", "listener OTHERS: ")),
        # Whoever cannot tell does not say yes.
        (OF_BROKER, None, BEFORE, MOVED, ("by rules that are not known",)),
        (OF_BROKER, facts(CUSTOM), BEFORE, MOVED, ("org.example.Builder",)),
        (OF_BROKER, facts(STRANGE), BEFORE, MOVED, ("by rules that are not known",)),
        (OF_BROKER, facts(ENDLESS), BEFORE, MOVED, ("by rules that are not known",)),
        # Nobody's ACLs are known to hang on it, or the operator has said so.
        (WANTED, None, BEFORE, MOVED, ()),
        (of(BY_OU, may_change=True), None, BEFORE, MOVED, ()),
        (of(None, OF_BROKER, may_change=True), facts(OU), BEFORE, MOVED, ()),
    ],
)
def test_another_principal_is_found(
    wanted: Wanted, broker: BrokerFacts | None, before: Certificate | None, after: Certificate, words: tuple[str, ...]
) -> None:
    """Each listener that would see another says so, and what is not known is not taken for the same."""
    found = guard(wanted, broker, before, after)
    assert len(found) == len(words)
    for one, part in zip(found, words, strict=True):
        assert (one.check, one.remedy) == ("principal", Remedy.PRINCIPAL)
        assert part in one.what


def test_one_thing_is_told_once() -> None:
    """Two listeners of one name and rule are one finding."""
    assert len(guard(OF_BROKER, facts(OU, OU), BEFORE, MOVED)) == 1


@pytest.mark.parametrize(
    ("wanted", "broker", "principal"),
    [
        (WANTED, None, None),
        (of(BY_OU), None, "brokers"),
        (of("RULE:CN=x/y/"), None, None),
        (OF_BROKER, None, None),
        (OF_BROKER, facts(), None),
        (OF_BROKER, facts(TLS), "CN=kafka1,OU=Brokers,O=MyOrg"),
        (OF_BROKER, facts(TLS, replace(TLS, name="INTERNAL"), PLAIN), "CN=kafka1,OU=Brokers,O=MyOrg"),
        (OF_BROKER, facts(CN, OU), None),
        (OF_BROKER, facts(CUSTOM), None),
        (OF_BROKER, facts(STRANGE), None),
    ],
)
def test_the_principal_of_a_leaf_is_told_where_all_agree(
    wanted: Wanted, broker: BrokerFacts | None, principal: str | None
) -> None:
    """None where no rules are known, listeners differ, or no rule matches."""
    assert principal_of(wanted, broker, BEFORE) == principal


def test_a_name_that_releases_of_java_print_otherwise_has_no_principal() -> None:
    """Which of them the broker runs on, nobody here knows."""
    text = x509.NameAttribute(NameOID.COMMON_NAME, "kåfka", _type=_ASN1Type.T61String)
    name = x509.Name([text])
    leaf = ROOT.leaf(replace(make_request(), subject=name), KEY)
    assert principal_of(of("DEFAULT"), None, leaf) is None
    assert principal_of(of("DEFAULT"), None, BEFORE) == "CN=kafka1,OU=Brokers,O=MyOrg"
