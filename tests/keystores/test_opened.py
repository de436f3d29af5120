"""Stores opened without being told what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization import pkcs12 as library

from agent.core.files import Encryption, StoreFormat
from agent.errors import MaterialError
from agent.keystores import jks, magic, opened, pem, pkcs12, private_key
from agent.keystores.material import StoreEntry
from tests.judges.keys import ask, entries
from tests.keystores.identities import PASSWORD, Identity, make_identity
from tests.material import NOW

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def identity() -> Identity:
    """Return an identity that all tests of this file only read."""
    return make_identity()


def keystores(identity: Identity) -> dict[StoreFormat, bytes]:
    """Return the identity in every format."""
    key, chain = identity.key, identity.chain
    return {
        StoreFormat.PEM: private_key.to_pem(key, PASSWORD) + pem.encode(chain),
        StoreFormat.PKCS12: pkcs12.keystore(key, chain, "kafka", PASSWORD, Encryption.COMPATIBLE),
        StoreFormat.JKS: jks.keystore(key, chain, "kafka", PASSWORD, now=NOW),
    }


def truststores(identity: Identity) -> dict[StoreFormat, bytes]:
    """Return the anchors in every format."""
    return {
        StoreFormat.PEM: pem.encode(identity.anchors),
        StoreFormat.PKCS12: pkcs12.truststore(identity.anchors, PASSWORD),
        StoreFormat.JKS: jks.truststore(identity.anchors, PASSWORD, now=NOW),
    }


def test_sniff_tells_the_formats_apart(identity: Identity) -> None:
    """By their bytes alone; a bare certificate, a bare key and a JCEKS are none of the three."""
    for stores in (keystores(identity), truststores(identity)):
        assert {format_: opened.sniff(content) for format_, content in stores.items()} == {one: one for one in stores}
    ber = b"\x30\x80" + pkcs12.keystore(identity.key, identity.chain, "kafka", PASSWORD)[4:] + b"\0\0"
    assert opened.sniff(ber) is StoreFormat.PKCS12
    assert opened.sniff(b"# of the broker\r\n" + pem.encode(identity.anchors)) is StoreFormat.PEM
    others = (
        identity.chain[0].der,
        private_key.to_der(identity.key),
        magic.JCEKS,
        b"",
        b"\x30",
        b"\x30\x84",
        b"text",
    )
    assert [opened.sniff(content) for content in others] == [None] * len(others)


def test_open_store_reads_the_key_with_its_chain_in_any_format(identity: Identity) -> None:
    """One entry, with key and chain; PEM has no aliases, and JKS alone a date."""
    for format_, content in keystores(identity).items():
        store = opened.open_store(content, PASSWORD)
        assert (store.format, store.remarks) == (format_, ())
        (entry,) = store.entries
        assert entry.key is not None
        assert private_key.to_der(entry.key) == private_key.to_der(identity.key)
        assert entry.chain == identity.chain
        assert (entry.trusted, entry.locked) == (False, False)
        assert entry.alias == ("" if format_ is StoreFormat.PEM else "kafka")
        assert entry.made_at == (NOW if format_ is StoreFormat.JKS else None)


def test_open_store_reads_anchors_in_any_format(identity: Identity) -> None:
    """An entry for each; only the formats of Java say that they are trusted."""
    for format_, content in truststores(identity).items():
        store = opened.open_store(content, PASSWORD)
        aliases = ["" if format_ is StoreFormat.PEM else anchor.fingerprint[:16] for anchor in identity.anchors]
        assert [entry.alias for entry in store.entries] == aliases
        assert [entry.chain for entry in store.entries] == [(anchor,) for anchor in identity.anchors]
        assert all(entry.trusted is (format_ is not StoreFormat.PEM) for entry in store.entries)
        assert all(entry.key is None and not entry.locked for entry in store.entries)


def test_open_store_shows_what_can_be_seen_without_the_password(identity: Identity) -> None:
    """PEM and JKS show the chain and a locked key, and say what that means; a PKCS12 does not open."""
    stores = keystores(identity)
    for format_, what in (
        (StoreFormat.PEM, "can be read without a password"),
        (StoreFormat.JKS, "whether it was altered"),
    ):
        store = opened.open_store(stores[format_], None)
        (entry,) = store.entries
        assert (entry.chain, entry.key, entry.locked) == (identity.chain, None, True)
        assert what in store.remarks[0]
    with pytest.raises(MaterialError, match="does not open without a password") as caught:
        opened.open_store(stores[StoreFormat.PKCS12], None)
    assert caught.value.advice


def test_open_store_tells_a_wrong_password(identity: Identity) -> None:
    """A PEM shows its chain all the same; a store does not open."""
    stores = keystores(identity)
    store = opened.open_store(stores.pop(StoreFormat.PEM), "another")
    assert store.entries == (StoreEntry("", None, identity.chain, locked=True),)
    assert "does not open with its password" in store.remarks[0]
    for content in stores.values():
        with pytest.raises(MaterialError, match="does not open with its password"):
            opened.open_store(content, "another")


def test_open_store_refuses_what_holds_nothing(identity: Identity) -> None:
    """What is none of the formats, or empty of them, is told with what to do where there is something."""
    der = identity.anchors[0].der
    for content, what in (
        (b"", "holds no certificate"),
        (b"words", "holds no certificate"),
        (der, "is DER, not PEM"),
        (magic.JCEKS + bytes(40), "is a JCEKS"),
        (pem.block("PUBLIC KEY", der), "neither a certificate nor a private key"),
        (b"\x30\x03\x02\x01\x03", "cut short, or is none"),
        (b"\x30\x0a\x02\x01\x03\x30\x05\x05\0\x05\0\0", "cut short, or is none"),
        (bytes(5 * 1024 * 1024), "larger than"),
    ):
        with pytest.raises(MaterialError, match=what):
            opened.open_store(content, PASSWORD)
        with pytest.raises(MaterialError):
            opened.read_anchors(content, PASSWORD)


def test_open_store_remarks_on_keys_that_it_cannot_give() -> None:
    """A key of a kind that Kafka does not know, or one without a certificate, is told and not hidden."""
    encryption = BestAvailableEncryption(PASSWORD.encode())
    old = ed448.Ed448PrivateKey.generate()
    store = opened.open_store(library.serialize_key_and_certificates(b"old", old, None, None, encryption), PASSWORD)
    assert store.entries == (StoreEntry("old", None, (), locked=True),)
    assert store.remarks == ("its key is of a kind that the agent does not use", "its key has no certificate")
    content = old.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert opened.open_store(content, None).remarks == ("this private key is of a kind that the agent does not use",)


def test_read_anchors_takes_what_a_file_offers(identity: Identity) -> None:
    """All certificates of a PEM, the trusted ones of the others; a JKS needs no password for that."""
    for content in truststores(identity).values():
        assert opened.read_anchors(content, PASSWORD) == (identity.anchors, ())
    assert opened.read_anchors(truststores(identity)[StoreFormat.JKS], None) == (identity.anchors, ())
    stores = keystores(identity)
    assert opened.read_anchors(stores.pop(StoreFormat.PEM), None) == (identity.chain, ())
    for content in stores.values():
        with pytest.raises(MaterialError, match="holds no trusted certificate") as caught:
            opened.read_anchors(content, PASSWORD)
        assert caught.value.advice


@pytest.mark.slow
def test_open_store_reads_what_java_wrote(tmp_path: Path) -> None:
    """Of a PKCS12 and a JKS all keys and anchors are found, each key with its chain."""
    one, two = make_identity(), make_identity()
    words = []
    for number, identity in enumerate((one, two)):
        key, chain = tmp_path / f"{number}.key", tmp_path / f"{number}.pem"
        key.write_bytes(private_key.to_der(identity.key))
        # The root stands in the chain, and below among the trusted, as in the keystores of many a guide.
        chain.write_bytes(pem.encode((*identity.chain, identity.anchors[0])))
        words.append(f"broker-{number}|{PASSWORD}|{key}|{chain}")
    anchors = [f"caroot|{tmp_path / 'root.pem'}", f"other|{tmp_path / 'other.pem'}"]
    (tmp_path / "root.pem").write_bytes(pem.encode(one.anchors[:1]))
    (tmp_path / "other.pem").write_bytes(pem.encode(one.anchors[1:]))
    makes: dict[str, tuple[str | Path, ...]] = {
        "one": ("make", "PKCS12", tmp_path / "one", PASSWORD, words[0], *anchors),
        "two": ("make", "PKCS12", tmp_path / "two", PASSWORD, *words, *anchors),
        "jks": ("make", "JKS", tmp_path / "jks", PASSWORD, *words, *anchors),
    }
    assert ask(*makes.values()) == ["", "", ""]
    stores = {name: opened.open_store((tmp_path / name).read_bytes(), PASSWORD) for name in makes}

    assert stores["one"].remarks == ()
    key_entry, *others = stores["one"].entries
    assert (key_entry.alias, key_entry.chain) == ("broker-0", (*one.chain, one.anchors[0]))
    assert {entry.alias: (entry.chain, entry.trusted) for entry in others} == {
        "caroot": (one.anchors[:1], True),
        "other": (one.anchors[1:], True),
    }
    assert set(opened.read_anchors((tmp_path / "one").read_bytes(), PASSWORD)[0]) == set(one.anchors)

    answers = ask(*(("store", kind, tmp_path / name, PASSWORD) for name, kind in (("two", "PKCS12"), ("jks", "JKS"))))
    for name, answer in zip(("two", "jks"), answers, strict=True):
        assert stores[name].remarks == ()
        found = {entry.alias: entry for entry in stores[name].entries}
        told = entries(answer)
        assert {alias for alias, entry in found.items() if entry.key is not None or entry.trusted} == told.keys()
        for number, identity in enumerate((one, two)):
            entry = found[f"broker-{number}"]
            assert entry.key is not None
            assert private_key.to_der(entry.key) == private_key.to_der(identity.key)
            # The CAs of both have the same names, which are all that a PKCS12 ties them to their leaves with.
            assert tuple(certificate.fingerprint for certificate in entry.chain) == told[entry.alias].fingerprints
            assert entry.chain[0] == identity.chain[0]
        assert {alias for alias, entry in found.items() if entry.trusted} == {"caroot", "other"}
        assert set(opened.read_anchors((tmp_path / name).read_bytes(), PASSWORD)[0]) == set(one.anchors)
