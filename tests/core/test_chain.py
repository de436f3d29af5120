"""Ordering a chain, and the path from a leaf to an anchor."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from agent.core.certificate import Certificate
from agent.core.chain import LONGEST_PATH, MOST_SIGNATURES, NoPath, Path, find_path, is_self_signed, order
from agent.core.identity import KeyAlgorithm, Usage
from tests.material import BOTH, NOW, Ca, make_key, make_request
from tests.tools import need

if TYPE_CHECKING:
    import pathlib

ROOT = Ca.root()
UPPER = ROOT.intermediate("CN=Upper,O=MyOrg")
LOWER = UPPER.intermediate("CN=Lower,O=MyOrg")
KEY = make_key()
REQUEST = make_request()
LEAF = LOWER.leaf(REQUEST, KEY)
STRANGER = Ca.root("CN=Stranger")
POOL = (LOWER.certificate, UPPER.certificate, ROOT.certificate, STRANGER.certificate, LEAF)


def reason(verdict: Path | NoPath) -> str:
    """Return why there is no path."""
    assert isinstance(verdict, NoPath)
    return verdict.reason


@given(st.permutations(POOL), st.lists(st.sampled_from(POOL)))
def test_order_depends_on_nothing_but_the_certificates(pool: list[Certificate], again: list[Certificate]) -> None:
    """In whatever order and however often they come, the chain is leaf, lower, upper."""
    assert order(LEAF, [*pool, *again]) == (LEAF, LOWER.certificate, UPPER.certificate)


def test_order_takes_the_longer_lived_of_two_links() -> None:
    """A CA that was renewed with its key has two certificates that would do."""
    renewed = ROOT.intermediate("CN=Upper,O=MyOrg", key=UPPER.key, not_after=NOW + timedelta(days=2000))
    leaf = UPPER.leaf(REQUEST, KEY)
    assert order(leaf, [UPPER.certificate, renewed.certificate]) == (leaf, renewed.certificate)


def test_order_ends_where_the_pool_ends() -> None:
    """A missing link leaves a short chain, for the proof to judge."""
    assert order(LEAF, [UPPER.certificate]) == (LEAF,)


def test_order_of_a_self_signed_leaf_is_the_leaf() -> None:
    """Nothing leads on from it."""
    assert order(ROOT.certificate, POOL) == (ROOT.certificate,)


def test_order_bounds_a_chain_without_end() -> None:
    """A ladder of CAs that is longer than any reader follows is cut."""
    ladder = [ROOT.intermediate("CN=0")]
    for step in range(LONGEST_PATH + 3):
        ladder.append(ladder[-1].intermediate(f"CN={step + 1}"))
    leaf = ladder[-1].leaf(REQUEST, KEY)
    assert len(order(leaf, [ca.certificate for ca in ladder])) == LONGEST_PATH


def test_order_keeps_the_link_from_a_new_key_of_a_ca_to_its_old_one() -> None:
    """Peers that trust the old key alone need it, though its subject and issuer are one name (RFC 4210, 4.4)."""
    old, new = Ca.root("CN=Same"), Ca.root("CN=Same")
    link = old.intermediate("CN=Same", key=new.key).certificate
    leaf = new.leaf(REQUEST, KEY)
    chain = order(leaf, [new.certificate, link, old.certificate])
    assert chain == (leaf, link)
    for anchor in (old, new):
        assert isinstance(find_path(leaf, chain[1:], [anchor.certificate], NOW, BOTH), Path)


def test_path_leads_from_leaf_to_anchor() -> None:
    """All links are named, the anchor last."""
    found = find_path(LEAF, [UPPER.certificate, LOWER.certificate], [ROOT.certificate], NOW, BOTH)
    assert found == Path((LEAF, LOWER.certificate, UPPER.certificate, ROOT.certificate))


def test_path_may_end_at_an_intermediate_that_is_trusted() -> None:
    """An anchor is what peers are configured to trust, root or not."""
    found = find_path(LEAF, [], [LOWER.certificate], NOW, BOTH)
    assert found == Path((LEAF, LOWER.certificate))


def test_path_may_be_the_leaf_alone() -> None:
    """A self-signed leaf in the truststore is trusted as Java and OpenSSL trust it."""
    assert find_path(LEAF, [], [LEAF], NOW, BOTH) == Path((LEAF,))


def test_a_missing_link_is_named() -> None:
    """The operator reads which CA is not there."""
    why = reason(find_path(LEAF, [LOWER.certificate], [ROOT.certificate], NOW, BOTH))
    assert "CN=Upper" in why
    assert "no trusted anchor" in why


def test_a_stranger_of_the_same_name_is_no_issuer() -> None:
    """A name is not enough: the signature counts."""
    double = Ca.root(str(ROOT.certificate.subject.rfc4514_string()))
    why = reason(find_path(LEAF, [LOWER.certificate, UPPER.certificate], [double.certificate], NOW, BOTH))
    assert "signature" in why


def test_a_cross_signed_ca_is_reached_by_the_way_that_is_trusted() -> None:
    """Of two ways the one that ends at an anchor is found."""
    other = Ca.root("CN=Other Root,O=MyOrg")
    crossed = other.intermediate("CN=Upper,O=MyOrg", key=UPPER.key)
    found = find_path(LEAF, [LOWER.certificate, UPPER.certificate, crossed.certificate], [other.certificate], NOW, BOTH)
    assert isinstance(found, Path)
    assert found.certificates[-2:] == (crossed.certificate, other.certificate)


@pytest.mark.parametrize(
    ("at", "word"),
    [
        (NOW + timedelta(days=31), "expired"),
        (NOW - timedelta(days=1), "valid from"),
        (NOW + timedelta(days=1200), "expired"),
    ],
)
def test_a_path_holds_at_its_time_only(at: datetime, word: str) -> None:
    """Dates are read against the moment that is passed in."""
    assert word in reason(find_path(LEAF, [LOWER.certificate, UPPER.certificate], [ROOT.certificate], at, BOTH))


def test_the_last_second_is_valid() -> None:
    """A certificate holds through the whole second that notAfter names."""
    at = LEAF.not_after + timedelta(milliseconds=900)
    assert isinstance(find_path(LEAF, [], [LOWER.certificate], at, BOTH), Path)


def test_an_expired_link_or_anchor_is_refused() -> None:
    """All of the path must be valid."""
    old = ROOT.intermediate("CN=Old", not_after=NOW - timedelta(days=1))
    leaf = old.leaf(REQUEST, KEY)
    assert "CN=Old expired" in reason(find_path(leaf, [old.certificate], [ROOT.certificate], NOW, BOTH))
    ended = Ca.root("CN=Ended", not_after=NOW - timedelta(days=1))
    assert "CN=Ended expired" in reason(find_path(ended.leaf(REQUEST, KEY), [], [ended.certificate], NOW, BOTH))


def test_a_leaf_that_signs_is_no_ca() -> None:
    """What says CA:FALSE issues nothing, be it in the middle or an anchor."""
    host = Ca(ROOT.leaf(make_request("CN=host"), KEY), KEY)
    leaf = host.leaf(REQUEST, make_key())
    assert "is no CA" in reason(find_path(leaf, [host.certificate], [ROOT.certificate], NOW, BOTH))
    assert "is no CA" in reason(find_path(leaf, [], [host.certificate], NOW, BOTH))


def test_too_many_cas_below_are_refused() -> None:
    """The path length of a CA bounds what stands below it."""
    narrow = ROOT.intermediate("CN=Narrow", path_length=0)
    below = narrow.intermediate("CN=Below")
    leaf = below.leaf(REQUEST, KEY)
    links = [narrow.certificate, below.certificate]
    assert "allows 0 CAs" in reason(find_path(leaf, links, [ROOT.certificate], NOW, BOTH))


def build(issuer: Ca, *extensions: tuple[x509.ExtensionType, bool], name: str = "CN=odd") -> Certificate:
    """Sign a certificate that says just what is given."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(name))
        .issuer_name(issuer.certificate.subject)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Certificate.from_der(builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.DER))


