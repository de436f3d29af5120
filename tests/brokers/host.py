"""A broker host: an identity of the agent's, and a real broker that reads its stores at their stable paths."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import yaml

from agent.settings import load
from agent.wiring.adapters import Adapters
from tests.servers.kafka import CONTROLLER, Listener, made_nodes, stores
from tests.servers.kafka_jars import NEWEST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from confluent_kafka.admin import AdminClient

    from agent.core.status import IdentityStatus
    from agent.daemon.keeper import Keeper
    from agent.ports import CertificateIssuer

PATIENCE = 60.0
"""Seconds in which anything that a test waits for happens on a machine that is busy."""

FILES: dict[str, list[dict[str, Any]]] = {
    "PKCS12": [
        {"format": "pkcs12", "keystore": "keystore", "truststore": "truststore", "password_file": "password"},
        {"format": "pem", "combined": "tls.pem", "truststore": "ca.pem"},
    ],
    "JKS": [
        {"format": "jks", "keystore": "keystore", "truststore": "truststore", "password_file": "password"},
        {"format": "pem", "combined": "tls.pem", "truststore": "ca.pem"},
    ],
    "PEM": [{"format": "pem", "combined": "keystore", "truststore": "truststore"}],
}
"""The files of an identity, by the kind that the broker reads."""

LISTENERS = ("INTERNAL", "MTLS")


@dataclass
class BrokerHost:
    """One host; `settings` are those of the agent, and may be changed before `keeper` is made."""

    folder: Path
    kind: str = "PKCS12"
    version: str = NEWEST
    properties: Mapping[str, str] = field(default_factory=dict)
    skew: timedelta = timedelta(0)
    tls_controller: bool = False
    quick: bool = True
    issuers: dict[str, CertificateIssuer] = field(default_factory=dict)
    """Those that stand in the place of the settings' own."""

    def __post_init__(self) -> None:
        """Make the settings, and a node that has not been started."""
        self.password = secrets.token_hex(12)
        (self.folder / "password").write_text(self.password)
        self.directory = self.folder / "ssl"
        lines = self.lines
        (self.node,) = made_nodes(
            self.folder / "kafka",
            lambda _number: [Listener(name, lines) for name in LISTENERS],
            version=self.version,
            properties=self.properties,
            quick=self.quick,
            controller=lambda _number: (
                Listener("CONTROLLER", lines, protocol="SSL") if self.tls_controller else CONTROLLER
            ),
        )
        self.settings: dict[str, Any] = {
            "http": {"listen": "127.0.0.1:9847", "admin_socket": None},
            "issuers": {"local": {"type": "local_ca", "directory": "ca"}},
            "clusters": {"test": {"bootstrap": [self.node.address("MTLS")], "timeout": "5s"}},
            "identities": {"broker": self.identity()},
        }

    def as_controller_alone(self) -> str:
        """Make the node one that is no broker; return where its listener is."""
        port = self.node.ports["CONTROLLER"]
        self.node.ports = {"CONTROLLER": port}
        self.node.properties |= {"process.roles": "controller", "listeners": f"CONTROLLER://127.0.0.1:{port}"}
        for key in ("advertised.listeners", "inter.broker.listener.name"):
            del self.node.properties[key]
        return f"127.0.0.1:{port}"

    @property
    def lines(self) -> dict[str, str]:
        """The `ssl.*` lines of server.properties, without a prefix."""
        password = None if self.kind == "PEM" else self.password
        return stores(self.kind, self.directory / "keystore", self.directory / "truststore", password)

    def as_lines(self, kind: str) -> dict[str, str]:
        """Return the lines of all listeners for the same paths in another kind, and take those of passwords out."""
        lines = stores(kind, self.directory / "keystore", self.directory / "truststore")
        for key in [key for key in self.node.properties if key.endswith("store.password")]:
            del self.node.properties[key]
        return {f"listener.name.{name.lower()}.{key}": value for name in LISTENERS for key, value in lines.items()}

    def identity(self, **changes: Any) -> dict[str, Any]:
        """Return the settings of the broker's identity."""
        return {
            "directory": "ssl",
            "issuer": "local",
            "subject": "CN=kafka1,OU=Brokers,O=MyOrg",
            "sans": {"dns": ["localhost", "kafka1.example.com"], "ip": ["127.0.0.1"]},
            "lifetime": "30d",
            "files": FILES[self.kind],
            "reload": [self.reload()],
            "rotation": {"peers": [], "soak": "0s", "retire": "automatic"},
        } | changes

    def reload(self, **changes: Any) -> dict[str, Any]:
        """Return the settings of the reload."""
        reads = {"keystore": "keystore", "truststore": "truststore"}
        return {
            "type": "kafka_broker",
            "cluster": "test",
            "listeners": {name: dict(reads) for name in LISTENERS},
            "within": "15s",
        } | changes

    def clock(self) -> datetime:
        """Return the time, ahead by `skew`."""
        return datetime.now(UTC) + self.skew

    def keeper(self, identity: str = "broker") -> Keeper:
        """Make a keeper as a new process would, of the settings as they are now."""
        file = self.folder / "cert-agent.yaml"
        file.write_text(yaml.safe_dump(self.settings))
        configuration = load(file, {}, "kafka1")
        adapters = Adapters(configuration, self.clock)
        adapters._issuers.update(self.issuers)
        return adapters.keeper(configuration.identities[identity])

    async def up(self) -> Keeper:
        """Issue the first store, start the broker on it, and have it proven."""
        keeper = self.keeper()
        first = asyncio.create_task(keeper.turn())
        async with asyncio.timeout(PATIENCE):
            while not (self.directory / ".current").is_symlink():  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.02)
        await asyncio.to_thread(self.node.start)
        await first
        await self.settled(keeper)
        return keeper

    def client(self) -> AdminClient:
        """Return a client of the test's own, with the broker's certificate."""
        from confluent_kafka.admin import AdminClient

        settings: dict[str, str | int | float | bool] = {**self.client_settings()}
        return AdminClient(settings)

    def client_settings(self) -> dict[str, str]:
        """Return librdkafka's settings for a login with the broker's own certificate."""
        identity, anchors = ("keystore", "truststore") if self.kind == "PEM" else ("tls.pem", "ca.pem")
        pem = str(self.directory / identity)
        return {
            "bootstrap.servers": self.node.address("MTLS"),
            "security.protocol": "ssl",
            "ssl.ca.location": str(self.directory / anchors),
            "ssl.certificate.location": pem,
            "ssl.key.location": pem,
        }

    def restart_script(self) -> list[str]:
        """Return a command that asks the test to restart the broker, and waits until that is done."""
        asked, done = self.folder / "restart-asked", self.folder / "restart-done"
        return ["/bin/sh", "-c", f"touch {asked}; while [ ! -e {done} ]; do sleep 0.05; done; rm {done}"]

    @asynccontextmanager
    async def restarts_when_asked(self) -> AsyncIterator[None]:
        """Restart the broker whenever the command asks for it."""

        async def watch() -> None:
            asked, done = self.folder / "restart-asked", self.folder / "restart-done"
            while True:
                if asked.exists():
                    asked.unlink()
                    await asyncio.to_thread(self.node.restart)
                    done.touch()
                await asyncio.sleep(0.05)

        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    def status(self, keeper: Keeper) -> IdentityStatus:
        """Return how the identity is."""
        return keeper.status(self.clock())

    async def settled(self, keeper: Keeper, patience: float = PATIENCE) -> IdentityStatus:
        """Turn until the current generation is proven; fail with its status when that does not come."""
        ends = time.monotonic() + patience
        while True:
            await keeper.turn()
            status = self.status(keeper)
            if status.settled and not status.not_ready:
                return status
            assert time.monotonic() < ends, json.dumps([status.not_ready, status.concerns, status.sentence], indent=1)
            await asyncio.sleep(0.1)

    @property
    def current(self) -> int:
        """The number of the current generation."""
        return int((self.directory / ".current").readlink().name)

    def generations(self) -> list[int]:
        """Return the numbers of all generations on disk."""
        return sorted(int(path.name) for path in (self.directory / ".generations").iterdir() if path.name.isdecimal())


@contextmanager
def broker_host(folder: Path, **options: Any) -> Iterator[BrokerHost]:
    """Make a host, and kill its broker at the end."""
    host = BrokerHost(folder, **options)
    try:
        yield host
    finally:
        host.node.kill()
