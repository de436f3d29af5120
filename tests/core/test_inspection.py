"""What is said of a store: nothing of a good one, and each fault of a broken one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from agent.core.certificate import LARGEST_CERTIFICATE, Certificate
from agent.core.faults import findings
from agent.core.files import StoreFormat
from agent.core.identity import KeyAlgorithm, Usage
from agent.core.inspection import DER, Entry, Examined, Finding, KeyFacts, Kind, Severity, is_wrong, merged
from agent.core.proof import LARGEST_CHAIN, LONGEST_CHAIN
from agent.keystores import private_key
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from agent.keystores.material import PrivateKey

ROOT = Ca.root()
UPPER = ROOT.intermediate("CN=Upper,O=MyOrg")
LOWER = UPPER.intermediate("CN=Lower,O=MyOrg")
STRANGER = Ca.root("CN=Stranger")
LIFETIME = timedelta(days=90)
REQUEST = make_request(lifetime=LIFETIME)
KEY = make_key()
LEAF = LOWER.leaf(REQUEST, KEY)
CHAIN = (LEAF, LOWER.certificate, UPPER.certificate)
WHOLE = (*CHAIN, ROOT.certificate)
QUICK = (KeyAlgorithm.EC_P256, KeyAlgorithm.EC_P384, KeyAlgorithm.ED25519, KeyAlgorithm.RSA_2048)


def facts(key: PrivateKey) -> KeyFacts:
    """Return what may be told of a key."""
    return KeyFacts("ec-p256", private_key.public_der(key))


def keystore(
    *chain: Certificate,
    key: KeyFacts | None = None,
    store: str = StoreFormat.PKCS12,
    alias: str = "kafka",
    locked: bool = False,
) -> Examined:
    """Return a store with one private key, of the leaf unless told otherwise."""
    entry = Entry(alias, Kind.PRIVATE_KEY, chain, None if locked else key or facts(KEY))
    return Examined(store, (entry,), with_password=True)


def truststore(*anchors: Certificate, store: str = StoreFormat.PKCS12) -> Examined:
    """Return a store of anchors under our aliases."""
    return Examined(store, tuple(Entry(one.fingerprint[:16], Kind.TRUSTED, (one,)) for one in anchors))


def pem(*certificates: Certificate) -> Examined:
    """Return a PEM file of certificates alone."""
    return Examined(StoreFormat.PEM, tuple(Entry("", Kind.CERTIFICATE, (one,)) for one in certificates))


def wrong(examined: Examined) -> list[str]:
    """Return what is wrong."""
    return [str(one) for one in findings(examined, NOW) if one.severity is Severity.WRONG]


def notable(examined: Examined) -> list[str]:
    """Return what is worth knowing."""
    return [str(one) for one in findings(examined, NOW) if one.severity is Severity.NOTABLE]


def only(said: list[str], *words: str) -> bool:
    """Return whether one thing was said, with these words in it."""
    return len(said) == 1 and all(word in said[0] for word in words)


@cache
def made(algorithm: KeyAlgorithm) -> tuple[KeyFacts, Certificate]:
    """Make a key and its leaf, once for each type."""
    key = make_key(algorithm)
    leaf = LOWER.leaf(make_request(key=algorithm, lifetime=LIFETIME), key)
    return KeyFacts(algorithm, private_key.public_der(key)), leaf


@given(
    st.sampled_from(QUICK),
    st.sampled_from(list(StoreFormat)),
    st.integers(0, 2),
    st.booleans(),
)
def test_a_good_keystore_has_nothing_wrong(
    algorithm: KeyAlgorithm, store: StoreFormat, links: int, anchor: bool
) -> None:
    """Of any key, in any format, with as many of its CAs as there are, with its anchor or without."""
    key, leaf = made(algorithm)
    chain = (leaf, *CHAIN[1 : 1 + links], *((ROOT.certificate,) if anchor and links == 2 else ()))
    assert wrong(keystore(*chain, key=key, store=store)) == []
    assert wrong(keystore(*chain, store=store, locked=True))[1:] == []
    assert wrong(pem(*chain)) == []


@given(st.permutations(WHOLE).filter(lambda chain: tuple(chain) != WHOLE), st.sampled_from(["key", "locked", "none"]))
def test_a_chain_in_another_order_is_always_found(chain: list[Certificate], how: str) -> None:
    """Whether the key tells which is the leaf, cannot be asked, or is in another file; and the right order is told."""
    broken = pem(*chain) if how == "none" else keystore(*chain, locked=how == "locked")
    said = " ".join(wrong(broken))
    assert "Certificate chain is not valid" in said
    assert (
        "kafka1.example.com,OU=Brokers,O=MyOrg, then CN=Lower,O=MyOrg, then CN=Upper,O=MyOrg, then CN=Test Root" in said
    )


@given(st.integers(1, 3), st.booleans())
def test_a_certificate_that_belongs_to_nothing_is_always_found(at: int, with_key: bool) -> None:
    """Wherever it stands behind the leaf."""
    chain = (*CHAIN[:at], STRANGER.certificate, *CHAIN[at:])
    said = wrong(keystore(*chain) if with_key else pem(*chain))
    assert any("CN=Stranger belongs to nothing before it" in one for one in said)


def test_a_key_of_another_certificate_is_wrong() -> None:
    """Kafka would take such a store when it is told of it at run time."""
    assert only(wrong(keystore(*CHAIN, key=facts(make_key()))), "kafka: the private key is not that of CN=kafka1")
    assert keystore(*CHAIN, key=facts(make_key())).entries[0].matches is False
    assert keystore(*CHAIN).entries[0].matches is True
    assert keystore(*CHAIN, locked=True).entries[0].matches is None


def test_a_leaf_that_stands_behind_its_ca_is_found_by_its_key() -> None:
    """It is not said that the key were another's."""
    said = wrong(keystore(LOWER.certificate, LEAF, UPPER.certificate))
    assert any("the leaf CN=kafka1" in one and "does not stand first" in one for one in said)
    assert not any("private key is not that" in one for one in said)
    assert any("does not stand first" in one for one in wrong(keystore(LEAF, LOWER.certificate, key=facts(LOWER.key))))