def element(tag: int, content: bytes) -> bytes:
    """Return one element of DER (X.690, 8.1.3): a short length in one byte, a long one after the count of its bytes."""
    size = len(content)
    long = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (bytes([size]) if size < 0x80 else bytes([0x80 | len(long)]) + long) + content


def as_v1(certificate: Certificate, signer: Ca) -> Certificate:
    """Make a certificate without extensions one of X.509 v1: the version goes, and it is signed anew."""
    assert isinstance(signer.key, ec.EllipticCurvePrivateKey)
    tbs = certificate.x509.tbs_certificate_bytes
    version = tbs.index(bytes.fromhex("a003020102"))
    old = element(0x30, tbs[version + 5 :])
    signature = signer.key.sign(old, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    made = Certificate.from_der(element(0x30, old + algorithm + element(0x03, b"\0" + signature)))
    assert made.version == 1
    return made


def test_a_leaf_of_version_1_is_taken() -> None:
    """So does many a Kafka guide sign the CSR of a broker."""
    assert isinstance(find_path(as_v1(build(ROOT), ROOT), [], [ROOT.certificate], NOW, BOTH), Path)


def test_a_ca_of_version_1_is_one_only_where_it_is_trusted() -> None:
    """Java and OpenSSL take an old root; in the middle it could be any host's leaf."""
    odd = Ca.root("CN=odd", key=KEY)
    root = Ca(as_v1(build(odd), odd), KEY)
    leaf = root.leaf(REQUEST, make_key())
    assert isinstance(find_path(leaf, [], [root.certificate], NOW, BOTH), Path)
    middle = as_v1(build(ROOT), ROOT)
    assert "is no CA" in reason(find_path(leaf, [middle], [ROOT.certificate], NOW, BOTH))


def test_an_anchor_of_version_3_must_say_that_it_is_a_ca() -> None:
    """Java refuses it without basic constraints, whatever its key usage says."""
    may_sign = next(one for one in ROOT.certificate.x509.extensions if isinstance(one.value, x509.KeyUsage))
    silent = Ca(build(ROOT, (may_sign.value, True)), KEY)
    leaf = silent.leaf(REQUEST, make_key())
    assert "is no CA" in reason(find_path(leaf, [], [silent.certificate], NOW, BOTH))


def test_a_leaf_that_may_not_sign_a_handshake_is_refused() -> None:
    """Key encipherment alone served RSA key exchange; Java refuses such a leaf on both sides."""
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    why = reason(find_path(build(ROOT, (usage, True)), [], [ROOT.certificate], NOW, BOTH))
    assert "digital signature" in why


def test_a_small_curve_is_refused() -> None:
    """Java refuses curves below 224 bits."""
    leaf = ROOT.leaf(REQUEST, ec.generate_private_key(ec.SECP192R1()))
    assert "ec-p192" in reason(find_path(leaf, [], [ROOT.certificate], NOW, BOTH))


def test_a_name_neither_breaks_a_sentence_nor_fills_a_page() -> None:
    """What a CA put in a subject ends up in logs and on terminals."""
    subject = x509.Name(
        [
            *(x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "u" * 60) for _ in range(20)),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "a\nb\x1b[31m"),
        ]
    )
    named = Ca.root("CN=x").leaf(replace(REQUEST, subject=subject), KEY)
    why = reason(find_path(named, [], [ROOT.certificate], NOW, BOTH))
    assert why.isprintable()
    assert len(why) < 500


