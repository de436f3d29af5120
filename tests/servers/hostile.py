"""A server on a bare socket that answers whatever a test says: the CA that one hopes never to meet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from agent.core.certificate import Certificate
    from agent.keystores.material import PrivateKey
    from tests.material import Ca


@dataclass(frozen=True)
class Heard:
    """A request as it came; the names of headers are lower case."""

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def json(self) -> dict[str, Any]:
        """The body as JSON."""
        values: dict[str, Any] = json.loads(self.body)
        return values


Behaviour = Callable[[Heard, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Hostile:
    """A running server: each request is answered by the next behaviour, the last one again and again."""

    address: str
    behaviours: list[Behaviour]
    heard: list[Heard] = field(default_factory=list)

    def then(self, *behaviours: Behaviour) -> None:
        """Answer so from now on."""
        self.behaviours[:] = behaviours


@asynccontextmanager
async def hostile(*behaviours: Behaviour) -> AsyncIterator[Hostile]:
    """Serve on a free loopback port; hanging connections end with the context."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            while (request := await _read(reader)) is not None:
                state.heard.append(request)
                behaviour = state.behaviours.pop(0) if len(state.behaviours) > 1 else state.behaviours[0]
                await behaviour(request, writer)
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            running.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    state = Hostile(f"http://127.0.0.1:{port}", list(behaviours))
    try:
        yield state
    finally:
        server.close()
        serving = list(running)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Heard | None:
    """Read one request; None when the client has gone."""
    with suppress(asyncio.IncompleteReadError):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Heard(method, path, headers, body)
    return None


def answers(
    status: int, body: bytes | dict[str, Any] = b"", *, content_type: str = "application/json", **headers: str
) -> Behaviour:
    """Answer properly; an underscore in the name of a header stands for a hyphen."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def behave(_request: Heard, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Told", f"Content-Length: {len(content)}", f"Content-Type: {content_type}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join((*lines, "", "")).encode() + content)
        await writer.drain()

    return behave


def echoes(status: int, *, content_type: str) -> Behaviour:
    """Answer with the request's own headers, as some servers' error pages do."""

    async def behave(request: Heard, writer: asyncio.StreamWriter) -> None:
        text = json.dumps({"errors": [f"{name}: {value}" for name, value in request.headers.items()]}).encode()
        await answers(status, text, content_type=content_type)(request, writer)

    return behave


def sends(content: bytes) -> Behaviour:
    """Send these bytes, whatever they are, and close."""

    async def behave(_request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        writer.close()

    return behave


async def hangs(_request: Heard, _writer: asyncio.StreamWriter) -> None:
    """Take the request and never answer."""
    await asyncio.Event().wait()


def drips(pause: float = 0.05) -> Behaviour:
    """Send a byte of a body now and then, for ever: each read succeeds, the answer never ends."""

    async def behave(_request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(pause)

    return behave


def floods(server: list[int], size: int = 50_000_000, *, announced: bool = False) -> Behaviour:
    """Send a body of `size` bytes as long as it is taken; `server` is given what has been sent."""

    async def behave(_request: Heard, writer: asyncio.StreamWriter) -> None:
        length = f"Content-Length: {size}\r\n" if announced else "Transfer-Encoding: chunked\r\n"
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{length}\r\n".encode())
        piece = b" " * 65_536
        framed = piece if announced else f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
        server.append(0)
        while server[-1] < size:
            writer.write(framed)
            await writer.drain()
            server[-1] += len(piece)

    return behave


@dataclass(frozen=True)
class Signing:
    """Sign as Vault would, or wrongly: each field that is set is another lie.

    `key` is put into the leaf instead of the CSR's, `dns` are its names instead of those asked
    for, `ca` makes it a CA; `starts` and `lasts` count from now.
    """

    issuer: Ca
    above: tuple[Certificate, ...] = ()
    key: PrivateKey | None = None
    dns: tuple[str, ...] | None = None
    ca: bool = False
    starts: timedelta = timedelta(seconds=-30)
    lasts: timedelta = timedelta(hours=1)
    warnings: tuple[str, ...] = ()

    async def __call__(self, request: Heard, writer: asyncio.StreamWriter) -> None:
        """Answer a call of `sign`, or a look at the CA chain."""
        chain = [_pem(self.issuer.certificate), *map(_pem, self.above)]
        if request.method == "GET":
            await answers(200, "\n".join(chain).encode(), content_type="application/pem-certificate-chain")(
                request, writer
            )
            return
        data = {"certificate": self.leaf(request), "issuing_ca": chain[0], "ca_chain": chain, "serial_number": "01"}
        await answers(200, {"data": data, "warnings": list(self.warnings) or None})(request, writer)

    def leaf(self, request: Heard) -> str:
        """Return the leaf in PEM."""
        csr = x509.load_pem_x509_csr(request.json["csr"].encode())
        public: CertificatePublicKeyTypes = self.key.public_key() if self.key else csr.public_key()
        now = datetime.now(UTC)
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if self.dns is not None:
            names = x509.SubjectAlternativeName([x509.DNSName(name) for name in self.dns])
        builder = (
            x509.CertificateBuilder()
            .subject_name(csr.subject)
            .issuer_name(self.issuer.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + self.starts)
            .not_valid_after(now + self.lasts)
            .add_extension(x509.BasicConstraints(ca=self.ca, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
        )
        return builder.sign(self.issuer.key, SHA256()).public_bytes(Encoding.PEM).decode()


def _pem(certificate: Certificate) -> str:
    return certificate.x509.public_bytes(Encoding.PEM).decode()
