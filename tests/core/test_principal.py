"""What a broker makes of names, in its own words; and whether a renewal changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type as StringType
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.principal import (
    OWN_BUILDER,
    Effect,
    InvalidRulesError,
    Mapped,
    Rules,
    principal_change,
)
from tests.core.mapping_vectors import INVALID, INVALID_PATTERNS, PRINCIPALS, UNMAPPED
from tests.material import Ca, make_key, make_request

if TYPE_CHECKING:
    from agent.core.certificate import Certificate

CA, KEY = Ca.root(), make_key()
CUSTOM = "com.example.SpiffePrincipalBuilder"


@pytest.mark.parametrize(("rules", "name", "principal"), PRINCIPALS)
def test_name_becomes_the_principal_that_kafka_makes_of_it(rules: str, name: str, principal: str) -> None:
    """The first rule to match has it, and what it leaves of the name is kept."""
    assert Rules.parse(rules).principal(name) == Mapped(principal)


@pytest.mark.parametrize(("rules", "name", "words"), UNMAPPED)
def test_name_without_a_principal_is_told_in_kafkas_words(rules: str, name: str, words: str) -> None:
    """The broker would close the connection, and this is what it would log."""
    assert Rules.parse(rules).principal(name) == Mapped(None, words)


@pytest.mark.parametrize(("rules", "words"), INVALID)
def test_invalid_rules_are_refused_in_kafkas_words(rules: str, words: str) -> None:
    """A broker that has them does not start, and says so."""
    with pytest.raises(InvalidRulesError) as caught:
        Rules.parse(rules)
    assert str(caught.value) == words


def test_rules_with_an_invalid_pattern_are_refused() -> None:
    """Whichever rule has it; what is left over is seen first, and the rules are looked at one by one."""
    for pattern, description in INVALID_PATTERNS:
        with pytest.raises(InvalidRulesError, match="Java does not take") as caught:
            Rules.parse(f"DEFAULT,RULE:{pattern}/x/L,x")
        assert str(caught.value).endswith(f"RULE:{pattern}/x/L: {description}")
    with pytest.raises(InvalidRulesError, match="unmatched substring: `x`"):
        Rules.parse("RULE:(/x/x")


def test_rule_beyond_preview_is_told_when_it_is_its_turn() -> None:
    """Rules before it are as good as ever; that Java takes it at all is doubted from the start."""
    rules = Rules.parse(r"RULE:CN=a/x/,RULE:CN=\p{L}/y/U,DEFAULT")
    assert rules.doubts == (r"the pattern of RULE:CN=\p{L}/y/U has \p",)
    assert rules.principal("CN=a") == Mapped("x")
    assert rules.principal("CN=b") == Mapped(None, f"cannot preview: {rules.doubts[0]}", is_certain=False)
    assert Rules.parse("RULE:.*/x/,DEFAULT").doubts == ()


@pytest.mark.parametrize(
    ("rules", "name", "why"),
    [
        ("RULE:.*/x/", "CN=" + "a" * 2000, "more than 2000 characters"),
        ("RULE:OU=.*/x/", "CN=\U0001f600", "U+FFFF"),
        ("RULE:CN=(.*)/$1/L", "CN=ΑΣ", "Σ"),
        ("RULE:(.*)(.*)(.*)(.*)x/$1/", "CN=a" * 50, "steps"),
    ],
)
def test_name_beyond_preview_is_told(rules: str, name: str, why: str) -> None:
    """But for the rule that takes every name as it is."""
    mapped = Rules.parse(rules).principal(name)
    assert (mapped.principal, mapped.is_certain) == (None, False)
    assert why in (mapped.error or "")
    assert Rules.parse(f"DEFAULT,{rules}").principal(name) == Mapped(name)


_PIECES = ["DEFAULT", "RULE:", "a", "/", "\\/", "\\", ",", " ", "\n", "\u2028", "L", "U", "(.*)", "$1"]


@given(st.lists(st.sampled_from(_PIECES), max_size=12), st.text("a,/", max_size=5))
@settings(max_examples=100)
def test_any_rules_are_read_or_refused(pieces: list[str], name: str) -> None:
    """Nothing else is raised, and whoever gets no principal is told why."""
    try:
        mapped = Rules.parse("".join(pieces)).principal(name)
    except InvalidRulesError:
        return
    assert (mapped.principal is None) is (mapped.error is not None)


def test_long_rules_are_read() -> None:
    """A dynamic configuration value has 32,767 characters at most; these take a search, too."""
    assert Rules.parse("x" * 16_000 + "\n" + "RULE:.*/" + "y" * 16_000 + "/").principal("").principal == "y" * 16_000


# --- the guard --------------------------------------------------------------------------------


def leaf(subject: str | x509.Name, *, dns: tuple[str, ...] = ("localhost",)) -> Certificate:
    """Make a leaf with a subject, as text or as a name."""
    request = make_request(dns=dns) if isinstance(subject, x509.Name) else make_request(subject, dns=dns)
    if isinstance(subject, x509.Name):
        request = type(request)(subject, request.sans, request.usages, request.key, request.lifetime)
    return CA.leaf(request, KEY)


def typed(value: str, string_type: StringType, oid: x509.ObjectIdentifier = NameOID.COMMON_NAME) -> x509.Name:
    """Make a name of one attribute, in one type of string."""
    return x509.Name([x509.NameAttribute(oid, value, string_type)])


RULES = Rules.parse("RULE:^CN=([^,]*),OU=Brokers.*$/$1/,RULE:^CN=x.*$/$1/")


@pytest.mark.parametrize("rules", [None, RULES, Rules.parse("")])
@pytest.mark.parametrize("builder", ["", OWN_BUILDER, CUSTOM])
def test_same_name_is_the_same_principal(rules: Rules | None, builder: str) -> None:
    """Whatever the rules are, known or not; a class of the operator's own is taken to go by name and SANs."""
    change = principal_change(rules, builder, leaf("CN=a,O=b"), leaf("CN=a,O=b"))
    assert (change.effect, change.before, change.after) == (Effect.SAME, None, None)
    assert "CN=a,O=b" in change.what


