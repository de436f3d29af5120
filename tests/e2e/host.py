"""A host for the end-to-end tests: a configuration below a folder, and the agent as its own process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM, Signals
from typing import TYPE_CHECKING, Any

import yaml

from agent.keystores import pem, pkcs12, private_key
from agent.web.admin_client import NobodyListensError, ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from agent.core.certificate import Certificate

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
"""Seconds in which anything that a test waits for happens on a machine that is busy."""


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Host:
    """One host: its folder, its configuration and the agents that are started on it."""

    folder: Path
    port: int = field(default_factory=free_port)
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Configure one identity of an embedded CA with every kind of file."""
        (self.folder / "password").write_text(secrets.token_hex(12))
        self.settings = {
            "http": {"listen": f"127.0.0.1:{self.port}", "admin_socket": "admin.sock"},
            "issuers": {"local": {"type": "local_ca", "directory": "ca"}},
            "identities": {"broker": self.identity("ssl")},
        }

    def identity(self, directory: str, **changes: Any) -> dict[str, Any]:
        """Return the settings of an identity."""
        return {
            "directory": directory,
            "issuer": "local",
            "subject": "CN=kafka1.example.com,OU=Brokers,O=MyOrg",
            "sans": {"dns": ["kafka1.example.com", "localhost"], "ip": ["127.0.0.1"]},
            "lifetime": "1h",
            "files": [
                {"format": "pem", "certificate": "tls.crt", "key": "tls.key", "combined": "tls.pem"},
                {
                    "format": "pkcs12",
                    "keystore": "keystore.p12",
                    "truststore": "truststore.p12",
                    "password_file": "password",
                },
            ],
        } | changes

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "cert-agent.yaml"

    @property
    def directory(self) -> Path:
        """The identity's directory."""
        return self.folder / "ssl"

    def write(self) -> None:
        """Write the configuration, by one rename."""
        new = self.folder / "cert-agent.yaml.new"
        new.write_text(yaml.safe_dump(self.settings))
        new.replace(self.config)

    def leaf(self, directory: str = "ssl") -> Certificate:
        """Return the leaf that readers find."""
        return pem.decode((self.folder / directory / "tls.pem").read_bytes())[0]

    async def verb(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run a verb to its end; return exit code, output and errors."""
        self.write()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agent",
            *arguments,
            *([] if "schema" in arguments else ["--config", str(self.config)]),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | environment,
        )
        async with asyncio.timeout(PATIENCE * 2):
            out, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), errors.decode()

    async def start(self, **environment: str) -> Running:
        """Start the agent and wait until its socket answers."""
        self.write()
        log = (self.folder / "agent.log").open("ab")
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "agent",
                "run",
                "--config",
                str(self.config),
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=os.environ | environment,
            )
        finally:
            log.close()
        running = Running(self, process)
        await running.until(lambda status: status is not None, "the agent did not come up")
        return running

    @asynccontextmanager
    async def running(self, **environment: str) -> AsyncIterator[Running]:
        """Have the agent run; it is ended by its pid."""
        running = await self.start(**environment)
        try:
            yield running
        finally:
            await running.stop()

    def log(self) -> list[dict[str, Any]]:
        """Return what all agents of this host logged."""
        lines = (self.folder / "agent.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@dataclass
class Running:
    """An agent that runs."""

    host: Host
    process: asyncio.subprocess.Process

    async def status(self) -> dict[str, Any] | None:
        """Return the status document; None when nobody answers."""
        try:
            answer = await ask(self.host.folder / "admin.sock", "status")
        except NobodyListensError:
            return None
        status: dict[str, Any] = answer["status"]
        return status

    async def until(self, holds: Callable[[dict[str, Any] | None], object], otherwise: str) -> None:
        """Wait until the status is as told."""
        status = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while True:
                    status = await self.status()
                    if holds(status):
                        return
                    assert self.process.returncode is None, (self.host.folder / "agent.log").read_text()
                    await asyncio.sleep(0.05)
        raise AssertionError(f"{otherwise}: {status}\n{(self.host.folder / 'agent.log').read_text()}")

    async def until_ready(self) -> None:
        """Wait until every identity is ready and settled."""
        await self.until(
            lambda status: status and all(not one["not_ready"] and one["settled"] for one in status["identities"]),
            "not ready",
        )

    async def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Give a command through the admin socket."""
        return await ask(self.host.folder / "admin.sock", command, **arguments)

    def send(self, number: Signals) -> None:
        """Send a signal to the agent."""
        self.process.send_signal(number)

    async def stop(self, number: Signals = SIGTERM) -> int:
        """End the agent, and return its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise AssertionError(f"it did not stop\n{(self.host.folder / 'agent.log').read_text()}") from None


def assert_whole(host: Host, directory: str = "ssl") -> None:
    """Every file of the identity is there, belongs together and opens; nothing is left half written."""
    folder = host.folder / directory
    leaf = host.leaf(directory)
    for name in ("tls.key", "tls.pem"):
        assert private_key.public_der(private_key.from_pem((folder / name).read_bytes())) == leaf.public_key
    key, chain = pkcs12.read_keystore((folder / "keystore.p12").read_bytes(), (host.folder / "password").read_text())
    assert chain[0] == leaf
    assert private_key.public_der(key) == leaf.public_key
    assert not [path for path in folder.rglob("*") if path.name.startswith(".new-")]


@asynccontextmanager
async def listener(host: Host) -> AsyncIterator[str]:
    """Serve the identity with the example's listener, told of new files by the agent."""
    address, pid_file = f"localhost:{free_port()}", host.folder / "listener.pid"
    script = ROOT / "examples" / "tls_listener.py"
    host.settings["identities"]["broker"] |= {
        "reload": [{"type": "command", "argv": [sys.executable, str(script), "reload", "--pid-file", str(pid_file)]}],
        "prove": [{"address": address, "within": "5s"}],
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), "serve", "--directory", str(host.directory), "--address", address,
        "--pid-file", str(pid_file), stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(PATIENCE):
            await process.wait()
