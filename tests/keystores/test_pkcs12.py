"""PKCS12 stores, judged by Java's keytool and by OpenSSL, and read back."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.files import Encryption
from agent.core.identity import KeyAlgorithm
from agent.errors import MaterialError
from agent.keystores import der, limits, pfx, private_key
from agent.keystores import pkcs12 as stores
from tests.judges.keys import ask, entries, java_fingerprints, keytool
from tests.keystores import parts
from tests.keystores.hostile import HOURS, rebuilt
from tests.keystores.identities import ALGORITHMS, PASSWORD, Identity, make_identity
from tests.material import make_key
from tests.tools import need

if TYPE_CHECKING:
    from pathlib import Path


JAVA_PASSWORDS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64)
ALIASES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)
"""What the settings allow."""


@pytest.fixture(scope="module")
def identity() -> Identity:
    """Return an identity that all tests of this file only read."""
    return make_identity()


def openssl(*arguments: str | Path, password: str = PASSWORD) -> str:
    """Run `openssl pkcs12` in the same manner."""
    command = [need("openssl"), "pkcs12", *arguments, "-passin", "env:STORE_PASSWORD"]
    done = subprocess.run(
        command, env=os.environ | {"STORE_PASSWORD": password}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [KeyAlgorithm.EC_P256, KeyAlgorithm.ED25519, KeyAlgorithm.RSA_2048])
def test_keystore_is_a_private_key_entry_with_the_whole_chain_to_java(algorithm: KeyAlgorithm, tmp_path: Path) -> None:
    """Java lists one PrivateKeyEntry under the alias, with leaf and intermediates in their order."""
    identity = make_identity(algorithm)
    path = tmp_path / "keystore.p12"
    path.write_bytes(stores.keystore(identity.key, identity.chain, "broker-1", PASSWORD))

    printed = keytool("-list", "-v", "-keystore", path, password=PASSWORD)
    assert "Keystore type: PKCS12" in printed
    assert "Your keystore contains 1 entry" in printed
    assert "Alias name: broker-1\n" in printed
    assert "Entry type: PrivateKeyEntry" in printed
    assert "Certificate chain length: 3" in printed
    assert java_fingerprints(printed) == [certificate.fingerprint for certificate in identity.chain]


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm", [KeyAlgorithm.EC_P256, KeyAlgorithm.EC_P384, KeyAlgorithm.ED25519, KeyAlgorithm.RSA_2048]
)
def test_keystore_gives_java_a_key_that_signs(algorithm: KeyAlgorithm, tmp_path: Path) -> None:
    """Java takes the key out with the store's password and signs with it what the leaf's public key verifies."""
    identity = make_identity(algorithm)
    path = tmp_path / "keystore.p12"
    path.write_bytes(stores.keystore(identity.key, identity.chain, "kafka", PASSWORD))

    signed = x509.load_pem_x509_csr(
        keytool("-certreq", "-alias", "kafka", "-keystore", path, password=PASSWORD).encode()
    )
    assert signed.is_signature_valid
    assert signed.public_key() == identity.key.public_key()


@pytest.mark.slow
def test_truststore_is_trusted_entries_to_java(identity: Identity, tmp_path: Path) -> None:
    """Java takes each anchor as a trustedCertEntry, under an alias that the fingerprint gives."""
    path = tmp_path / "truststore.p12"
    path.write_bytes(stores.truststore(identity.anchors, PASSWORD))

    printed = keytool("-list", "-v", "-keystore", path, password=PASSWORD)
    assert "Your keystore contains 2 entries" in printed
    assert printed.count("Entry type: trustedCertEntry") == 2
    assert sorted(java_fingerprints(printed)) == sorted(anchor.fingerprint for anchor in identity.anchors)
    aliases = set(re.findall(r"Alias name: (\S+)", printed))
    assert aliases == {anchor.fingerprint[:16] for anchor in identity.anchors}


@pytest.mark.slow
def test_keystore_takes_any_printable_password_to_java(identity: Identity, tmp_path: Path) -> None:
    """Blanks, quotes and backslashes in a password, or a single letter, open the store."""
    for password in (" x", "a b\"\\'$%&", "~"):
        path = tmp_path / "keystore.p12"
        path.write_bytes(stores.keystore(identity.key, identity.chain, "kafka", password))
        assert "PrivateKeyEntry" in keytool("-list", "-keystore", path, password=password)


@pytest.mark.slow
def test_read_truststore_reads_what_keytool_added(identity: Identity, tmp_path: Path) -> None:
    """A truststore into which a person imported an anchor is read with the new one."""
    path, added = tmp_path / "truststore.p12", tmp_path / "added.der"
    path.write_bytes(stores.truststore(identity.anchors[:1], PASSWORD))
    added.write_bytes(identity.anchors[1].der)
    keytool("-importcert", "-noprompt", "-alias", "added-by-hand", "-file", added, "-keystore", path, password=PASSWORD)
    assert set(stores.read_truststore(path.read_bytes(), PASSWORD)) == set(identity.anchors)


@pytest.mark.slow
def test_read_truststore_reads_what_an_older_java_wrote(identity: Identity, tmp_path: Path) -> None:
    """A truststore in the older encryption, RC2 and 3DES with a MAC of SHA-1, is read too: Java 8 writes such."""
    path, added = tmp_path / "truststore.p12", tmp_path / "added.der"
    added.write_bytes(identity.anchors[1].der)
    keytool(
        "-J-Dkeystore.pkcs12.legacy", "-importcert", "-noprompt", "-file", added, "-keystore", path, password=PASSWORD
    )
    assert stores.read_truststore(path.read_bytes(), PASSWORD) == identity.anchors[1:]


@pytest.mark.slow
def test_compatible_stores_are_what_java_reads_key_by_key(tmp_path: Path) -> None:
    """In the encryption that old JVMs know as well, every kind of key signs, and the anchors are trusted."""
    identities = {algorithm: make_identity(algorithm) for algorithm in ALGORITHMS}
    requests = []
    for algorithm, identity in identities.items():
        store, trust = tmp_path / f"{algorithm}.p12", tmp_path / f"{algorithm}-trust.p12"
        content = stores.keystore(identity.key, identity.chain, "kafka", PASSWORD, Encryption.COMPATIBLE)
        store.write_bytes(content)
        trust.write_bytes(stores.truststore(identity.anchors, PASSWORD, Encryption.COMPATIBLE))
        requests += [("store", "PKCS12", store, PASSWORD), ("store", "PKCS12", trust, PASSWORD)]
    answers = iter(ask(*requests))
    for identity in identities.values():
        (entry,) = entries(next(answers)).values()
        assert (entry.alias, entry.trusted, entry.signs) == ("kafka", False, True)
        assert entry.fingerprints == tuple(certificate.fingerprint for certificate in identity.chain)
        trusted = entries(next(answers))
        assert {alias: entry.fingerprints for alias, entry in trusted.items() if entry.trusted} == {
            anchor.fingerprint[:16]: (anchor.fingerprint,) for anchor in identity.anchors
        }


@pytest.mark.slow
def test_read_truststore_needs_no_password_where_java_18_wrote_none(identity: Identity, tmp_path: Path) -> None:
    """A store with neither encryption nor a MAC, like `cacerts` of later Javas, opens without one; others do not."""
    path, added = tmp_path / "cacerts", tmp_path / "added.der"
    added.write_bytes(identity.anchors[1].der)
    none = ("-J-Dkeystore.pkcs12.macAlgorithm=NONE", "-J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE")
    keytool(*none, "-importcert", "-noprompt", "-file", added, "-keystore", path, password=PASSWORD)
    assert stores.read_truststore(path.read_bytes(), None) == identity.anchors[1:]
    assert stores.read_truststore(path.read_bytes(), PASSWORD) == identity.anchors[1:]


def test_read_keystore_reads_what_is_ber(identity: Identity) -> None:
    """A store whose lengths are not told, as browsers and Bouncy Castle write them, opens as any other."""
    whole = der.Reader().first(stores.keystore(identity.key, identity.chain, "kafka", PASSWORD))
    key, chain = stores.read_keystore(b"\x30\x80" + bytes(whole.content) + b"\0\0", PASSWORD)
    assert private_key.to_der(key) == private_key.to_der(identity.key)
    assert chain == identity.chain


def test_read_truststore_without_a_password_tells_what_it_needs(identity: Identity) -> None:
    """A store that has a password says so."""
    with pytest.raises(MaterialError, match="does not open without a password") as caught:
        stores.read_truststore(stores.truststore(identity.anchors, PASSWORD), None)
    assert caught.value.advice == "give its password"


def test_compatible_keystore_is_what_openssl_opens(identity: Identity, tmp_path: Path) -> None:
    """OpenSSL finds 3DES and a MAC of SHA-1, which every Java 8 knows, and the same key and chain as we."""
    path = tmp_path / "keystore.p12"
    path.write_bytes(stores.keystore(identity.key, identity.chain, "kafka", PASSWORD, Encryption.COMPATIBLE))

    printed = openssl("-in", path, "-info", "-noenc")
    assert "MAC: sha1" in printed
    assert printed.count("pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 2048") == 2
    assert private_key.public_der(private_key.from_pem(printed.encode())) == identity.chain[0].public_key
    assert stores.read_keystore(path.read_bytes(), PASSWORD)[1] == identity.chain
    trust = stores.truststore(identity.anchors, PASSWORD, Encryption.COMPATIBLE)
    assert stores.read_truststore(trust, PASSWORD) == identity.anchors
    path.write_bytes(trust)
    assert openssl("-in", path, "-info", "-noenc").count("pbeWithSHA1And3-KeyTripleDES-CBC") == 1


OURS = b"\x02\x02\x27\x10"


def resealed(content: bytes) -> bytes:
    """Return a store with a new sum over the whole, so that what is wrong is met further in."""
    whole = der.Reader().first(content)
    return parts.store(*(bytes(part.whole) for part in der.Reader().first(pfx._data(whole.child(1))).children))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b"\x02\x02\x08\x00", HOURS, "rounds of key derivation"),
        (OURS, HOURS, "rounds of key derivation"),
        (OURS, b"\x02\x20" + b"\x7f" * 32, "rounds of key derivation"),
        (None, b"\x04\x82\x40\x00" + bytes(0x4000), "a private key in PKCS12 of"),
    ],
    ids=["MAC", "encryption", "without end", "a large key"],
)
def test_read_refuses_what_would_cost_hours(identity: Identity, old: bytes | None, new: bytes, what: str) -> None:
    """Rounds and sizes are looked at before the library is asked to open the store."""
    whole = stores.keystore(identity.key, identity.chain, "kafka", PASSWORD)
    content = rebuilt(whole, old or bytes(pfx.shown_keys(whole)[0].child(1).whole), new)
    if old != b"\x02\x02\x08\x00":
        content = resealed(content)
    for opens in (stores.read_keystore, stores.read_truststore, stores.read):
        with pytest.raises(MaterialError, match=what):
            opens(content, PASSWORD)


def test_read_tells_a_chain_from_what_is_trusted(identity: Identity) -> None:
    """An anchor by Java's mark; the chain by its names; and what is neither is in no chain, and no anchor."""
    leaf, lower, upper = identity.chain
    root, stray = identity.anchors
    bags = (
        parts.certificate_bag(leaf.der, parts.key_id(b"1"), parts.alias("kafka")),
        parts.certificate_bag(upper.der, parts.alias("CN=Test Intermediate,O=MyOrg")),
        parts.certificate_bag(stray.der, parts.alias("stray")),
        parts.certificate_bag(lower.der),
        parts.certificate_bag(root.der, parts.alias("caroot"), parts.trusted()),
    )
    key = parts.key_bag(private_key.to_der(identity.key), parts.key_id(b"1"), parts.alias("kafka"))
    entries, remarks = stores.read(parts.store(parts.plain(key), parts.encrypted(*bags)), PASSWORD)
    assert remarks == ()
    assert [(one.alias, one.chain, one.trusted) for one in entries] == [
        ("kafka", (leaf, lower, upper, root), False),
        ("caroot", (root,), True),
        ("stray", (stray,), False),
    ]


