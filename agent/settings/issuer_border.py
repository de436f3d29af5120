"""The border for CAs: their parts in, frozen specs out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.core.configuration import IssuerAnchors
from agent.core.files import PemFiles
from agent.core.identity import KeyAlgorithm
from agent.core.issuer_spec import (
    AppRoleLogin,
    AssumeRole,
    AwsAccess,
    AwsLogin,
    AwsPcaSpec,
    CertificateLogin,
    JwtLogin,
    KeyPair,
    LocalCaSpec,
    ManualSpec,
    Signing,
    TokenLogin,
    UserpassLogin,
    VaultSpec,
    WebIdentity,
    is_of_a_host,
)
from agent.settings.ground import LOOPBACK, Ground
from agent.settings.issuer_parts import (
    AppRoleAuth,
    AwsAccessPart,
    AwsAuth,
    AwsPcaPart,
    CertAuth,
    ClientCertificatePart,
    JwtAuth,
    KubernetesAuth,
    LocalCaPart,
    ManualPart,
    TokenAuth,
    UserpassAuth,
    VaultPart,
)
from agent.settings.wording import shown, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from agent.core.configuration import Wanted
    from agent.core.issuer_spec import IssuerSpec, VaultLogin
    from agent.core.secret import Secret
    from agent.settings.issuer_parts import AnyIssuerPart
    from agent.settings.wording import Location

SHORTEST_SESSION, LONGEST_SESSION = 900, 12 * 3600
"""Seconds that STS gives the credentials of a role."""


class IssuerBorder(Ground):
    """Turns the parts of CAs into specs and notes mistakes."""

    def specs(
        self,
        parts: Mapping[str, AnyIssuerPart | None],
        directories: Mapping[tuple[str, str], Path],
        identities: Mapping[str, Wanted | None],
    ) -> dict[str, IssuerSpec]:
        """Return the specs by name; one that lacks something that has no default is left out."""
        found: dict[str, IssuerSpec] = {}
        for name, part in parts.items():
            spec: IssuerSpec | None = None
            match part:
                case LocalCaPart():
                    directory = directories.get(("issuers", name))
                    spec = None if directory is None else LocalCaSpec(name, directory, KeyAlgorithm(part.key))
                case AwsPcaPart():
                    spec = self._aws_pca(name, part)
                case VaultPart():
                    spec = self._vault(name, part, identities)
                case ManualPart():
                    spec = self._manual(name, part, identities)
            if spec is not None:
                found[name] = spec
        return found

    # --- by hand ---------------------------------------------------------------------------

    def _manual(self, name: str, part: ManualPart, identities: Mapping[str, Wanted | None]) -> ManualSpec:
        at: Location = ("issuers", name, "anchors")
        anchors = None if part.anchors is None else self._path(part.anchors)
        if anchors is not None:
            self._check_file(at, anchors)
        for identity, wanted in identities.items():
            trusting = wanted is not None and any(
                isinstance(one, IssuerAnchors) and one.issuer == name for one in (*wanted.trust, *wanted.peer_trust)
            )
            if anchors is None and trusting and self._findings.sound(at):
                self._wrong(
                    at, f"is missing, and {shown(identity)} trusts it: write it, or `trust` and `peer_trust` there"
                )
                break
        file, variable = part.password_file, part.password_environment
        password = None
        if anchors is not None and (file is not None or variable is not None):
            password = self._secret(("issuers", name), file, variable, "password")
        elif file is not None or variable is not None:
            key = "password_file" if file is not None else "password_environment"
            self._wrong(("issuers", name, key), "is for `anchors` alone: write them, or leave it out")
        return ManualSpec(name, anchors, password)

    # --- AWS -------------------------------------------------------------------------------

    def _aws_pca(self, name: str, part: AwsPcaPart) -> AwsPcaSpec | None:
        at: Location = ("issuers", name)
        authority: str | None = getattr(part, "certificate_authority_arn", None)
        self._check_next(at, authority, part.next_certificate_authority_arn)
        self._check_template((*at, "template"), part.template)
        access = self._access_to_aws(at, part)
        if authority is None:
            return None
        return AwsPcaSpec(
            name=name,
            authority=authority,
            access=access,
            template=part.template or "",
            signing_algorithm=part.signing_algorithm or "",
            near_end=part.near_end,
            in_doubt=part.in_doubt,
            revoke=part.revoke,
            calls_per_second=part.calls_per_second,
            within=part.timeout,
            next_authority=part.next_certificate_authority_arn or "",
        )

    def _check_next(self, at: Location, authority: str | None, following: str | None) -> None:
        key = "next_certificate_authority_arn"
        if authority is None or following is None or not self._findings.sound((*at, key)):
            return
        if following == authority:
            self._wrong((*at, key), "is the CA that issues already: name the one that is to follow, or leave it out")
        elif following.split(":")[1:4] != authority.split(":")[1:4]:
            self._wrong((*at, key), "is in another region, where it is not looked for: make it an issuer of its own")

    def _check_template(self, at: Location, template: str | None) -> None:
        if template is not None and not is_of_a_host(template):
            self._wrong(at, "makes no leaves for TLS, but CAs, or leaves for code or OCSP: name one of EndEntity…")

    def _access_to_aws(self, at: Location, part: AwsAccessPart) -> AwsAccess:
        for key in ("endpoint", "sts_endpoint"):
            self._check_clear((*at, key), getattr(part, key) or "", "the requests")
        if part.ca_file is not None:
            self._check_file((*at, "ca_file"), self._path(part.ca_file))
        if part.profile is not None and part.web_identity is not None:
            self._wrong((*at, "profile"), "stands beside `web_identity`: write one of them")
        role = part.assume_role
        assume = None
        if role is not None and hasattr(role, "role_arn"):
            below: Location = (*at, "assume_role")
            seconds = role.duration.total_seconds()
            if not SHORTEST_SESSION <= seconds <= LONGEST_SESSION:
                self._wrong((*below, "duration"), "is not what STS gives: write 15m to 12h")
            external_id = None
            if role.external_id_file is not None or role.external_id_environment is not None:
                external_id = self._secret(below, role.external_id_file, role.external_id_environment, "external_id")
            assume = AssumeRole(role.role_arn, role.session_name, external_id, role.duration)
        web = part.web_identity
        identity = None
        if web is not None and hasattr(web, "role_arn") and hasattr(web, "token_file"):
            identity = WebIdentity(web.role_arn, self._path(web.token_file), web.session_name)
            self._check_file((*at, "web_identity", "token_file"), identity.token_file)
        return AwsAccess(
            region=part.region or "",
            profile=part.profile or "",
            web_identity=identity,
            assume_role=assume,
            endpoint=part.endpoint or "",
            sts_endpoint=part.sts_endpoint or "",
            ca_file=None if part.ca_file is None else self._path(part.ca_file),
            fips=part.fips,
        )

    def _check_clear(self, at: Location, url: str, what: str) -> None:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            self._wrong(at, f"{shown(url)} would send {what} in the clear: write https://")

    # --- Vault and OpenBao -----------------------------------------------------------------

    def _vault(self, name: str, part: VaultPart, identities: Mapping[str, Wanted | None]) -> VaultSpec | None:
        at: Location = ("issuers", name)
        addresses: Sequence[str] = getattr(part, "addresses", ())
        for index, address in enumerate(addresses):
            self._check_address((*at, "addresses", index), address)
        if part.role is None and part.sign is Signing.ROLE and self._findings.sound(at, "role", "sign"):
            self._wrong((*at, "role"), "is missing; write it")
        if part.ca_file is not None:
            self._check_file((*at, "ca_file"), self._path(part.ca_file))
        shown_certificates = self._client_certificates((*at, "client_certificate"), part.client_certificate, identities)
        auth = getattr(part, "auth", None)
        login = None if auth is None else self._login((*at, "auth"), auth)
        if isinstance(login, CertificateLogin) and part.client_certificate is None:
            self._wrong((*at, "client_certificate"), "is missing, and the login shows it: write it")
        if login is None or not addresses:
            return None
        return VaultSpec(
            name=name,
            addresses=tuple(address.rstrip("/") for address in addresses),
            mount=part.mount.strip("/"),
            login=login,
            role=part.role or "",
            signing=part.sign,
            issuer_ref=part.issuer_ref or "",
            namespace=part.namespace,
            ca_file=None if part.ca_file is None else self._path(part.ca_file),
            server_name=part.server_name,
            client_certificates=shown_certificates,
            revoke=part.revoke,
            within=part.timeout,
        )

    def _login(self, at: Location, auth: Any) -> VaultLogin | None:
        match auth:
            case TokenAuth():
                token = self._secret(at, auth.token_file, auth.token_environment, "token")
                self._check_wrapping(at, auth)
                path = (auth.creation_path or "").strip("/")
                return None if token is None else TokenLogin(token, auth.wrapped, path)
            case AppRoleAuth():
                return self._approle(at, auth)
            case KubernetesAuth() | JwtAuth():
                variable = auth.token_environment if isinstance(auth, JwtAuth) else None
                token = self._secret(at, auth.token_file, variable, "token")
                role = getattr(auth, "role", None)
                return None if token is None or role is None else JwtLogin(role, token, auth.mount)
            case CertAuth():
                return CertificateLogin(auth.role, auth.mount)
            case AwsAuth():
                access, role = self._access_to_aws(at, auth), getattr(auth, "role", None)
                return None if role is None else AwsLogin(role, access, auth.server_id, auth.mount)
            case UserpassAuth():
                password = self._secret(at, auth.password_file, auth.password_environment, "password")
                username = getattr(auth, "username", None)
                return None if password is None or username is None else UserpassLogin(username, password, auth.mount)
        return None

    def _approle(self, at: Location, auth: AppRoleAuth) -> AppRoleLogin | None:
        role_id = self._secret(at, auth.role_id_file, auth.role_id_environment, "role_id")
        secret_id: Secret | None = None
        if auth.secret_id_file is not None or auth.secret_id_environment is not None:
            secret_id = self._secret(at, auth.secret_id_file, auth.secret_id_environment, "secret_id")
        elif auth.wrapped:
            self._wrong((*at, "wrapped"), "is set, and there is no secret id to unwrap: write `secret_id_file`")
        self._check_wrapping(at, auth)
        path = (auth.creation_path or "").strip("/")
        return None if role_id is None else AppRoleLogin(role_id, secret_id, auth.wrapped, path, auth.mount)

    def _check_wrapping(self, at: Location, auth: TokenAuth | AppRoleAuth) -> None:
        if auth.creation_path is not None and not auth.wrapped:
            self._wrong((*at, "creation_path"), "stands without `wrapped: true`: write both or none")

    def _client_certificates(
        self, at: Location, part: ClientCertificatePart | None, identities: Mapping[str, Wanted | None]
    ) -> tuple[KeyPair, ...]:
        if part is None or not self._findings.sound(at):
            return ()
        pairs = []
        if part.identity is not None:
            pairs += self._leaf_of((*at, "identity"), part.identity, identities)
        if (part.certificate_file is None) != (part.key_file is None):
            missing = "key_file" if part.key_file is None else "certificate_file"
            self._wrong((*at, missing), "is missing: a certificate and its key come together")
        elif part.certificate_file is not None and part.key_file is not None:
            pair = KeyPair(self._path(part.certificate_file), self._path(part.key_file))
            self._check_file((*at, "certificate_file"), pair.certificate)
            self._check_file((*at, "key_file"), pair.key)
            pairs.append(pair)
        elif part.identity is None:
            self._wrong(at, "names no certificate: write `identity`, or `certificate_file` and `key_file`")
        return tuple(pairs)

    def _leaf_of(self, at: Location, name: str, identities: Mapping[str, Wanted | None]) -> list[KeyPair]:
        """Return where an identity's leaf and key stand: below the link that one rename switches."""
        if name not in identities:
            near = suggestion(name, identities)
            self._wrong(at, f"there is no identity {shown(name)}" + (f"; did you mean {near!r}?" if near else ""))
            return []
        wanted = identities[name]
        if wanted is None:
            return []
        current = wanted.directory / ".current"
        for files in wanted.files:
            if isinstance(files, PemFiles) and files.combined:
                return [KeyPair(current / files.combined, current / files.combined)]
            if isinstance(files, PemFiles) and files.certificate and files.key:
                return [KeyPair(current / files.certificate, current / files.key)]
        self._wrong(at, f"{shown(name)} has no PEM file with its key: write `combined` among its `files`")
        return []

    def _check_address(self, at: Location, address: str) -> None:
        try:
            url = urlsplit(address)
            wrong = url.scheme not in ("http", "https") or not url.hostname or bool(url.query or url.fragment)
            port_is_none = url.port == 0
        except ValueError:
            wrong, port_is_none = True, False
        if "@" in address:
            self._wrong(at, "holds a user or password: leave them out")
        elif wrong or port_is_none:
            self._wrong(at, f"{shown(address)} is no address of a server: write https://vault.example.com:8200")
        else:
            self._check_clear(at, address, "the token")
