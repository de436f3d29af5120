"""A real OpenBao from its wheel: a root, an intermediate, a role and a token that may do one thing."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import aiohttp

from agent.core.issuer_spec import TokenLogin, VaultSpec
from agent.core.secret import Secret
from tests.tools import need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

UP_WITHIN = 30.0
"""Seconds; it takes half of one on a machine that has nothing else to do."""

ROLE: dict[str, Any] = {
    "allowed_domains": ["example.com", "localhost"],
    "allow_subdomains": True,
    "allow_bare_domains": True,
    "allow_ip_sans": True,
    "allowed_uri_sans": ["spiffe://example.com/*"],
    "key_type": "any",
    "organization": ["MyOrg"],
    "ou": ["Brokers"],
    "server_flag": True,
    "client_flag": True,
    "require_cn": False,
    "no_store": True,
    "max_ttl": "2160h",
}
"""Made for the request that `tests.material.make_request` makes by default."""

POLICY = 'path "pki/sign/kafka" { capabilities = ["update"] }'


@dataclass
class OpenBao:
    """A running server; `spec()` is what the settings would say of it."""

    address: str
    directory: Path
    session: aiohttp.ClientSession = field(repr=False)
    process: asyncio.subprocess.Process = field(repr=False)
    root_token: str = field(repr=False)
    unseal_key: str = field(default="", repr=False)
    ca_file: Path | None = None

    @property
    def token_file(self) -> Path:
        """Where the token of least policy stands."""
        return self.directory / "token"

    def spec(self, **changes: Any) -> VaultSpec:
        """Return the issuer's settings, each changed as told."""
        values: dict[str, Any] = {
            "name": "vault",
            "addresses": (self.address,),
            "mount": "pki",
            "role": "kafka",
            "login": TokenLogin(Secret(file=self.token_file)),
            "ca_file": self.ca_file,
            "within": timedelta(seconds=20),
        }
        return VaultSpec(**(values | changes))

    async def call(self, method: str, path: str, /, **body: Any) -> dict[str, Any]:
        """Call the API as root; an answer that is no success fails the test."""
        return await self._call(method, path, body, {})

    async def wrap(self, method: str, path: str, within: str, /, **body: Any) -> str:
        """Call the API as root and return the token that the answer is wrapped in for that long (`60s`)."""
        token: str = (await self._call(method, path, body, {"X-Vault-Wrap-TTL": within}))["wrap_info"]["token"]
        return token

    async def _call(self, method: str, path: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        async with self.session.request(
            method,
            f"{self.address}/v1/{path}",
            json=body or None,
            headers={"X-Vault-Token": self.root_token} | headers,
        ) as response:
            text = await response.text()
            assert response.status < 300, f"{method} {path}: {response.status} {text}"
            answer: dict[str, Any] = await response.json() if text else {}
            return answer

    async def write(self, path: str, /, **body: Any) -> dict[str, Any]:
        """Write to a path as root and return `data`."""
        data: dict[str, Any] = (await self.call("POST", path, **body)).get("data") or {}
        return data

    async def set_role(self, **changes: Any) -> None:
        """Write the role `kafka` as `ROLE` has it, changed as told."""
        await self.write("pki/roles/kafka", **(ROLE | changes))

    async def make_token(self, policy: str = POLICY, *, ttl: str = "1h") -> str:
        """Return a token that may do what `policy` says and nothing else."""
        name = f"p{os.urandom(4).hex()}"
        await self.write(f"sys/policies/acl/{name}", policy=policy)
        answer = await self.call("POST", "auth/token/create", policies=[name], no_default_policy=True, ttl=ttl)
        token: str = answer["auth"]["client_token"]
        return token

    async def seal(self) -> None:
        """Seal it: every call but a few answers 503 from now on."""
        await self.call("POST", "sys/seal")

    async def unseal(self) -> None:
        """Unseal it and wait until it serves."""
        await self.call("POST", "sys/unseal", key=self.unseal_key)
        await self.wait_until_up()

    async def health(self) -> int | None:
        """Return the status of `sys/health` (200 active, 429 standby, 503 sealed), None when nobody answers."""
        with suppress(aiohttp.ClientError):
            async with self.session.get(f"{self.address}/v1/sys/health", allow_redirects=False) as response:
                return response.status
        return None

    async def wait_until_up(self, *statuses: int) -> None:
        """Wait until it is unsealed and active, or as told; a server that has ended fails the test with its log."""
        async with asyncio.timeout(UP_WITHIN):
            while await self.health() not in (statuses or (200,)):
                assert self.process.returncode is None, (self.directory / "bao.log").read_text()
                await asyncio.sleep(0.05)

    async def make_pki(self) -> None:
        """Mount a root and, as `pki`, an intermediate below it; write the role and the token."""
        for mount in ("pki-root", "pki"):
            await self.write(f"sys/mounts/{mount}", type="pki", config={"max_lease_ttl": "87600h"})
        root = await self.write(
            "pki-root/root/generate/internal", common_name="Test Root", key_type="ec", key_bits=256, ttl="87000h"
        )
        asked = await self.write(
            "pki/intermediate/generate/internal", common_name="Test Intermediate", key_type="ec", key_bits=256
        )
        signed = await self.write(
            "pki-root/root/sign-intermediate", csr=asked["csr"], common_name="Test Intermediate", ttl="43800h"
        )
        await self.write("pki/intermediate/set-signed", certificate=f"{signed['certificate']}\n{root['certificate']}")
        await self.set_role()
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(await self.make_token() + "\n")


@asynccontextmanager
async def openbao(directory: Path, *, tls: bool = False) -> AsyncIterator[OpenBao]:
    """Start a server below `directory` on a free loopback port, with `make_pki` done; end it by its pid.

    With `tls` it serves HTTPS for `localhost`, and `ca_file` holds its CA.
    """
    program = need("bao")
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    port = free_port()
    root_token = os.urandom(16).hex()
    arguments = ["-dev", f"-dev-listen-address=127.0.0.1:{port}", "-dev-no-store-token"]
    if tls:
        arguments += ["-dev-tls", f"-dev-tls-cert-dir={directory}"]
    with (directory / "bao.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            "server",
            *arguments,
            cwd=directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Nothing of the person's own: HOME is where a token would be kept.
            env={"HOME": str(directory), "PATH": os.environ["PATH"], "BAO_DEV_ROOT_TOKEN_ID": root_token},
        )
    try:
        async with _session(directory / "vault-ca.pem" if tls else None, process) as session:
            bao = OpenBao(
                f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}",
                directory,
                session,
                process,
                root_token,
                ca_file=directory / "vault-ca.pem" if tls else None,
            )
            await bao.wait_until_up()
            bao.unseal_key = await _unseal_key(directory / "bao.log")
            await bao.make_pki()
            yield bao
    finally:
        await end(process)


async def end(process: asyncio.subprocess.Process) -> None:
    """End a process politely, after five seconds by force."""
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def _session(ca_file: Path | None, process: asyncio.subprocess.Process) -> AsyncIterator[aiohttp.ClientSession]:
    context: ssl.SSLContext | bool = True
    if ca_file is not None:
        async with asyncio.timeout(UP_WITHIN):
            while "END CERTIFICATE" not in _text(ca_file):
                assert process.returncode is None, "OpenBao ended before it made its CA"
                await asyncio.sleep(0.05)
        context = ssl.create_default_context(cafile=str(ca_file))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield session


async def _unseal_key(log: Path) -> str:
    """Return the key that the server told its terminal; it does so a moment after it serves."""
    async with asyncio.timeout(UP_WITHIN):
        while True:
            found = re.search(r"Unseal Key: (\S+)", _text(log))
            if found:
                return found.group(1)
            await asyncio.sleep(0.05)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def free_port() -> int:
    """Return a port that nobody listens on; another program may take it until the server does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