def test_a_leaf_without_any_extension_is_taken() -> None:
    """A CN and no SAN, no key usage, no extended key usage: Java and OpenSSL take it, so do we."""
    assert isinstance(find_path(build(ROOT), [], [ROOT.certificate], NOW, BOTH), Path)


def test_a_ca_without_key_usage_is_taken() -> None:
    """Many a Kafka guide makes its CA so."""
    plain = Ca(build(ROOT, (x509.BasicConstraints(ca=True, path_length=None), True)), KEY)
    leaf = plain.leaf(REQUEST, make_key())
    assert isinstance(find_path(leaf, [plain.certificate], [ROOT.certificate], NOW, BOTH), Path)


def test_a_ca_whose_key_usage_forbids_signing_is_refused() -> None:
    """A key usage that is there counts."""
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    weak = Ca(build(ROOT, (x509.BasicConstraints(ca=True, path_length=None), True), (usage, True)), KEY)
    leaf = weak.leaf(REQUEST, make_key())
    why = reason(find_path(leaf, [weak.certificate], [ROOT.certificate], NOW, BOTH))
    assert "does not let it sign" in why


@pytest.mark.parametrize("usage", [Usage.SERVER, Usage.CLIENT])
def test_a_usage_that_is_not_allowed_is_refused(usage: Usage) -> None:
    """A broker's leaf must serve both as server and as client."""
    other = {
        Usage.SERVER: ExtendedKeyUsageOID.CLIENT_AUTH,
        Usage.CLIENT: ExtendedKeyUsageOID.SERVER_AUTH,
    }[usage]
    leaf = build(ROOT, (x509.ExtendedKeyUsage([other]), False))
    assert f"may not be used as {usage}" in reason(find_path(leaf, [], [ROOT.certificate], NOW, BOTH))
    only = build(ROOT, (x509.ExtendedKeyUsage([other, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False))
    assert isinstance(find_path(only, [], [ROOT.certificate], NOW, BOTH), Path)


def test_an_intermediate_that_may_not_be_used_so_is_refused() -> None:
    """A CA for mail issues no brokers."""
    mail = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    ca = Ca(build(ROOT, (x509.BasicConstraints(ca=True, path_length=None), True), (mail, False)), KEY)
    leaf = ca.leaf(REQUEST, make_key())
    assert "may not be used as" in reason(find_path(leaf, [ca.certificate], [ROOT.certificate], NOW, BOTH))


def test_an_unknown_critical_extension_is_refused() -> None:
    """What nobody understands and is said to be critical may mean anything."""
    strange = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert "1.2.3.4" in reason(find_path(build(ROOT, (strange, True)), [], [ROOT.certificate], NOW, BOTH))
    assert isinstance(find_path(build(ROOT, (strange, False)), [], [ROOT.certificate], NOW, BOTH), Path)


def test_a_leaf_with_name_constraints_is_refused() -> None:
    """Only a CA carries them."""
    constraints = x509.NameConstraints([x509.DNSName("example.com")], None)
    assert "name constraints" in reason(find_path(build(ROOT, (constraints, True)), [], [ROOT.certificate], NOW, BOTH))


@pytest.mark.parametrize(("domain", "allowed"), [("example.com", True), ("example.org", False)])
def test_name_constraints_of_a_ca_are_kept(domain: str, *, allowed: bool) -> None:
    """A CA for one domain names no host of another."""
    constraints = x509.NameConstraints([x509.DNSName(domain), x509.DNSName("localhost")], None)
    ca = Ca(build(ROOT, (x509.BasicConstraints(ca=True, path_length=None), True), (constraints, True)), KEY)
    leaf = ca.leaf(make_request(ip=()), make_key())
    found = find_path(leaf, [ca.certificate], [ROOT.certificate], NOW, BOTH)
    assert isinstance(found, Path) == allowed
    assert allowed or "name constraints" in reason(found)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("CN=kafka1.example.com", True),
        ("CN=EXAMPLE.com", True),
        ("CN=Kafka Admin", True),
        ("CN=kafka1.example.org", False),
        ("CN=notexample.com", False),
        ("CN=test.example.com", False),
        ("CN=kafka1.example.org,CN=kafka1.example.com", False),
    ],
)
def test_a_cn_that_stands_for_a_san_is_held_to_name_constraints(name: str, *, allowed: bool) -> None:
    """Without a DNS SAN Java and OpenSSL read the CN as one."""
    constraints = x509.NameConstraints([x509.DNSName("example.com")], [x509.DNSName("test.example.com")])
    ca = Ca(build(ROOT, (x509.BasicConstraints(ca=True, path_length=None), True), (constraints, True)), KEY)
    leaf = build(ca, name=name)
    found = find_path(leaf, [ca.certificate], [ROOT.certificate], NOW, BOTH)
    assert isinstance(found, Path) == allowed
    assert allowed or "CN stands for a DNS name" in reason(found)


