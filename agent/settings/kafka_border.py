"""The border for Kafka: clusters, brokers that are told, and the principal; their parts in, frozen values out."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from agent.core.configuration import PrincipalPolicy
from agent.core.files import PemFiles, ReaderConfiguration
from agent.core.identity import Usage
from agent.core.kafka_spec import (
    BrokerListener,
    Cluster,
    KafkaBrokerReload,
    LoginFiles,
    NodeRole,
    SaslLogin,
    SecurityProtocol,
    StoreFile,
)
from agent.settings.ground import LOOPBACK, Ground
from agent.settings.scalars import LISTENER_NAME, host_and_port
from agent.settings.wording import shown, suggestion

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from agent.core.configuration import Wanted
    from agent.core.files import Files
    from agent.settings.kafka_parts import BrokerListenerPart, ClusterPart, KafkaBrokerPart, PrincipalPart, SaslPart
    from agent.settings.wording import Findings, Location

EXTRA = ("confluent_kafka", "OpenSSL")
"""The modules that the extra `kafka` brings."""

_LISTENER_NAME = re.compile(LISTENER_NAME)
_SWITCHED = frozenset({".current", ".generations"})
"""Folders below an identity's directory that stand behind its stable paths."""
_LONGEST_REFUSAL = 400
"""Characters of what is said of rules, which repeats them."""