def test_a_missing_link_is_named() -> None:
    """With its name, so that it can be looked for; a chain that ends early is none."""
    said = wrong(keystore(LEAF, UPPER.certificate, ROOT.certificate))
    assert any("CN=Lower,O=MyOrg, is missing from the chain" in one for one in said)
    assert wrong(keystore(LEAF)) == []
    assert only(wrong(keystore(LEAF, LOWER.leaf(make_request("CN=other"), make_key()))), "CN=other belongs to nothing")


def test_a_ca_of_the_same_name_and_another_key_is_told_apart() -> None:
    """Java loads such a chain, since it compares names, and no handshake succeeds with it."""
    again = UPPER.intermediate("CN=Lower,O=MyOrg")
    assert only(wrong(keystore(LEAF, again.certificate)), "bears the name of who issued", "has not signed it")


def test_a_certificate_that_stands_twice_is_wrong() -> None:
    """Java counts the certificates of a chain, and those that differ."""
    assert only(wrong(keystore(*CHAIN, LOWER.certificate)), "CN=Lower,O=MyOrg stands 2 times")


def ladder(links: int) -> tuple[Certificate, ...]:
    """Return a leaf and as many CAs above it, each issued by the next, the last of them by the root."""
    steps = [ROOT.intermediate("CN=0")]
    for step in range(links - 1):
        steps.append(steps[-1].intermediate(f"CN={step + 1}"))
    return (steps[-1].leaf(REQUEST, KEY), *(one.certificate for one in reversed(steps)))


def test_a_chain_that_the_proof_refutes_is_wrong() -> None:
    """In the same words, at the same number of certificates and of bytes, with the key or without."""
    for chain in (keystore(*ladder(LONGEST_CHAIN)), pem(*ladder(LONGEST_CHAIN))):
        assert only(wrong(chain), "the chain has 9 certificates, and a server on Java takes 8 from a client")
    assert wrong(keystore(*ladder(LONGEST_CHAIN - 1))) == []
    assert only(wrong(keystore(*ladder(12))), "the chain has 13 certificates")
    names = tuple(f"{number:03}.{'x' * 60}.example.com" for number in range(450))
    large = LOWER.leaf(make_request(dns=names, lifetime=LIFETIME), KEY)
    assert LARGEST_CHAIN < len(large.der) <= LARGEST_CERTIFICATE
    assert only(wrong(keystore(large)), f"the chain has {len(large.der)} bytes, and Java takes 32000 in a handshake")