def test_a_cn_beside_a_dns_san_stands_for_nothing() -> None:
    """Where there are SANs they are the names (RFC 6125, 6.4.4)."""
    constraints = x509.NameConstraints([x509.DNSName("example.com")], None)
    ca = Ca(build(ROOT, (x509.BasicConstraints(ca=True, path_length=None), True), (constraints, True)), KEY)
    names = x509.SubjectAlternativeName([x509.DNSName("kafka1.example.com")])
    leaf = build(ca, (names, False), name="CN=kafka1.example.org")
    assert isinstance(find_path(leaf, [ca.certificate], [ROOT.certificate], NOW, BOTH), Path)


def test_a_weak_key_is_refused() -> None:
    """RSA below 2048 bits opens no TLS connection on a Debian host."""
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    leaf = ROOT.leaf(REQUEST, small)
    assert "rsa-1024" in reason(find_path(leaf, [], [ROOT.certificate], NOW, BOTH))


@pytest.mark.parametrize(
    ("algorithm", "known", "other"),
    [
        (KeyAlgorithm.RSA_2048, "2a864886f70d01010b", "2a864886f70d010105"),
        (KeyAlgorithm.EC_P256, "2a8648ce3d040302", "2a8648ce3d040309"),
    ],
    ids=["SHA-1", "a hash that nobody knows"],
)
def test_a_weak_hash_is_refused(algorithm: KeyAlgorithm, known: str, other: str) -> None:
    """Whoever can find collisions can be any host."""
    ca = Ca.root("CN=Old", key=make_key(algorithm))
    der = ca.leaf(REQUEST, KEY).der.replace(bytes.fromhex(known), bytes.fromhex(other))
    leaf = Certificate.from_der(der)
    assert "hash that is broken" in reason(find_path(leaf, [], [ca.certificate], NOW, BOTH))


