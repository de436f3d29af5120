"""The border: parts of the settings in, frozen core values out, and what only the whole can tell is wrong."""

from __future__ import annotations

import grp
import os
import pwd
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.core.certificate import Sans
from agent.core.configuration import (
    Access,
    CommandReload,
    Configuration,
    FileAnchors,
    Http,
    IssuerAnchors,
    Listener,
    LocalCaSpec,
    PemFiles,
    Pkcs12Files,
    RenewalPolicy,
    Secret,
    SystemAnchors,
    VaultSpec,
    Wanted,
)
from agent.core.identity import KeyAlgorithm, Request
from agent.core.schedule import LATEST, SHORTEST_WINDOW
from agent.errors import MaterialError
from agent.net.secret import read_secret
from agent.settings.model import HttpPart, IdentityPart, LocalCaPart, LogPart, PemPart, Pkcs12Part, TrustPart, VaultPart
from agent.settings.scalars import host_and_port
from agent.settings.subject import read_subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from agent.core.configuration import Files, IssuerSpec, TrustSpec
    from agent.errors import Mistake
    from agent.settings.wording import Wording

SHORTEST_PASSWORD = 6
"""Characters; keytool refuses to open a store with fewer."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
READABLE_BY_ALL = 0o004

Location = tuple[str | int, ...]


class Border:
    """Turns parts into values and gathers mistakes; a part may lack what was wrong in it."""

    def __init__(
        self,
        file: Path,
        host: str,
        environment: Mapping[str, str],
        wording: Wording,
        mistakes: list[Mistake],
    ) -> None:
        self._file = file
        self._folder = file.parent
        self._host = host
        self._environment = environment
        self._wording = wording
        self._mistakes = mistakes
        self._issuers: Mapping[str, Any] = {}

    def configuration(
        self,
        http: HttpPart,
        log: LogPart,
        issuers: Mapping[str, LocalCaPart | VaultPart | None],
        identities: Mapping[str, IdentityPart],
    ) -> Configuration:
        """Return the whole; it is only to be used when no mistake was gathered."""
        self._issuers = issuers
        specs = {name: self._issuer(name, part) for name, part in issuers.items() if part is not None}
        wanted = {name: self._identity(name, part) for name, part in identities.items()}
        self._apart(wanted, specs)
        return Configuration(
            file=self._file,
            http=self._http(http),
            log_format=log.format,
            issuers={name: spec for name, spec in specs.items() if spec is not None},
            identities={name: one for name, one in wanted.items() if one is not None},
        )

    # --- http ------------------------------------------------------------------------------

    def _http(self, part: HttpPart) -> Http:
        host, port = host_and_port(part.listen)
        if host not in LOOPBACK and not part.allowed_hosts:
            self._wrong(
                ("http", "allowed_hosts"), f"is empty, and {host} is not loopback: write the names to answer to"
            )
        self._check_group(("http", "admin_group"), part.admin_group)
        return Http(
            host=host,
            port=port,
            allowed_hosts=tuple(part.allowed_hosts),
            admin_socket=None if part.admin_socket is None else self._path(part.admin_socket),
            admin_group=part.admin_group,
        )

    # --- issuers ---------------------------------------------------------------------------

    def _issuer(self, name: str, part: LocalCaPart | VaultPart) -> IssuerSpec | None:
        match part:
            case LocalCaPart():
                directory = getattr(part, "directory", None)
                return None if directory is None else LocalCaSpec(name, self._path(directory))
            case VaultPart():
                return self._vault(name, part)

    def _vault(self, name: str, part: VaultPart) -> VaultSpec | None:
        at: Location = ("issuers", name)
        addresses: Sequence[str] = getattr(part, "addresses", ())
        for index, address in enumerate(addresses):
            self._check_url((*at, "addresses", index), address)
        auth, role = getattr(part, "auth", None), getattr(part, "role", None)
        token = None
        if auth is not None:
            token = self._secret((*at, "auth"), auth.token_file, auth.token_environment, "token")
        if part.ca_file is not None:
            self._check_file((*at, "ca_file"), self._path(part.ca_file))
        if token is None or role is None or not addresses:
            return None
        return VaultSpec(
            name=name,
            addresses=tuple(address.rstrip("/") for address in addresses),
            mount=part.mount.strip("/"),
            role=role,
            token=token,
            namespace=part.namespace,
            ca_file=None if part.ca_file is None else self._path(part.ca_file),
            server_name=part.server_name,
            within=part.timeout,
        )

    def _check_url(self, at: Location, address: str) -> None:
        try:
            url = urlsplit(address)
            wrong = url.scheme not in ("http", "https") or not url.hostname or bool(url.query or url.fragment)
            port_is_none = url.port == 0
        except ValueError:
            wrong, port_is_none = True, False
        if wrong or port_is_none:
            self._wrong(at, f"{address!r} is no address of a server: write https://vault.example.com:8200")
        elif url.username or url.password:
            self._wrong(at, "holds a user or password: leave them out")
        elif url.scheme == "http" and url.hostname not in LOOPBACK:
            self._wrong(at, f"{address!r} would send the token in the clear: write https://")

    # --- identities ------------------------------------------------------------------------

    def _identity(self, name: str, part: IdentityPart) -> Wanted | None:
        at: Location = ("identities", name)
        directory, issuer = getattr(part, "directory", None), getattr(part, "issuer", None)
        lifetime: timedelta | None = getattr(part, "lifetime", None)
        if issuer is not None:
            self._check_issuer((*at, "issuer"), issuer)
        files = self._all_files(at, getattr(part, "files", ()))
        own = (IssuerAnchors(issuer or ""),)
        trust = own if part.trust is None else self._trust((*at, "trust"), part.trust)
        peer_trust = own if part.peer_trust is None else self._trust((*at, "peer_trust"), part.peer_trust)
        if part.peer_trust is not None and not part.peer_trust:
            self._wrong((*at, "peer_trust"), "is empty, so that no chain could ever be proven: write what peers trust")
        if part.trust is not None and not part.trust and any(one.truststore for one in files):
            self._wrong((*at, "trust"), "is empty, and a truststore of nothing trusts nobody: write sources")
        reload = tuple(
            CommandReload(self._argv((*at, "reload", index, "argv"), one.argv), self._folder, one.timeout)
            for index, one in enumerate(part.reload)
        )
        renewal = self._renewal(at, part, lifetime)
        try:
            subject = read_subject(part.subject)
        except ValueError as error:
            self._wrong((*at, "subject"), str(error))
            return None
        sans = Sans.of(dns=tuple(part.sans.dns), ip=tuple(part.sans.ip), uri=tuple(part.sans.uri))
        if not subject.rdns and not sans:
            self._wrong((*at, "subject"), "is empty, and so are `sans`: write at least one name")
        if directory is None or issuer is None or lifetime is None:
            return None
        return Wanted(
            name=name,
            directory=self._path(directory),
            issuer=issuer,
            request=Request(subject, sans, frozenset(part.usages), KeyAlgorithm(part.key.algorithm), lifetime),
            files=files,
            reuse_key=part.key.reuse,
            renewal=renewal,
            trust=trust,
            peer_trust=peer_trust,
            reload=reload,
            prove=tuple(Listener(one.address, one.within) for one in part.prove),
            host=self._host,
        )

    def _check_issuer(self, at: Location, name: str) -> None:
        if name not in self._issuers:
            near = get_close_matches(name, self._issuers, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self._issuers) or 'none'}"
            self._wrong(at, f"there is no issuer {name!r}; {known}")

    def _renewal(self, at: Location, part: IdentityPart, lifetime: timedelta | None) -> RenewalPolicy:
        if part.renew_at is not None and part.renew_before is not None:
            self._wrong((*at, "renew_at"), "stands beside `renew_before`: write one of them")
        if lifetime is None:
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

    def _trust(self, at: Location, parts: Sequence[TrustPart]) -> tuple[TrustSpec, ...]:
        specs: list[TrustSpec] = []
        for index, part in enumerate(parts):
            given = [key for key in ("issuer", "files", "system") if getattr(part, key) is not None]
            if len(given) != 1:
                self._wrong((*at, index), "names not one source: write one of `issuer`, `files`, `system`")
            elif part.issuer is not None:
                self._check_issuer((*at, index, "issuer"), part.issuer)
                specs.append(IssuerAnchors(part.issuer))
            elif part.files is not None:
                path = self._path(part.files)
                if not os.access(path, os.R_OK):
                    self._wrong((*at, index, "files"), f"{path} cannot be read: write a PEM file or a folder of them")
                specs.append(FileAnchors(path))
            else:
                specs.append(SystemAnchors())
        return tuple(specs)

    def _argv(self, at: Location, argv: Sequence[str]) -> tuple[str, ...]:
        import shutil

        program = argv[0]
        found = self._path_of(program) if "/" in program else shutil.which(program, path=self._environment.get("PATH"))
        if not found or not os.access(found, os.X_OK) or os.path.isdir(found):  # noqa: PTH112 - of a text
            self._wrong((*at, 0), f"{program!r} is no program that can be run: write its path")
        return tuple(argv)

    # --- files -----------------------------------------------------------------------------

    def _all_files(self, at: Location, parts: Sequence[PemPart | Pkcs12Part]) -> tuple[Files, ...]:
        files = tuple(self._files((*at, "files", index), part) for index, part in enumerate(parts))
        seen: dict[str, int] = {}
        for index, one in enumerate(files):
            for name in one.names():
                if name in seen:
                    self._wrong((*at, "files", index), f"{name!r} is written twice: write another name")
                seen[name] = index
        has_key = any(one.keystore if isinstance(one, Pkcs12Files) else (one.key or one.combined) for one in files)
        if files and not has_key:
            self._wrong((*at, "files"), "hold no private key: write `key`, `combined` or `keystore`")
        return files

    def _files(self, at: Location, part: PemPart | Pkcs12Part) -> Files:
        access = self._access(at, part)
        if isinstance(part, PemPart):
            if bool(part.certificate) != bool(part.key):
                missing = "key" if part.certificate else "certificate"
                self._wrong((*at, missing), "is missing: a certificate and its key come together")
            if not (part.certificate or part.key or part.combined or part.truststore):
                self._wrong(at, "names no file: write `certificate` and `key`, `combined` or `truststore`")
            self._check_mode(at, access, secret=part.key or part.combined)
            return PemFiles(part.certificate, part.key, part.combined, part.truststore, access)
        if not (part.keystore or part.truststore):
            self._wrong(at, "names no file: write `keystore` or `truststore`")
        self._check_mode(at, access, secret=part.keystore)
        password = self._secret(at, part.password_file, part.password_environment, "password", store=True)
        return Pkcs12Files(password or Secret(environment=""), part.keystore, part.truststore, part.alias, access)

    def _access(self, at: Location, part: PemPart | Pkcs12Part) -> Access:
        self._check_user((*at, "owner"), part.owner)
        self._check_group((*at, "group"), part.group)
        return Access(part.owner, part.group, part.mode)

    def _check_mode(self, at: Location, access: Access, *, secret: str | None) -> None:
        if secret and access.mode is not None and access.mode & READABLE_BY_ALL:
            self._wrong((*at, "mode"), f'lets everybody read the key in {secret}: write "0400" or "0440"')

    def _secret(
        self, at: Location, file: Path | None, variable: str | None, what: str, *, store: bool = False
    ) -> Secret | None:
        if (file is None) == (variable is None):
            self._wrong(at, f"has not one place of its {what}: write `{what}_file` or `{what}_environment`")
            return None
        key = f"{what}_file" if file is not None else f"{what}_environment"
        secret = Secret(None if file is None else self._path(file), variable)
        try:
            value = read_secret(secret)
        except MaterialError as error:
            self._wrong((*at, key), error.diagnosis())
            return secret
        if store and (len(value) < SHORTEST_PASSWORD or not value.isascii() or not value.isprintable()):
            least = SHORTEST_PASSWORD
            self._wrong(
                (*at, key), f"Java would not open a store with it: write {least} or more printable ASCII characters"
            )
        return secret

    def _check_file(self, at: Location, path: Path) -> None:
        if not path.is_file() or not os.access(path, os.R_OK):
            self._wrong(at, f"{path} is no file that can be read: write the path of one")

    # --- what belongs to the whole ---------------------------------------------------------

    def _apart(self, wanted: Mapping[str, Wanted | None], specs: Mapping[str, IssuerSpec | None]) -> None:
        """Two identities, or an identity and a CA, may not share a directory, by whatever name."""
        owners: dict[Path, str] = {
            spec.directory.resolve(): f"the CA {name}" for name, spec in specs.items() if isinstance(spec, LocalCaSpec)
        }
        for name, one in wanted.items():
            if one is None:
                continue
            owner = owners.setdefault(one.directory.resolve(), f"the identity {name}")
            if owner != f"the identity {name}":
                what = f"shares {one.directory} with {owner}: write a directory of its own"
                self._wrong(("identities", name, "directory"), what)

    # --- helpers ---------------------------------------------------------------------------

    def _path(self, path: Path) -> Path:
        return type(path)(self._path_of(str(path)))

    def _path_of(self, path: str) -> str:
        return os.path.normpath(self._folder / path)

    def _check_user(self, at: Location, name: str | None) -> None:
        try:
            pwd.getpwnam(name or "root")
        except KeyError:
            self._wrong(at, f"this host knows no user {name!r}: write one that it knows")

    def _check_group(self, at: Location, name: str | None) -> None:
        try:
            grp.getgrnam(name or "root")
        except KeyError:
            self._wrong(at, f"this host knows no group {name!r}: write one that it knows")

    def _wrong(self, location: Location, what: str) -> None:
        self._mistakes.append(self._wording.mistake(location, what))
