"""The border: parts of the settings in, frozen core values out, and what only the whole can tell is wrong."""

from __future__ import annotations

import grp
import os
from typing import TYPE_CHECKING, Any

from agent.core.certificate import Sans
from agent.core.configuration import (
    Configuration,
    FileAnchors,
    Http,
    IssuerAnchors,
    Listener,
    RenewalPolicy,
    SystemAnchors,
    Wanted,
)
from agent.core.files import ReaderConfiguration
from agent.core.identity import KeyAlgorithm, Request
from agent.core.issuer_spec import is_of_a_host
from agent.core.kafka_spec import KafkaBrokerReload
from agent.core.schedule import LATEST, SHORTEST_WINDOW
from agent.settings.apart import check_apart
from agent.settings.files_border import FilesBorder
from agent.settings.ground import LOOPBACK, Ground
from agent.settings.issuer_border import IssuerBorder
from agent.settings.issuer_parts import AwsPcaPart, LocalCaPart
from agent.settings.kafka_border import KafkaBorder
from agent.settings.kafka_parts import KafkaBrokerPart
from agent.settings.rotation_border import RotationBorder
from agent.settings.scalars import host_and_port
from agent.settings.subject import read_subject
from agent.settings.wording import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from cryptography import x509

    from agent.core.configuration import ReloadSpec, TrustSpec
    from agent.core.files import Files
    from agent.settings.issuer_parts import AnyIssuerPart
    from agent.settings.kafka_parts import ClusterPart
    from agent.settings.model import HttpPart, IdentityPart, LogPart, PeerTrustPart
    from agent.settings.wording import Findings, Location

LONGEST_SOCKET_PATH = 107
"""Bytes that the kernel takes for a unix socket (unix(7), with the NUL that ends it 108)."""


