"""The files of a generation: from key, chain and anchors to bytes, and back to what they hold.

Everything here blocks: passwords are read from disk each time, PKCS12 takes milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from agent.core.files import Opened, ReaderConfiguration, StoreFormat, mode_of, secret_names
from agent.errors import MaterialError
from agent.keystores import private_key
from agent.keystores.opened import open_store, sniff
from agent.net.secret import read_password
from agent.stores import formats
from agent.stores.formats import Content

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.core.files import Access, Files, StoreFiles
    from agent.keystores.material import PrivateKey
    from agent.stores.formats import Material


@dataclass(frozen=True, slots=True)
class Rendered:
    """One file to be written, by its name below the identity's directory.

    `access` has its mode filled in. `secret` says that the file holds a key or a password,
    `truststore` that it holds anchors. `found` is one that stood there before, and is kept as it is.
    """

    name: str
    content: bytes = field(repr=False)
    access: Access
    secret: bool
    truststore: bool
    found: bool = False

    @property
    def mode(self) -> int:
        """The mode to write it with."""
        return self.access.mode or 0


def render(files: Sequence[Files], material: Material) -> tuple[Rendered, ...]:
    """Return every file that is wanted, in the order of the settings.

    PKCS12 draws new salts, so the same material gives other bytes each time. Raise
    `MaterialError` when a password cannot be read or Java could not use it, when a keystore's key
    is not that of the leaf, or when a truststore would be empty.
    """
    return tuple(
        Rendered(
            name,
            formats.encode(group, content, material),
            _access(group, name),
            name in secret_names(group),
            content is Content.TRUSTSTORE,
        )
        for group in files
        for name, content in formats.contents(group)
    )


def trouble(files: Sequence[Files], name: str, content: bytes, material: Material) -> str:
    """Open a written file as its reader will, and return what is wrong with it; nothing means whole.

    Whole is: it opens with its password, the key is the one given, the chain is all there in its
    order, the anchors are those given and no others. A truststore that a person edited is not
    for this but for `read_anchors`.
    """
    group, kind = _find(files, name)
    try:
        if isinstance(group, ReaderConfiguration):
            return _compare_configuration(group, content, material.directory)
        if kind is Content.TRUSTSTORE:
            return _compare_anchors(formats.read_anchors(group, content), material.anchors)
        key, found = formats.read_identity(group, kind, content)
        chain = formats.chain_of(group, material)
    except MaterialError as error:
        return error.diagnosis()
    if key is not None and private_key.public_der(key) != private_key.public_der(material.key):
        return "it holds another private key"
    if found is not None and found != chain:
        return f"it holds {_listing(found)} where the chain is {_listing(chain)}"
    return ""


def trouble_opening(files: Sequence[Files], name: str, content: bytes) -> str:
    """Return why a file does not open with the password that is set now; nothing means that it does."""
    group, kind = _find(files, name)
    try:
        if kind is Content.TRUSTSTORE:
            formats.read_anchors(group, content)
        else:
            formats.read_identity(group, kind, content)
    except MaterialError as error:
        return error.diagnosis()
    return ""


def outdated(files: Sequence[Files], name: str, content: bytes, directory: Path) -> str:
    """Return why a reader's configuration is not as it would be rendered now, its password say; nothing: it is."""
    group, _ = _find(files, name)
    if not isinstance(group, ReaderConfiguration):
        return ""
    try:
        return _compare_configuration(group, content, directory)
    except MaterialError as error:
        return error.diagnosis()


def read_anchors(files: Sequence[Files], name: str, content: bytes) -> tuple[Certificate, ...]:
    """Return the anchors of a truststore that a person may have edited.

    Raise `MaterialError` when it does not open, or holds no certificate.
    """
    group, _ = _find(files, name)
    anchors = formats.read_anchors(group, content)
    if not anchors:
        raise MaterialError(f"{name} holds no trust anchor")
    return anchors


