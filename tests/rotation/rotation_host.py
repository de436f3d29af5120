"""A broker, and a client that reads its files as it starts: both hosts of a CA rotation, under load all the while."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import struct
import time
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

from agent.keystores import pem
from agent.settings import load
from agent.wiring.adapters import Adapters
from tests.brokers.host import LISTENERS, PATIENCE
from tests.servers.load import Load, librdkafka_load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.core.status import IdentityStatus, RotationStatus
    from agent.daemon.keeper import Keeper
    from tests.brokers.host import BrokerHost
    from tests.servers.load import Report

ANSWERED_WITHIN = 10.0
"""Seconds that a broker on a busy machine is given to answer one request."""

PACE = 0.2
"""Seconds between two looks at what the listeners serve."""

API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""A request of Kafka's that anybody may make; it is answered only once both sides have taken each other's leaf."""

ALICE = "alice"
"""The person who operates both hosts."""

ORDERS_FILES = ("tls.pem", "ca.pem")


@dataclass
class Orders:
    """The client: what it has loaded is what stood there when it was started, and each start is a process of its own.

    It sends and reads all the while, and is made anew every two seconds, so that handshakes are made with
    what it has loaded.
    """

    host: BrokerHost
    reports: list[Report] = field(default_factory=list)
    loaded: Path = field(init=False)
    """Copies of the files that the process of now has read as it started."""
    _read: int = 0
    _starts: int = 0
    _load: Load | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self.host.folder / "orders"

    @property
    def pid_file(self) -> Path:
        """Where its process number stands."""
        return self.host.folder / "orders.pid"

    @property
    def leaf(self) -> Certificate:
        """The leaf that it has loaded."""
        return pem.decode((self.loaded / "tls.pem").read_bytes())[0]

    @property
    def anchors(self) -> set[Certificate]:
        """The anchors that it has loaded."""
        return set(pem.decode((self.loaded / "ca.pem").read_bytes()))

    @property
    def current(self) -> int:
        """The number of the generation that its next start reads."""
        return int((self.directory / ".current").readlink().name)

    @property
    def is_behind(self) -> bool:
        """Whether its files are of another generation than those that it has loaded."""
        return self.current != self._read

    async def start(self) -> None:
        """Start it on the files of now, and wait until records flow."""
        await asyncio.to_thread(self._start)

    async def stop(self) -> None:
        """End it as one is that is restarted; a send or a read that has failed meanwhile fails the test."""
        if self._load is not None:
            report = await asyncio.to_thread(self._load.stop)
            self._load = None
            self._stack.close()
            self.reports.append(report)
            assert report.whole, report

    async def restart(self) -> None:
        """Stop it and start it anew."""
        await self.stop()
        await self.start()

    def kill(self) -> None:
        """End it by force, for the end of a test."""
        self._stack.close()

    def _start(self) -> None:
        self._starts += 1
        folder = self.host.folder / f"orders-{self._starts}"
        folder.mkdir()
        self._read = self.current
        for name in ORDERS_FILES:
            shutil.copyfile(self.directory / name, folder / name)
        own = str(folder / "tls.pem")
        properties = {
            "bootstrap.servers": self.host.node.address("MTLS"),
            "security.protocol": "ssl",
            "ssl.ca.location": str(folder / "ca.pem"),
            "ssl.certificate.location": own,
            "ssl.key.location": own,
        }
        topic = f"orders-{self._starts}"
        self._load = self._stack.enter_context(librdkafka_load(folder / "load", properties, topic, rate=50, remake=2))
        if not self.is_behind:
            # Whoever starts reads its files after that: what was switched to between copy and start it would have read.
            self.pid_file.write_text(f"{self._load.pid}\n")
        self.loaded = folder
        self._load.wait_until_flowing()


