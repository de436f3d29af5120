"""What the operator wants, as frozen values: the settings after the border."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from agent.core.command import CommandReload
from agent.core.files import ReaderConfiguration
from agent.core.kafka_spec import KafkaBrokerReload

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent.core.anchors import Acceptance
    from agent.core.files import Files
    from agent.core.identity import Request
    from agent.core.issuer_spec import IssuerSpec
    from agent.core.kafka_spec import Cluster
    from agent.core.secret import Secret
    from agent.core.window import Window


@dataclass(frozen=True, slots=True)
class RenewalPolicy:
    """When a leaf is renewed: at a drawn point of its life, at a share of it, or a span before its end.

    With neither set the point is drawn between 60 % and 70 % of the lifetime.
    """

    at: float | None = None
    before: timedelta | None = None


@dataclass(frozen=True, slots=True)
class IssuerAnchors:
    """The anchors of a named issuer; `accept` None: its own at once, others that it lists when a person approves."""

    issuer: str
    accept: Acceptance | None = None


@dataclass(frozen=True, slots=True)
class FileAnchors:
    """A file in PEM, PKCS12 or JKS (the JVM's `cacerts`, say) or a folder of them; its password where one is needed."""

    path: Path
    password: Secret | None = None
    accept: Acceptance | None = None


@dataclass(frozen=True, slots=True)
class SystemAnchors:
    """The CA bundle of the operating system."""

    accept: Acceptance | None = None


TrustSpec: TypeAlias = IssuerAnchors | FileAnchors | SystemAnchors


ReloadSpec: TypeAlias = CommandReload | KafkaBrokerReload


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener that serves the identity: `host:port`, and how long it may take to serve a new leaf."""

    address: str
    within: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class PrincipalPolicy:
    """What keeps a renewal from changing the principal that ACLs hang on.

    `rules` are `ssl.principal.mapping.rules`; None: those of the broker that is told, and of nobody
    where none is.
    """

    rules: str | None = None
    may_change: bool = False


class Retirement(StrEnum):
    """What has an anchor leave that nothing uses any more: the time of its soak, or a person's word beside it."""

    AUTOMATIC = "automatic"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class ReaderProcess:
    """The process that reads the files when it starts: that of a pid file, or those of a systemd unit."""

    pid_file: Path | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """Who the peers of an identity are in a CA rotation, and what may happen by itself.

    `peers` are the hosts that meet the identity and that nobody here can look at, each vouched for by a
    person; None: nobody has said whether there are any. `listeners` are those that it meets as a
    client (`host:port`), beside what `cluster` names: every TLS listener of every broker, or, where
    `of_cluster` is not empty, those of these names. `process` reads the files as it starts.
    """

    peers: tuple[str, ...] | None = None
    listeners: tuple[str, ...] = ()
    cluster: Cluster | None = None
    of_cluster: tuple[str, ...] = ()
    soak: timedelta = timedelta(days=1)
    retire: Retirement = Retirement.ASK
    process: ReaderProcess | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """One identity as the operator wants it.

    `trust` is what this host trusts in others (its truststores); `peer_trust` what its peers trust
    in it, which its own chain is proven against. With `revoke` the CA is asked to revoke what a
    proven renewal has replaced, once no roll-back can reach it. `windows` are when what readers use
    may change, at any time where there are none. `failover` names the issuer that is asked while the
    first one is down and the leaf is in its last twentieth, if every peer trusts both.
    """

    name: str
    directory: Path
    issuer: str
    request: Request
    files: tuple[Files, ...]
    reuse_key: bool = False
    renewal: RenewalPolicy = RenewalPolicy()
    trust: tuple[TrustSpec, ...] = ()
    peer_trust: tuple[TrustSpec, ...] = ()
    reload: tuple[ReloadSpec, ...] = ()
    prove: tuple[Listener, ...] = ()
    host: str = ""
    revoke: bool = False
    principal: PrincipalPolicy = PrincipalPolicy()
    rotation: RotationPolicy = RotationPolicy()
    windows: tuple[Window, ...] = ()
    failover: str | None = None

    @property
    def broker(self) -> KafkaBrokerReload | None:
        """The Kafka node that is told of new stores; None where there is none."""
        return next((spec for spec in self.reload if isinstance(spec, KafkaBrokerReload)), None)

    @property
    def proven_at(self) -> tuple[str, ...]:
        """What must be shown to use a generation: the addresses of `prove`, and the broker's listeners by name."""
        listeners = self.broker.listeners if self.broker else ()
        return (*(one.address for one in self.prove), *(one.name for one in listeners))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all files that readers open."""
        return tuple(name for files in self.files for name in files.names())

    @property
    def has_truststores(self) -> bool:
        """Whether any file holds anchors; without one a change of anchors changes nothing."""
        return any(files.truststore for files in self.files if not isinstance(files, ReaderConfiguration))

    @property
    def looks_at_peers(self) -> bool:
        """Whether there are peers whose listeners can be looked at."""
        told = self.broker is not None and self.broker.cluster is not None
        return told or self.rotation.cluster is not None or bool(self.rotation.listeners)

    @property
    def seed(self) -> str:
        """What the slot is drawn from: the identity, its names and its host, and nothing that a restart changes."""
        sans = self.request.sans
        names = (self.host, self.name, self.request.subject.rfc4514_string(), *sans.dns, *sans.ip, *sans.uri)
        return "\n".join(names)


@dataclass(frozen=True, slots=True)
class Http:
    """The local HTTP endpoint and the admin socket."""

    host: str = "127.0.0.1"
    port: int = 9847
    allowed_hosts: tuple[str, ...] = ()
    admin_socket: Path | None = None
    admin_group: str | None = None


class LogFormat(StrEnum):
    """How the log is written: for people, or a JSON object a line; `auto` is text on a terminal."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Configuration:
    """The whole of what is configured; relative paths have been made absolute."""

    file: Path
    http: Http = Http()
    log_format: LogFormat = LogFormat.AUTO
    issuers: Mapping[str, IssuerSpec] = field(default_factory=dict)
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    identities: Mapping[str, Wanted] = field(default_factory=dict)
