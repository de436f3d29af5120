"""PKCS12 stores (RFC 7292) as Java and OpenSSL read them.

`strong` is PBES2 with AES-256-CBC and a MAC with SHA-256; `compatible` PBES1 with 3DES and a MAC
with SHA-1, for JVMs before 8u301 and 11.0.12. Imported only where such a store is configured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import pkcs12

from agent.core.certificate import Certificate
from agent.core.files import Encryption
from agent.errors import MaterialError
from agent.keystores import encryption as encryptions
from agent.keystores import pfx, private_key
from agent.keystores.guards import anchor_alias, check_anchors, check_pair
from agent.keystores.limits import LARGEST_FILE, LARGEST_IDENTITY, check_size
from agent.keystores.material import StoreEntry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.keystores.material import PrivateKey

UNMARKED = (
    "its certificates are not marked as trusted, so Java sees no entry in it; they are taken as anchors all the same"
)


def keystore(
    key: PrivateKey,
    chain: Sequence[Certificate],
    alias: str,
    password: str,
    encryption: Encryption = Encryption.STRONG,
) -> bytes:
    """Return a store with one entry: the key and its whole chain, leaf first.

    Java lower-cases aliases; the settings allow no others. Raise `MaterialError` for a key that is
    not the leaf's, and for a password that Java could not use.
    """
    check_pair(key, chain)
    return pkcs12.serialize_key_and_certificates(
        alias.encode(),
        key,
        chain[0].x509,
        [other.x509 for other in chain[1:]],
        encryptions.of_store(password, encryption),
    )


def truststore(anchors: Sequence[Certificate], password: str, encryption: Encryption = Encryption.STRONG) -> bytes:
    """Return a store whose entries Java takes as trusted, each under an alias that is the start of its fingerprint.

    Raise `MaterialError` for a password that Java could not use, and for no anchors at all.
    """
    check_anchors(anchors)
    entries = [pkcs12.PKCS12Certificate(anchor.x509, anchor_alias(anchor).encode()) for anchor in anchors]
    return pkcs12.serialize_java_truststore(entries, encryptions.of_store(password, encryption))


def encrypted_key(key: PrivateKey, password: str, encryption: Encryption) -> bytes:
    """Return the key as an EncryptedPrivateKeyInfo (RFC 5958, 3) in DER, encrypted as in a store.

    The library encrypts a PKCS#8 by itself with PBES2 alone, and with few rounds; so it is cut out of
    a store. Raise `MaterialError` for a password that Java could not use.
    """
    store = pkcs12.serialize_key_and_certificates(None, key, None, None, encryptions.of_key(password, encryption))
    (bag,) = pfx.shown_keys(store)
    return bytes(bag.whole)


def read_keystore(content: bytes, password: str) -> tuple[PrivateKey, tuple[Certificate, ...]]:
    """Return the first key and its chain, leaf first; raise `MaterialError` when it does not open or holds no key.

    The chain is all that stands there for it, in its order, also what the names do not lead to.
    """
    check_size(content, LARGEST_IDENTITY, "a PKCS12 keystore")
    store = _Store(content, password)
    for key in store.keys:
        if key.key is not None and key.chain:
            leaves = {other.chain[0] for other in store.keys if other.chain}
            rest = (one.certificate for one in store.certificates if one.certificate in key.chain or not one.is_trusted)
            return key.key, tuple(dict.fromkeys((key.chain[0], *(one for one in rest if one not in leaves))))
    if any(key.is_locked for key in store.keys):
        raise MaterialError("the key in the PKCS12 store does not open with the password of the store")
    raise MaterialError("the PKCS12 store holds no key with its certificate")


def read_truststore(content: bytes, password: str | None) -> tuple[Certificate, ...]:
    """Return the anchors, as `read_anchors` does, without its remark."""
    return read_anchors(content, password)[0]


def read_anchors(content: bytes, password: str | None) -> tuple[tuple[Certificate, ...], tuple[str, ...]]:
    """Return what Java takes as trusted, and what is to be said about it; raise `MaterialError` when it does not open.

    A store that marks no certificate and holds no key, as OpenSSL writes it, has no entry for Java;
    whoever names such a store as one of anchors means its certificates, so all of them are given,
    with a remark. Beside a key nothing is an anchor that is not marked.

    Without a password only a store opens that needs none: with neither encryption nor a MAC, as
    Java 18 and later write `cacerts`.
    """
    store = _Store(content, password)
    trusted = tuple(one.certificate for one in store.certificates if one.is_trusted)
    if trusted or store.keys or not store.certificates:
        return trusted, ()
    return tuple(one.certificate for one in store.certificates), (UNMARKED,)


def read(content: bytes, password: str | None) -> tuple[tuple[StoreEntry, ...], tuple[str, ...]]:
    """Return the entries and what is to be said about them; raise `MaterialError` when it does not open.

    They are those that Java sees, under the aliases that it gives them: each key with the chain that
    the names lead along, and each certificate that is marked as trusted. Certificates that are
    neither come last, as entries that are not trusted.
    """
    store = _Store(content, password)
    remarks = list(store.remarks)
    for key in store.keys:
        told = f"the key of {key.alias}" if len(store.keys) > 1 else "its key"
        if key.key is None and not key.is_locked:
            remarks.append(f"{told} is of a kind that the agent does not use")
        if not key.chain:
            remarks.append(f"{told} has no certificate")
    entries = [StoreEntry(key.alias, key.key, key.chain, locked=key.key is None) for key in store.keys]
    used = {certificate for key in store.keys for certificate in key.chain}
    trusted = [one for one in store.certificates if one.is_trusted]
    others = [one for one in store.certificates if not one.is_trusted and one.certificate not in used]
    entries += (StoreEntry(one.alias, None, (one.certificate,), trusted=one.is_trusted) for one in (*trusted, *others))
    return tuple(entries), tuple(remarks)


@dataclass(frozen=True, slots=True)
class _Certificate:
    """A certificate, and what ties it to a key or makes it an anchor."""

    certificate: Certificate
    alias: str
    key_id: bytes | None
    is_trusted: bool


@dataclass(frozen=True, slots=True)
class _Key:
    """A key with its chain; locked is one that did not open, and one of another kind is None and not locked."""

    key: PrivateKey | None = field(repr=False)
    is_locked: bool
    alias: str
    chain: tuple[Certificate, ...]


class _Store:
    """Keys and certificates of a store, put together as Java does it (sun.security.pkcs12.PKCS12KeyStore)."""

    def __init__(self, content: bytes, password: str | None) -> None:
        check_size(content, LARGEST_FILE, "a PKCS12 store")
        bags, self.remarks = pfx.read(content, password)
        named = tuple(zip(bags, _aliases(bags), strict=True))
        self.certificates = tuple(
            _Certificate(Certificate.from_der(bag.content), alias, bag.key_id, bag.is_trusted)
            for bag, alias in named
            if bag.kind == pfx.CERTIFICATE and bag.content is not None
        )
        self._issuers = {one.certificate.subject: one.certificate for one in reversed(self.certificates)}
        keys = [(bag, alias) for bag, alias in named if bag.kind in pfx.KEYS]
        self.keys = tuple(self._key(bag, alias, is_only=len(keys) == 1) for bag, alias in keys)

    def _key(self, bag: pfx.Bag, alias: str, *, is_only: bool) -> _Key:
        key = None if bag.content is None else private_key.from_der_if_used(bag.content)
        leaf = self._leaf(bag, key, alias, is_only=is_only)
        return _Key(key, bag.content is None, alias, () if leaf is None else tuple(self._chain(leaf)))

    def _leaf(self, bag: pfx.Bag, key: PrivateKey | None, alias: str, *, is_only: bool) -> Certificate | None:
        """Return the certificate of a key: by the ID that both bear, else by their numbers, else by their alias."""
        mine = [one for one in self.certificates if not one.is_trusted]
        public = None if key is None else private_key.public_der(key)
        found = (
            [one for one in mine if bag.key_id is not None and one.key_id == bag.key_id]
            or [one for one in mine if one.certificate.public_key == public]
            or [one for one in mine if one.alias and one.alias.lower() == alias.lower()]
            or (mine if is_only else [])
        )
        return found[0].certificate if found else None

    def _chain(self, leaf: Certificate) -> Iterator[Certificate]:
        """Yield the leaf and who issued it, and so on, by their names; of two of one name the first is taken."""
        seen: set[Certificate] = set()
        one: Certificate | None = leaf
        while one is not None and one not in seen:
            yield one
            seen.add(one)
            one = None if one.self_issued else self._issuers.get(one.issuer)


def _aliases(bags: Sequence[pfx.Bag]) -> Iterator[str]:
    """Yield the alias of each bag: its own, or the number that Java gives to an entry without one, or none."""
    count = 0
    for bag in bags:
        if bag.alias is None and (bag.is_trusted or bag.kind in pfx.KEYS):
            count += 1
            yield str(count)
        else:
            yield bag.alias or ""
