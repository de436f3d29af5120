"""The files of a generation: from key, chain and anchors to bytes, and back to what they hold.

Everything here blocks: passwords are read from disk each time, PKCS12 takes milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING

from agent.core.configuration import PemFiles, Pkcs12Files
from agent.errors import MaterialError
from agent.keystores import pem, private_key
from agent.net.secret import read_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.core.certificate import Certificate
    from agent.core.configuration import Access, Files
    from agent.keystores.material import PrivateKey

SECRET_MODE = 0o400
PUBLIC_MODE = 0o444

_DER_SEQUENCE = b"\x30"
"""The first byte of a PKCS12 store, and of no PEM file."""


class _Content(StrEnum):
    """What one file holds."""

    CERTIFICATE = "certificate"
    KEY = "key"
    COMBINED = "combined"
    TRUSTSTORE = "truststore"
    KEYSTORE = "keystore"


_SECRET = frozenset({_Content.KEY, _Content.COMBINED, _Content.KEYSTORE})


@dataclass(frozen=True, slots=True)
class Material:
    """What the files of a generation are made of; `chain` is leaf first and carries no anchor."""

    key: PrivateKey = field(repr=False)
    chain: tuple[Certificate, ...]
    anchors: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One file to be written, by its name below the identity's directory.

    `access` has its mode filled in. `secret` says that the file holds the private key,
    `truststore` that it holds anchors.
    """

    name: str
    content: bytes = field(repr=False)
    access: Access
    secret: bool
    truststore: bool

    @property
    def mode(self) -> int:
        """The mode to write it with."""
        return self.access.mode if self.access.mode is not None else _default_mode(secret=self.secret)


def render(files: Sequence[Files], material: Material) -> tuple[Rendered, ...]:
    """Return every file that is wanted, in the order of the settings.

    PKCS12 draws new salts, so the same material gives other bytes each time. Raise
    `MaterialError` when a password cannot be read or Java could not use it, when a keystore's key
    is not that of the leaf, or when a truststore would be empty.
    """
    return tuple(
        Rendered(
            name, _bytes(group, content, material), _access(group, content), content in _SECRET, _holds_anchors(content)
        )
        for group in files
        for name, content in _contents(group)
    )


def trouble(files: Sequence[Files], name: str, content: bytes, material: Material) -> str:
    """Open a written file as its reader will, and return what is wrong with it; nothing means whole.

    Whole is: it opens with its password, the key is the one given, the chain is all there in its
    order, the anchors are those given and no others. A truststore that a person edited is not
    for this but for `read_anchors`.
    """
    group, kind = _find(files, name)
    try:
        if kind is _Content.TRUSTSTORE:
            return _compare_anchors(_anchors(group, content), material.anchors)
        key, found = _identity(group, kind, content)
    except MaterialError as error:
        return error.diagnosis()
    if key is not None and private_key.public_der(key) != private_key.public_der(material.key):
        return "it holds another private key"
    if found is not None and found != material.chain:
        return f"it holds {_listing(found)} where the chain is {_listing(material.chain)}"
    return ""


def trouble_opening(files: Sequence[Files], name: str, content: bytes) -> str:
    """Return why a file does not open with the password that is set now; nothing means that it does."""
    group, kind = _find(files, name)
    try:
        if kind is _Content.TRUSTSTORE:
            _anchors(group, content)
        else:
            _identity(group, kind, content)
    except MaterialError as error:
        return error.diagnosis()
    return ""


def read_anchors(files: Sequence[Files], name: str, content: bytes) -> tuple[Certificate, ...]:
    """Return the anchors of a truststore that a person may have edited.

    Raise `MaterialError` when it does not open, or holds no certificate.
    """
    group, _ = _find(files, name)
    anchors = _anchors(group, content)
    if not anchors:
        raise MaterialError(f"{name} holds no trust anchor")
    return anchors


def read_key(files: Sequence[Files], contents: Mapping[str, bytes], *, public_key: bytes) -> PrivateKey | None:
    """Return the private key whose public half is `public_key`, out of any file of a generation; None when it is lost.

    `contents` are the bytes of its files by name. They tell their format themselves, and the
    settings only the passwords to try: so the key is found as well when the settings name other
    files by now, and when one of several was altered.
    """
    keys = (_key_of_pem(content) for content in contents.values() if b"PRIVATE KEY-----" in content)
    stores = [content for content in contents.values() if content.startswith(_DER_SEQUENCE)]
    locked = (_key_of_store(group, content) for group in files if isinstance(group, Pkcs12Files) for content in stores)
    matching = (key for key in chain(keys, locked) if key is not None and private_key.public_der(key) == public_key)
    return next(matching, None)