class KafkaBorder(Ground):
    """Turns the parts about Kafka into values and notes mistakes; clusters come first, the whole is checked last."""

    def __init__(self, file: Path, environment: Mapping[str, str], findings: Findings) -> None:
        super().__init__(file, environment, findings)
        self._clusters: dict[str, Cluster | None] = {}
        self._read: dict[tuple[object, ...], str] = {}

    # --- clusters ----------------------------------------------------------------------------

    def clusters(self, parts: Mapping[str, ClusterPart], identities: Collection[str]) -> dict[str, Cluster]:
        """Return the clusters by name; one that lacks something that has no default is left out."""
        self._clusters = {name: self._cluster(name, part, identities) for name, part in parts.items()}
        return {name: cluster for name, cluster in self._clusters.items() if cluster is not None}

    def _cluster(self, name: str, part: ClusterPart, identities: Collection[str]) -> Cluster | None:
        at: Location = ("clusters", name)
        bootstrap: Sequence[str] = getattr(part, "bootstrap", ())
        protocol = self._protocol(at, part)
        if not protocol.is_tls and self._findings.sound(at, "security_protocol", "sasl"):
            for key in ("identity", "certificate", "key", "ca_file"):
                if getattr(part, key) is not None:
                    self._wrong((*at, key), f"is for TLS, and {protocol.lower()} has none: leave it out")
        if part.identity is not None and identities:
            self._check_named((*at, "identity"), "identity", part.identity, identities)
        if part.ca_file is not None:
            self._check_file((*at, "ca_file"), self._path(part.ca_file))
        files, sasl = self._login_files(at, part), self._sasl((*at, "sasl"), part.sasl)
        hosts = {host_and_port(address)[0] for address in bootstrap}
        if sasl and sasl.mechanism == "PLAIN" and not protocol.is_tls and hosts - LOOPBACK:
            self._wrong((*at, "security_protocol"), "would send the password in the clear: write sasl_ssl")
        if not bootstrap:
            return None
        return Cluster(
            name=name,
            bootstrap=tuple(bootstrap),
            protocol=protocol,
            identity=part.identity,
            files=files,
            ca_file=None if part.ca_file is None else self._path(part.ca_file),
            sasl=sasl,
            verify_host_name=part.verify_host_name,
            within=part.timeout,
        )

    def _protocol(self, at: Location, part: ClusterPart) -> SecurityProtocol:
        given = part.security_protocol
        if given is None:
            return SecurityProtocol.SSL if part.sasl is None else SecurityProtocol.SASL_SSL
        if given.is_sasl and part.sasl is None and self._findings.sound(at, "sasl"):
            self._wrong((*at, "sasl"), f"is missing, and {given.lower()} is a login: write it")
        if not given.is_sasl and part.sasl is not None:
            name = given.lower()
            self._wrong((*at, "security_protocol"), f"is {name}, and `sasl` stands beside it: write sasl_{name}")
        return given

    def _login_files(self, at: Location, part: ClusterPart) -> LoginFiles | None:
        if not self._findings.sound(at, "certificate", "key"):
            return None
        if (part.certificate is None) != (part.key is None):
            missing = "key" if part.key is None else "certificate"
            self._wrong((*at, missing), "is missing: a certificate and its key come together")
        if part.certificate is None or part.key is None:
            return None
        files = LoginFiles(self._path(part.certificate), self._path(part.key))
        self._check_file((*at, "certificate"), files.certificate)
        self._check_file((*at, "key"), files.key)
        return files

    def _sasl(self, at: Location, part: SaslPart | None) -> SaslLogin | None:
        if part is None:
            return None
        password = self._secret(at, part.password_file, part.password_environment, "password")
        mechanism, username = getattr(part, "mechanism", None), getattr(part, "username", None)
        if mechanism is None or username is None or password is None:
            return None
        return SaslLogin(mechanism, username, password)

    # --- an identity's principal and its broker ------------------------------------------------

    def principal(self, at: Location, part: PrincipalPart) -> PrincipalPolicy:
        """Return what keeps the principal; rules are read as Kafka reads them."""
        if part.rules is not None:
            from agent.core.principal import InvalidRulesError, Rules

            try:
                if not Rules.parse(part.rules).rules:
                    self._wrong((*at, "rules"), "has no rule, so that Kafka would let nobody in: write DEFAULT")
            except InvalidRulesError as error:
                words = str(error)[:_LONGEST_REFUSAL]
                self._wrong((*at, "rules"), f"{words}: write RULE:pattern/replacement/ or DEFAULT, joined by commas")
        return PrincipalPolicy(part.rules, part.allow_change)

    def broker(
        self, at: Location, part: KafkaBrokerPart, directory: Path | None, files: Sequence[Files]
    ) -> KafkaBrokerReload | None:
        """Return the broker of an identity with that directory and those files; `at` is where it stands."""
        cluster = self._cluster_of((*at, "cluster"), part)
        if part.role is NodeRole.BROKER and self._findings.sound(at, "role"):
            self.expect_extra((*at, "type"))
        elif part.role is NodeRole.CONTROLLER and cluster is not None:
            self.expect_extra((*at, "cluster"))  # it is asked in a CA rotation
        listeners = tuple(self._listeners((*at, "listeners"), part, directory, files))
        restart = None if part.restart is None else self._command((*at, "restart"), part.restart)
        if not listeners or (cluster is None and part.role is NodeRole.BROKER):
            return None
        return KafkaBrokerReload(
            cluster=cluster,
            listeners=listeners,
            node_id=part.node_id,
            role=part.role,
            within=part.within,
            preflight=part.preflight,
            restart=restart,
            pid_file=None if part.pid_file is None else self._path(part.pid_file),
        )

    def expect_extra(self, at: Location) -> None:
        """Note it where a key needs the client of Kafka, and that is not installed."""
        missing = [name for name in EXTRA if find_spec(name) is None]
        if missing and self._findings.sound(at):
            what = f"needs {' and '.join(missing)}, not installed here"
            self._wrong(at, f"{what}: install kafka-cert-agent[kafka]")

    def named(self, at: Location, name: str) -> Cluster | None:
        """Return the cluster that a key names; None where there is none, or it is wrong itself."""
        if self._findings.sound(("clusters", name)):
            self._check_named(at, "cluster", name, self._clusters, none="write it below `clusters`")
        return self._clusters.get(name)

    def _cluster_of(self, at: Location, part: KafkaBrokerPart) -> Cluster | None:
        if part.cluster is not None:
            return self.named(at, part.cluster)
        if part.role is NodeRole.BROKER and self._findings.sound(at) and self._findings.sound(at[:-1], "role"):
            self._wrong(at, "is missing: write the name of one of `clusters`")
        return None

    def _listeners(
        self, at: Location, part: KafkaBrokerPart, directory: Path | None, files: Sequence[Files]
    ) -> Iterator[BrokerListener]:
        listeners: Mapping[str, BrokerListenerPart | None] = getattr(part, "listeners", {})
        names: dict[str, str] = {}
        for name, one in listeners.items():
            here = (*at, name)
            if not _LISTENER_NAME.fullmatch(name):
                self._wrong(here, "is no name of a listener: write letters, digits, dot, hyphen, underscore")
            elif (first := names.setdefault(name.upper(), name)) != name:
                self._wrong(here, f"is {first} once more, since Kafka ignores case: write one of them")
            elif one is not None:
                stores = {
                    kind: self._store((*here, kind), given, directory, files)
                    for kind in ("keystore", "truststore")
                    if (given := getattr(one, kind)) is not None
                }
                self._check_listener(here, part, one, stores)
                yield BrokerListener(name.upper(), stores.get("keystore"), stores.get("truststore"), one.address)

    def _check_listener(
        self, at: Location, part: KafkaBrokerPart, one: BrokerListenerPart, kinds: Collection[str]
    ) -> None:
        if not kinds and self._findings.sound(at, "keystore", "truststore"):
            self._wrong(at, "reads no file of the identity: write `keystore` or `truststore`")
        if one.address is None and part.role is NodeRole.CONTROLLER and self._findings.sound(at, "address"):
            self._wrong((*at, "address"), "is missing, and no controller tells where it listens: write it")
        node = part.node_id if part.node_id is not None else one.address
        for kind in kinds:  # a listener reads one keystore and one truststore, whichever identities name it
            first = self._read.setdefault((part.cluster, node, str(at[-1]).upper(), kind), str(at[1]))
            if first != at[1]:
                what = f"is the {kind} of {shown(first)} already"
                self._wrong((*at, kind), f"{what}: leave it out, or tell the brokers apart by `node_id`")

    def _store(self, at: Location, given: Path, directory: Path | None, files: Sequence[Files]) -> StoreFile | None:
        kind, name = str(at[-1]), given.name
        if not given.is_absolute() and len(given.parts) != 1:
            self._wrong(
                at, f"{shown(str(given))} is half a path: write a name among `files`, or the broker's whole path"
            )
        elif _SWITCHED.intersection(given.parts):
            self._wrong(at, "leads into what a switch replaces: write the stable path, without .current")
        elif self._findings.sound((*at[:2], "files")) and (refusal := _refusal(kind, name, files)):
            self._wrong(at, refusal)
        elif directory is not None:
            return StoreFile(name, PurePosixPath(given if given.is_absolute() else directory / name))
        return None

    # --- what belongs to the whole ---------------------------------------------------------------

    def check(self, identities: Mapping[str, Wanted | None]) -> None:
        """Note what only clusters and identities together can tell is wrong."""
        for cluster in self._clusters.values():
            whose = identities.get(cluster.identity) if cluster and cluster.identity else None
            if cluster and whose:
                self._check_login(cluster, whose, ("clusters", cluster.name, "identity"))
        for name, wanted in identities.items():
            if wanted is None:
                continue
            of_broker = wanted.broker.cluster if wanted.broker else None
            for cluster in dict.fromkeys((of_broker, wanted.rotation.cluster)):
                if cluster is not None and cluster.identity is None:
                    self._check_login(cluster, wanted, ("identities", name, "usages"))

    def _check_login(self, cluster: Cluster, whose: Wanted, at: Location) -> None:
        """An identity that logs in for the agent can, and has anchors to verify brokers with."""
        shows = cluster.protocol is SecurityProtocol.SSL and cluster.files is None
        if shows and Usage.CLIENT not in whose.request.usages and self._findings.sound(at):
            files = "write `certificate` and `key` there"
            self._wrong(
                at, f"{shown(whose.name)} logs in at {cluster.name} without the usage `client`: add it, or {files}"
            )
        at = ("clusters", cluster.name, "ca_file")
        if (
            cluster.protocol.is_tls
            and cluster.ca_file is None
            and not whose.has_truststores
            and self._findings.sound(at)
        ):
            self._wrong(at, f"is missing, and {shown(whose.name)} has no truststore to take in its place: write it")


def _refusal(kind: str, name: str, files: Sequence[Files]) -> str:
    """Return why the file of that name is no keystore, or no truststore, of a listener; empty where it is."""
    fitting = [fit for one in files if (fit := _named(kind, one))]
    if name in fitting:
        return ""
    if not any(name in one.names() for one in files):
        near = suggestion(name, fitting)
        advice = f"did you mean {near!r}?" if near else f"name a {kind} among them"
        return f"there is no {shown(name)} among `files`; {advice}"
    if any(isinstance(one, PemFiles) and name in (one.certificate, one.key) for one in files) and kind == "keystore":
        return f"{shown(name)} is half of what Kafka reads, key and chain in one file: name a `combined` one"
    return f"{shown(name)} is no {kind}: name one among `files`"


def _named(kind: str, files: Files) -> str | None:
    """Return the name of the keystore or of the truststore, as Kafka takes them, among the files."""
    if isinstance(files, ReaderConfiguration):
        return None
    if kind == "truststore":
        return files.truststore
    return files.combined if isinstance(files, PemFiles) else files.keystore