class Border(Ground):
    """Turns parts into values and notes mistakes; a part may lack what was wrong in it (`agent.settings.partial`)."""

    def __init__(self, file: Path, host: str, environment: Mapping[str, str], findings: Findings) -> None:
        super().__init__(file, environment, findings)
        self._host = host
        self._issuers: Mapping[str, Any] = {}
        self._directories: dict[tuple[str, str], Path] = {}
        self._kafka = KafkaBorder(file, environment, findings)
        self._rotation = RotationBorder(file, environment, findings, self._kafka)

    def configuration(
        self,
        http: HttpPart,
        log: LogPart,
        issuers: Mapping[str, AnyIssuerPart | None],
        clusters: Mapping[str, ClusterPart],
        identities: Mapping[str, IdentityPart],
    ) -> Configuration:
        """Return the whole; it is only to be used when nothing was found wrong."""
        self._issuers = issuers
        for name, ca in issuers.items():
            if isinstance(ca, LocalCaPart):
                self._directory("issuers", name, ca)
        known = self._kafka.clusters(clusters, identities)
        wanted = {name: self._identity(name, part) for name, part in identities.items()}
        self._kafka.check(wanted)
        specs = IssuerBorder(self._file, self._environment, self._findings).specs(issuers, self._directories, wanted)
        check_apart(self._directories, self._findings)
        return Configuration(
            file=self._file,
            http=self._http(http),
            log_format=log.format,
            issuers=specs,
            clusters=known,
            identities={name: one for name, one in wanted.items() if one is not None},
        )

    # --- http ------------------------------------------------------------------------------

    def _http(self, part: HttpPart) -> Http:
        host, port = host_and_port(part.listen)
        at: Location = ("http", "allowed_hosts")
        if host not in LOOPBACK and not part.allowed_hosts and self._findings.sound(at):
            self._wrong(at, f"is empty, and {host} is not loopback: write the names to answer to")
        self._check_known(("http", "admin_group"), "group", grp.getgrnam, part.admin_group)
        admin_socket = None if part.admin_socket is None else self._path(part.admin_socket)
        if admin_socket is not None and (length := len(os.fsencode(admin_socket))) > LONGEST_SOCKET_PATH:
            most = LONGEST_SOCKET_PATH
            self._wrong(
                ("http", "admin_socket"),
                f"is {length} bytes in full, and a socket's path {most} at most: write a shorter one",
            )
        return Http(
            host=host,
            port=port,
            allowed_hosts=tuple(part.allowed_hosts),
            admin_socket=admin_socket,
            admin_group=part.admin_group,
        )

    # --- identities ------------------------------------------------------------------------

    def _identity(self, name: str, part: IdentityPart) -> Wanted | None:
        at: Location = ("identities", name)
        directory, issuer = self._directory("identities", name, part), getattr(part, "issuer", None)
        lifetime: timedelta | None = getattr(part, "lifetime", None)
        if issuer is not None:
            self._check_issuer((*at, "issuer"), issuer)
            self._check_template((*at, "template"), part.template, issuer)
        border = FilesBorder(self._file, self._environment, self._findings)
        files = border.all((*at, "files"), getattr(part, "files", ()))
        if directory is not None:
            self._expect_apart((*at, "files"), directory, files)
        trust, peer_trust = self._trusts(at, part, files)
        reload = self._reload(at, part, directory, files)
        listeners = [one for _, one in self._elements(part.prove) if hasattr(one, "address")]
        broker = next((spec for spec in reload if isinstance(spec, KafkaBrokerReload)), None)
        rotation = self._rotation.rotation((*at, "rotation"), part.rotation, broker)
        windows = self._rotation.windows((*at, "windows"), part.windows)
        self._check_failover((*at, "failover"), part.failover, issuer)
        renewal = self._renewal(at, part, lifetime)
        subject = self._subject(at, part)
        sans = Sans.of(dns=tuple(part.sans.dns), ip=tuple(part.sans.ip), uri=tuple(part.sans.uri))
        if subject is not None and not subject.rdns and not sans and self._findings.sound(at, "subject", "sans"):
            self._wrong((*at, "subject"), "is empty, and so are `sans`: write at least one name")
        if directory is None or issuer is None or lifetime is None or subject is None:
            return None
        return Wanted(
            name=name,
            directory=directory,
            issuer=issuer,
            request=Request(
                subject, sans, frozenset(part.usages), KeyAlgorithm(part.key.algorithm), lifetime, part.template or ""
            ),
            files=files,
            reuse_key=part.key.reuse,
            renewal=renewal,
            trust=trust,
            peer_trust=peer_trust,
            reload=reload,
            prove=tuple(Listener(one.address, one.within) for one in listeners),
            host=self._host,
            revoke=bool(getattr(self._issuers.get(issuer), "revoke", False)),
            principal=self._kafka.principal((*at, "principal"), part.principal),
            rotation=rotation,
            windows=windows,
            failover=part.failover,
        )

    def _reload(
        self, at: Location, part: IdentityPart, directory: Path | None, files: Sequence[Files]
    ) -> tuple[ReloadSpec, ...]:
        specs: list[ReloadSpec] = []
        told = False
        for index, one in self._elements(part.reload):
            here: Location = (*at, "reload", index)
            if not isinstance(one, KafkaBrokerPart):
                specs.append(self._command(here, one))
                continue
            if told:
                self._wrong(here, "is a second broker, and an identity has one at most: leave it out")
            told = True
            broker = self._kafka.broker(here, one, directory, files)
            if broker is not None:
                specs.append(broker)
        return tuple(specs)

    def _expect_apart(self, at: Location, directory: Path, files: Sequence[Files]) -> None:
        """A password lies at no path that a file of the store takes."""
        taken = {directory / name for one in files for name in one.names()}
        for index, one in enumerate(files):
            password = None if isinstance(one, ReaderConfiguration) else one.password
            if password is not None and password.secret.file in taken:
                self._wrong((*at, index, "password_file"), "is a path that the store itself takes: name another file")

    def _subject(self, at: Location, part: IdentityPart) -> x509.Name | None:
        try:
            return read_subject(part.subject)
        except ValueError as error:
            self._wrong((*at, "subject"), str(error))
            return None

    def _trusts(
        self, at: Location, part: IdentityPart, files: Sequence[Files]
    ) -> tuple[tuple[TrustSpec, ...], tuple[TrustSpec, ...]]:
        own: tuple[TrustSpec, ...] = (IssuerAnchors(getattr(part, "issuer", "")),)
        trust = own if part.trust is None else self._trust((*at, "trust"), part.trust)
        peer_trust = own if part.peer_trust is None else self._trust((*at, "peer_trust"), part.peer_trust)
        if part.peer_trust is not None and not part.peer_trust:
            self._wrong((*at, "peer_trust"), "is empty, so that no chain could ever be proven: write what peers trust")
        if (
            part.trust is not None
            and not part.trust
            and any(not isinstance(one, ReaderConfiguration) and one.truststore for one in files)
        ):
            self._wrong((*at, "trust"), "is empty, and a truststore of nothing trusts nobody: write sources")
        return trust, peer_trust

    def _check_issuer(self, at: Location, name: str) -> None:
        if self._issuers:
            self._check_named(at, "issuer", name, self._issuers)

    def _check_failover(self, at: Location, name: str | None, issuer: str | None) -> None:
        if name is not None and name == issuer:
            self._wrong(at, "is the identity's issuer itself: write another, or leave it out")
        elif name is not None:
            self._check_issuer(at, name)

    def _check_template(self, at: Location, template: str | None, issuer: str) -> None:
        if template is None or not self._findings.sound(at):
            return
        if not isinstance(self._issuers.get(issuer), AwsPcaPart | None):
            self._wrong(at, f"is for AWS Private CA, and {shown(issuer)} is none: leave it out")
        elif not is_of_a_host(template):
            self._wrong(at, "makes no leaves for TLS, but CAs, or leaves for code or OCSP: name one of EndEntity…")

    def _renewal(self, at: Location, part: IdentityPart, lifetime: timedelta | None) -> RenewalPolicy:
        if part.renew_at is not None and part.renew_before is not None:
            self._wrong((*at, "renew_at"), "stands beside `renew_before`: write one of them")
        if lifetime is None or not self._findings.sound(at, "renew_at", "renew_before"):
            return RenewalPolicy(part.renew_at, part.renew_before)
        if part.renew_before is not None and part.renew_before >= lifetime:
            self._wrong((*at, "renew_before"), "is not shorter than the lifetime: write a shorter span")
            return RenewalPolicy(part.renew_at, part.renew_before)
        share = part.renew_at if part.renew_at is not None else LATEST
        window = part.renew_before if part.renew_before is not None else lifetime * (1 - share)
        if window < SHORTEST_WINDOW:
            key = "renew_before" if part.renew_before else "renew_at" if part.renew_at else "lifetime"
            what = "smaller share" if key == "renew_at" else "longer span"
            least = SHORTEST_WINDOW.total_seconds()
            self._wrong((*at, key), f"leaves less than {least:.0f} s for ten tries before expiry: write a {what}")
        return RenewalPolicy(part.renew_at, part.renew_before)

    def _trust(self, at: Location, parts: Sequence[PeerTrustPart]) -> tuple[TrustSpec, ...]:
        specs: list[TrustSpec] = []
        for index, part in self._elements(parts):
            if not self._findings.sound((*at, index)):
                continue
            accept = getattr(part, "accept", None)
            given = [key for key in ("issuer", "files", "system") if getattr(part, key) is not None]
            passwords = [key for key in ("password_file", "password_environment") if getattr(part, key) is not None]
            if len(given) != 1:
                self._wrong((*at, index), "names not one source: write one of `issuer`, `files`, `system`")
            elif passwords and part.files is None:
                self._wrong((*at, index, passwords[0]), "is for `files` alone: leave it out")
            elif part.issuer is not None:
                self._check_issuer((*at, index, "issuer"), part.issuer)
                specs.append(IssuerAnchors(part.issuer, accept))
            elif part.files is not None:
                path = self._path(part.files)
                if not os.access(path, os.R_OK):
                    self._wrong((*at, index, "files"), f"{path} cannot be read: write a PEM file, a store or a folder")
                file, variable = part.password_file, part.password_environment
                secret = self._secret((*at, index), file, variable, "password") if passwords else None
                specs.append(FileAnchors(path, secret, accept))
            else:
                specs.append(SystemAnchors(accept))
        return tuple(specs)

    # --- what belongs to the whole ---------------------------------------------------------

    def _directory(self, kind: str, name: str, part: LocalCaPart | IdentityPart) -> Path | None:
        directory: Path | None = getattr(part, "directory", None)
        if directory is None:
            return None
        return self._directories.setdefault((kind, name), self._path(directory))