def test_an_ed25519_chain_is_taken() -> None:
    """The web's rules know no Ed25519; TLS 1.3 and Java do."""
    ca = Ca.root("CN=Ed", key=make_key(KeyAlgorithm.ED25519))
    leaf = ca.leaf(REQUEST, make_key(KeyAlgorithm.ED25519))
    assert isinstance(find_path(leaf, [], [ca.certificate], NOW, BOTH), Path)


def test_a_pool_that_is_built_to_keep_us_busy_does_not() -> None:
    """Many CAs of one name and key make exponentially many ways; the work is bounded."""
    key = make_key()
    layers = [[Ca.root("CN=L0").intermediate("CN=L1", key=key) for _ in range(6)]]
    for layer in range(2, 8):
        layers.append([layers[-1][0].intermediate(f"CN=L{layer}", key=key) for _ in range(6)])
    leaf = layers[-1][0].leaf(REQUEST, KEY)
    pool = [ca.certificate for layer in layers for ca in layer]
    why = reason(find_path(leaf, pool, [STRANGER.certificate], NOW, BOTH))
    assert f"within {MOST_SIGNATURES} signatures" in why


def test_a_crowd_of_namesakes_is_told_as_such() -> None:
    """A search that was cut short does not blame a signature that nobody looked at."""
    crowd = [Ca.root("CN=Other").intermediate("CN=Lower,O=MyOrg").certificate for _ in range(MOST_SIGNATURES + 1)]
    links = [*crowd, LOWER.certificate, UPPER.certificate]
    assert "bear one name" in reason(find_path(LEAF, links, [ROOT.certificate], NOW, BOTH))


@given(st.binary(max_size=300))
def test_garbage_never_raises_anything_but_a_material_error(content: bytes) -> None:
    """Hostile bytes are told of, not crashed on."""
    from agent.errors import MaterialError

    with pytest.raises(MaterialError):
        Certificate.from_der(content)


@given(st.integers(0, len(LEAF.der) - 1), st.integers(1, 255))
def test_a_changed_byte_never_makes_a_path(position: int, change: int) -> None:
    """Whatever byte of the leaf is changed, it is unreadable or refused; but for the frame of the signature.

    A BIT STRING that ends in a zero can call its last bit unused: another DER of the same statement.
    """
    from agent.errors import MaterialError

    der = bytearray(LEAF.der)
    der[position] ^= change
    try:
        changed = Certificate.from_der(bytes(der))
    except MaterialError:
        return
    if changed.x509.tbs_certificate_bytes != LEAF.x509.tbs_certificate_bytes or changed.x509.signature != (
        LEAF.x509.signature
    ):
        assert isinstance(find_path(changed, [], [LOWER.certificate], NOW, BOTH), NoPath)


def test_a_root_of_an_old_hash_is_an_anchor(tmp_path: pathlib.Path) -> None:
    """SHA-1 says nothing about a root that is trusted; it is left out of chains like any other anchor."""
    command = [need("openssl"), "req", "-x509", "-sha1", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Old Root"]
    command += ["-keyout", str(tmp_path / "key"), "-outform", "DER"]
    der = subprocess.run(command, capture_output=True, check=True).stdout
    root = Certificate.from_der(der)
    assert is_self_signed(root)
    assert order(LEAF, [LOWER.certificate, root]) == (LEAF, LOWER.certificate)
    broken = Certificate.from_der(der[:-1] + bytes([der[-1] ^ 1]))
    assert not is_self_signed(broken)
