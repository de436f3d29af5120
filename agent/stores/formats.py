"""One group of files in its format: material to bytes and back.

Everything here blocks: passwords are read from disk each time, PKCS12 takes milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from agent.core.files import JksFiles, PemFiles, Pkcs12Files, ReaderConfiguration, StoreFormat, format_of
from agent.errors import MaterialError
from agent.keystores import pem, private_key
from agent.keystores.guards import check_anchors
from agent.keystores.opened import sniff
from agent.net.secret import read_password, read_secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.core.files import Files, StoreFiles
    from agent.keystores.material import PrivateKey


class Content(StrEnum):
    """What one file holds."""

    CERTIFICATE = "certificate"
    KEY = "key"
    COMBINED = "combined"
    TRUSTSTORE = "truststore"
    KEYSTORE = "keystore"
    CONFIGURATION = "configuration"


OF_THE_KEY = frozenset({Content.CERTIFICATE, Content.KEY, Content.COMBINED, Content.KEYSTORE})
"""What is made of the private key or its chain."""


@dataclass(frozen=True, slots=True)
class Material:
    """What the files of a generation are made of.

    `chain` is leaf first and carries no anchor; `anchor` is the one that it leads to, where that is
    known. `directory` is where readers find the files, `at` the date that a JKS entry is given.
    """

    key: PrivateKey = field(repr=False)
    chain: tuple[Certificate, ...]
    anchors: tuple[Certificate, ...]
    anchor: Certificate | None
    directory: Path
    at: datetime


def contents(group: Files) -> Iterator[tuple[str, Content]]:
    """Yield the name and the content of each file that the group asks for."""
    wanted: tuple[tuple[str | None, Content], ...]
    match group:
        case PemFiles():
            wanted = (
                (group.certificate, Content.CERTIFICATE),
                (group.key, Content.KEY),
                (group.combined, Content.COMBINED),
                (group.truststore, Content.TRUSTSTORE),
            )
        case ReaderConfiguration():
            wanted = ((group.name, Content.CONFIGURATION),)
        case _:
            wanted = ((group.keystore, Content.KEYSTORE), (group.truststore, Content.TRUSTSTORE))
    return ((name, content) for name, content in wanted if name)


def described(group: Files, content: Content) -> dict[str, Any]:
    """Return, as JSON values, what makes the file another one when it is wanted otherwise; no password."""
    match group:
        case ReaderConfiguration():
            return {
                "format": str(group.kind),
                "keystore": group.keystore and [str(format_of(group.keystore)), *group.keystore.names()],
                "truststore": group.truststore and [str(format_of(group.truststore)), group.truststore.truststore],
                "sasl": group.sasl,
                "listener": group.listener,
                "server": [str(group.client_auth), *group.protocols, *group.ciphers],
            }
        case PemFiles():
            of_key = content in {Content.KEY, Content.COMBINED} and group.password is not None
            encryption = str(group.encryption) if of_key else None
            alias = None
        case Pkcs12Files():
            encryption = str(group.encryption)
            alias = group.alias
        case JksFiles():
            encryption = None
            alias = group.alias
    return {
        "format": str(format_of(group)),
        "encryption": encryption,
        "alias": alias if content is Content.KEYSTORE else None,
        "anchor": group.anchor and content in OF_THE_KEY - {Content.KEY},
    }


def encode(group: Files, content: Content, material: Material) -> bytes:
    """Return the bytes of one file.

    Raise `MaterialError` when a password cannot be read or Java could not use it, when a keystore's
    key is not that of the leaf, when a truststore would be empty, or when the chain's anchor is
    wanted in it and nobody knows it.
    """
    if isinstance(group, ReaderConfiguration):
        return configuration(group, material.directory)
    if content is Content.TRUSTSTORE:
        check_anchors(material.anchors)
        return _truststore(group, material)
    if content is Content.KEYSTORE:
        return _keystore(group, material)
    if not isinstance(group, PemFiles):
        raise TypeError(f"{content} is no file of {group}")
    key = b""
    if content is not Content.CERTIFICATE:
        password = read_password(group)
        key = private_key.to_pem(material.key, password, group.encryption)
    return key if content is Content.KEY else key + pem.encode(chain_of(group, material))


def chain_of(group: StoreFiles, material: Material) -> tuple[Certificate, ...]:
    """Return the chain as the group's files carry it; raise `MaterialError` when its anchor is wanted and not known."""
    if not group.anchor or material.anchor in material.chain:
        return material.chain
    if material.anchor is None:
        raise MaterialError(
            "the chain is to carry its trust anchor, and none is known that it leads to",
            advice="see that `peer_trust` can be read, or leave `include_anchor` out",
        )
    return (*material.chain, material.anchor)