def opened(files: Sequence[Files], name: str, content: bytes) -> Opened:
    """Return what a store is, by its bytes and the password of the settings; raise `MaterialError` when it is shut."""
    group, _ = _find(files, name)
    found = open_store(content, None if isinstance(group, ReaderConfiguration) else read_password(group))
    if any(entry.locked for entry in found.entries):
        raise MaterialError(f"{name} has a key of another password")
    # Kafka makes one entry of what a PEM file holds.
    is_pem = found.format is StoreFormat.PEM
    return Opened(found.format, 1 if is_pem else len(found.entries), is_pem and b"ENCRYPTED PRIVATE KEY" in content)


def read_key(files: Sequence[Files], contents: Mapping[str, bytes], *, public_key: bytes) -> PrivateKey | None:
    """Return the private key whose public half is `public_key`, out of any file of a generation; None when it is lost.

    `contents` are the bytes of its files by name. They tell their format themselves, and the
    settings only the passwords to try: so the key is found as well when the settings name other
    files by now, and when one of several was altered.
    """
    return next((key for key in _keys(files, contents) if private_key.public_der(key) == public_key), None)


def layout(files: Sequence[Files]) -> str:
    """Return a digest of the names, formats, aliases, owners and modes; the order of the settings is no part of it.

    A default that is written out is the same as one that is left to us.
    """
    described_ = []
    for group in files:
        for name, content in formats.contents(group):
            wanted = _access(group, name)
            described_.append(
                formats.described(group, content)
                | {
                    "name": name,
                    "content": str(content),
                    "owner": wanted.owner,
                    "group": wanted.group,
                    "mode": wanted.mode,
                }
            )
    described_.sort(key=lambda one: str(one["name"]))
    return hashlib.sha256(json.dumps(described_, sort_keys=True).encode()).hexdigest()


def is_truststore(files: Sequence[Files], name: str) -> bool:
    """Return whether the settings name a truststore so."""
    return any(
        content is Content.TRUSTSTORE for group in files for other, content in formats.contents(group) if other == name
    )


def access(files: Sequence[Files], name: str) -> Access | None:
    """Return owner, group and mode of the file that the settings name so, the mode filled in; None for no such file."""
    return next((_access(group, name) for group in files if name in group.names()), None)


def access_is_set(files: Sequence[Files], name: str) -> bool:
    """Return whether the settings say who may read the file."""
    group, _ = _find(files, name)
    return (group.access.owner, group.access.group, group.access.mode) != (None, None, None)


def stores(files: Sequence[Files]) -> tuple[StoreFiles, ...]:
    """Return the groups that hold keys, chains and anchors."""
    return tuple(group for group in files if not isinstance(group, ReaderConfiguration))


def guarded(files: Sequence[Files]) -> tuple[StoreFiles, ...]:
    """Return the groups whose files a password guards."""
    return tuple(group for group in stores(files) if group.password is not None)


def _keys(files: Sequence[Files], contents: Mapping[str, bytes]) -> Iterator[PrivateKey]:
    # A key that needs no password needs no settings either.
    for content in contents.values():
        if sniff(content) is StoreFormat.PEM:
            try:
                yield private_key.from_pem(content)
            except MaterialError:
                continue  # An encrypted one, or another file may give it; the manifest's sum tells of damage.
    for group in guarded(files):
        for content in contents.values():
            key = formats.key_of(group, content)
            if key is not None:
                yield key


def _find(files: Sequence[Files], name: str) -> tuple[Files, Content]:
    for group in files:
        for other, content in formats.contents(group):
            if other == name:
                return group, content
    raise KeyError(name)


def _access(group: Files, name: str) -> Access:
    return replace(group.access, mode=mode_of(group, name))


def _compare_configuration(group: ReaderConfiguration, content: bytes, directory: Path) -> str:
    if content == formats.configuration(group, directory):
        return ""
    return "it is not what would be written now: another password, path or version"


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
