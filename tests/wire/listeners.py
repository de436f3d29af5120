"""Listeners for a visit: TLS on real sockets in threads, each connection led as a test says, and what a broker has."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.core.credentials import Credentials
from agent.core.identity import KeyAlgorithm
from agent.keystores import pem, private_key
from tests.material import Ca, make_key, make_request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.core.certificate import Certificate

NOW = datetime.now(UTC).replace(microsecond=0)
"""The listeners verify by the clock of the machine."""

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

LONGEST_WAIT = 10.0
"""Seconds; a listener that is left alone gives up."""

Way = Callable[["Call"], None]
"""What a listener does with a connection; what it raises of sockets and TLS ends the connection."""


def make_ca(name: str = "CN=Test Root,O=MyOrg") -> Ca:
    """Make a trust anchor that is valid today."""
    return Ca.root(name, not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=10))


@dataclass(frozen=True)
class Identity:
    """A leaf with its key, as the agent shows it and as a listener serves it."""

    credentials: Credentials
    pem: bytes = field(repr=False)

    @classmethod
    def of(cls, *path: Ca, algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256) -> Identity:
        """Have a leaf made by the last of `path`, a root and what stands between."""
        key = make_key(algorithm)
        leaf = path[-1].leaf(
            make_request(), key, not_before=NOW - timedelta(hours=1), not_after=NOW + timedelta(days=9)
        )
        chain = (leaf, *(ca.certificate for ca in reversed(path[1:])))
        file = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + pem.encode(chain)
        return cls(Credentials(private_key.to_der(key), chain), file)

    @property
    def leaf(self) -> Certificate:
        """The leaf itself."""
        return self.credentials.leaf

    @property
    def fingerprint(self) -> str:
        """The leaf's."""
        return self.leaf.fingerprint

    def context(
        self,
        version: ssl.TLSVersion = TLS13,
        *,
        trusted: Ca | None = None,
        mode: ssl.VerifyMode = ssl.CERT_REQUIRED,
    ) -> ssl.SSLContext:
        """Return what a listener needs to serve it in one version of TLS, and to ask for leaves of a CA it trusts."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = version
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.pem)
            file.flush()
            context.load_cert_chain(file.name)
        if trusted is not None:
            context.verify_mode = mode
            context.load_verify_locations(cadata=pem.encode([trusted.certificate]).decode())
        return context


@dataclass
class Call:
    """One connection to a listener, the `number`th, from 1."""

    number: int
    plain: socket.socket = field(repr=False)
    listener: Listener = field(repr=False)
    is_reset: bool = False

    def reset(self, connection: socket.socket) -> None:
        """Have the connection end by a reset once the way is gone."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.is_reset = True

    def tls(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Shake hands."""
        return context.wrap_socket(self.plain, server_side=True)


@dataclass
class Listener:
    """A running listener, and what it has met: handshakes begun, handshakes resumed, requests answered."""

    port: int
    calls: int = 0
    resumed: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def called(self, times: int) -> None:
        """Wait until so many connections have come."""
        async with asyncio.timeout(LONGEST_WAIT):
            while self.calls < times:  # noqa: ASYNC110 - threads count them, which set no event of a loop
                await asyncio.sleep(0.01)


def kafka(*contexts: ssl.SSLContext) -> Way:
    """Speak as much Kafka as a visit needs; the contexts take turns, and the last one stays."""

    def speak(call: Call) -> None:
        with call.tls(contexts[min(call.number, len(contexts)) - 1]) as tls:
            call.listener.resumed += bool(tls.session_reused)
            if request := _message(tls):
                call.listener.requests.append(request)
                tls.sendall(struct.pack(">i4sh", 6, request[4:8], 35))
                read_to_end(tls)

    return speak


def say(context: ssl.SSLContext, answer: bytes, *, then_hang_up: bool = False) -> Way:
    """Shake hands, await a request and say something that is no answer of Kafka's."""

    def speak(call: Call) -> None:
        with call.tls(context) as tls:
            if request := tls.recv(1024):
                call.listener.requests.append(request)
                tls.sendall(answer)
                if not then_hang_up:
                    read_to_end(tls)

    return speak


def read_to_end(connection: socket.socket) -> None:
    """Read until the peer has gone."""
    while connection.recv(65_536):
        pass


def _message(tls: ssl.SSLSocket) -> bytes:
    """Return a request of Kafka's without its length."""
    length = _exactly(tls, 4)
    return _exactly(tls, int.from_bytes(length, "big")) if length else b""


def _exactly(tls: ssl.SSLSocket, length: int) -> bytes:
    read = b""
    while len(read) < length and (more := tls.recv(length - len(read))):
        read += more
    return read


@contextmanager
def listening(way: Way, port: int = 0) -> Iterator[Listener]:
    """Listen on loopback; each connection has a thread of its own."""
    with socket.create_server(("127.0.0.1", port)) as server:
        listener = Listener(server.getsockname()[1])
        opened: list[socket.socket] = []
        threads: list[threading.Thread] = []

        def lead(call: Call, held: socket.socket) -> None:
            with suppress(OSError), call.plain:
                way(call)
            if call.is_reset:
                held.close()
            with suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.settimeout(LONGEST_WAIT)
                    listener.calls += 1
                    # A second handle, for TLS takes the first one away; it is what ends a call at the end of the test.
                    opened.append(connection.dup())
                    call = Call(listener.calls, connection, listener)
                    thread = threading.Thread(target=lead, args=[call, opened[-1]])
                    threads.append(thread)
                    thread.start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            accepting.join()
            server.close()
            for connection in opened:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for connection in opened:
                connection.close()


def combined(identity: Identity, folder: Path, name: str = "leaf.pem") -> Path:
    """Write the key and the chain to one PEM file."""
    file = folder / name
    file.write_bytes(identity.pem)
    return file
