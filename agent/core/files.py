"""The files that an identity is wanted in: formats, names, passwords, owners and modes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, assert_never

if TYPE_CHECKING:
    from agent.core.secret import Secret


class StoreFormat(StrEnum):
    """A format that holds keys, chains and anchors; the names are those of `ssl.keystore.type`, in lower case."""

    PEM = "pem"
    PKCS12 = "pkcs12"
    JKS = "jks"


class Encryption(StrEnum):
    """How what a password guards is encrypted.

    `strong`: PBES2 with AES-256 and a MAC with SHA-256. `compatible`: 3DES and SHA-1, for JVMs before
    8u301 and 11.0.12, and for Kafka's own reader of encrypted keys in PEM.
    """

    STRONG = "strong"
    COMPATIBLE = "compatible"


@dataclass(frozen=True, slots=True)
class Opened:
    """A store that opens: its format, its entries as Kafka counts them, and whether a key in PEM is encrypted."""

    format: StoreFormat
    entries: int
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """Owner, group and mode of a file; None leaves the process's own, and the mode that fits the content.

    Whatever contains a key or a password is 0400 by default, the rest 0444. `reader` is the user who
    opens the files, where the operator names one: `config check` tells when they could not.
    """

    owner: str | None = None
    group: str | None = None
    mode: int | None = None
    reader: str | None = None


@dataclass(frozen=True, slots=True)
class StorePassword:
    """Where the password of a store is; one whose file is missing is made when `make` says so."""

    secret: Secret
    make: bool = False


@dataclass(frozen=True, slots=True)
class PemFiles:
    """PEM files, each only where a name is given.

    `certificate` is leaf and chain, `key` PKCS#8, `combined` key, leaf and chain in one file,
    `truststore` the anchors. With a `password` the keys are encrypted. `anchor` puts the trust
    anchor at the end of the chain.
    """

    certificate: str | None = None
    key: str | None = None
    combined: str | None = None
    truststore: str | None = None
    password: StorePassword | None = None
    encryption: Encryption = Encryption.STRONG
    anchor: bool = False
    access: Access = Access()

    def names(self) -> tuple[str, ...]:
        """Return the names below the identity's directory."""
        return tuple(name for name in (self.certificate, self.key, self.combined, self.truststore) if name)


@dataclass(frozen=True, slots=True)
class Pkcs12Files:
    """A PKCS12 keystore and truststore (RFC 7292), each only where a name is given."""

    password: StorePassword
    keystore: str | None = None
    truststore: str | None = None
    alias: str = "kafka"
    encryption: Encryption = Encryption.STRONG
    anchor: bool = False
    access: Access = Access()

    def names(self) -> tuple[str, ...]:
        """Return the names below the identity's directory."""
        return tuple(name for name in (self.keystore, self.truststore) if name)


@dataclass(frozen=True, slots=True)
class JksFiles:
    """A keystore and a truststore in Java's own old format, each only where a name is given.

    The key has the password of its store, as every reader expects that is told of one only.
    """

    password: StorePassword
    keystore: str | None = None
    truststore: str | None = None
    alias: str = "kafka"
    anchor: bool = False
    access: Access = Access()

    def names(self) -> tuple[str, ...]:
        """Return the names below the identity's directory."""
        return tuple(name for name in (self.keystore, self.truststore) if name)


StoreFiles: TypeAlias = PemFiles | Pkcs12Files | JksFiles
"""Files that hold keys, chains and anchors."""


def format_of(files: StoreFiles) -> StoreFormat:
    """Return the format that the files are in."""
    match files:
        case PemFiles():
            return StoreFormat.PEM
        case Pkcs12Files():
            return StoreFormat.PKCS12
        case JksFiles():
            return StoreFormat.JKS
        case _:
            assert_never(files)


def holds_key(files: StoreFiles) -> bool:
    """Return whether any of the files holds the private key."""
    if isinstance(files, PemFiles):
        return bool(files.key or files.combined)
    return bool(files.keystore)


SECRET_MODE, PUBLIC_MODE = 0o400, 0o444
"""The modes of what holds a key or a password, and of all else, where the settings say nothing."""


def mode_of(files: Files, name: str) -> int:
    """Return the mode that the file of that name is written with."""
    if files.access.mode is not None:
        return files.access.mode
    return SECRET_MODE if name in secret_names(files) else PUBLIC_MODE


def secret_names(files: Files) -> frozenset[str]:
    """Return the names of those of the files that hold a key or a password."""
    match files:
        case PemFiles():
            secret = (files.key, files.combined)
        case ReaderConfiguration():
            secret = (files.name, None)
        case _:
            secret = (files.keystore, None)
    return frozenset(name for name in secret if name)


class ReaderKind(StrEnum):
    """Whose configuration is rendered."""

    CLIENT_PROPERTIES = "client_properties"
    LIBRDKAFKA = "librdkafka"
    SPRING = "spring"
    SERVER_PROPERTIES = "server_properties"


class ClientAuth(StrEnum):
    """`ssl.client.auth` of a broker's listener."""

    NONE = "none"
    REQUESTED = "requested"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class ReaderConfiguration:
    """A rendered configuration that points a reader at the stable paths of other files of the identity.

    `keystore` and `truststore` say which files hold key and chain, and which the anchors; None
    leaves that half out. `sasl` means SASL_SSL, whose SASL half is the reader's own. What follows is
    a broker's: the listener whose prefix its keys get, whether it asks for client certificates, and
    the protocols and ciphers (none: Kafka's own default).
    """

    kind: ReaderKind
    name: str
    keystore: StoreFiles | None
    truststore: StoreFiles | None
    sasl: bool = False
    listener: str | None = None
    client_auth: ClientAuth = ClientAuth.REQUIRED
    protocols: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    access: Access = Access()

    def names(self) -> tuple[str, ...]:
        """Return the name below the identity's directory."""
        return (self.name,)


Files: TypeAlias = StoreFiles | ReaderConfiguration
