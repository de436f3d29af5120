"""Clients of Vault for tests: made as the composition root makes them, closed at the end."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from agent.core.issuer_spec import UserpassLogin, VaultSpec
from agent.core.secret import Secret
from agent.issuers.vault import Vault
from agent.issuers.vault.opened import Opened
from tests.issuers.pendings import make_pending
from tests.material import Ca
from tests.servers.hostile import Signing, answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from agent.core.generation import Issued, Order, Pending
    from agent.core.issuer_spec import VaultLogin
    from tests.servers.hostile import Heard

WITHIN = timedelta(seconds=10)


@dataclass
class Steady:
    """A steady clock that a test sets forward."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


@dataclass
class Counting:
    """A server that logs users in and signs; tests take tokens and rights away, and count what it hears."""

    signing: Signing = field(default_factory=lambda: Signing(Ca.root()), repr=False)
    password: str = field(default_factory=lambda: os.urandom(8).hex(), repr=False)
    tokens: set[str] = field(default_factory=set, repr=False)
    """The tokens that are good."""
    may_sign: bool = True
    auth: dict[str, Any] = field(default_factory=dict)
    """What the `auth` of logins and renewals says, beside the token."""
    renews: bool = True
    looks_up: dict[str, Any] | None = None
    """What `lookup-self` tells; None: it is denied."""
    login_answer: tuple[int, dict[str, Any]] | None = None
    """Another answer to logins."""
    pause: float = 0.0
    """Seconds before each answer."""
    asked: list[str] = field(default_factory=list)
    """The paths that were asked for."""
    revoked: list[str] = field(default_factory=list, repr=False)

    def forget_tokens(self) -> None:
        """Revoke every token."""
        self.tokens.clear()

    async def __call__(self, request: Heard, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        path, token = request.path.removeprefix("/v1/"), request.headers.get("x-vault-token", "")
        self.asked.append(path)
        await asyncio.sleep(self.pause)
        denied = (403, {"errors": ["permission denied"]})
        match path:
            case "auth/userpass/login/kafka":
                status, body = self.login_answer or self._login(request)
            case "pki/sign/kafka" if token in self.tokens and self.may_sign:
                await self.signing(request, writer)
                return
            case "auth/token/renew-self" if token in self.tokens and self.renews:
                status, body = 200, {"auth": self._auth(token)}
            case "auth/token/lookup-self" if token in self.tokens and self.looks_up is not None:
                status, body = 200, {"data": self.looks_up}
            case "auth/token/revoke-self" if token in self.tokens:
                self.tokens.discard(token)
                self.revoked.append(token)
                status, body = 204, {}
            case _:
                status, body = denied
        await answers(status, body or b"")(request, writer)

    def _login(self, request: Heard) -> tuple[int, dict[str, Any]]:
        if request.json != {"password": self.password}:
            return 400, {"errors": ["invalid username or password"]}
        token = f"hvs.{os.urandom(12).hex()}"
        self.tokens.add(token)
        return 200, {"auth": self._auth(token)}

    def _auth(self, token: str) -> dict[str, Any]:
        usual = {
            "lease_duration": 3600,
            "renewable": True,
            "token_type": "service",
            "policies": ["kafka"],
            "metadata": {"username": "kafka"},
        }
        return {"client_token": token} | usual | self.auth


def user(counting: Counting, directory: Path) -> UserpassLogin:
    """Return the login of the one user, its password in a file."""
    file = directory / "password"
    file.write_text(counting.password + "\n")
    return UserpassLogin("kafka", Secret(file=file))


def spec(login: VaultLogin, *addresses: str, **changes: Any) -> VaultSpec:
    """Return the settings of a client."""
    values: dict[str, Any] = {"name": "vault", "addresses": addresses, "mount": "pki", "role": "kafka", "login": login}
    return VaultSpec(**(values | {"within": WITHIN} | changes))


@asynccontextmanager
async def client(of: VaultSpec, **more: Any) -> AsyncIterator[Vault]:
    """Return a client, closed at the end."""
    vault = Vault(of, lambda: datetime.now(UTC), **more)
    try:
        yield vault
    finally:
        await vault.close()


async def issue(vault: Vault, pending: Pending | None = None, within: timedelta = WITHIN) -> Issued:
    """Have a CSR signed; nothing is noted, for Vault needs no order."""
    return await vault.issue(pending or make_pending(), note=no_note, within=within)


def forget_wrappings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what this process has taken out of wrappings, as a restart does."""
    memory = Opened()
    for module in ("opened", "login", "wrapping"):
        monkeypatch.setattr(f"agent.issuers.vault.{module}.OPENED", memory)


async def no_note(order: Order) -> None:
    """Fail the test: Vault has no orders."""
    raise AssertionError(order)