@pytest.mark.parametrize(("days", "word"), [(-1, "expired at"), (1, "is valid from")])
def test_dates_are_judged_for_the_whole_chain(days: int, word: str) -> None:
    """A leaf and an intermediate that are not valid now are wrong; an anchor is sent for nothing."""
    start = NOW + timedelta(days=days)
    end = NOW - timedelta(days=1) if days < 0 else NOW + LIFETIME
    if days < 0:
        start = end - timedelta(days=5)
    leaf = LOWER.leaf(REQUEST, KEY, not_before=start, not_after=end)
    assert only(wrong(keystore(leaf)), f"CN=kafka1.example.com,OU=Brokers,O=MyOrg {word}")
    lower = UPPER.intermediate("CN=Lower,O=MyOrg", key=LOWER.key, not_before=start, not_after=end)
    assert only(wrong(keystore(LEAF, lower.certificate)), f"CN=Lower,O=MyOrg {word}")
    root = Ca.root(key=ROOT.key, not_before=start, not_after=end)
    assert wrong(keystore(*CHAIN, root.certificate)) == []
    assert any(word in one for one in notable(keystore(*CHAIN, root.certificate)))


def test_what_ends_soon_is_worth_knowing() -> None:
    """Thirty days before, and not a moment earlier."""
    ends = LEAF.not_after
    for left, said in ((timedelta(days=30), 1), (timedelta(days=30, seconds=1), 0)):
        found = findings(keystore(LEAF), ends - left)
        assert sum("expires within 30 days" in one.what for one in found) == said
        assert not is_wrong(found)


def test_weak_keys_and_hashes_are_wrong() -> None:
    """In leaf and CA; the signature of an anchor is looked at by nobody."""
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the fault
    assert only(wrong(keystore(LOWER.leaf(REQUEST, weak), key=facts(weak))), "rsa-1024")
    ca = Ca.root("CN=Old", key=make_key(KeyAlgorithm.RSA_2048))
    assert isinstance(ca.key, rsa.RSAPrivateKey)
    old = Ca(_with_sha1(ca.certificate, ca.key), ca.key)
    with_anchor = keystore(old.leaf(REQUEST, KEY), old.certificate)
    assert wrong(with_anchor) == []
    assert not any("hash" in one for one in notable(with_anchor))
    assert only(wrong(keystore(_with_sha1(ca.leaf(REQUEST, KEY), ca.key))), "hash that is broken")


def test_what_may_not_issue_is_found_by_the_path() -> None:
    """A chain that is in order and well dated, and yet holds for nobody."""
    shut = ROOT.intermediate("CN=Shut", path_length=0)
    lower = shut.intermediate("CN=Below")
    said = wrong(keystore(lower.leaf(REQUEST, KEY), lower.certificate, shut.certificate))
    assert only(said, "CN=Shut allows 0 CAs below it")
    nobody = make_key()
    no_ca = Ca(ROOT.leaf(make_request("CN=No CA"), nobody), nobody)
    assert only(wrong(keystore(no_ca.leaf(REQUEST, KEY), no_ca.certificate)), "CN=No CA is no CA")


def test_names_and_usages_of_the_leaf_are_judged() -> None:
    """No SAN and one usage work for some; neither usage for nobody."""
    bare = LOWER.leaf(make_request(dns=(), ip=(), lifetime=LIFETIME), KEY)
    assert only(notable(keystore(bare)), "no SAN")
    one = LOWER.leaf(make_request(usages=frozenset({Usage.CLIENT}), lifetime=LIFETIME), KEY)
    assert only(notable(keystore(one)), "as client alone")
    assert wrong(keystore(one)) == []
    builder = _leaf_builder(ROOT, KEY).add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
    )
    mail = Certificate.from_der(builder.sign(ROOT.key, hashes.SHA256()).public_bytes(Encoding.DER))
    assert only(wrong(keystore(mail)), "neither server nor client")


def test_a_leaf_that_is_a_ca_or_its_own_anchor_is_worth_knowing() -> None:
    """And a CA's own certificate cannot sign a handshake by its key usage."""
    leaf = LOWER.leaf(REQUEST, KEY, ca=True)
    assert wrong(keystore(leaf)) == []
    assert any("is a CA" in one for one in notable(keystore(leaf)))
    said = keystore(ROOT.certificate, key=facts(ROOT.key))
    assert only(wrong(said), "does not let it sign a handshake")
    assert any("is self-signed" in one for one in notable(said))


def test_an_anchor_in_the_chain_is_worth_knowing() -> None:
    """Some readers want it there."""
    assert only(notable(keystore(*WHOLE)), "carries its anchor CN=Test Root,O=MyOrg")
    assert notable(keystore(*CHAIN)) == []


def test_the_links_of_a_renewed_root_are_in_order() -> None:
    """The new root stands before its cross-signed twin, and Java takes that: one name, one key."""
    old, new = Ca.root("CN=Old"), Ca.root("CN=New")
    link = old.intermediate("CN=New", key=new.key)
    assert wrong(keystore(new.leaf(REQUEST, KEY), new.certificate, link.certificate, old.certificate)) == []


