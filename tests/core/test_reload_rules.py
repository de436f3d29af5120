"""Kafka's rules for new stores in a process that runs, replayed on certificates."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import PurePosixPath

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from agent.core.broker import BrokerFacts
from agent.core.certificate import Certificate
from agent.core.generation import Cause, FileRecord, Generation
from agent.core.identity import Usage
from agent.core.kafka_spec import BrokerListener, StoreFile
from agent.core.proof import Remedy
from agent.core.reload_rules import (
    ANSWERED_BY_THE_BROKER,
    CHECKS_OF_A_BROKER,
    ENTRIES,
    HANDSHAKE,
    SANS,
    SUBJECT,
    Rules,
    Stores,
    no_start,
    refusals,
    remedy_of,
    rules_of,
    stores_of,
    takes_nothing,
)
from tests.daemon.memory_broker import SPEC, MemoryBroker
from tests.daemon.world import World
from tests.material import NOW, Ca, make_key, make_request

ROOT, OTHER = Ca.root(), Ca.root("CN=Other Root")
LINK, OTHER_LINK = ROOT.intermediate(), OTHER.intermediate("CN=Other Intermediate")
KEYS = [make_key(), make_key()]
OLD, NEW = (LINK.leaf(make_request(), key) for key in KEYS)
OF_OTHER = OTHER_LINK.leaf(make_request(), KEYS[1])
BOTH = (ROOT.certificate, OTHER.certificate)
LOADED = Stores((OLD, LINK.certificate), (ROOT.certificate,), 1)
GOOD = Stores((NEW, LINK.certificate), (ROOT.certificate,), 1)
CLIENTS = Rules("CLIENTS")
INTERNAL = Rules("INTERNAL", inter_broker=True)
SECOND = timedelta(seconds=1)


def leaf(**request: object) -> Stores:
    """Return the good stores with a leaf that was asked for otherwise."""
    return replace(GOOD, chain=(LINK.leaf(make_request(**request), KEYS[1]), LINK.certificate))  # type: ignore[arg-type]


def with_names(*names: x509.GeneralName) -> Certificate:
    """Sign a leaf with SANs of any kind, none at all among them."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(OLD.subject)
        .issuer_name(LINK.certificate.subject)
        .public_key(KEYS[0].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(OLD.not_before)
        .not_valid_after(OLD.not_after)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Certificate.from_der(builder.sign(LINK.key, hashes.SHA256()).public_bytes(Encoding.DER))


@pytest.mark.parametrize("rules", [CLIENTS, INTERNAL])
def test_a_renewal_like_the_one_before_is_taken(rules: Rules) -> None:
    """Another key and other dates are all that a renewal changes."""
    assert refusals(rules, LOADED, GOOD, NOW) == ()


@pytest.mark.parametrize(
    ("new", "check", "words", "remedy"),
    [
        (replace(GOOD, entries=2), ENTRIES, "has 1 entries, and the new one 2", Remedy.RESTART),
        (leaf(subject="CN=kafka2.example.com,OU=Brokers,O=MyOrg"), SUBJECT, "ssl.allow.dn.changes", Remedy.RESTART),
        (leaf(subject="CN=kafka1.example.com,O=MyOrg"), SUBJECT, "the new one CN=kafka1", Remedy.RESTART),
        (leaf(dns=("kafka1.example.com",)), SANS, "(DNSName localhost)", Remedy.RESTART),
        (leaf(ip=()), SANS, "(IPAddress 127.0.0.1)", Remedy.RESTART),
    ],
)
@pytest.mark.parametrize("rules", [CLIENTS, INTERNAL])
def test_each_rule_refuses_alone(rules: Rules, new: Stores, check: str, words: str, remedy: Remedy) -> None:
    """The listener, what is in use and what is new are named."""
    (found,) = refusals(rules, LOADED, new, NOW)
    assert (found.check, found.remedy) == (check, remedy)
    assert found.what.startswith(f"listener {rules.listener}: ")
    assert words in found.what


def test_all_that_speaks_against_a_store_is_told() -> None:
    """An operator reads the whole of it at once, in the order in which Kafka looks."""
    new = Stores(OF_OTHER_NAMED, (OTHER.certificate,), 3)
    assert [found.check for found in refusals(INTERNAL, LOADED, new, NOW)] == [ENTRIES, SUBJECT, SANS, HANDSHAKE]
    assert [found.check for found in refusals(CLIENTS, LOADED, new, NOW)] == [ENTRIES, SUBJECT, SANS]


OF_OTHER_NAMED = (OTHER_LINK.leaf(make_request("CN=x", dns=("x",), ip=()), KEYS[1]), OTHER_LINK.certificate)


@pytest.mark.parametrize(("loaded", "new"), [(None, 2), (1, None), (None, None), (2, 2)])
def test_entries_that_nobody_has_counted_refuse_nothing(loaded: int | None, new: int | None) -> None:
    """What is not known is no finding."""
    assert refusals(CLIENTS, replace(LOADED, entries=loaded), replace(GOOD, entries=new), NOW) == ()


def test_names_are_compared_as_java_compares_them() -> None:
    """Without case, and with white space once."""
    new = leaf(subject="CN=KAFKA1.example.com,OU=brokers,O=MyOrg")
    assert refusals(CLIENTS, LOADED, new, NOW) == ()
    spaced = [leaf(subject=f"CN=a{' ' * blanks}b") for blanks in (1, 3)]
    assert refusals(CLIENTS, spaced[0], spaced[1], NOW) == ()


def test_what_server_properties_allow_is_not_refused() -> None:
    """KIP-978: each of the two lifts one rule, and no other."""
    other_name, fewer = leaf(subject="CN=x"), leaf(dns=("localhost",))
    assert refusals(replace(CLIENTS, allows_subjects=True), LOADED, other_name, NOW) == ()
    assert refusals(replace(CLIENTS, allows_sans=True), LOADED, fewer, NOW) == ()
    assert refusals(replace(CLIENTS, allows_sans=True), LOADED, other_name, NOW)
    assert refusals(replace(CLIENTS, allows_subjects=True), LOADED, fewer, NOW)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (x509.DirectoryName(x509.Name.from_rfc4514_string("O=MyOrg,C=NL")), "DirectoryName O=MyOrg,C=NL"),
        (x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x01a"), "OtherName 1.2.3 0c0161"),
        (x509.RFC822Name("a@example.com"), "RFC822Name a@example.com"),
        (x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), "RegisteredID"),
        (x509.UniformResourceIdentifier("spiffe://x/y"), "UniformResourceIdentifier spiffe://x/y"),
    ],
)
def test_sans_of_every_kind_must_stay(name: x509.GeneralName, words: str) -> None:
    """Those that the agent never asks for too, for Kafka compares them all."""
    plain, more = with_names(), with_names(name)
    (found,) = refusals(CLIENTS, Stores((more,), None), Stores((plain,), None), NOW)
    assert words in found.what
    assert refusals(CLIENTS, Stores((plain,), None), Stores((more,), None), NOW) == ()
    assert refusals(CLIENTS, Stores((more,), None), Stores((with_names(name),), None), NOW) == ()