def test_type_of_a_string_alone_changes_nothing() -> None:
    """Java prints the same for a PrintableString and a UTF8String, where it prints text."""
    before, after = (leaf(typed("kafka1", one)) for one in (StringType.PrintableString, StringType.UTF8String))
    assert principal_change(None, "", before, after).effect is Effect.SAME


def test_type_of_a_string_changes_what_is_printed_as_der() -> None:
    """A serial number is printed with its type, so that ACLs no longer fit."""
    types = (StringType.PrintableString, StringType.UTF8String)
    before, after = (leaf(typed("7", one, NameOID.SERIAL_NUMBER)) for one in types)
    assert before.subject == after.subject
    change = principal_change(Rules.parse("DEFAULT"), "", before, after)
    assert change.effect is Effect.CHANGED
    assert change.what == "the principal changes from User:2.5.4.5=#130137 to User:2.5.4.5=#0c0137"


def test_other_name_may_be_the_same_principal() -> None:
    """Where the rules look at a part of it; and where they turn away both."""
    change = principal_change(RULES, "", leaf("CN=a,OU=Brokers,O=b"), leaf("CN=a,OU=Brokers,O=c"))
    assert (change.effect, change.what) == (Effect.SAME, "the principal stays User:a")
    assert change.before == change.after == Mapped("a")
    assert principal_change(RULES, "", leaf("CN=b"), leaf("CN=c")).effect is Effect.SAME


def test_changed_principal_is_told_both_ways() -> None:
    """A principal for another, for none, and none for one."""
    broker, other, stranger = leaf("CN=a,OU=Brokers"), leaf("CN=b,OU=Brokers"), leaf("CN=a,OU=Clients")
    change = principal_change(RULES, OWN_BUILDER, broker, other)
    assert (change.effect, change.what) == (Effect.CHANGED, "the principal changes from User:a to User:b")
    assert (change.before, change.after) == (Mapped("a"), Mapped("b"))
    lost, gained = principal_change(RULES, "", broker, stranger), principal_change(RULES, "", stranger, broker)
    assert lost.effect is gained.effect is Effect.CHANGED
    assert lost.what.startswith("the principal changes from User:a to none (No rules apply to CN=a,OU=Clients, rules [")
    assert gained.what.endswith(" to User:a")


@pytest.mark.parametrize(
    ("rules", "builder", "before", "after", "why"),
    [
        (None, "", "CN=a", "CN=b", "rules that are not known"),
        (RULES, CUSTOM, "CN=a,OU=Brokers", "CN=b,OU=Brokers", CUSTOM),
        (Rules.parse(r"RULE:\p{L}.*/x/"), "", "CN=a", "CN=b", r"\p"),
        (Rules.parse("RULE:CN=(.*)/$1/L"), "", "CN=a", "CN=Σ", "Σ"),
    ],
)
def test_what_nobody_can_tell_is_not_told(rules: Rules | None, builder: str, before: str, after: str, why: str) -> None:
    """Neither same nor changed, with the reason."""
    change = principal_change(rules, builder, leaf(before), leaf(after))
    assert change.effect is Effect.UNKNOWN
    assert why in change.what


def test_other_sans_are_beyond_preview_for_a_custom_builder() -> None:
    """It may make principals of them."""
    before, after = leaf("CN=a", dns=("one",)), leaf("CN=a", dns=("two",))
    assert principal_change(RULES, CUSTOM, before, after).effect is Effect.UNKNOWN
    assert principal_change(RULES, "", before, after).effect is Effect.SAME


def test_name_that_java_releases_print_differently_is_not_told() -> None:
    """Unless its bytes stay as they are: then one release prints one thing."""
    old, new = leaf(typed("é", StringType.T61String)), leaf(typed("é", StringType.UTF8String))
    for before, after in ((old, new), (new, old)):
        change = principal_change(Rules.parse("DEFAULT"), "", before, after)
        assert change.effect is Effect.UNKNOWN
        assert "Java 17" in change.what
    again = leaf(typed("é", StringType.T61String))
    assert principal_change(Rules.parse("DEFAULT"), "", old, again).effect is Effect.SAME