def test_a_locked_key_is_wrong_only_with_a_password() -> None:
    """Without one it was not tried."""
    assert only(wrong(keystore(*CHAIN, locked=True)), "does not open")
    untried = replace(keystore(*CHAIN, locked=True), with_password=False)
    assert wrong(untried) == []
    assert any("without its password" in one for one in notable(untried))


def test_a_key_without_its_certificate_is_wrong_in_a_store_of_java() -> None:
    """In PEM the certificate may be in a file of its own."""
    assert only(wrong(keystore()), "no certificate with the private key")
    assert wrong(keystore(store=StoreFormat.PEM)) == []
    assert only(notable(keystore(store=StoreFormat.PEM, alias="")), "no certificate")
    assert keystore().entries[0].matches is None


def test_several_keys_are_worth_knowing() -> None:
    """Each is judged, and named by its alias, or by its number where it has none."""
    other = make_key()
    first, second = keystore(*CHAIN).entries[0], keystore(LEAF, key=facts(other), alias="").entries[0]
    both = Examined(StoreFormat.JKS, (first, second), with_password=True)
    assert any("2 private keys" in one for one in notable(both))
    assert any("JKS keeps private keys from view weakly" in one for one in notable(both))
    assert only(wrong(both), "entry 2: the private key is not that of")


def test_aliases_that_java_changes() -> None:
    """In PKCS12 it reads them in lower case; in a JKS it never finds them; one of two alike is lost."""
    assert "Java calls it kafka" in " ".join(notable(keystore(*CHAIN, alias="Kafka")))
    assert only(wrong(keystore(*CHAIN, alias="Kafka", store=StoreFormat.JKS)), "Kafka: ", "lower case alone")
    assert wrong(keystore(*CHAIN, alias="Kafka", store=StoreFormat.PEM)) == []
    one = truststore(ROOT.certificate, STRANGER.certificate, store=StoreFormat.JKS)
    twins = replace(one, entries=tuple(replace(entry, alias="ca") for entry in one.entries))
    assert only(wrong(twins), "ca: 2 entries bear one alias")
    nameless = replace(one, entries=tuple(replace(entry, alias="") for entry in one.entries))
    assert only(wrong(nameless), "2 entries have an empty alias, and Java sees one of them")


def test_aliases_of_what_is_no_entry_are_those_of_nobody() -> None:
    """The CAs of a chain in a PKCS12 may all be called alike, and as they like: Java does not list them."""
    cas = tuple(
        Entry("CA", Kind.CERTIFICATE, (one,)) for one in (STRANGER.certificate, Ca.root("CN=Third").certificate)
    )
    mixed = Examined(StoreFormat.PKCS12, (*keystore(*CHAIN).entries, *cas))
    assert wrong(mixed) == []
    assert not any("Java calls it" in one for one in notable(mixed))


def test_ed25519_in_pem_is_worth_knowing() -> None:
    """Kafka on the JVM cannot read it there."""
    key, leaf = made(KeyAlgorithm.ED25519)
    assert only(notable(keystore(leaf, key=key, store=StoreFormat.PEM)), "Ed25519")
    assert notable(keystore(leaf, key=key)) == []


def test_a_truststore_of_ours_says_nothing() -> None:
    """In all three formats."""
    for store in (truststore(ROOT.certificate, STRANGER.certificate), truststore(ROOT.certificate, store="jks")):
        assert findings(store, NOW) == ()
    assert findings(pem(ROOT.certificate, STRANGER.certificate), NOW) == ()
    assert findings(replace(pem(ROOT.certificate), format=DER), NOW) == ()


def test_an_empty_truststore_is_wrong() -> None:
    """It would trust nobody."""
    assert only(wrong(truststore()), "holds nothing")
    assert not truststore().is_truststore


def test_one_anchor_that_does_not_hold_spoils_none_beside_it() -> None:
    """Until none is left."""
    ended = Ca.root("CN=Ended", not_after=NOW - timedelta(days=1)).certificate
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the fault
    weak = Ca.root("CN=Weak", key=small).certificate
    assert wrong(truststore(ROOT.certificate, ended, weak)) == []
    assert len(notable(truststore(ROOT.certificate, ended, weak))) == 2
    assert only(wrong(truststore(ended, weak)), "none of its certificates can be an anchor")


def test_a_leaf_among_anchors_is_worth_knowing() -> None:
    """It is trusted for itself; a root from before X.509 v3 says nothing of being a CA, and is one."""
    assert only(notable(truststore(ROOT.certificate, LEAF)), "CN=kafka1", "is no CA")
    old = _first_version(STRANGER)
    assert findings(truststore(old), NOW) == ()
    assert findings(pem(old), NOW) == ()


