"""A fake Vault whose one auth method is AWS's: it judges the signed request itself, as STS would for a real one.

OpenBao has no such method. What Vault answers is taken from its documentation and was not measured.
"""

from __future__ import annotations

import base64
import json
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.material import Ca
from tests.servers.hostile import Heard, Hostile, Signing, answers, hostile
from tests.servers.sigv4 import Credentials, SignatureRefusedError, Signed, judge

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable

BODY = b"Action=GetCallerIdentity&Version=2011-06-15"
SERVER_ID = "X-Vault-AWS-IAM-Server-ID"
PERMISSION_DENIED = "permission denied"


class LoginRefusedError(Exception):
    """Vault would answer 400 with this message."""


@dataclass
class VaultAws:
    """The server's state; each field may be changed while it runs."""

    signing: Signing
    """How `pki/sign/kafka` signs."""
    known: dict[str, Credentials] = field(default_factory=dict)
    """Access keys that STS knows."""
    role: str = "kafka"
    principals: frozenset[str] = frozenset()
    """The ARNs that the role is for; empty: any."""
    server_id: str = ""
    """What the header must say; empty: it is not looked at."""
    sts: str = "https://sts.amazonaws.com/"
    region: str = "us-east-1"
    mount: str = "aws"
    ttl: timedelta = timedelta(hours=1)
    max_ttl: timedelta = timedelta(hours=24)
    renewable: bool = True
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)
    tokens: dict[str, tuple[datetime, datetime]] = field(default_factory=dict, repr=False)
    """When each token that was given ends, and when it does at last."""
    logins: list[str] = field(default_factory=list)
    """For each login the ARN that it was of, or why it was refused."""
    server: Hostile = field(init=False, repr=False)
    """The server on the socket; its `heard` has every request."""

    @property
    def address(self) -> str:
        """The URL of the server."""
        return self.server.address

    def make_credentials(self, *, temporary: bool = False, **changes: Any) -> Credentials:
        """Make an access key that STS knows from now on; `temporary` as a role's, with a session token."""
        values: dict[str, Any] = {
            "access_key": ("ASIA" if temporary else "AKIA") + os.urandom(8).hex().upper(),
            "secret_key": base64.b64encode(os.urandom(30)).decode(),
            "session_token": base64.b64encode(os.urandom(90)).decode() if temporary else None,
        }
        credentials = Credentials(**(values | changes))
        self.known[credentials.access_key] = credentials
        return credentials

    async def __call__(self, request: Heard, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        token = request.headers.get("x-vault-token") or request.headers.get("authorization", "").partition(" ")[2]
        match request.method, request.path.removeprefix("/v1/"):
            case "POST" | "PUT", path if path == f"auth/{self.mount}/login":
                status, body = self._login(request)
            case "GET", "pki/ca_chain":
                await self.signing(request, writer)
                return
            case ("POST" | "PUT", "pki/sign/kafka") if self._lives(token):
                await self.signing(request, writer)
                return
            case ("POST" | "PUT", "auth/token/renew-self") if self._lives(token):
                status, body = self._renew(token)
            case ("POST" | "PUT", "auth/token/revoke-self") if self._lives(token):
                del self.tokens[token]
                status, body = 204, None
            case ("GET", "auth/token/lookup-self") if self._lives(token):
                status, body = 200, {"data": self._looked_up(token)}
            case _, path if self._lives(token):
                status, body = 404, {"errors": [f'no handler for route "{path}". route entry not found.']}
            case _:
                status, body = 403, {"errors": [PERMISSION_DENIED]}
        await answers(status, b"" if body is None else body)(request, writer)

    def _login(self, request: Heard) -> tuple[int, dict[str, Any] | None]:
        try:
            arn = self._caller(_parsed(request))
        except LoginRefusedError as refused:
            self.logins.append(str(refused))
            return 400, {"errors": [str(refused)]}
        self.logins.append(arn)
        token = f"hvs.{os.urandom(18).hex()}"
        now = self.clock()
        self.tokens[token] = (now + self.ttl, now + self.max_ttl)
        return 200, {"auth": self._auth(token)}

    def _caller(self, login: dict[str, Any]) -> str:
        """Return the ARN of who has signed the request that is presented."""
        if login.get("role") != self.role:
            raise LoginRefusedError(f"entry for role {login.get('role')} not found")
        if login.get("iam_http_request_method") != "POST":
            raise LoginRefusedError("invalid iam_http_request_method; currently only 'POST' is supported")
        url, body = _decoded(login, "iam_request_url").decode(errors="replace"), _decoded(login, "iam_request_body")
        if url != self.sts:
            raise LoginRefusedError(f"iam_request_url is not {self.sts}")
        if body != BODY:
            raise LoginRefusedError("iam_request_body is no GetCallerIdentity")
        host = urlsplit(self.sts).netloc
        # Clients may leave it to the library that sends; Vault takes it from the URL then.
        headers = {"host": host} | _headers(login)
        self._check_server_id(headers)
        try:
            credentials = judge(
                Signed("POST", url, headers, body),
                self.known,
                host=host,
                region=self.region,
                service="sts",
                now=self.clock(),
            )
        except SignatureRefusedError as refused:
            code, reason = refused.args
            told = f"<ErrorResponse><Error><Code>{code}</Code><Message>{reason}</Message></Error></ErrorResponse>"
            raise LoginRefusedError(
                f"error making upstream request: received error code 403 from STS: {told}"
            ) from refused
        if self.principals and credentials.arn not in self.principals:
            raise LoginRefusedError(f'IAM Principal "{credentials.arn}" does not belong to the role "{self.role}"')
        return credentials.arn

    def _check_server_id(self, headers: dict[str, str]) -> None:
        """Check that the request was signed for this Vault and can be replayed at no other."""
        if not self.server_id:
            return
        said = headers.get(SERVER_ID.lower(), "")
        signed = headers.get("authorization", "").partition("SignedHeaders=")[2].partition(",")[0].split(";")
        if not said:
            reason = f'missing header "{SERVER_ID}"'
        elif said != self.server_id:
            reason = f'expected "{self.server_id}" but got "{said}"'
        elif SERVER_ID.lower() not in signed:
            reason = "vault header wasn't signed"
        else:
            return
        raise LoginRefusedError(f"error validating {SERVER_ID} header: {reason}")

    def _lives(self, token: str) -> bool:
        return token in self.tokens and self.clock() < self.tokens[token][0]

    def _renew(self, token: str) -> tuple[int, dict[str, Any]]:
        if not self.renewable:
            return 400, {"errors": ["lease is not renewable"]}
        last = self.tokens[token][1]
        self.tokens[token] = (min(self.clock() + self.ttl, last), last)
        return 200, {"auth": self._auth(token)}

    def _auth(self, token: str) -> dict[str, Any]:
        return {
            "client_token": token,
            "lease_duration": self._left(token),
            "renewable": self.renewable,
            "policies": [self.role],
            "token_policies": [self.role],
            "token_type": "service",
        }

    def _looked_up(self, token: str) -> dict[str, Any]:
        return {
            "id": token,
            "ttl": self._left(token),
            "creation_ttl": int(self.ttl.total_seconds()),
            "explicit_max_ttl": 0,
            "expire_time": self.tokens[token][0].isoformat(),
            "path": f"auth/{self.mount}/login",
            "policies": [self.role],
            "renewable": self.renewable,
            "type": "service",
        }

    def _left(self, token: str) -> int:
        return round((self.tokens[token][0] - self.clock()).total_seconds())


@asynccontextmanager
async def vault_aws(**changes: Any) -> AsyncIterator[VaultAws]:
    """Serve on a free loopback port, with a root and an intermediate of its own unless `signing` is told."""
    if "signing" not in changes:
        now = datetime.now(UTC)
        start, end = now - timedelta(days=1), now + timedelta(days=365)
        root = Ca.root(not_before=start, not_after=end)
        intermediate = root.intermediate(not_before=start, not_after=end)
        changes["signing"] = Signing(intermediate, (root.certificate,))
    state = VaultAws(**changes)
    async with hostile(state) as state.server:
        yield state


def _parsed(request: Heard) -> dict[str, Any]:
    try:
        values = request.json
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise LoginRefusedError("failed to parse JSON input")
    return values


def _decoded(login: dict[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(str(login.get(name, "")), validate=True)
    except ValueError:
        raise LoginRefusedError(f"failed to base64 decode {name}") from None


def _headers(login: dict[str, Any]) -> dict[str, str]:
    """Return the headers that were presented: JSON, or JSON in Base64; each value a string or a list of them."""
    given = login.get("iam_request_headers")
    if not isinstance(given, dict):
        try:
            given = json.loads(_decoded(login, "iam_request_headers"))
        except ValueError:
            given = None
    if not isinstance(given, dict):
        raise LoginRefusedError("iam_request_headers is no JSON object")
    headers: dict[str, str] = {}
    for name, value in given.items():
        if name.lower() in headers:
            raise LoginRefusedError(f"iam_request_headers has {name} twice")
        headers[name.lower()] = value if isinstance(value, str) else ",".join(value)
    return headers
