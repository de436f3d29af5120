"""JKS stores, judged by Java, and read back; and what Java writes, read by us."""

from __future__ import annotations

import struct
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import MaterialError
from agent.keystores import jks, jks_key, limits, magic, pem, private_key
from tests.judges.keys import ask, entries, java_fingerprints, keytool
from tests.keystores.hostile import rsa_key
from tests.keystores.identities import ALGORITHMS, PASSWORD, Identity, make_identity
from tests.material import NOW, make_key

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.identity import KeyAlgorithm

JAVA_PASSWORDS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64)
ALIASES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2262, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.fixture(scope="module")
def identity() -> Identity:
    """Return an identity that all tests of this file only read."""
    return make_identity()


@pytest.mark.slow
def test_stores_are_what_java_reads_key_by_key(tmp_path: Path) -> None:
    """Of every kind of key Java finds alias, date and chain, and the key signs; the anchors are trusted entries."""
    identities = {algorithm: make_identity(algorithm) for algorithm in ALGORITHMS}
    now = NOW + timedelta(milliseconds=123)
    requests = []
    for algorithm, identity in identities.items():
        store, trust = tmp_path / f"{algorithm}.jks", tmp_path / f"{algorithm}-trust.jks"
        store.write_bytes(jks.keystore(identity.key, identity.chain, "Broker-1", PASSWORD, now=now))
        trust.write_bytes(jks.truststore(identity.anchors, PASSWORD, now=now))
        requests += [("store", "JKS", store, PASSWORD), ("store", "JKS", trust, PASSWORD)]
    answers = iter(ask(*requests))
    for identity in identities.values():
        (entry,) = entries(next(answers)).values()
        assert (entry.alias, entry.trusted, entry.made_at, entry.signs) == ("broker-1", False, now, True)
        assert entry.fingerprints == tuple(certificate.fingerprint for certificate in identity.chain)
        trusted = entries(next(answers))
        assert {alias: entry.fingerprints for alias, entry in trusted.items()} == {
            anchor.fingerprint[:16]: (anchor.fingerprint,) for anchor in identity.anchors
        }
        assert all(entry.trusted and entry.made_at == now for entry in trusted.values())


@pytest.mark.slow
def test_stores_are_what_keytool_lists(identity: Identity, tmp_path: Path) -> None:
    """To keytool they are of the type JKS, one with a PrivateKeyEntry, one with trustedCertEntry twice."""
    store, trust = tmp_path / "keystore.jks", tmp_path / "truststore.jks"
    store.write_bytes(jks.keystore(identity.key, identity.chain, "kafka", PASSWORD, now=NOW))
    trust.write_bytes(jks.truststore(identity.anchors, PASSWORD, now=NOW))

    printed = keytool("-list", "-v", "-keystore", store, password=PASSWORD)
    assert "Keystore type: JKS" in printed
    assert "Alias name: kafka\n" in printed
    assert "Entry type: PrivateKeyEntry" in printed
    assert java_fingerprints(printed) == [certificate.fingerprint for certificate in identity.chain]
    printed = keytool("-list", "-v", "-keystore", trust, password=PASSWORD)
    assert "Keystore type: JKS" in printed
    assert printed.count("Entry type: trustedCertEntry") == 2
    assert sorted(java_fingerprints(printed)) == sorted(anchor.fingerprint for anchor in identity.anchors)


@pytest.mark.slow
def test_read_reads_what_java_wrote(tmp_path: Path) -> None:
    """Keys of every kind, one with a password of its own, and anchors, under names beyond ASCII and the basic plane."""
    identities = [make_identity(algorithm) for algorithm in ALGORITHMS]
    aliases = ["p-256", "schlüssel", "鍵\N{KEY}", "nul\0"]
    words = []
    for number, (alias, identity) in enumerate(zip(aliases, identities, strict=True)):
        key, chain = tmp_path / f"{number}.key", tmp_path / f"{number}.pem"
        key.write_bytes(private_key.to_der(identity.key))
        chain.write_bytes(pem.encode(identity.chain))
        words.append(f"{alias}|{'another' if number == 1 else PASSWORD}|{key}|{chain}")
    anchor = tmp_path / "anchor.pem"
    anchor.write_bytes(pem.encode(identities[0].anchors[:1]))
    path = tmp_path / "made.jks"
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert ask(("make", "JKS", path, PASSWORD, *words, f"anchor|{anchor}")) == [""]

    found = {entry.alias: entry for entry in jks.read(path.read_bytes(), PASSWORD)}
    assert set(found) == {*aliases, "anchor"}
    for alias, identity in zip(aliases, identities, strict=True):
        entry = found[alias]
        assert entry.chain == identity.chain
        assert entry.locked is (entry.key is None) is (alias == aliases[1])
        if entry.key is not None:
            assert private_key.to_der(entry.key) == private_key.to_der(identity.key)
        assert entry.made_at is not None
        assert before < entry.made_at < datetime.now(UTC)
    assert found["anchor"].trusted
    assert jks.read_truststore(path.read_bytes(), None) == identities[0].anchors[:1]