def test_read_refuses_more_bytes_than_it_reads(identity: Identity) -> None:
    """A keystore of more than an identity takes, or any store of many megabytes, is refused unread."""
    whole = stores.keystore(identity.key, identity.chain, "kafka", PASSWORD)
    with pytest.raises(MaterialError, match="larger than"):
        stores.read_keystore(whole + bytes(limits.LARGEST_IDENTITY), PASSWORD)
    with pytest.raises(MaterialError, match="larger than"):
        stores.read_truststore(whole + bytes(limits.LARGEST_FILE), PASSWORD)


def test_keystore_is_what_openssl_opens_and_java_8u301_can(identity: Identity, tmp_path: Path) -> None:
    """OpenSSL finds key and chain, encrypted by PBES2 with AES-256-CBC and with a MAC of SHA-256."""
    path = tmp_path / "keystore.p12"
    path.write_bytes(stores.keystore(identity.key, identity.chain, "kafka", PASSWORD))

    printed = openssl("-in", path, "-info", "-noenc")
    assert "MAC: sha256" in printed
    assert printed.count("PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256") == 2
    assert printed.count("BEGIN CERTIFICATE") == 3
    assert "friendlyName: kafka" in printed
    assert private_key.public_der(private_key.from_pem(printed.encode())) == identity.chain[0].public_key


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.EC_P384, KeyAlgorithm.ED25519, KeyAlgorithm.RSA_2048])
def test_read_keystore_returns_what_was_written(algorithm: KeyAlgorithm) -> None:
    """Key and chain come back, the leaf first."""
    identity = make_identity(algorithm)
    key, chain = stores.read_keystore(stores.keystore(identity.key, identity.chain, "kafka", PASSWORD), PASSWORD)
    assert private_key.to_pem(key) == private_key.to_pem(identity.key)
    assert chain == identity.chain


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(alias=ALIASES, password=JAVA_PASSWORDS, length=st.integers(1, 3))
def test_keystore_round_trip_keeps_key_chain_and_alias(
    identity: Identity, alias: str, password: str, length: int
) -> None:
    """Whatever alias and password are set, what is written is read back."""
    content = stores.keystore(identity.key, identity.chain[:length], alias, password)
    key, chain = stores.read_keystore(content, password)
    assert private_key.public_der(key) == private_key.public_der(identity.key)
    assert chain == identity.chain[:length]

    written = pkcs12.load_pkcs12(content, password.encode()).cert
    assert written is not None
    assert written.friendly_name == alias.encode()


