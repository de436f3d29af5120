"""A Kafka cluster and a broker of it as the operator describes them: the settings after the border."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

    from agent.core.command import CommandReload
    from agent.core.secret import Secret


class SecurityProtocol(StrEnum):
    """`security.protocol` of the listener that the agent itself logs in at."""

    SSL = "SSL"
    SASL_SSL = "SASL_SSL"
    PLAINTEXT = "PLAINTEXT"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"

    @property
    def is_tls(self) -> bool:
        """Whether the listener speaks TLS."""
        return self in {SecurityProtocol.SSL, SecurityProtocol.SASL_SSL}

    @property
    def is_sasl(self) -> bool:
        """Whether it takes a login by name and password."""
        return self in {SecurityProtocol.SASL_SSL, SecurityProtocol.SASL_PLAINTEXT}


@dataclass(frozen=True, slots=True)
class SaslLogin:
    """A login by name and password: PLAIN, or SCRAM (RFC 5802)."""

    mechanism: str
    username: str
    password: Secret


@dataclass(frozen=True, slots=True)
class LoginFiles:
    """The certificate that the agent shows a cluster, where it is not an identity's: PEM, the key unencrypted."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Cluster:
    """How the agent itself talks to a Kafka cluster.

    `bootstrap` are `host:port`. It shows `files`, else the certificate of the identity named, else
    (None) that of the identity whose broker is told. It trusts the CAs of `ca_file`, else those of
    that identity's truststores. `within` is how long one request may take.
    """

    name: str
    bootstrap: tuple[str, ...]
    protocol: SecurityProtocol = SecurityProtocol.SSL
    identity: str | None = None
    files: LoginFiles | None = None
    ca_file: Path | None = None
    sasl: SaslLogin | None = None
    verify_host_name: bool = True
    within: timedelta = timedelta(seconds=30)


class NodeRole(StrEnum):
    """What a KRaft node is; one that is both is told as a broker."""

    BROKER = "broker"
    CONTROLLER = "controller"


@dataclass(frozen=True, slots=True)
class StoreFile:
    """A file of the identity that a listener reads: its name below the identity's directory, and the broker's path.

    The two differ where the broker sees the directory at another place, in a container say.
    """

    name: str
    path: PurePosixPath

    def staged(self, folder: str) -> PurePosixPath:
        """Return the broker's path of the same file in a folder below the identity's directory."""
        return self.path.parent / folder / self.name


def listener_prefix(name: str) -> str:
    """Return what the keys of a listener begin with in a broker's configuration."""
    return f"listener.name.{name.lower()}."


@dataclass(frozen=True, slots=True)
class BrokerListener:
    """A TLS listener of the broker and the stores of the identity that it reads, either None where it is another's.

    `name` is in upper case, as Kafka has it whatever its own settings write. `address` is where it is
    looked at (`host:port`); None: where the broker says that it is advertised.
    """

    name: str
    keystore: StoreFile | None
    truststore: StoreFile | None
    address: str | None = None

    @property
    def config_prefix(self) -> str:
        """What its keys begin with in the broker's configuration."""
        return listener_prefix(self.name)


@dataclass(frozen=True, slots=True)
class KafkaBrokerReload:
    """A Kafka broker that is told of new stores by IncrementalAlterConfigs (KIP-226, KIP-339), and asked before.

    `node_id` None: it is found by the addresses of the listeners. `within` is how long its listeners
    may take to serve a new leaf. `preflight` off leaves the validate-only alter out. `restart` is
    run where Kafka cannot reload, and only when it is configured. `pid_file` tells the broker's
    process, where it cannot be found by its port. A controller may lack a `cluster`: nothing is asked
    of it, and each of its listeners has an address.
    """

    cluster: Cluster | None
    listeners: tuple[BrokerListener, ...]
    node_id: int | None = None
    role: NodeRole = NodeRole.BROKER
    within: timedelta = timedelta(seconds=30)
    preflight: bool = True
    restart: CommandReload | None = None
    pid_file: Path | None = None
