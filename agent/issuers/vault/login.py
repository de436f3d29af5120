"""Each way to log in, as the one call that Vault answers with a token; secrets are read anew each time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from agent.core.issuer_spec import AppRoleLogin, AwsLogin, CertificateLogin, JwtLogin, TokenLogin, UserpassLogin
from agent.errors import IssuerRefusedError, IssuerUnavailableError, TrustError
from agent.issuers.vault import aws_iam, paths
from agent.issuers.vault.answer import UnusableAnswerError, data
from agent.issuers.vault.cluster import Call, RefusedError
from agent.issuers.vault.deadline import within
from agent.issuers.vault.token import Clocks, granted, read, read_token
from agent.issuers.vault.wrapping import Wrapping, look_up, unwrap

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent.core.issuer_spec import AwsAccess, VaultLogin
    from agent.issuers.vault.cluster import Cluster
    from agent.issuers.vault.token import Token

LoggedIn = AppRoleLogin | JwtLogin | CertificateLogin | AwsLogin | UserpassLogin


@dataclass(slots=True)
class _Unwrapped:
    """What was in a wrapping, kept in memory: it can be taken out only once."""

    wrapping: str = field(repr=False)
    secret: str = field(repr=False)


class Login:
    """Makes tokens as the settings say; callers see to it that one is made at a time."""

    def __init__(
        self,
        login: VaultLogin,
        cluster: Cluster,
        clocks: Clocks,
        credentials: Callable[[AwsAccess], Awaitable[aws_iam.Credentials]],
    ) -> None:
        self._login = login
        self._cluster = cluster
        self._clocks = clocks
        self._credentials = credentials
        self._unwrapped: _Unwrapped | None = None

    async def make(self, end: float) -> Token:
        """Log in; raise `IssuanceError`."""
        if isinstance(self._login, TokenLogin):
            return await self._unwrap_token(self._login, end)
        # Taken before the call: if it changes meanwhile the token counts as made with the old one, and is made again.
        certificate = await self.certificate(end) if isinstance(self._login, CertificateLogin) else ""
        call = await self._call(self._login, end)
        method = _METHODS[type(self._login)]
        try:
            told = await self._cluster.ask(
                call,
                lambda answer: granted(data(answer, part="auth"), method, self._clocks, certificate=certificate),
                end,
            )
        except RefusedError as refusal:
            raise self._refused(self._login, refusal) from refusal
        return told.value

    async def certificate(self, end: float) -> str:
        """Return the fingerprint of the client certificate that a login would show now; raise `IssuanceError`."""
        try:
            async with within(end, "reading the client certificate"):
                shown = await self._cluster.session.shown()
        except TrustError as error:
            raise IssuerUnavailableError(error.what, advice=error.advice, reason="TLS") from error
        if shown.certificate is None:
            why = "; ".join(shown.troubles) or "none is configured"
            raise IssuerUnavailableError(
                f"there is no client certificate to log in with at Vault: {why}",
                advice="put one there that has not expired, with its key",
                reason="login",
            )
        return shown.certificate.fingerprint

    async def look(self, end: float) -> str:
        """Return the path that the wrapping of this login was made at, without using it up; empty where none is."""
        match self._login:
            case AppRoleLogin(wrapped=True) | TokenLogin(wrapped=True):
                wrapping = await self._wrapping(self._login, end)
                return "" if self._is_unwrapped(wrapping) else await look_up(self._cluster, wrapping, end)
        return ""

    async def _call(self, login: LoggedIn, end: float) -> Call:
        async with within(end, f"preparing the login at auth/{login.mount}"):
            match login:
                case AppRoleLogin():
                    role_id = await asyncio.to_thread(read, login.role_id, "role id")
                    body = {"role_id": role_id}
                    if login.secret_id is not None:
                        body["secret_id"] = await self._secret_id(login, end)
                    return _post(paths.login(login.mount), body, *body.values())
                case JwtLogin():
                    jwt = (await asyncio.to_thread(read, login.token, "JWT")).strip()
                    return _post(paths.login(login.mount), {"role": login.role, "jwt": jwt}, jwt)
                case CertificateLogin():
                    return _post(paths.login(login.mount), {"name": login.role} if login.role else {})
                case AwsLogin():
                    credentials = await self._credentials(login.access)
                    fields, secrets = await asyncio.to_thread(aws_iam.signed_request, login, credentials)
                    return _post(paths.login(login.mount), fields, *secrets)
                case UserpassLogin():
                    password = await asyncio.to_thread(read, login.password, "password")
                    return _post(paths.login(login.mount, login.username), {"password": password}, password)
                case _:
                    assert_never(login)

    # --- wrappings -------------------------------------------------------------------------

    async def _secret_id(self, login: AppRoleLogin, end: float) -> str:
        if not login.wrapped:
            assert login.secret_id is not None  # noqa: S101 - asked by the caller; for the type checker
            return await asyncio.to_thread(read, login.secret_id, "secret id")
        wrapping = await self._wrapping(login, end)
        if self._unwrapped is None or not self._is_unwrapped(wrapping):
            values = (await unwrap(self._cluster, wrapping, end)).get("data")
            secret = values.get("secret_id") if isinstance(values, dict) else None
            if not isinstance(secret, str):
                raise _not_in_it(wrapping, "secret id")
            self._unwrapped = _Unwrapped(wrapping.token, secret)
        return self._unwrapped.secret

    async def _unwrap_token(self, login: TokenLogin, end: float) -> Token:
        wrapping = await self._wrapping(login, end)
        if self._is_unwrapped(wrapping):
            raise IssuerRefusedError(
                f"the wrapping in {wrapping.place} has been used, and the token that was in it ends or has ended",
                advice="put a new wrapping there",
                reason="login",
            )
        values = await unwrap(self._cluster, wrapping, end)
        auth = values.get("auth")
        try:
            token = granted(auth if isinstance(auth, dict) else {}, f"the token in {wrapping.place}", self._clocks)
        except UnusableAnswerError:
            raise _not_in_it(wrapping, "token") from None
        self._unwrapped = _Unwrapped(wrapping.token, "")
        return token

    async def _wrapping(self, login: AppRoleLogin | TokenLogin, end: float) -> Wrapping:
        if isinstance(login, TokenLogin):
            place, path = login.token, login.creation_path or "auth/token/*"
        else:
            assert login.secret_id is not None  # noqa: S101 - the settings see to it; for the type checker
            place = login.secret_id
            path = login.creation_path or f"auth/{login.mount.strip('/')}/role/*/secret-id"
        async with within(end, f"reading {place}"):
            token = await asyncio.to_thread(read_token, place)
        return Wrapping(token, str(place), path)

    def _is_unwrapped(self, wrapping: Wrapping) -> bool:
        return self._unwrapped is not None and self._unwrapped.wrapping == wrapping.token

    # --- refusals --------------------------------------------------------------------------

    def _refused(self, login: LoggedIn, refusal: RefusedError) -> IssuerRefusedError | IssuerUnavailableError:
        method = _METHODS[type(login)]
        what = f"Vault at {refusal.address} refused the login ({method} at auth/{login.mount}): {refusal.said}"
        if isinstance(login, JwtLogin) and refusal.status == 403:
            # The same answer means that the account is gone and that Vault does not reach Kubernetes.
            return IssuerUnavailableError(
                what,
                advice="see that Vault reaches the API server of Kubernetes, and that the account and its role"
                " still exist; it is tried again",
                reason="login",
            )
        if refusal.status == 404:
            return IssuerRefusedError(
                what, advice="see that the auth method is enabled there, and correct `mount` of `auth`", reason="login"
            )
        return IssuerRefusedError(what, advice=_ADVICE[type(login)], reason="login")


_METHODS: dict[type[LoggedIn], str] = {
    AppRoleLogin: "AppRole",
    JwtLogin: "JWT",
    CertificateLogin: "certificate",
    AwsLogin: "AWS IAM",
    UserpassLogin: "user and password",
}

_ADVICE: dict[type[LoggedIn], str] = {
    AppRoleLogin: "see that role id and secret id are those of one role, and that the secret id has not ended or been"
    " used up",
    JwtLogin: "see that the role exists and is bound to this token's issuer, audience and subject (or account), and"
    " that the token has not expired",
    CertificateLogin: "see that the certificate's CA and names are those of a certificate role in Vault, and `role`",
    AwsLogin: "see that the role is bound to this AWS identity, that `server_id` is Vault's own, and that `region` or"
    " `sts_endpoint` are those that Vault is set to",
    UserpassLogin: "see user and password",
}


def _post(path: str, body: dict[str, str], *secrets: str) -> Call:
    return Call("POST", path, body, secrets=secrets)


def _not_in_it(wrapping: Wrapping, what: str) -> IssuerRefusedError:
    return IssuerRefusedError(
        f"there is no {what} in the wrapping in {wrapping.place}", advice="put the right wrapping there", reason="login"
    )