@settings(deadline=None, max_examples=25)
@given(password=JAVA_PASSWORDS, count=st.integers(1, 2))
def test_truststore_round_trip_keeps_every_anchor(identity: Identity, password: str, count: int) -> None:
    """Whatever the password is, each anchor is read back, once and in its order."""
    wanted = identity.anchors[:count]
    assert stores.read_truststore(stores.truststore(wanted, password), password) == wanted


@pytest.mark.parametrize("password", ["pässword", "tab\tin", "two\nlines", "\N{GRINNING FACE}", "nul\0", ""])
def test_stores_refuse_a_password_that_java_could_not_use(identity: Identity, password: str) -> None:
    """Java calls such a password incorrect, so it is refused before a store is written, and is not told."""
    with pytest.raises(MaterialError) as of_keystore:
        stores.keystore(identity.key, identity.chain, "kafka", password)
    with pytest.raises(MaterialError) as of_truststore:
        stores.truststore(identity.anchors, password)
    for caught in (of_keystore, of_truststore):
        assert caught.value.advice
        assert not password or password not in caught.value.diagnosis()


def test_keystore_refuses_a_key_that_is_not_the_leafs(identity: Identity) -> None:
    """A pair that does not match is no keystore."""
    with pytest.raises(MaterialError, match="not that of the leaf"):
        stores.keystore(make_key(), identity.chain, "kafka", PASSWORD)


