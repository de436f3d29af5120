"""PKCS12 stores (RFC 7292) as Java and OpenSSL read them.

`strong` is PBES2 with AES-256-CBC and a MAC with SHA-256; `compatible` PBES1 with 3DES and a MAC
with SHA-1, for JVMs before 8u301 and 11.0.12. Imported only where such a store is configured.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from agent.core.certificate import Certificate
from agent.core.files import Encryption
from agent.errors import MaterialError
from agent.keystores import der
from agent.keystores import encryption as encryptions
from agent.keystores.guards import anchor_alias, check_anchors, check_pair
from agent.keystores.limits import LARGEST_FILE, LARGEST_IDENTITY, check_size
from agent.keystores.material import StoreEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.keystores.material import PrivateKey

LARGEST_KEY = 3 * 1024
"""Bytes of an encrypted key that is not kept from view: RSA with 4,096 bits fits.

The library asks whether the primes of an RSA key are primes while all threads wait: half a second
at 4,096 bits, nine at 8,192.
"""

_DATA = bytes.fromhex("2a864886f70d010701")  # 1.2.840.113549.1.7.1
_KEY_BAGS = frozenset({bytes.fromhex("2a864886f70d010c0a0101"), bytes.fromhex("2a864886f70d010c0a0102")})
"""1.2.840.113549.1.12.10.1.1 and .2: plain and encrypted."""

_SUBJECT = "="
"""What a subject's name has, and no alias that people choose."""


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
    (bag,) = _look_into(store).key_bags
    return bytes(bag.whole)


def read_keystore(content: bytes, password: str) -> tuple[PrivateKey, tuple[Certificate, ...]]:
    """Return key and chain, leaf first; raise `MaterialError` when it does not open or holds no key."""
    check_size(content, LARGEST_IDENTITY, "a PKCS12 keystore")
    store = _open(content, password)
    key = _usable(store)
    if store.cert is None or key is None:
        raise MaterialError("the PKCS12 store holds no key with its certificate")
    return key, tuple(_of(entry) for entry in (store.cert, *store.additional_certs))


def read_truststore(content: bytes, password: str | None) -> tuple[Certificate, ...]:
    """Return the certificates; raise `MaterialError` when it does not open.

    Without a password only a store opens that needs none: with neither encryption nor a MAC, as
    Java 18 and later write `cacerts`.
    """
    return tuple(_of(entry) for entry in _open(content, password).additional_certs)


def read(content: bytes, password: str | None) -> tuple[tuple[StoreEntry, ...], tuple[str, ...]]:
    """Return the entries and what is to be said about them; raise `MaterialError` when it does not open.

    The library gives one key, and does not tell which certificates Java takes as trusted (an
    attribute of their bags). In a store without a key that is all of them here; beside a key those
    that have a name of their own, as Java names the certificates of a chain by their subjects, and
    OpenSSL not at all.
    """
    store = _open(content, password)
    rest = [(_of(entry), _text(entry.friendly_name)) for entry in store.additional_certs]
    if store.key is None:
        return tuple(StoreEntry(name, None, (certificate,), trusted=True) for certificate, name in rest), ()
    key, keys, remarks = _usable(store), len(_look_into(content).key_bags), []
    if key is None:
        remarks.append("its key is of a kind that the agent does not use")
    if keys > 1:
        remarks.append(f"it holds {keys} keys, of which one is shown; which certificates it trusts cannot be told")
    chain = _chain(store.cert, [certificate for certificate, _ in rest])
    if not chain:
        remarks.append("its key has no certificate")
    alias = _text(store.cert.friendly_name) if store.cert else ""
    others = []
    for certificate, name in rest:
        trusted = keys == 1 and bool(name) and _SUBJECT not in name
        if trusted or certificate not in chain:
            others.append(StoreEntry(name, None, (certificate,), trusted=trusted))
    return (StoreEntry(alias, key, chain, locked=key is None), *others), tuple(remarks)


def _open(content: bytes, password: str | None) -> pkcs12.PKCS12KeyAndCertificates:
    check_size(content, LARGEST_FILE, "a PKCS12 store")
    try:
        inside = _look_into(content)
    except MaterialError:
        raise MaterialError("the PKCS12 store is cut short, or is none") from None
    der.check_rounds(*inside.guarded)
    for bag in inside.key_bags:
        check_size(bytes(bag.whole), LARGEST_KEY, "a private key in PKCS12")
    try:
        with warnings.catch_warnings():
            # A store that is BER and not DER is worth a warning to the library; readers open it all the same.
            warnings.simplefilter("ignore")
            return pkcs12.load_pkcs12(content, None if password is None else password.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if password is None:
            raise MaterialError(
                "the PKCS12 store does not open without a password", advice="give its password"
            ) from None
        raise MaterialError("the PKCS12 store or its key does not open with its password, or it is none") from None


@dataclass(frozen=True, slots=True)
class _Inside:
    """What can be seen of a store without its password: what key derivations guard, and the keys that stand there."""

    guarded: tuple[der.Element, ...]
    key_bags: tuple[der.Element, ...]


def _look_into(content: bytes) -> _Inside:
    """Take the outer parts of a PFX (RFC 7292, 4) apart; raise `MaterialError` for what is none."""
    reader = der.Reader()
    pfx = reader.first(content)
    guarded, key_bags = list(pfx.children[2:]), []
    for part in reader.first(_data(pfx.child(1))).children:
        if bytes(part.child(0, der.OID).content) != _DATA:
            guarded.append(part)
            continue
        for bag in reader.first(_data(part)).children:
            guarded.append(bag)
            if bytes(bag.child(0, der.OID).content) in _KEY_BAGS:
                key_bags.append(bag.child(1).child(0))
    return _Inside(tuple(guarded), tuple(key_bags))


def _data(part: der.Element) -> bytes:
    """Return the octets of a ContentInfo (RFC 5652, 3) of the type `data`."""
    return part.child(1).child(0).octets


def _usable(store: pkcs12.PKCS12KeyAndCertificates) -> PrivateKey | None:
    if isinstance(store.key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        return store.key
    return None


def _chain(leaf: pkcs12.PKCS12Certificate | None, others: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """Return the leaf and, of the others, who issued it, and so on, by their names."""
    if leaf is None:
        return ()
    chain = [_of(leaf)]
    issuers = {other.subject: other for other in reversed(others)}
    while (issuer := issuers.pop(chain[-1].issuer, None)) is not None and issuer not in chain:
        chain.append(issuer)
    return tuple(chain)


def _of(entry: pkcs12.PKCS12Certificate) -> Certificate:
    return Certificate.from_der(entry.certificate.public_bytes(Encoding.DER))


def _text(name: bytes | None) -> str:
    return (name or b"").decode(errors="replace")
