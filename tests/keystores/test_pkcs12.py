"""PKCS12 stores, judged by Java's keytool and by OpenSSL, and read back."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.identity import KeyAlgorithm
from agent.errors import MaterialError
from agent.keystores import pkcs12 as stores
from agent.keystores import private_key
from tests.material import Ca, make_key, make_request
from tests.tools import need

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.keystores.material import PrivateKey

PASSWORD = "correct horse battery"  # noqa: S105 - made up for the tests

JAVA_PASSWORDS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64)
ALIASES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)
"""What the settings allow."""


@dataclass(frozen=True)
class Identity:
    """A key with its leaf, an intermediate and two anchors."""

    key: PrivateKey = field(repr=False)
    chain: tuple[Certificate, ...]
    anchors: tuple[Certificate, ...]


def make_identity(algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256) -> Identity:
    """Make key, chain and anchors."""
    root = Ca.root()
    intermediate = root.intermediate()
    lower = intermediate.intermediate("CN=Test Lower,O=MyOrg")
    key = make_key(algorithm)
    leaf = lower.leaf(make_request(key=algorithm), key)
    anchors = (root.certificate, Ca.root("CN=Other Root,O=Elsewhere").certificate)
    return Identity(key, (leaf, lower.certificate, intermediate.certificate), anchors)


@pytest.fixture(scope="module")
def identity() -> Identity:
    """Return an identity that all tests of this file only read."""
    return make_identity()


def keytool(*arguments: str | Path, password: str = PASSWORD) -> str:
    """Run keytool, which finds the password in its environment, and return what it printed."""
    command = [need("keytool"), "-J-Duser.language=en", *arguments, "-storepass:env", "STORE_PASSWORD"]
    done = subprocess.run(
        command, env=os.environ | {"STORE_PASSWORD": password}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def openssl(*arguments: str | Path, password: str = PASSWORD) -> str:
    """Run `openssl pkcs12` in the same manner."""
    command = [need("openssl"), "pkcs12", *arguments, "-passin", "env:STORE_PASSWORD"]
    done = subprocess.run(
        command, env=os.environ | {"STORE_PASSWORD": password}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def java_fingerprints(printed: str) -> list[str]:
    """Return the SHA-256 fingerprints that keytool printed, as we write them."""
    return [found.replace(":", "").lower() for found in re.findall(r"SHA256: ([0-9A-F:]+)", printed)]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [KeyAlgorithm.EC_P256, KeyAlgorithm.ED25519, KeyAlgorithm.RSA_2048])
def test_keystore_is_a_private_key_entry_with_the_whole_chain_to_java(algorithm: KeyAlgorithm, tmp_path: Path) -> None:
    """Java lists one PrivateKeyEntry under the alias, with leaf and intermediates in their order."""
    identity = make_identity(algorithm)
    path = tmp_path / "keystore.p12"
    path.write_bytes(stores.keystore(identity.key, identity.chain, "broker-1", PASSWORD))

    printed = keytool("-list", "-v", "-keystore", path)
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

    signed = x509.load_pem_x509_csr(keytool("-certreq", "-alias", "kafka", "-keystore", path).encode())
    assert signed.is_signature_valid
    assert signed.public_key() == identity.key.public_key()


@pytest.mark.slow
def test_truststore_is_trusted_entries_to_java(identity: Identity, tmp_path: Path) -> None:
    """Java takes each anchor as a trustedCertEntry, under an alias that the fingerprint gives."""
    path = tmp_path / "truststore.p12"
    path.write_bytes(stores.truststore(identity.anchors, PASSWORD))

    printed = keytool("-list", "-v", "-keystore", path)
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
    keytool("-importcert", "-noprompt", "-alias", "added-by-hand", "-file", added, "-keystore", path)
    assert set(stores.read_truststore(path.read_bytes(), PASSWORD)) == set(identity.anchors)


@pytest.mark.slow
def test_read_truststore_reads_what_an_older_java_wrote(identity: Identity, tmp_path: Path) -> None:
    """A truststore in the older encryption, RC2 and 3DES with a MAC of SHA-1, is read too: Java 8 writes such."""
    path, added = tmp_path / "truststore.p12", tmp_path / "added.der"
    added.write_bytes(identity.anchors[1].der)
    keytool("-J-Dkeystore.pkcs12.legacy", "-importcert", "-noprompt", "-file", added, "-keystore", path)
    assert stores.read_truststore(path.read_bytes(), PASSWORD) == identity.anchors[1:]


def test_keystore_is_what_openssl_opens_and_java_8u301_can(identity: Identity, tmp_path: Path) -> None:
    """OpenSSL finds key and chain, encrypted by PBES2 with AES-256-CBC and with a MAC of SHA-256."""
    path = tmp_path / "keystore.p12"
    path.write_bytes(stores.keystore(identity.key, identity.chain, "kafka", PASSWORD))

    printed = openssl("-in", path, "-info", "-noenc")
    assert "MAC: sha256" in printed
    assert printed.count("PBES2, PBKDF2, AES-256-CBC, Iteration 20000, PRF hmacWithSHA256") == 2
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
