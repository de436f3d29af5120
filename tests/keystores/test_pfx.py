"""PKCS12 stores taken apart: every part that a key may hide in, what that may cost, and what Java sees there."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from agent.errors import MaterialError
from agent.keystores import limits, opened, pbe, pfx, private_key
from agent.keystores import pkcs12 as stores
from tests.judges.keys import ask, entries, keytool
from tests.keystores import parts
from tests.keystores.identities import PASSWORD, Identity, make_identity
from tests.keystores.parts import alias, certificate_bag, encrypted, key_bag, key_id, nested, plain, store, trusted
from tests.material import Ca, make_key, make_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOURS = 2_000_000_000


@pytest.fixture(scope="module")
def identity() -> Identity:
    """Return an identity that all tests of this file only read."""
    return make_identity()


PLACES: dict[str, Callable[[bytes], bytes]] = {
    "beside the certificates": lambda bag: store(plain(bag)),
    "in an encrypted part": lambda bag: store(encrypted(bag)),
    "in parts within a part": lambda bag: store(plain(nested(nested(bag)))),
    "in parts within an encrypted part": lambda bag: store(encrypted(nested(bag))),
    "without a sum over the whole": lambda bag: store(encrypted(bag), sealed=False),
}


@pytest.mark.parametrize("place", PLACES)
def test_read_counts_the_rounds_of_every_key(identity: Identity, place: str) -> None:
    """Wherever a key is hidden that wants hours, they are not spent; with usual ones it is read from there."""
    key = private_key.to_der(identity.key)
    started = time.monotonic()
    with pytest.raises(MaterialError, match="rounds of key derivation"):
        stores.read(PLACES[place](key_bag(key, claimed=HOURS)), PASSWORD)
    assert time.monotonic() - started < 1
    (entry,), _ = stores.read(PLACES[place](key_bag(key)), PASSWORD)
    assert entry.key is not None
    assert private_key.to_der(entry.key) == key


def test_read_counts_rounds_together(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many parts, each of which is allowed by itself, are refused together."""
    key = private_key.to_der(identity.key)
    content = store(*(encrypted(key_bag(key)) for _ in range(3)))
    assert len(stores.read(content, PASSWORD)[0]) == 3
    monkeypatch.setattr(pbe, "MOST_ROUNDS", 5_900)
    with pytest.raises(MaterialError, match="rounds of key derivation"):
        stores.read(content, PASSWORD)
    monkeypatch.setattr(pbe, "MOST_ROUNDS", 6_100)
    stores.read(content, PASSWORD)


def test_read_bounds_what_keys_cost_that_open() -> None:
    """A key beyond all measure, and keys that are so together, are refused in an encrypted part as well."""
    for count, size, what in ((1, limits.LARGEST_KEY, "a private key in PKCS12 of"), (6, 12_000, "keys of more than")):
        for place in (plain, encrypted):
            content = store(place(*(key_bag(bytes(size)) for _ in range(count))))
            with pytest.raises(MaterialError, match=what):
                stores.read(content, PASSWORD)


@pytest.mark.slow
def test_other_threads_run_while_a_store_is_opened(identity: Identity) -> None:
    """The loop and its watchdog are not held up by the dearest store that is opened at all."""
    key = private_key.to_der(identity.key)
    gaps, done = [0.0], threading.Event()

    def tick() -> None:
        last = time.monotonic()
        while not done.wait(0.01):
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    content = store(encrypted(key_bag(key, claimed=pbe.MOST_ROUNDS - 10_000)))
    thread = threading.Thread(target=tick)
    thread.start()
    try:
        (entry,), _ = stores.read(content, PASSWORD)
    finally:
        done.set()
        thread.join()
    assert entry.locked
    assert max(gaps) < 0.3


