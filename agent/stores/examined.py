"""The bytes of any file, as the facts of a store without its secrets."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from agent.core.certificate import Certificate, key_type
from agent.core.files import StoreFormat
from agent.core.inspection import DER, Entry, Examined, KeyFacts, Kind
from agent.errors import MaterialError
from agent.keystores import magic, opened, private_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.keystores.material import StoreEntry

_PBES2 = bytes.fromhex("06092a864886f70d01050d")
"""1.2.840.113549.1.5.13 (RFC 8018)."""

_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
"""1.2.840.113549.1.7.2: a PKCS#7."""

_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b")
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9][A-Z0-9 ]{1,40})-----")
_KEY_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----([^-]*)")
_HOLDS = {"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE", "EC PARAMETERS"}
_OURS = {"PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"}


def examine(content: bytes, password: str | None) -> Examined:
    """Open a store of any format and return what it holds; the private keys are only compared and forgotten.

    A certificate in DER by itself counts as a store of one. Raise `MaterialError` when the file does
    not open, and for what is no store; it then says what the file seems to be.
    """
    if opened.sniff(content) is None:
        certificate = _in_der(content)
        if certificate is None:
            raise _no_store(content)
        return Examined(DER, (Entry("", Kind.CERTIFICATE, (certificate,)),))
    if not _holds_anything(content):
        raise _no_store(content)
    store = opened.open_store(content, password)
    remarks = (*store.remarks, *(_about_pem(content) if store.format is StoreFormat.PEM else ()))
    return Examined(store.format, tuple(map(_entry, store.entries)), remarks, password is not None)


def needs_password(content: bytes) -> bool:
    """Return whether a store may be of a kind that shows nothing without its password."""
    return opened.sniff(content) is StoreFormat.PKCS12


def is_secret(content: bytes) -> bool:
    """Return whether a file shows a private key, encrypted or not, or a reader's password; nothing is opened.

    A PKCS12 shows the keys that stand in no encrypted part, which is where every program that we
    know puts them; one within an encrypted part is seen by `examine` alone.
    """
    match opened.sniff(content):
        case StoreFormat.PEM:
            return _KEY_BLOCK.search(content) is not None
        case StoreFormat.PKCS12:
            from agent.keystores import pfx

            return any(kind in content for kind in pfx.KEYS)
        case StoreFormat.JKS:
            return any(entry.key is not None or entry.locked for entry in opened.open_store(content, None).entries)
        case _:
            return b"password" in content.lower()


def _entry(found: StoreEntry) -> Entry:
    if found.locked or found.key is not None:
        kind = Kind.PRIVATE_KEY
    else:
        kind = Kind.TRUSTED if found.trusted else Kind.CERTIFICATE
    facts = None
    if found.key is not None:
        facts = KeyFacts(key_type(found.key.public_key()), private_key.public_der(found.key))
    return Entry(found.alias, kind, found.chain, facts, found.made_at)


def _in_der(content: bytes) -> Certificate | None:
    if not content.startswith(b"\x30"):
        return None
    try:
        return Certificate.from_der(content)
    except MaterialError:
        return None


def _about_pem(content: bytes) -> Iterator[str]:
    """Yield what Kafka would not read of the first private key, and whether there are others."""
    blocks = _KEY_BLOCK.findall(content)
    if len(blocks) > 1:
        yield f"it holds {len(blocks)} private keys, of which the first is shown"
    for label, text in blocks[:1]:
        if label not in (b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY"):
            yield f"its private key is a {label.decode()}, and Kafka on the JVM reads keys in PEM as PKCS#8 alone"
        elif label == b"ENCRYPTED PRIVATE KEY" and _PBES2 in _decoded(text):
            yield "its private key is encrypted with PBES2, which Kafka on Java 17 does not read in PEM"


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""


def _holds_anything(content: bytes) -> bool:
    """Whether a PEM file has a block that is looked at; other formats are for their readers to judge."""
    if opened.sniff(content) is not StoreFormat.PEM:
        return True
    labels = {label.decode() for label in _LABEL.findall(content)}
    return not labels or bool(labels & (_HOLDS | _OURS))


def _no_store(content: bytes) -> MaterialError:
    return MaterialError(
        f"it is no PEM, PKCS12 or JKS store: it seems to be {_seems(content)}",
        advice="name a file that holds a private key or certificates",
    )


def _seems(content: bytes) -> str:
    """Return what a file that is no store may be, in words; none of them from the file but the label of a PEM block."""
    labels = list(dict.fromkeys(label.decode() for label in _LABEL.findall(content)))
    if not content:
        return "empty"
    if labels:
        return f"PEM with {', '.join(labels[:5])}"
    if content.startswith(magic.JCEKS):
        return "a JCEKS; `keytool -importkeystore -deststoretype PKCS12` converts it"
    if content.startswith(b"\x30"):
        return "a PKCS#7 in DER" if _SIGNED_DATA in content[:32] else "DER, but no certificate: a key or a request, say"
    if content.startswith(_ARCHIVES):
        return "an archive"
    try:
        is_text = content.decode().replace("\n", "").replace("\r", "").replace("\t", "").isprintable()
    except UnicodeDecodeError:
        is_text = False
    return "text" if is_text else "binary data of another sort"
