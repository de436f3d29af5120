"""A PKCS12 store (a PFX, RFC 7292) taken apart: its sum checked, its parts decrypted, its bags with their attributes.

A part may be encrypted whole, may hold parts of its own, and a key may be encrypted by itself:
wherever a key derivation is met, it is paid for out of one purse (`agent.keystores.pbe.Work`).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.errors import MaterialError
from agent.keystores import der, pbe
from agent.keystores.limits import Keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.keystores.der import Element

_BAGS = bytes.fromhex("2a864886f70d010c0a01")  # 1.2.840.113549.1.12.10.1
PLAIN_KEY, LOCKED_KEY, CERTIFICATE, SAFE = (_BAGS + bytes([last]) for last in (1, 2, 3, 6))
"""What a bag holds (RFC 7292, 4.2): a key, an encrypted key, a certificate, or bags again."""

KEYS = frozenset({PLAIN_KEY, LOCKED_KEY})

_DATA = bytes.fromhex("2a864886f70d010701")  # 1.2.840.113549.1.7.1
_ENCRYPTED = bytes.fromhex("2a864886f70d010706")  # 1.2.840.113549.1.7.6
_X509 = bytes.fromhex("2a864886f70d01091601")  # 1.2.840.113549.1.9.22.1
_FRIENDLY_NAME = bytes.fromhex("2a864886f70d010914")  # 1.2.840.113549.1.9.20
_LOCAL_KEY_ID = bytes.fromhex("2a864886f70d010915")  # 1.2.840.113549.1.9.21
_TRUSTED_KEY_USAGE = bytes.fromhex("6086480186f966adca7b0101")  # 2.16.840.1.113894.746875.1.1
_BMP_STRING = 0x1E
_DIGESTS = {
    bytes.fromhex("2b0e03021a"): "sha1",  # 1.3.14.3.2.26
    bytes.fromhex("608648016503040204"): "sha224",  # 2.16.840.1.101.3.4.2.4
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}


@dataclass(frozen=True, slots=True)
class Bag:
    """A key or a certificate, with what stands beside it.

    `content` is a PKCS#8 or the certificate, in DER; None for a key that did not open, or is
    encrypted in a way that the agent does not read. `alias` is None where there is none.
    `is_trusted` tells of Java's own mark, without which it takes no certificate as an anchor.
    """

    kind: bytes
    content: bytes | None = field(repr=False)
    alias: str | None
    key_id: bytes | None
    is_trusted: bool


def read(content: bytes, password: str | None) -> tuple[tuple[Bag, ...], tuple[str, ...]]:
    """Return the bags of a store in their order, and what of them other readers do not read.

    Without a password such a store opens as needs none, or an empty one. Raise `MaterialError` when
    it does not open, or when to open it would cost too much.
    """
    try:
        pfx = der.Reader().first(content)
        safes, mac = pfx.child(1), pfx.children[2] if len(pfx.children) > 2 else None
        authenticated = _data(safes)
    except MaterialError:
        raise MaterialError("the PKCS12 store is cut short, or is none") from None
    opener = _Opener(password)
    if mac is not None:
        opener.check(authenticated, mac)
    bags = tuple(opener.parts(authenticated))
    return bags, tuple(dict.fromkeys(opener.remarks))


def shown_keys(content: bytes) -> tuple[Element, ...]:
    """Return the key bags that can be seen without the password; raise `MaterialError` for what is no store."""
    reader = der.Reader()
    found = []
    for part in reader.first(_data(reader.first(content).child(1))).children:
        if bytes(part.child(0, der.OID).content) == _DATA:
            found += [bag for bag in reader.first(_data(part)).children if bytes(bag.child(0, der.OID).content) in KEYS]
    return tuple(bag.child(1).child(0) for bag in found)


class _Opener:
    """Opens the parts of one store, one after another; `remarks` gathers what other readers do not read."""

    def __init__(self, password: str | None) -> None:
        self.remarks: list[str] = []
        self._password = password or ""
        self._is_given = password is not None
        self._is_proven = False
        self._reader = der.Reader()
        self._work = pbe.Work()
        self._keys = Keys("PKCS12")

    def check(self, authenticated: bytes, mac: Element) -> None:
        """Raise `MaterialError` when the sum over the whole (RFC 7292, 5.1) is not that of the password."""
        info = mac.child(0, der.SEQUENCE)
        digest = _DIGESTS.get(bytes(info.child(0, der.SEQUENCE).child(0, der.OID).content))
        if digest is None:
            raise MaterialError("the PKCS12 store is sealed in a way that the agent does not read")
        rounds = pbe.number(mac.child(2)) if len(mac.children) > 2 else 1
        kdf, size = pbe.Pkcs12Derivation(digest, mac.child(1).octets, rounds), hashlib.new(digest).digest_size
        self._work.take(kdf.cost(size))
        key = kdf.derive(self._password, pbe.MAC, size)
        if not hmac.compare_digest(hmac.digest(key, authenticated, digest), info.child(1).octets):
            raise self._unopened()
        self._is_proven = True

    def parts(self, authenticated: bytes) -> Iterator[Bag]:
        """Yield the bags of all parts."""
        for part in self._reader.first(authenticated).children:
            kind = bytes(part.child(0, der.OID).content)
            if kind == _DATA:
                yield from self._bags(self._reader.first(_data(part)))
            elif kind == _ENCRYPTED:
                yield from self._bags(self._decrypted(part.child(1).child(0, der.SEQUENCE)))
            else:
                raise MaterialError("a part of the PKCS12 store is of a kind that the agent does not read")

    def _decrypted(self, encrypted: Element) -> Element:
        """Return what EncryptedData (RFC 5652, 8) holds."""
        info = encrypted.child(1, der.SEQUENCE)
        scheme = pbe.scheme(info.child(1, der.SEQUENCE))
        self._work.take(scheme.cost)
        plain = scheme.decrypt(info.child(2).untagged, self._password, self._work)
        try:
            safe = self._reader.first(plain or b"")
        except MaterialError:
            raise self._unopened() from None
        if safe.tag != der.SEQUENCE or len(safe.whole) != len(plain or b""):
            # Without a sum over the whole, what a wrong password makes of it may seem well padded.
            raise self._unopened()
        return safe

    def _bags(self, safe: Element, *, nested: bool = False) -> Iterator[Bag]:
        for bag in safe.children:
            kind, value = bytes(bag.child(0, der.OID).content), bag.child(1).child(0)
            if kind == SAFE:
                yield from self._bags(value, nested=True)
                continue
            if kind == CERTIFICATE and bytes(value.child(0, der.OID).content) == _X509:
                content: bytes | None = value.child(1).child(0).octets
            elif kind in KEYS:
                content = self._key(value, is_plain=kind == PLAIN_KEY)
            else:
                continue  # a CRL, or a secret that Java keeps
            if nested:
                self.remarks.append("it holds parts within parts, into which Java does not look")
            yield self._bag(kind, content, bag)

    def _bag(self, kind: bytes, content: bytes | None, bag: Element) -> Bag:
        alias, key_id, is_trusted = None, None, False
        for attribute in bag.children[2].children if len(bag.children) > 2 else ():
            name, values = bytes(attribute.child(0, der.OID).content), attribute.child(1)
            if name == _FRIENDLY_NAME:
                alias = self._alias(values.child(0))
            elif name == _LOCAL_KEY_ID:
                key_id = values.child(0).octets
            elif name == _TRUSTED_KEY_USAGE:
                is_trusted = True
        return Bag(kind, content, alias, key_id, is_trusted)

    def _alias(self, text: Element) -> str:
        if text.tag != _BMP_STRING:
            raise MaterialError("an alias in the PKCS12 store is no BMPString, and Java does not open such a store")
        if len(text.content) % 2:
            self.remarks.append("an alias ends within a character, and OpenSSL does not open such a store")
        return bytes(text.content).decode("utf-16-be", "replace")

    def _key(self, value: Element, *, is_plain: bool) -> bytes | None:
        whole = bytes(value.whole)
        self._keys.take(whole)
        if is_plain:
            self.remarks.append("a private key in it is not encrypted, and Java does not see such a key")
            return whole
        try:
            scheme = pbe.scheme(value.child(0, der.SEQUENCE))
        except MaterialError:
            return None
        self._work.take(scheme.cost)
        return scheme.decrypt(value.child(1).octets, self._password, self._work)

    def _unopened(self) -> MaterialError:
        if self._is_proven:
            return MaterialError("a part of the PKCS12 store does not open with the password of the store")
        if self._is_given:
            return MaterialError("the PKCS12 store does not open with its password, or was altered")
        return MaterialError("the PKCS12 store does not open without a password", advice="give its password")


def _data(part: Element) -> bytes:
    """Return the octets of a ContentInfo (RFC 5652, 3) of the type `data`."""
    return part.child(1).child(0).octets