def test_read_tells_what_java_does_not_see(identity: Identity) -> None:
    """A key that nothing encrypts, and what is in parts within parts: other programs read them."""
    leaf, key = certificate_bag(identity.chain[0].der), private_key.to_der(identity.key)
    for bag, what in (
        (parts.bag(pfx.PLAIN_KEY, key), "is not encrypted, and Java does not see"),
        (nested(key_bag(key)), "into which Java does not look"),
    ):
        content = store(plain(leaf, bag))
        (entry,), remarks = stores.read(content, PASSWORD)
        assert (entry.key is not None, entry.chain) == (True, identity.chain[:1])
        assert what in "; ".join(remarks)
    assert stores.read(store(plain(leaf), encrypted(key_bag(key))), PASSWORD)[1] == ()


@pytest.mark.slow
def test_java_does_not_see_what_we_say_that_it_does_not(identity: Identity, tmp_path: Path) -> None:
    """Of one and the same key it sees the usual bag, and that in an encrypted part, and neither of the two others."""
    leaf, key = certificate_bag(identity.chain[0].der), private_key.to_der(identity.key)
    for number, (content, seen) in enumerate(
        (
            (store(plain(leaf), plain(key_bag(key))), 1),
            (store(plain(leaf), encrypted(key_bag(key))), 1),
            (store(plain(leaf), plain(parts.bag(pfx.PLAIN_KEY, key))), 0),
            (store(plain(leaf), plain(nested(key_bag(key)))), 0),
        )
    ):
        path = tmp_path / f"{number}.p12"
        path.write_bytes(content)
        assert keytool("-list", "-keystore", path, password=PASSWORD).count("PrivateKeyEntry") == seen
        assert bool(stores.read(content, PASSWORD)[1]) is (seen == 0)


def test_an_alias_that_is_cut_short_is_told_as_such(identity: Identity) -> None:
    """The password was right: Java shows what it can of the alias, and OpenSSL opens nothing."""
    content = store(plain(certificate_bag(identity.anchors[0].der, alias(b"\0a\0"), trusted())))
    (entry,), remarks = stores.read(content, PASSWORD)
    assert entry.alias == "a\N{REPLACEMENT CHARACTER}"
    assert remarks == ("an alias ends within a character, and OpenSSL does not open such a store",)
    content = store(plain(certificate_bag(identity.anchors[0].der, alias(b"a", tag=0x0C), trusted())))
    with pytest.raises(MaterialError, match="an alias in the PKCS12 store is no BMPString"):
        stores.read(content, PASSWORD)


def test_what_is_wrong_within_is_not_told_as_a_wrong_password(identity: Identity) -> None:
    """When the sum over the whole is right, the password is; a part with another one, or a garbled one, is told."""
    content = store(encrypted(certificate_bag(identity.anchors[0].der)), plain(b"\x30\x7f"))
    with pytest.raises(MaterialError, match="not put together"):
        stores.read(content, PASSWORD)
    other = part_of(bytes(32))
    with pytest.raises(MaterialError, match="a part of the PKCS12 store does not open with the password of the store"):
        stores.read(store(other), PASSWORD)
    with pytest.raises(MaterialError, match="does not open with its password, or was altered"):
        stores.read(store(other, sealed=False), PASSWORD)
    with pytest.raises(MaterialError, match="does not open without a password"):
        stores.read(store(other, sealed=False), None)
    for seems_well in (parts.octets(b""), parts.sequence() + b"\0"):
        with pytest.raises(MaterialError, match="does not open with its password, or was altered"):
            stores.read(store(part_of(*reversed(parts.locked(seems_well))), sealed=False), PASSWORD)


def part_of(content: bytes, algorithm: bytes = b"") -> bytes:
    """Return an encrypted part of bytes that were encrypted before, or that nobody has encrypted."""
    info = parts.sequence(
        parts.oid(parts.DATA), algorithm or parts.locked(b"")[0], parts.tagged(parts.IMPLICIT, content)
    )
    encrypted_data = parts.sequence(parts.integer(0), info)
    return parts.sequence(parts.oid(parts.ENCRYPTED_DATA), parts.tagged(parts.EXPLICIT, encrypted_data))


