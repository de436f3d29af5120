"""Each way to log in, as the one call that Vault answers with a token; secrets are read anew each time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never
from weakref import WeakKeyDictionary

from agent.core.issuer_spec import AppRoleLogin, AwsLogin, CertificateLogin, JwtLogin, TokenLogin, UserpassLogin
from agent.errors import IssuerRefusedError, IssuerUnavailableError, TrustError
from agent.issuers.vault import aws_iam, paths
from agent.issuers.vault.answer import UnusableAnswerError, data
from agent.issuers.vault.cluster import Call, RefusedError
from agent.issuers.vault.deadline import within
from agent.issuers.vault.opened import OPENED, Content
from agent.issuers.vault.token import Clocks, granted, read, read_token
from agent.issuers.vault.wrapping import Wrapping, look_up, unwrap

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent.core.issuer_spec import AwsAccess, VaultLogin
    from agent.issuers.vault.cluster import Cluster
    from agent.issuers.vault.token import Token

LoggedIn = AppRoleLogin | JwtLogin | CertificateLogin | AwsLogin | UserpassLogin


_USERS: WeakKeyDictionary[Login, VaultLogin] = WeakKeyDictionary()
"""The logins that have not been closed, and their settings."""


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
        self._opened: tuple[Wrapping, Content] | None = None
        _USERS[self] = login

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

    def close(self) -> None:
        """Leave what is in a wrapping to others."""
        _USERS.pop(self, None)

    def hands_over(self, token: Token) -> bool:
        """Whether a token is left to another login, which has to take it out of the same wrapping.

        That is so after SIGHUP: the wrapping could give it no second token.
        """
        if not isinstance(self._login, TokenLogin) or self._opened is None:
            return False
        place = self._login.token
        heirs = any(isinstance(one, TokenLogin) and one.wrapped and one.token == place for one in _USERS.values())
        wrapping, content = self._opened
        OPENED.keep(wrapping.token, replace(content, token=token if heirs else None))
        return heirs

    async def look(self, end: float) -> str:
        """Return the path that the wrapping of this login was made at, without using it up.

        It is empty where there is no wrapping, or where this process has opened it.
        """
        match self._login:
            case AppRoleLogin(wrapped=True) | TokenLogin(wrapped=True):
                wrapping = await self._wrapping(self._login, end)
                return "" if self._recall(wrapping) else (await look_up(self._cluster, wrapping, end)).value
        return ""

    async def _call(self, login: LoggedIn, end: float) -> Call:
        if isinstance(login, AppRoleLogin):
            return await self._approle(login, end)
        async with within(end, f"preparing the login at auth/{login.mount}"):
            match login:
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

    async def _approle(self, login: AppRoleLogin, end: float) -> Call:
        async with within(end, f"reading {login.role_id}"):
            body = {"role_id": await asyncio.to_thread(read, login.role_id, "role id")}
        if login.secret_id is not None and login.wrapped:
            body["secret_id"] = await self._secret_id(login, end)
        elif login.secret_id is not None:
            async with within(end, f"reading {login.secret_id}"):
                body["secret_id"] = await asyncio.to_thread(read, login.secret_id, "secret id")
        return _post(paths.login(login.mount), body, *body.values())

    async def _secret_id(self, login: AppRoleLogin, end: float) -> str:
        wrapping = await self._wrapping(login, end)
        content = self._recall(wrapping)
        if content is None:
            path, answer = await unwrap(self._cluster, wrapping, end)
            values = answer.get("data")
            secret = values.get("secret_id") if isinstance(values, dict) else None
            if not isinstance(secret, str):
                raise _not_in_it(wrapping, "secret id")
            content = Content(path, secret)
        self._keep(wrapping, content)
        return content.secret

    async def _unwrap_token(self, login: TokenLogin, end: float) -> Token:
        wrapping = await self._wrapping(login, end)
        content = self._recall(wrapping)
        if content is not None:
            token, now = content.token, self._clocks.monotonic()
            # One that this login has had already was of no use to it.
            if self._has_opened(wrapping) or token is None or not token.lives(now):
                raise IssuerRefusedError(
                    f"this agent has opened the wrapping in {wrapping.place}, and the token that was in it ends or has"
                    " ended",
                    advice="put a new wrapping there",
                    reason="login",
                )
            self._keep(wrapping, content)
            return replace(token, made_at=now)
        path, answer = await unwrap(self._cluster, wrapping, end)
        auth = answer.get("auth")
        try:
            token = granted(auth if isinstance(auth, dict) else {}, f"the token in {wrapping.place}", self._clocks)
        except UnusableAnswerError:
            raise _not_in_it(wrapping, "token") from None
        self._keep(wrapping, Content(path, token=token))
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
        return Wrapping(token, str(place), path, by_parts=isinstance(login, AppRoleLogin) and not login.creation_path)

    def _has_opened(self, wrapping: Wrapping) -> bool:
        return self._opened is not None and self._opened[0].token == wrapping.token

    def _recall(self, wrapping: Wrapping) -> Content | None:
        """Return what was in a wrapping if this process knows; raise `IssuerRefusedError` if it came from elsewhere."""
        content = self._opened[1] if self._opened and self._has_opened(wrapping) else OPENED.recall(wrapping.token)
        if content is not None:
            wrapping.check(content.path)
        return content

    def _keep(self, wrapping: Wrapping, content: Content) -> None:
        self._opened = (wrapping, content)
        OPENED.keep(wrapping.token, content)

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
