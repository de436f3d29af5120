"""What Kafka's Java side is told of a keystore and of a truststore, whatever the syntax it is told in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.clientconfig.passwords import keystore_password, truststore_password
from agent.core.files import JksFiles, PemFiles, Pkcs12Files

if TYPE_CHECKING:
    from pathlib import PurePath

    from agent.clientconfig.passwords import Passwords
    from agent.core.files import StoreFiles


@dataclass(frozen=True, slots=True)
class JavaStore:
    """Type, path and passwords of a store; None where Kafka refuses to be told one.

    Kafka takes the store's password for the key too, so `key_password` is for an encrypted key in PEM alone.
    """

    type: str
    location: PurePath
    password: str | None = field(default=None, repr=False)
    key_password: str | None = field(default=None, repr=False)


def keystore(group: StoreFiles, directory: PurePath, passwords: Passwords) -> JavaStore:
    """Return what Kafka is told of the file with key and chain.

    In PEM it is the combined file: `ssl.keystore.key` and `ssl.keystore.certificate.chain` take
    PEM text and no path, and `ssl.keystore.location` names one file. Raise `ValueError` for what
    `problems` tells, and for a password that is needed and not given.
    """
    password = keystore_password(group, passwords)
    if isinstance(group, PemFiles):
        return JavaStore("PEM", _path(directory, group.combined), key_password=password)
    return JavaStore(_type(group), _path(directory, group.keystore), password=password)


def truststore(group: StoreFiles, directory: PurePath, passwords: Passwords) -> JavaStore:
    """Return what Kafka is told of the file with the anchors; raise `ValueError` as `keystore` does."""
    return JavaStore(_type(group), _path(directory, group.truststore), password=truststore_password(group, passwords))


def _type(group: StoreFiles) -> str:
    match group:
        case PemFiles():
            return "PEM"
        case Pkcs12Files():
            return "PKCS12"
        case JksFiles():
            return "JKS"


def _path(directory: PurePath, name: str | None) -> PurePath:
    if name is None:
        raise ValueError("the group does not make the file that the configuration would point at")
    return directory / name