@pytest.mark.slow
def test_stores_that_java_keeps_in_jceks_are_refused(identity: Identity, tmp_path: Path) -> None:
    """The stronger sister of the format is known by its first bytes, and the operator told how to convert it."""
    anchor, path = tmp_path / "anchor.pem", tmp_path / "made.jceks"
    anchor.write_bytes(pem.encode(identity.anchors[:1]))
    assert ask(("make", "JCEKS", path, PASSWORD, f"anchor|{anchor}")) == [""]
    with pytest.raises(MaterialError, match="is a JCEKS") as caught:
        jks.read(path.read_bytes(), PASSWORD)
    assert "keytool -importkeystore" in caught.value.advice


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_read_keystore_returns_what_was_written(algorithm: KeyAlgorithm) -> None:
    """Key and chain come back, the leaf first."""
    identity = make_identity(algorithm)
    content = jks.keystore(identity.key, identity.chain, "kafka", PASSWORD, now=NOW)
    key, chain = jks.read_keystore(content, PASSWORD)
    assert private_key.to_der(key) == private_key.to_der(identity.key)
    assert chain == identity.chain


@settings(deadline=None, max_examples=40)
@given(alias=ALIASES, password=JAVA_PASSWORDS, length=st.integers(1, 3), now=MOMENTS)
def test_stores_round_trip_keeps_every_entry(
    identity: Identity, alias: str, password: str, length: int, now: datetime
) -> None:
    """Whatever alias, password and moment are, what is written is read back, the moment to the millisecond."""
    moment = now.replace(microsecond=now.microsecond // 1000 * 1000)
    (entry,) = jks.read(jks.keystore(identity.key, identity.chain[:length], alias, password, now=now), password)
    assert entry.key is not None
    assert private_key.public_der(entry.key) == private_key.public_der(identity.key)
    assert (entry.alias, entry.chain, entry.trusted, entry.made_at) == (alias, identity.chain[:length], False, moment)

    trust = jks.truststore(identity.anchors, password, now=now)
    assert [(one.alias, one.chain, one.trusted, one.made_at) for one in jks.read(trust, password)] == [
        (anchor.fingerprint[:16], (anchor,), True, moment) for anchor in identity.anchors
    ]
    assert jks.read_truststore(trust, password) == jks.read_truststore(trust, None) == identity.anchors


def test_keystore_lowers_its_alias(identity: Identity) -> None:
    """Java looks for an alias in lower case, and would never find another."""
    (entry,) = jks.read(jks.keystore(identity.key, identity.chain, "Kafka", PASSWORD, now=NOW), PASSWORD)
    assert entry.alias == "kafka"


def test_unlock_knows_a_wrong_password() -> None:
    """What comes out under another password is not taken for the key."""
    assert jks_key.unlock(jks_key.lock(b"a key", PASSWORD), PASSWORD) == b"a key"
    assert jks_key.unlock(jks_key.lock(b"a key", PASSWORD), "another") is None


def test_keystore_never_keeps_two_keys_from_view_alike(identity: Identity) -> None:
    """The salt is drawn anew each time: two stores of one key share no keystream."""
    one, two = (jks_key.lock(private_key.to_der(identity.key), PASSWORD) for _ in range(2))
    assert one[:20] == two[:20]  # the header
    assert sum(a == b for a, b in zip(one[20:], two[20:], strict=True)) < len(one) / 8


def test_read_keystore_needs_the_password_of_the_key_too(identity: Identity) -> None:
    """A key with a password of its own, as keytool -keypasswd gives it, is locked, and told as such."""
    content = jks.keystore(identity.key, identity.chain, "kafka", "another", now=NOW)
    body = content[:-20]
    content = body + jks._seal(body, PASSWORD)
    (entry,) = jks.read(content, PASSWORD)
    assert entry.locked
    assert entry.key is None
    assert entry.chain == identity.chain
    with pytest.raises(MaterialError, match="key in the JKS store does not open with the password of the store"):
        jks.read_keystore(content, PASSWORD)


def test_read_without_a_password_gives_what_is_not_locked(identity: Identity) -> None:
    """Chains and anchors are in the clear; the key is not taken out."""
    (entry,) = jks.read(jks.keystore(identity.key, identity.chain, "kafka", PASSWORD, now=NOW), None)
    assert entry == replace(entry, alias="kafka", key=None, chain=identity.chain, locked=True)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_read_never_takes_an_altered_store(identity: Identity, data: st.DataObject) -> None:
    """Cut short anywhere, longer, or with any byte changed, it does not open with its password."""
    whole = jks.keystore(identity.key, identity.chain, "kafka", PASSWORD, now=NOW)
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    altered = data.draw(st.sampled_from([whole[:at], flipped, whole + b"\0"]))
    with pytest.raises(MaterialError):
        jks.read(altered, PASSWORD)


def test_stores_do_not_open_with_another_password(identity: Identity) -> None:
    """A wrong password is told as such, and neither password is named."""
    for content in (
        jks.keystore(identity.key, identity.chain, "kafka", PASSWORD, now=NOW),
        jks.truststore(identity.anchors, PASSWORD, now=NOW),
    ):
        with pytest.raises(MaterialError, match="does not open with its password") as caught:
            jks.read(content, "another")
        told = f"{caught.value.diagnosis()} {caught.value.__cause__}"
        assert PASSWORD not in told
        assert "another" not in told


@pytest.mark.parametrize("password", ["pässword", "tab\tin", "two\nlines", "nul\0", ""])
def test_stores_refuse_a_password_that_java_could_not_use(identity: Identity, password: str) -> None:
    """The passwords are those of PKCS12, so that a change of format needs no other, and are not told."""
    with pytest.raises(MaterialError) as of_keystore:
        jks.keystore(identity.key, identity.chain, "kafka", password, now=NOW)
    with pytest.raises(MaterialError) as of_truststore:
        jks.truststore(identity.anchors, password, now=NOW)
    for caught in (of_keystore, of_truststore):
        assert caught.value.advice
        assert not password or password not in caught.value.diagnosis()


def test_stores_refuse_what_would_serve_nobody(identity: Identity) -> None:
    """A key that is not the leaf's, no anchors, an alias that readers could not name, and a keystore without a key."""
    with pytest.raises(MaterialError, match="not that of the leaf"):
        jks.keystore(make_key(), identity.chain, "kafka", PASSWORD, now=NOW)
    with pytest.raises(MaterialError, match="not that of the leaf"):
        jks.keystore(identity.key, (), "kafka", PASSWORD, now=NOW)
    with pytest.raises(MaterialError, match="no trust anchor"):
        jks.truststore((), PASSWORD, now=NOW)
    for alias in ("schlüssel", "a" * (jks.LONGEST_ALIAS + 1)):
        with pytest.raises(MaterialError, match="alias"):
            jks.keystore(identity.key, identity.chain, alias, PASSWORD, now=NOW)
    with pytest.raises(MaterialError, match="holds no key"):
        jks.read_keystore(jks.truststore(identity.anchors, PASSWORD, now=NOW), PASSWORD)


def sealed(*parts: bytes | int) -> bytes:
    """Return a store with a right sum of whatever follows its magic number; numbers take four bytes."""
    body = magic.JKS + b"".join(struct.pack(">I", part) if isinstance(part, int) else part for part in parts)
    return body + jks._seal(body, PASSWORD)


ALIAS, DATE, TYPE = b"\0\1a", bytes(8), b"\0\5X.509"
MOST = 0xFFFFFFFF
OTHER = jks_key._tagged(0x30, bytes.fromhex("300b06092a864886f70d01050d") + jks_key._tagged(4, bytes(12_000)))
"""A key under PBES2, which no JKS has."""
SHORT = jks_key._tagged(0x30, jks_key._ALGORITHM + jks_key._tagged(4, bytes(39)))
HOSTILE = {
    "only a magic number": (magic.JKS, "cut short"),
    "another magic number": (b"\0" * 100, "is none"),
    "version 1": (sealed(1, 0), "version 1"),
    "a count of billions": (sealed(2, MOST), "cut short"),
    "more than its entries": (sealed(2, 0, b"\0"), "more than its entries"),
    "an entry of a third kind": (sealed(2, 1, 3, ALIAS, DATE), "neither a key nor a certificate"),
    "an alias without its end": (sealed(2, 1, 2, b"\xff\xffa"), "cut short"),
    "a key of gigabytes": (sealed(2, 1, 1, ALIAS, DATE, MOST), "cut short"),
    "a key beyond all measure": (sealed(2, 1, 1, ALIAS, DATE, 20_000, bytes(20_000), 0), "larger than"),
    "keys beyond all measure": (
        sealed(2, 6, (struct.pack(">I", 1) + ALIAS + DATE + struct.pack(">I", len(OTHER)) + OTHER + bytes(4)) * 6),
        "keys of more than",
    ),
    "a key that is no DER": (sealed(2, 1, 1, ALIAS, DATE, 4, b"\x30\x80\0\1", 0), "put together"),
    "a key that is too short": (
        sealed(2, 1, 1, ALIAS, DATE, len(SHORT), SHORT, 0),
        "a private key in JKS is cut short",
    ),
    "a chain of billions": (sealed(2, 1, 1, ALIAS, DATE, 0, MOST), "cut short"),
    "a certificate of another kind": (sealed(2, 1, 2, ALIAS, DATE, b"\0\3PGP", 0), "no X.509"),
    "a certificate that is none": (sealed(2, 1, 2, ALIAS, DATE, TYPE, 3, b"abc"), "not a certificate"),
    "a certificate of gigabytes": (sealed(2, 1, 2, ALIAS, DATE, TYPE, MOST), "cut short"),
    "more bytes than are read": (magic.JKS + bytes(5 * 1024 * 1024), "larger than"),
}


@pytest.mark.parametrize(("content", "what"), HOSTILE.values(), ids=HOSTILE.keys())
def test_read_refuses_a_hostile_store(content: bytes, what: str) -> None:
    """Counts and lengths are claims: what does not follow is not waited for, and nothing is set aside for it."""
    with pytest.raises(MaterialError, match=what):
        jks.read(content, PASSWORD)


def test_read_gives_no_date_that_no_calendar_has(identity: Identity) -> None:
    """A date after the year 9999 is none."""
    der = identity.anchors[0].der
    (entry,) = jks.read(sealed(2, 1, 2, b"\0\3\xed\xa0\x80", b"\xff" * 8, TYPE, len(der), der), PASSWORD)
    assert entry.made_at is None
    assert entry.alias == "\N{REPLACEMENT CHARACTER}"


def named(alias: bytes, identity: Identity) -> bytes:
    """Return a store with a trusted entry under an alias as it is encoded."""
    der = identity.anchors[0].der
    return sealed(2, 1, 2, len(alias).to_bytes(2) + alias, DATE, TYPE, len(der), der)


ENCODED = {b"\xc0\x80": "\0", b"\0": "\0", b"\xc1\xa1": "a", b"\xed\xa0\xbd\xed\xb8\x80": "\N{GRINNING FACE}", b"": ""}
"""What Java reads, also in more bytes than it need be, which no other UTF-8 allows."""

GARBLED = ("\N{GRINNING FACE}".encode(), b"\xe9\xff\xfe", b"\x80", b"\xc3", b"\xe2\x82", b"\xe2\x82A")


def test_read_reads_aliases_as_java_does_or_not_at_all(identity: Identity) -> None:
    """Where an alias is not encoded as Java wants it, Java opens nothing of the store, and that is what is told."""
    for alias, text in ENCODED.items():
        (entry,) = jks.read(named(alias, identity), PASSWORD)
        assert entry.alias == text
    for alias in GARBLED:
        with pytest.raises(MaterialError, match="no modified UTF-8, and Java does not open such a store"):
            jks.read(named(alias, identity), PASSWORD)


@pytest.mark.slow
def test_java_opens_no_store_with_a_garbled_alias(identity: Identity, tmp_path: Path) -> None:
    """Of the same aliases it opens those that we open."""
    paths = [(tmp_path / f"{number}.jks", alias) for number, alias in enumerate((*ENCODED, *GARBLED))]
    for path, alias in paths:
        path.write_bytes(named(alias, identity))
    answers = ask(*(("store", "JKS", path, PASSWORD) for path, _ in paths))
    for (_, alias), answer in zip(paths, answers, strict=True):
        assert answer.startswith("error") is (alias in GARBLED)


def test_read_does_not_try_a_key_that_is_too_long() -> None:
    """Keys of 20,000 bits, whose numbers are nonsense, are locked ones in a moment; each would take ten seconds."""
    locked = jks_key.lock(rsa_key(20_000, sound=False), PASSWORD)
    assert len(locked) < limits.LARGEST_KEY
    entry = struct.pack(">I", 1) + ALIAS + DATE + struct.pack(">I", len(locked)) + locked + bytes(4)
    started = time.monotonic()
    entries_ = jks.read(sealed(2, 5, entry * 5), PASSWORD)
    assert time.monotonic() - started < 2
    assert [entry.locked for entry in entries_] == [True] * 5


def test_read_shows_a_key_that_is_protected_in_another_way_as_locked() -> None:
    """A key under an algorithm that the format does not know is there, and cannot be had."""
    (entry,) = jks.read(sealed(2, 1, 1, ALIAS, DATE, len(OTHER), OTHER, 0), PASSWORD)
    assert (entry.key, entry.locked) == (None, True)