def test_trusted_is_what_bears_the_mark_of_java(identity: Identity) -> None:
    """Whatever names the certificates beside a key have, none of them is an anchor by its name."""
    leaf, lower, upper = identity.chain
    named = [
        pkcs12.PKCS12Certificate(lower.x509, b"inter"),
        pkcs12.PKCS12Certificate(upper.x509, b"upper"),
        pkcs12.PKCS12Certificate(identity.anchors[0].x509, b"root"),
    ]
    encryption = BestAvailableEncryption(PASSWORD.encode())
    content = pkcs12.serialize_key_and_certificates(b"kafka", identity.key, leaf.x509, named, encryption)
    (entry,), remarks = stores.read(content, PASSWORD)
    assert (entry.alias, entry.chain, remarks) == ("kafka", (*identity.chain, identity.anchors[0]), ())
    with pytest.raises(MaterialError, match="holds no trusted certificate"):
        opened.read_anchors(content, PASSWORD)


def test_a_store_that_marks_nothing_offers_all_with_a_remark(identity: Identity) -> None:
    """As OpenSSL writes it; where some are marked, they alone are offered, and where a key is, nothing else."""
    one, other = (certificate_bag(anchor.der, alias("ca")) for anchor in identity.anchors)
    marked = certificate_bag(identity.anchors[1].der, trusted())
    assert opened.read_anchors(store(encrypted(one, other)), PASSWORD) == (identity.anchors, (stores.UNMARKED,))
    assert opened.read_anchors(store(encrypted(one, marked)), PASSWORD) == (identity.anchors[1:], ())
    assert stores.read_truststore(store(encrypted(one, marked)), PASSWORD) == identity.anchors[1:]
    with_key = store(encrypted(one, other), plain(key_bag(private_key.to_der(identity.key))))
    assert stores.read_anchors(with_key, PASSWORD) == ((), ())
    assert [entry.trusted for entry in stores.read(store(plain(one, marked)), PASSWORD)[0]] == [True, False]


def test_entries_without_an_alias_are_numbered(identity: Identity) -> None:
    """As Java does it, which lists them as 1 and 2; a certificate that is no entry gets no number."""
    one, two = (certificate_bag(anchor.der, trusted()) for anchor in identity.anchors)
    content = store(plain(one, certificate_bag(identity.chain[2].der), two))
    assert [entry.alias for entry in stores.read(content, PASSWORD)[0]] == ["1", "2", ""]


def two_keys(one: Identity, two: Identity, *ids: bytes) -> bytes:
    """Return a store with two keys, their chains, and the anchors of the first, trusted by their mark."""
    first, second = (key_bag(private_key.to_der(who.key), *tied) for who, tied in ((one, ids[:1]), (two, ids[1:])))
    leaves = [certificate_bag(who.chain[0].der, *tied) for who, tied in ((one, ids[:1]), (two, ids[1:]))]
    cas = [certificate_bag(ca.der) for who in (one, two) for ca in who.chain[1:]]
    anchors = (
        certificate_bag(anchor.der, alias(name), trusted())
        for anchor, name in zip(one.anchors, ("myroot", "other"), strict=True)
    )
    return store(plain(first, second), encrypted(*cas, *reversed(leaves), *anchors))


@pytest.mark.parametrize("ids", [(), (key_id(b"1"), key_id(b"2"))], ids=["by their numbers", "by their IDs"])
def test_each_of_two_keys_has_its_own_chain(identity: Identity, ids: tuple[bytes, ...]) -> None:
    """And what is trusted can be told beside them."""
    root = Ca.root("CN=Second Root")
    key = make_key()
    two = Identity(key, (root.leaf(make_request("CN=second"), key),), (root.certificate,))
    content = two_keys(identity, two, *ids)
    entries_, remarks = stores.read(content, PASSWORD)
    assert remarks == ()
    assert [(entry.alias, entry.chain, entry.trusted) for entry in entries_] == [
        ("1", (*identity.chain, identity.anchors[0]), False),
        ("2", two.chain, False),
        ("myroot", identity.anchors[:1], True),
        ("other", identity.anchors[1:], True),
    ]
    assert opened.read_anchors(content, PASSWORD) == (identity.anchors, ())
    # The anchor that the names lead to comes along; another, and the leaf of the other key, do not.
    read, chain = stores.read_keystore(content, PASSWORD)
    assert private_key.public_der(read) == identity.chain[0].public_key
    assert chain[0] == identity.chain[0]
    assert set(chain) == {*identity.chain, identity.anchors[0]}