NAMES = st.frozensets(st.sampled_from(["a.example.com", "b.example.com", "c.example.com", "*.example.com"]), max_size=4)
LEAVES = {
    names: LINK.leaf(make_request(dns=tuple(names), ip=()), KEYS[0])
    for names in (frozenset(chosen) for chosen in ([], ["a.example.com"], ["b.example.com"]))
}


def of(names: frozenset[str]) -> Stores:
    """Return stores of a leaf with these names, signed once each."""
    if names not in LEAVES:
        LEAVES[names] = LINK.leaf(make_request(dns=tuple(names), ip=()), KEYS[0])
    return Stores((LEAVES[names], LINK.certificate), (ROOT.certificate,))


@given(NAMES, NAMES, NAMES)
def test_a_superset_of_the_sans_is_taken_and_no_other(
    old: frozenset[str], new: frozenset[str], more: frozenset[str]
) -> None:
    """Taken exactly where nothing is lost; and what is taken stays so when names are added."""
    taken = not refusals(CLIENTS, of(old), of(new), NOW)
    assert taken == (old <= new)
    if taken:
        assert not refusals(CLIENTS, of(old), of(new | more), NOW)
        assert not refusals(CLIENTS, of(old & new), of(new), NOW)


STORES = st.builds(
    Stores,
    st.sampled_from([(OLD, LINK.certificate), (NEW, LINK.certificate), (OF_OTHER, OTHER_LINK.certificate)]),
    st.sampled_from([None, (ROOT.certificate,), (OTHER.certificate,), BOTH]),
    st.none() | st.integers(1, 3),
)
RULES = st.builds(Rules, st.just("X"), st.booleans(), st.booleans(), st.booleans())