@dataclass
class Stage:
    """Both hosts, and the person who operates them."""

    host: BrokerHost
    orders: Orders
    looks: int = 0
    _adapters: list[Adapters] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Configure both identities; the agent of each knows the other by the name that is in its settings."""
        host = self.host
        host.settings["clusters"]["test"]["timeout"] = "30s"
        host.settings["identities"]["broker"] |= {
            "reload": [host.reload(within="30s")],
            "rotation": {"peers": ["orders"], "soak": "2s", "retire": "automatic"},
        }
        host.settings["identities"]["orders"] = {
            "directory": "orders",
            "issuer": "local",
            "subject": "CN=orders,OU=Brokers,O=MyOrg",
            "sans": {"dns": ["orders.example.com"]},
            "usages": ["client"],
            "lifetime": "30d",
            "files": [{"format": "pem", "combined": "tls.pem", "truststore": "ca.pem"}],
            "rotation": {
                "peers": [],
                "cluster": "test",
                "soak": "2s",
                "retire": "automatic",
                "process": {"pid_file": str(self.orders.pid_file)},
            },
        }

    def want(self, **changes: object) -> None:
        """Change the settings of both identities."""
        for identity in self.host.settings["identities"].values():
            identity.update(changes)

    def rotation(self, identity: str, **changes: object) -> None:
        """Change what one identity's settings say of rotations."""
        self.host.settings["identities"][identity]["rotation"] |= changes

    async def up(self) -> None:
        """Have both in use, with records flowing."""
        keeper = self.keeper("broker")
        first = asyncio.create_task(keeper.turn())
        async with asyncio.timeout(PATIENCE):
            while not (self.host.directory / ".current").is_symlink():  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.02)
        await asyncio.to_thread(self.host.node.start)
        await first
        await self.host.settled(keeper)
        await self.turn("orders")
        await self.orders.start()
        await self.turn("orders")

    def keeper(self, identity: str) -> Keeper:
        """Make a keeper as an agent that has just been started would, of the settings as they are now."""
        file = self.host.folder / "cert-agent.yaml"
        file.write_text(yaml.safe_dump(self.host.settings))
        configuration = load(file, {}, "kafka1")
        self._adapters.append(Adapters(configuration, self.host.clock))
        return self._adapters[-1].keeper(configuration.identities[identity])

    async def turn(self, identity: str) -> IdentityStatus:
        """Have an agent that has just been started do what is due; return how the identity is then."""
        keeper = self.keeper(identity)
        await keeper.turn()
        return self.host.status(keeper)

    async def approve(self, identity: str, anchor: Certificate) -> IdentityStatus:
        """Approve an anchor at an agent that has just been started; return how the identity is then."""
        keeper = self.keeper(identity)
        await keeper.approve(anchor.fingerprint, by=ALICE)
        return self.host.status(keeper)

    async def confirm(self, identity: str, peer: str) -> IdentityStatus:
        """Vouch for a peer at an agent that has just been started; return how the identity is then."""
        keeper = self.keeper(identity)
        await keeper.turn()
        await keeper.confirm(peer, by=ALICE)
        return self.host.status(keeper)

    async def close(self) -> None:
        """Give back what the agents had open, and end the client by force."""
        self.orders.kill()
        for adapters in self._adapters:
            await adapters.close()

    async def until(
        self, identity: str, holds: Callable[[RotationStatus], object], otherwise: str
    ) -> tuple[Keeper, IdentityStatus]:
        """Turn until the rotation is as told; return the keeper and how the identity is then."""
        keeper = self.keeper(identity)
        ends = time.monotonic() + PATIENCE
        while True:
            await keeper.turn()
            status = self.host.status(keeper)
            assert status.rotation is not None
            if holds(status.rotation):
                return keeper, status
            assert time.monotonic() < ends, f"{otherwise}: {status.rotation}, {status.concerns}, {status.not_ready}"
            await asyncio.sleep(0.2)

    def refused(self, files: Path) -> dict[str, str]:
        """Have the leaf in a folder meet each listener; return why it was not taken, or why theirs was not."""
        return {name: why for name in LISTENERS if (why := trouble_with(self.host.node.ports[name], files))}

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[asyncio.Task[None]]:
        """Have the client's loaded files meet each listener all the while; a look that fails fails the test.

        The task is there to be waited for: it ends with such a look alone.
        """

        async def watch() -> None:
            while True:
                trouble = await asyncio.to_thread(self.refused, self.orders.loaded)
                assert not trouble, trouble
                self.looks += 1
                await asyncio.sleep(PACE)

        task = asyncio.create_task(watch())
        try:
            yield task
        finally:
            if not task.done():
                task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def trouble_with(port: int, files: Path) -> str:
    """Return why a listener and a client with the files of a folder do not take each other's leaf; empty: they do."""
    context = ssl.create_default_context(cafile=str(files / "ca.pem"))
    context.load_cert_chain(str(files / "tls.pem"))
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=ANSWERED_WITHIN) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            tls.sendall(API_VERSIONS)
            return "" if tls.recv(1) else "it hangs up"
    except OSError as error:
        return str(error) or type(error).__name__