def read_identity(
    group: Files, content: Content, data: bytes
) -> tuple[PrivateKey | None, tuple[Certificate, ...] | None]:
    """Return key and chain of a file, each None where such a file holds none; raise `MaterialError` for a wrong one."""
    match group:
        case Pkcs12Files():
            # Imported only where such a store is configured.
            from agent.keystores import pkcs12

            return pkcs12.read_keystore(data, read_secret(group.password.secret))
        case JksFiles():
            from agent.keystores import jks

            return jks.read_keystore(data, read_secret(group.password.secret))
        case PemFiles():
            key = None
            if content is not Content.CERTIFICATE:
                password = read_password(group)
                key = private_key.from_pem(data, password)
            return key, None if content is Content.KEY else pem.decode(data)
        case _:
            return None, None


def read_anchors(group: Files, data: bytes) -> tuple[Certificate, ...]:
    """Return the anchors of a truststore; raise `MaterialError` when it does not open."""
    match group:
        case Pkcs12Files():
            from agent.keystores import pkcs12

            return pkcs12.read_truststore(data, read_secret(group.password.secret))
        case JksFiles():
            from agent.keystores import jks

            return jks.read_truststore(data, read_secret(group.password.secret))
        case PemFiles():
            return pem.decode(data)
        case _:
            return ()


def key_of(group: Files, data: bytes) -> PrivateKey | None:
    """Return the private key of a file whose name nobody knows, if the group's format and password open it."""
    try:
        match sniff(data), group:
            case StoreFormat.PEM, PemFiles():
                return read_identity(group, Content.KEY, data)[0]
            case (StoreFormat.PKCS12, Pkcs12Files()) | (StoreFormat.JKS, JksFiles()):
                return read_identity(group, Content.KEYSTORE, data)[0]
    except MaterialError:
        pass  # Another file may give it; the manifest's sum tells that this one was altered.
    return None


def _truststore(group: StoreFiles, material: Material) -> bytes:
    match group:
        case PemFiles():
            return pem.encode(material.anchors)
        case Pkcs12Files():
            from agent.keystores import pkcs12

            password = read_secret(group.password.secret)
            return pkcs12.truststore(material.anchors, password, group.encryption)
        case JksFiles():
            from agent.keystores import jks

            return jks.truststore(material.anchors, read_secret(group.password.secret), now=material.at)


def _keystore(group: StoreFiles, material: Material) -> bytes:
    match group:
        case Pkcs12Files():
            from agent.keystores import pkcs12

            password = read_secret(group.password.secret)
            return pkcs12.keystore(material.key, chain_of(group, material), group.alias, password, group.encryption)
        case JksFiles():
            from agent.keystores import jks

            password = read_secret(group.password.secret)
            return jks.keystore(material.key, chain_of(group, material), group.alias, password, now=material.at)
        case _:
            raise TypeError(f"{group} has no keystore")


def configuration(group: ReaderConfiguration, directory: Path) -> bytes:
    """Return a reader's configuration, with the passwords as they are set now; raise `MaterialError` for one."""
    from agent.clientconfig.render import Passwords, render

    return render(group, directory, Passwords(read_password(group.keystore), read_password(group.truststore)))