def layout(files: Sequence[Files]) -> str:
    """Return a digest of the names, formats, aliases, owners and modes; the order of the settings is no part of it.

    A default that is written out is the same as one that is left to us.
    """
    described = []
    for group in files:
        for name, content in _contents(group):
            access = _access(group, content)
            described.append(
                {
                    "name": name,
                    "format": "pkcs12" if isinstance(group, Pkcs12Files) else "pem",
                    "content": str(content),
                    "alias": group.alias if isinstance(group, Pkcs12Files) and content is _Content.KEYSTORE else None,
                    "owner": access.owner,
                    "group": access.group,
                    "mode": access.mode,
                }
            )
    described.sort(key=lambda one: str(one["name"]))
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def is_truststore(files: Sequence[Files], name: str) -> bool:
    """Return whether the settings name a truststore so."""
    return any(_holds_anchors(content) for group in files for other, content in _contents(group) if other == name)


def _contents(group: Files) -> Iterator[tuple[str, _Content]]:
    wanted: tuple[tuple[str | None, _Content], ...]
    if isinstance(group, PemFiles):
        wanted = (
            (group.certificate, _Content.CERTIFICATE),
            (group.key, _Content.KEY),
            (group.combined, _Content.COMBINED),
            (group.truststore, _Content.TRUSTSTORE),
        )
    else:
        wanted = ((group.keystore, _Content.KEYSTORE), (group.truststore, _Content.TRUSTSTORE))
    return ((name, content) for name, content in wanted if name)


def _find(files: Sequence[Files], name: str) -> tuple[Files, _Content]:
    for group in files:
        for other, content in _contents(group):
            if other == name:
                return group, content
    raise KeyError(name)


def _holds_anchors(content: _Content) -> bool:
    return content is _Content.TRUSTSTORE


def _default_mode(*, secret: bool) -> int:
    return SECRET_MODE if secret else PUBLIC_MODE


def _access(group: Files, content: _Content) -> Access:
    if group.access.mode is not None:
        return group.access
    return replace(group.access, mode=_default_mode(secret=content in _SECRET))


def _bytes(group: Files, content: _Content, material: Material) -> bytes:
    if content is _Content.TRUSTSTORE and not material.anchors:
        raise MaterialError(
            "there is no trust anchor to put into the truststore", advice="an empty truststore trusts nobody"
        )
    if isinstance(group, Pkcs12Files):
        # Imported only where such a store is configured.
        from agent.keystores import pkcs12

        password = read_secret(group.password)
        if content is _Content.TRUSTSTORE:
            return pkcs12.truststore(material.anchors, password)
        return pkcs12.keystore(material.key, material.chain, group.alias, password)
    match content:
        case _Content.CERTIFICATE:
            return pem.encode(material.chain)
        case _Content.KEY:
            return private_key.to_pem(material.key)
        case _Content.TRUSTSTORE:
            return pem.encode(material.anchors)
        case _:
            return private_key.to_pem(material.key) + pem.encode(material.chain)


def _anchors(group: Files, content: bytes) -> tuple[Certificate, ...]:
    if isinstance(group, PemFiles):
        return pem.decode(content)
    from agent.keystores import pkcs12

    return pkcs12.read_truststore(content, read_secret(group.password))


def _identity(group: Files, kind: _Content, content: bytes) -> tuple[PrivateKey | None, tuple[Certificate, ...] | None]:
    if kind is _Content.KEYSTORE:
        return _keystore(group, content)
    key = None if kind is _Content.CERTIFICATE else private_key.from_pem(content)
    return key, None if kind is _Content.KEY else pem.decode(content)


def _keystore(group: Files, content: bytes) -> tuple[PrivateKey, tuple[Certificate, ...]]:
    if not isinstance(group, Pkcs12Files):
        raise MaterialError("a keystore in PKCS12 stands where PEM is wanted")
    from agent.keystores import pkcs12

    return pkcs12.read_keystore(content, read_secret(group.password))


def _key_of_pem(content: bytes) -> PrivateKey | None:
    try:
        return private_key.from_pem(content)
    except MaterialError:
        return None  # Another file may give it; the manifest's sum tells that this one was altered.


def _key_of_store(group: Pkcs12Files, content: bytes) -> PrivateKey | None:
    try:
        return _keystore(group, content)[0]
    except MaterialError:
        return None  # A truststore, or a store that does not open, which `trouble_opening` tells.


def _compare_anchors(found: tuple[Certificate, ...], wanted: tuple[Certificate, ...]) -> str:
    missing = set(wanted) - set(found)
    others = set(found) - set(wanted)
    told = []
    if missing:
        told.append(f"{len(missing)} of {len(wanted)} anchors are missing")
    if others:
        told.append(f"{len(others)} certificates are none of the anchors")
    return ", ".join(told)


def _listing(certificates: tuple[Certificate, ...]) -> str:
    return ", ".join(certificate.fingerprint[:16] for certificate in certificates) or "no certificate"