def test_truststore_of_nothing_is_refused() -> None:
    """A truststore without an anchor would trust nobody."""
    with pytest.raises(MaterialError, match="no trust anchor"):
        stores.truststore((), PASSWORD)


def test_stores_do_not_open_with_another_password(identity: Identity) -> None:
    """A wrong password is told as such, and neither password is named."""
    keystore = stores.keystore(identity.key, identity.chain, "kafka", PASSWORD)
    truststore = stores.truststore(identity.anchors, PASSWORD)
    with pytest.raises(MaterialError, match="does not open with its password") as of_keystore:
        stores.read_keystore(keystore, "another")
    with pytest.raises(MaterialError, match="does not open with its password") as of_truststore:
        stores.read_truststore(truststore, "another")
    for caught in (of_keystore, of_truststore):
        told = f"{caught.value.diagnosis()} {caught.value.__cause__}"
        assert PASSWORD not in told
        assert "another" not in told


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_read_keystore_never_takes_an_altered_store(identity: Identity, data: st.DataObject) -> None:
    """Cut short anywhere, or with any byte of its encrypted content changed, it does not open as something else."""
    whole = stores.keystore(identity.key, identity.chain, "kafka", PASSWORD)
    at = data.draw(st.integers(0, len(whole) - 1))
    altered = data.draw(st.sampled_from([whole[:at], whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]]))
    try:
        key, chain = stores.read_keystore(altered, PASSWORD)
    except MaterialError:
        return
    assert private_key.public_der(key) == private_key.public_der(identity.key)
    assert chain == identity.chain


def test_read_keystore_refuses_a_store_without_a_key(identity: Identity) -> None:
    """A truststore under a keystore's name is told."""
    with pytest.raises(MaterialError, match="holds no key"):
        stores.read_keystore(stores.truststore(identity.anchors, PASSWORD), PASSWORD)


def test_read_keystore_refuses_a_key_without_its_certificate(identity: Identity) -> None:
    """A key alone serves no listener."""
    alone = pkcs12.serialize_key_and_certificates(
        b"kafka", identity.key, None, None, BestAvailableEncryption(PASSWORD.encode())
    )
    with pytest.raises(MaterialError, match="holds no key with its certificate"):
        stores.read_keystore(alone, PASSWORD)