def test_a_key_that_nothing_ties_to_a_certificate_has_none(identity: Identity) -> None:
    """Beside another key; alone it is that of the first certificate, as Java has it."""
    stray, leaf = key_bag(private_key.to_der(make_key())), certificate_bag(identity.chain[0].der)
    entries_, remarks = stores.read(store(plain(key_bag(private_key.to_der(identity.key)), stray, leaf)), PASSWORD)
    assert [entry.chain for entry in entries_] == [identity.chain[:1], ()]
    assert remarks == ("the key of 2 has no certificate",)
    (entry,), _ = stores.read(store(plain(stray, leaf)), PASSWORD)
    assert entry.chain == identity.chain[:1]


def test_a_key_of_another_password_is_locked(identity: Identity) -> None:
    """Certificates are shown all the same, and a keystore with no other key says so."""
    whole = pfx.shown_keys(stores.keystore(identity.key, identity.chain, "kafka", "another"))[0].whole
    content = store(plain(certificate_bag(identity.chain[0].der)), plain(parts.bag(pfx.LOCKED_KEY, bytes(whole))))
    (entry,), remarks = stores.read(content, PASSWORD)
    assert (entry.locked, entry.chain, remarks) == (True, identity.chain[:1], ())
    with pytest.raises(MaterialError, match="key in the PKCS12 store does not open with the password of the store"):
        stores.read_keystore(content, PASSWORD)


def test_a_trusted_certificate_is_not_that_of_a_key(identity: Identity) -> None:
    """Java ties to a key what is not marked, so a leaf that is trusted by itself leaves its key without."""
    key, leaf = key_bag(private_key.to_der(identity.key)), certificate_bag(identity.chain[0].der, trusted())
    (mine, other), remarks = stores.read(store(plain(key, leaf)), PASSWORD)
    assert (mine.chain, other.trusted, remarks) == ((), True, ("its key has no certificate",))


def twins(identity: Identity) -> dict[str, bytes]:
    """Return stores with two CAs of one name behind a leaf, in both orders, by the fingerprint of the first of them."""
    again = Ca.root("CN=Elsewhere").intermediate("CN=Test Lower,O=MyOrg").certificate
    leaf, lower = certificate_bag(identity.chain[0].der, key_id(b"k")), identity.chain[1]
    assert again.subject == lower.subject
    key = plain(key_bag(private_key.to_der(identity.key), key_id(b"k"), alias("kafka")))
    one, other = (certificate_bag(ca.der) for ca in (lower, again))
    return {
        lower.fingerprint: store(key, encrypted(leaf, one, other)),
        again.fingerprint: store(key, encrypted(leaf, other, one)),
    }


def test_of_two_cas_of_one_name_the_first_is_taken(identity: Identity) -> None:
    """Whichever of them has signed the leaf: that the wrong one was taken is what is told of the chain."""
    for fingerprint, content in twins(identity).items():
        assert stores.read(content, PASSWORD)[0][0].chain[1].fingerprint == fingerprint


@pytest.mark.slow
def test_java_takes_the_first_of_two_cas_of_one_name(identity: Identity, tmp_path: Path) -> None:
    """As we do; the chain that it gives Kafka is the one that is shown."""
    paths = {tmp_path / f"{name}.p12": content for name, content in twins(identity).items()}
    for path, content in paths.items():
        path.write_bytes(content)
    for content, answer in zip(
        paths.values(), ask(*(("store", "PKCS12", path, PASSWORD) for path in paths)), strict=True
    ):
        shown = tuple(one.fingerprint for one in stores.read(content, PASSWORD)[0][0].chain)
        assert entries(answer)["kafka"].fingerprints == shown