@given(RULES, STORES)
def test_what_is_loaded_is_taken_again_where_it_trusts_itself(rules: Rules, stores: Stores) -> None:
    """Nothing differs, so that only a store which no broker could have started with is refused."""
    fits = {anchor.subject for anchor in stores.anchors or ()} >= {stores.chain[-1].issuer}
    assert (refusals(rules, stores, stores, NOW) == ()) == (not rules.inter_broker or stores.anchors is None or fits)


# --- brokers that meet each other --------------------------------------------------------------


@pytest.mark.parametrize(
    ("loaded", "new", "words"),
    [
        (LOADED, Stores((OF_OTHER, OTHER_LINK.certificate), BOTH), "the truststore in use does not trust the new leaf"),
        (
            LOADED,
            Stores((NEW, LINK.certificate), (OTHER.certificate,)),
            "the new truststore does not trust the leaf in",
        ),
        (LOADED, Stores((NEW,), (ROOT.certificate,)), "the truststore in use does not trust the new leaf"),
        (
            replace(LOADED, anchors=BOTH),
            Stores((OF_OTHER, OTHER_LINK.certificate), (ROOT.certificate,)),
            "the new truststore does not trust the new leaf",
        ),
    ],
)
def test_old_and_new_must_trust_each_other_between_brokers(loaded: Stores, new: Stores, words: str) -> None:
    """Each of the two is the other's client once; no other listener asks for it."""
    (found,) = refusals(INTERNAL, loaded, new, NOW)
    assert found.check == HANDSHAKE
    assert found.remedy is Remedy.TRUST
    assert words in found.what
    assert refusals(CLIENTS, loaded, new, NOW) == ()


def test_a_new_ca_goes_in_step_by_step_and_not_at_once() -> None:
    """Truststore, keystore, truststore: each step is taken, and two of them in one are not."""
    both = replace(LOADED, anchors=BOTH)
    moved = Stores((OF_OTHER, OTHER_LINK.certificate), BOTH, 1)
    done = replace(moved, anchors=(OTHER.certificate,))
    steps = [LOADED, both, moved, done]
    for at, to in pairwise(steps):
        assert refusals(INTERNAL, at, to, NOW) == ()
    for at, to in zip(steps, steps[2:], strict=False):
        assert refusals(INTERNAL, at, to, NOW) != ()


def test_a_leaf_that_is_for_one_side_only_is_not_for_brokers() -> None:
    """They are client and server to each other; that is the leaf's fault, and no anchor's."""
    server = leaf(usages=frozenset({Usage.SERVER}))
    (found,) = refusals(INTERNAL, LOADED, server, NOW)
    assert found.remedy is Remedy.NEW_LEAF
    assert refusals(CLIENTS, LOADED, server, NOW) == ()


def test_a_leaf_that_has_expired_keeps_every_store_out() -> None:
    """No handshake with it succeeds: nothing is said against the new one, and that none is taken."""
    end = OLD.not_after
    late = replace(GOOD, chain=(LINK.leaf(make_request(), KEYS[1], not_before=end - SECOND), LINK.certificate))
    assert takes_nothing(INTERNAL, LOADED, end - SECOND) == ""
    assert takes_nothing(INTERNAL, LOADED, end) == f"listener INTERNAL serves a leaf that expired at {end.isoformat()}"
    assert takes_nothing(CLIENTS, LOADED, end) == ""
    assert refusals(INTERNAL, LOADED, late, end - SECOND) == ()
    assert refusals(INTERNAL, LOADED, late, end) == ()
    assert refusals(INTERNAL, LOADED, late, end + SECOND) == ()
    assert [one.check for one in refusals(INTERNAL, LOADED, replace(late, entries=2), end)] == [ENTRIES]


def test_stores_of_others_are_not_judged() -> None:
    """A truststore that is not the identity's may hold anything."""
    moved = Stores((OF_OTHER, OTHER_LINK.certificate), None)
    assert refusals(INTERNAL, replace(LOADED, anchors=None), moved, NOW) == ()