def test_a_long_pem_bundle_with_a_leaf_in_it_is_no_chain() -> None:
    """A short one may be either, and cannot be both."""
    roots = [Ca.root(f"CN=Root {number}").certificate for number in range(11)]
    assert pem(*roots, LEAF).is_truststore
    assert only(notable(pem(*roots, LEAF)), "is no CA")
    assert pem(roots[0], LEAF).is_chain


def test_pkcs12_that_java_sees_empty() -> None:
    """What OpenSSL writes is not marked as trusted, under whatever alias; what is marked needs none."""
    for alias in ("", "root"):
        bare = Examined(StoreFormat.PKCS12, (Entry(alias, Kind.CERTIFICATE, (ROOT.certificate,)),))
        assert only(wrong(bare), "1 of 1 certificates are not marked as trusted", "Java sees no trusted entry")
        assert notable(bare) == []
    for alias in ("1", "root"):
        marked = Examined(StoreFormat.PKCS12, (Entry(alias, Kind.TRUSTED, (ROOT.certificate,)),))
        assert findings(marked, NOW) == ()


def test_certificates_beside_a_key() -> None:
    """Anchors are judged as such; what is neither in the chain nor trusted serves nobody."""
    entries = (
        *keystore(*CHAIN).entries,
        Entry("old", Kind.TRUSTED, (Ca.root("CN=Old", not_after=NOW - timedelta(days=1)).certificate,)),
        Entry("", Kind.CERTIFICATE, (STRANGER.certificate,)),
    )
    mixed = Examined(StoreFormat.PKCS12, entries)
    assert only(wrong(mixed), "none of its certificates can be an anchor")
    assert any("CN=Stranger is in no chain and no anchor" in one for one in notable(mixed))
    assert not mixed.is_truststore
    assert not mixed.is_chain


def test_what_the_reader_remarked_is_passed_on() -> None:
    """First of all."""
    assert notable(replace(keystore(*CHAIN), remarks=("it is odd",)))[0] == "it is odd"


def test_names_cannot_command_a_terminal() -> None:
    """Neither an alias nor a subject."""
    root = Ca.root("CN=Bad\x1b[31m")
    said = "".join(
        str(one)
        for one in (
            *findings(keystore(root.leaf(REQUEST, make_key()), root.certificate, alias="A\x1b[2J\u202e"), NOW),
            *findings(keystore(LEAF, root.certificate, alias="\x07", store=StoreFormat.JKS), NOW),
        )
    )
    assert said
    assert said.isprintable()


@given(
    st.lists(
        st.builds(
            Finding, st.sampled_from(Severity), st.sampled_from(["it rains", "it is late"]), st.sampled_from("abc")
        )
    )
)
def test_merged_findings_lose_nothing_and_repeat_nothing(found: list[Finding]) -> None:
    """Each phrase once with all of its places, faults first."""
    together = merged(found)
    apart = {(one.severity, one.what, where) for one in together for where in one.where.split(", ")}
    assert apart == {(one.severity, one.what, one.where) for one in found}
    assert len({(one.severity, one.what) for one in together}) == len(together)
    severities = [one.severity for one in together]
    assert severities == sorted(severities, key=lambda one: one is not Severity.WRONG)
    assert is_wrong(together) == is_wrong(found)


def test_merged_findings_stay_in_their_order() -> None:
    """Of the store, and of the places within one."""
    found = [Finding(Severity.NOTABLE, "it rains", where) for where in "cab"]
    together = merged(
        [*found, Finding(Severity.NOTABLE, "a"), Finding(Severity.WRONG, "z"), Finding(Severity.WRONG, "y")]
    )
    assert [str(one) for one in together] == ["z", "y", "c, a, b: it rains", "a"]


def _leaf_builder(ca: Ca, key: PrivateKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(REQUEST.subject)
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("kafka1.example.com")]), critical=False)
    )


def _with_sha1(certificate: Certificate, key: rsa.RSAPrivateKey) -> Certificate:
    """Return a certificate of an RSA key as CAs once signed; the library makes none."""
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    tbs = certificate.x509.tbs_certificate_bytes
    old = tbs.replace(sha256, sha1)
    signature = key.sign(old, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - that is the fault
    der = certificate.der.replace(certificate.x509.signature, signature).replace(tbs, old).replace(sha256, sha1)
    return Certificate.from_der(der)


def _first_version(ca: Ca) -> Certificate:
    """Return a self-signed certificate as it would be read from X.509 v1, without extensions."""
    return replace(ca.certificate, version=1, is_ca=None, path_length=None, key_usage=None)
