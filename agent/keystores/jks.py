"""Java's own old format of keystores and truststores: JKS, version 2.

A store is a big-endian stream: a magic number, the version, the count, the entries, and SHA-1 over
the password, a phrase and all that. It keeps a key from view by an exclusive or with a keystream of
SHA-1 (`agent.keystores.jks_key`), one round a block: whoever has the file tries passwords as fast
as they can be hashed. Imported only where such a store is configured.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent.core.certificate import Certificate
from agent.errors import MaterialError
from agent.keystores import jks_key, magic, private_key
from agent.keystores.encryption import check_password
from agent.keystores.guards import anchor_alias, check_anchors, check_pair
from agent.keystores.limits import LARGEST_FILE, LARGEST_IDENTITY, Keys, check_size
from agent.keystores.material import StoreEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.keystores.material import PrivateKey

LONGEST_ALIAS = 255

_VERSION = 2
_KEY, _TRUSTED = 1, 2
_X509 = b"X.509"
_PHRASE = b"Mighty Aphrodite"
_SUM = hashlib.sha1().digest_size  # noqa: S324 - the format knows no other
_UNIT = re.compile(rb"[\x00-\x7f]|[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}")
"""What makes one unit of UTF-16 (java.io.DataInput, readUTF); Java takes a form that is longer than it need be."""
_MODIFIED_UTF8 = re.compile(rb"(?:%b)*" % _UNIT.pattern)
_OF_FIRST = (0x7F, 0x1F, 0x0F)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def keystore(key: PrivateKey, chain: Sequence[Certificate], alias: str, password: str, *, now: datetime) -> bytes:
    """Return a store with one entry, made `now`: the key, under the password of the store, and its chain, leaf first.

    Java finds lower-case aliases alone. Raise `MaterialError` for a key that is not the leaf's, for
    a password that Java could not use, and for an alias that is not ASCII.
    """
    check_pair(key, chain)
    locked = jks_key.lock(private_key.to_der(key), password)
    entry = _head(_KEY, alias, now) + _sized(locked) + struct.pack(">I", len(chain)) + b"".join(map(_encoded, chain))
    return _sealed([entry], password)


def truststore(anchors: Sequence[Certificate], password: str, *, now: datetime) -> bytes:
    """Return a store of trusted entries, made `now`, each under an alias that is the start of its fingerprint.

    Raise `MaterialError` for a password that Java could not use, and for no anchors at all.
    """
    check_anchors(anchors)
    return _sealed([_head(_TRUSTED, anchor_alias(one), now) + _encoded(one) for one in anchors], password)


def read_keystore(content: bytes, password: str) -> tuple[PrivateKey, tuple[Certificate, ...]]:
    """Return the first key and its chain, leaf first; raise `MaterialError` when it does not open or holds no key."""
    check_size(content, LARGEST_IDENTITY, "a JKS keystore")
    entries = read(content, password)
    found = next(((entry.key, entry.chain) for entry in entries if entry.key is not None and entry.chain), None)
    if found is None:
        if any(entry.locked for entry in entries):
            raise MaterialError("the key in the JKS store does not open with the password of the store")
        raise MaterialError("the JKS store holds no key with its certificate")
    return found


def read_truststore(content: bytes, password: str | None) -> tuple[Certificate, ...]:
    """Return the trusted certificates; raise `MaterialError` when it does not open.

    Without a password they are read all the same, and whether somebody altered them is not checked,
    as keytool does it.
    """
    return tuple(entry.chain[0] for entry in _read(content, password, keys=False) if entry.trusted)


def read(content: bytes, password: str | None) -> tuple[StoreEntry, ...]:
    """Return all entries in their order; raise `MaterialError` when the store does not open or is not whole.

    A key that has a password of its own is given as locked, and so is every key without a password;
    the store is then not checked either.
    """
    return _read(content, password, keys=True)


def _read(content: bytes, password: str | None, *, keys: bool) -> tuple[StoreEntry, ...]:
    check_size(content, LARGEST_FILE, "a JKS store")
    if content.startswith(magic.JCEKS):
        raise MaterialError(
            "the store is a JCEKS, which the agent does not read",
            advice="convert it with `keytool -importkeystore -deststoretype PKCS12`",
        )
    if not content.startswith(magic.JKS) or len(content) < len(magic.JKS) + _SUM:
        raise MaterialError("the JKS store is cut short, or is none")
    body = content[:-_SUM]
    if password is not None and not hmac.compare_digest(content[-_SUM:], _seal(body, password)):
        raise MaterialError("the JKS store does not open with its password, or was altered")
    stream = _Stream(body[len(magic.JKS) :])
    version, count = stream.number(), stream.number()
    if version != _VERSION:
        raise MaterialError(f"the JKS store is of version {version}, and only version {_VERSION} is read")
    # The count is a claim; every entry takes bytes from the stream, which ends.
    entries = tuple(stream.entry(password if keys else None) for _ in range(count))
    stream.end()
    return entries


class _Stream:
    """Reads numbers, texts and entries one after another; raises `MaterialError` where the bytes end before them."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self._keys = Keys("JKS")

    def take(self, count: int) -> bytes:
        """Return the next bytes; they are there before anything is set aside for them."""
        start, self._at = self._at, self._at + count
        if self._at > len(self._content):
            raise MaterialError("the JKS store is cut short, or a length in it is wrong")
        return self._content[start : self._at]

    def end(self) -> None:
        """See that nothing is left."""
        if self._at != len(self._content):
            raise MaterialError("the JKS store holds more than its entries")

    def number(self) -> int:
        """Read four bytes."""
        return int.from_bytes(self.take(4))

    def text(self) -> bytes:
        """Read a text in what Java calls modified UTF-8, still encoded."""
        return self.take(int.from_bytes(self.take(2)))

    def entry(self, password: str | None) -> StoreEntry:
        """Read an entry."""
        kind, alias = self.number(), _decoded(self.text())
        made_at = _date(int.from_bytes(self.take(8)))
        if kind == _TRUSTED:
            return StoreEntry(alias, None, (self.certificate(),), trusted=True, made_at=made_at)
        if kind != _KEY:
            raise MaterialError("the JKS store holds an entry that is neither a key nor a certificate")
        locked = self.take(self.number())
        self._keys.take(locked)
        chain = tuple(self.certificate() for _ in range(self.number()))
        key = None if password is None else _key(locked, password)
        return StoreEntry(alias, key, chain, made_at=made_at, locked=key is None)

    def certificate(self) -> Certificate:
        """Read a certificate with its type before it."""
        if self.text() != _X509:
            raise MaterialError("the JKS store holds a certificate that is no X.509")
        return Certificate.from_der(self.take(self.number()))