def test_a_leaf_that_no_generation_holds_is_not_judged_by_half_a_chain() -> None:
    """Its intermediates come along in the handshake, and nobody here knows them."""
    assert refusals(INTERNAL, Stores((OLD,), None), GOOD, NOW) == ()


# --- a start -----------------------------------------------------------------------------------

KEYSTORE, TRUSTSTORE = (StoreFile(name, PurePosixPath("/ssl") / name) for name in ("tls.pem", "ca.crt"))
FACTS = BrokerFacts(1, (), inter_broker="INTERNAL")


def generation(stores: Stores, number: int = 1, *, edited: bool = False) -> Generation:
    """Return a generation with these stores."""
    assert stores.anchors is not None
    return Generation(
        number=number,
        cause=Cause.LEAF,
        request=make_request(),
        issuer="ca",
        chain=stores.chain,
        anchors=stores.anchors,
        issued_at=NOW,
        made_at=NOW,
        layout="layout",
        files=(FileRecord("tls.pem", "00"), FileRecord("ca.crt", "00", edited=edited)),
    )


FIT = generation(GOOD)
UNFIT = generation(replace(GOOD, anchors=(OTHER.certificate,)), 2)


def test_a_store_that_brokers_cannot_meet_with_is_found_where_they_meet() -> None:
    """A broker shakes hands with itself before it starts."""
    (found,) = no_start(SPEC, FACTS, FIT, UNFIT, NOW)
    assert (found.check, found.remedy) == (HANDSHAKE, Remedy.TRUST)
    assert found.what.startswith("listener INTERNAL: a broker does not start with it")
    assert no_start(SPEC, FACTS, UNFIT, FIT, NOW) == ()
    assert no_start(SPEC, replace(FACTS, inter_broker="PLAINTEXT"), FIT, UNFIT, NOW) == ()


def test_where_brokers_meet_is_taken_from_what_is_in_use_while_nobody_has_told() -> None:
    """What the generation before is fit for, the new one must be; of a first one nobody knows."""
    assert len(no_start(SPEC, None, FIT, UNFIT, NOW)) == 2
    assert no_start(SPEC, None, UNFIT, UNFIT, NOW) == ()
    assert no_start(SPEC, None, None, UNFIT, NOW) == ()


def test_a_start_is_not_asked_of_stores_that_are_another_s() -> None:
    """Nor of a truststore that a person has edited."""
    edited = replace(UNFIT, files=generation(GOOD, edited=True).files)
    assert no_start(SPEC, FACTS, FIT, edited, NOW) == ()
    for listener in (BrokerListener("INTERNAL", KEYSTORE, None), BrokerListener("INTERNAL", None, TRUSTSTORE)):
        assert no_start(replace(SPEC, listeners=(listener,)), FACTS, FIT, UNFIT, NOW) == ()


@pytest.mark.parametrize("now", [OLD.not_before - SECOND, OLD.not_after, OLD.not_after + timedelta(days=1)])
def test_dates_do_not_keep_anchors_from_being_changed(now: object) -> None:
    """A leaf that has ended is another's concern; that its anchor is there is what counts."""
    assert no_start(SPEC, FACTS, None, generation(LOADED), now) == ()  # type: ignore[arg-type]


def test_what_a_listener_reads_of_a_generation() -> None:
    """Its chain, and the anchors where the truststore is ours and as we wrote it."""
    ours, none = BrokerListener("X", KEYSTORE, TRUSTSTORE), BrokerListener("X", KEYSTORE, None)
    other = BrokerListener("X", KEYSTORE, StoreFile("other.crt", PurePosixPath("/other.crt")))
    assert stores_of(FIT, ours) == Stores(FIT.chain, FIT.anchors)
    assert stores_of(FIT, none) == Stores(FIT.chain, None)
    assert stores_of(generation(GOOD, edited=True), ours).anchors is None
    assert stores_of(generation(GOOD, edited=True), other).anchors == FIT.anchors


# --- and what a broker does --------------------------------------------------------------------

WORLD = World()
REQUESTS = (
    make_request(),
    make_request(dns=("kafka1.example.com",)),
    make_request("CN=kafka1.example.com,OU=brokers,O=MyOrg"),
    make_request("CN=kafka2.example.com,O=MyOrg"),
)
CHAINS = [(ca.leaf(request, KEYS[0]), ca.certificate) for ca in (LINK, OTHER_LINK) for request in REQUESTS]
GENERATIONS = st.builds(
    lambda chain, anchors: replace(FIT, chain=chain, anchors=anchors),
    st.sampled_from(CHAINS),
    st.sampled_from([(ROOT.certificate,), (OTHER.certificate,), BOTH]),
)