def _key(locked: bytes, password: str) -> PrivateKey | None:
    plain = jks_key.unlock(locked, password)
    return None if plain is None else private_key.from_der_if_used(plain)


def _head(kind: int, alias: str, now: datetime) -> bytes:
    if not alias.isascii() or len(alias) > LONGEST_ALIAS:
        raise MaterialError(f"the alias of a JKS store is not ASCII, or longer than {LONGEST_ALIAS} characters")
    return struct.pack(">I", kind) + _text(alias.lower().encode()) + struct.pack(">Q", (now - _EPOCH) // _MILLISECOND)


def _text(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


def _sized(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _encoded(certificate: Certificate) -> bytes:
    return _text(_X509) + _sized(certificate.der)


def _sealed(entries: Sequence[bytes], password: str) -> bytes:
    check_password(password)
    body = magic.JKS + struct.pack(">II", _VERSION, len(entries)) + b"".join(entries)
    return body + _seal(body, password)


def _seal(body: bytes, password: str) -> bytes:
    return hashlib.sha1(jks_key.encoded(password) + _PHRASE + body).digest()  # noqa: S324 - the format knows no other


def _decoded(content: bytes) -> str:
    """Read modified UTF-8: NUL in two bytes, and beyond the basic plane a pair of surrogates, each by itself."""
    if not _MODIFIED_UTF8.fullmatch(content):
        raise MaterialError(
            "an alias in the JKS store is no modified UTF-8, and Java does not open such a store",
            advice="have keytool write it, which encodes aliases as Java reads them",
        )
    units = bytearray()
    for piece in _UNIT.findall(content):
        first, *others = piece
        unit = first & _OF_FIRST[len(others)]
        for byte in others:
            unit = unit << 6 | byte & 0x3F
        units += unit.to_bytes(2)
    return units.decode("utf-16-be", "replace")


def _date(milliseconds: int) -> datetime | None:
    try:
        return _EPOCH + milliseconds * _MILLISECOND
    except OverflowError:
        return None