@given(st.sampled_from(["INTERNAL", "CLIENTS"]), st.booleans(), GENERATIONS, GENERATIONS)
def test_the_replay_refuses_what_a_broker_refuses(name: str, allows: bool, old: Generation, new: Generation) -> None:
    """A broker of a few lines of its own comes to the same; a store that none starts with is refused beside that."""
    broker = MemoryBroker(WORLD, SPEC, allows_sans=allows)
    rules = Rules(name, allows_sans=allows, inter_broker=name == broker.inter_broker)
    listener = SPEC.listeners[0]
    found = refusals(rules, stores_of(old, listener), stores_of(new, listener), NOW)
    starts = broker.starts_with(new) or not rules.inter_broker
    assert bool(found) == (bool(broker.refusal(name, old, new)) or not starts)


# --- what the broker says ----------------------------------------------------------------------


def test_the_rules_of_a_broker_are_read_from_it() -> None:
    """Kafka's defaults, while nobody has asked."""
    assert rules_of("INTERNAL", None) == Rules("INTERNAL")
    facts = BrokerFacts(1, (), inter_broker="internal", allow_dn_changes=True, allow_san_changes=False)
    assert rules_of("INTERNAL", facts) == Rules("INTERNAL", allows_subjects=True, inter_broker=True)
    facts = replace(facts, allow_dn_changes=False, allow_san_changes=True)
    assert rules_of("CLIENTS", facts) == Rules("CLIENTS", allows_sans=True)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("Keystore DistinguishedName does not match:  existing={alias=kafka, DN=CN=a}, new={…}", Remedy.RESTART),
        ("Keystore SubjectAltNames do not match:  existing={…}, new={…}", Remedy.RESTART),
        ("Keystore entries do not match, existing store contains 1 entries, new store contains 2", Remedy.RESTART),
        ("Cannot add SSL keystore to an existing listener for which no keystore was configured.", Remedy.RESTART),
        ("Cannot remove the SSL keystore from an existing listener", Remedy.RESTART),
        ("org.apache.kafka.common.KafkaException: Failed to load SSL keystore PATH of type PKCS12", Remedy.READABLE),
        ("InvalidConfigurationException: Failed to load PEM SSL keystore PATH", Remedy.READABLE),
        ("javax.net.ssl.SSLHandshakeException: Empty client certificate chain", Remedy.TRUST),
        ("PKIX path building failed: unable to find valid certification path", Remedy.TRUST),
        ("PKIX path validation failed: CertPathValidatorException: validity check failed", Remedy.NEW_LEAF),
        ("Extended key usage does not permit use for TLS client authentication", Remedy.NEW_LEAF),
        ("javax.net.ssl.SSLHandshakeException: Invalid CertificateVerify signature", Remedy.NEW_LEAF),
        ("KEYSTORE SUBJECTALTNAMES DO NOT MATCH", Remedy.RESTART),
        ("something else", Remedy.STORE),
        ("", Remedy.STORE),
    ],
)
def test_the_words_of_a_refusal_tell_what_mends_it(words: str, remedy: Remedy) -> None:
    """As measured with 3.9.2 and 4.3.1."""
    assert remedy_of(words) is remedy


def test_the_broker_s_word_answers_its_own_rules_alone() -> None:
    """The principal is ours."""
    assert set(CHECKS_OF_A_BROKER) > ANSWERED_BY_THE_BROKER
    assert "principal" in set(CHECKS_OF_A_BROKER) - ANSWERED_BY_THE_BROKER


@pytest.mark.parametrize("subjects", [True, False])
@pytest.mark.parametrize("sans", [True, False])
def test_entries_are_counted_where_any_name_is_compared(subjects: bool, sans: bool) -> None:
    """Kafka counts to compare pair by pair: with both of KIP-978 set it took one entry in place of two."""
    rules = replace(CLIENTS, allows_subjects=subjects, allows_sans=sans)
    assert bool(refusals(rules, LOADED, replace(GOOD, entries=2), NOW)) is not (subjects and sans)
