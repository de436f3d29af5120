"""A TCP proxy on loopback that passes, refuses, hangs, resets, halves or drips, as a test says at run time."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PIECE = 65_536
"""Bytes that are read at once."""


Way = Callable[["Link"], Awaitable[None]]


@dataclass(eq=False)
class Link:
    """One connection of a client, and what has passed through it."""

    reader: asyncio.StreamReader = field(repr=False)
    writer: asyncio.StreamWriter = field(repr=False)
    upstream: tuple[str, int]
    way: Way = field(repr=False)
    request: bytearray = field(default_factory=bytearray, repr=False)
    """What the client has sent."""
    answer: bytearray = field(default_factory=bytearray, repr=False)
    """What the server has answered, whether or not the client was given it."""
    delivered: int = 0
    """Bytes of the answer that the client was given."""
    ended: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    async def deliver(self, piece: bytes) -> None:
        """Give the client a part of the answer."""
        self.writer.write(piece)
        await self.writer.drain()
        self.delivered += len(piece)

    def reset(self) -> None:
        """End the connection with a RST: nothing more of it reaches the client."""
        end: socket.socket = self.writer.get_extra_info("socket")
        with suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Proxy:
    """A running proxy: each connection goes the next way, the last one again and again.

    A connection keeps the way that it began with, so a client that keeps connections alive meets
    a new way only once its old connections are gone: `cut` ends them.
    """

    address: str
    """The URL to call instead of the server's."""
    upstream: tuple[str, int]
    """Host and port of the server; may be set anew for later connections."""
    holder: socket.socket = field(repr=False)
    """Bound and not listening: the port stays ours while connections are refused."""
    ways: list[Way] = field(default_factory=list, repr=False)
    links: list[Link] = field(default_factory=list)
    """All connections so far."""
    _listener: socket.socket | None = field(default=None, repr=False)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _running: dict[asyncio.Task[None], Link | None] = field(default_factory=dict, repr=False)

    @property
    def port(self) -> int:
        """The port, the same for the proxy's whole life."""
        port: int = self.holder.getsockname()[1]
        return port

    @property
    def refusing(self) -> bool:
        """Whether nobody listens just now."""
        return self._listener is None

    def then(self, *ways: Way) -> None:
        """Treat later connections so; where `refuses` is next, the port is closed at once."""
        self.ways[:] = ways
        self._adjust()

    async def until(self, connections: int) -> None:
        """Wait until there have been so many connections."""
        while len(self.links) < connections:
            self._arrived.clear()
            await self._arrived.wait()

    async def cut(self) -> None:
        """End every connection that is open now with a RST."""
        for link in self._running.values():
            if link is not None:
                link.reset()
        await self._stop()

    async def close(self) -> None:
        """End everything."""
        self.then(refuses)
        await self._stop()
        self.holder.close()

    async def _stop(self) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _adjust(self) -> None:
        """Listen, or do not, as the next way has it."""
        loop = asyncio.get_running_loop()
        if self.ways[0] is refuses:
            if self._listener is not None:
                loop.remove_reader(self._listener)
                self._listener.close()
                self._listener = None
        elif self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen(128)
            loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        # One at a time, by hand: asyncio's own server takes all that wait, so a list could not end sharply.
        assert self._listener is not None
        try:
            end, _ = self._listener.accept()
        except OSError:
            return
        end.setblocking(False)
        way = self.ways.pop(0) if len(self.ways) > 1 else self.ways[0]
        self._adjust()
        task = asyncio.get_running_loop().create_task(self._serve(end, way))
        self._running[task] = None
        task.add_done_callback(self._running.pop)
        task.add_done_callback(lambda _: end.close())  # one that was cancelled before it began

    async def _serve(self, end: socket.socket, way: Way) -> None:
        reader, writer = await asyncio.open_connection(sock=end)
        link = Link(reader, writer, self.upstream, way)
        self.links.append(link)
        self._arrived.set()
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = link
        try:
            await way(link)
        except OSError:
            link.reset()
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            link.ended.set()
            await _close(writer)


@asynccontextmanager
async def proxy(upstream: str, *ways: Way) -> AsyncIterator[Proxy]:
    """Serve on a free loopback port in front of a URL (`http://127.0.0.1:8200`); without `ways` it passes."""
    target = urlsplit(upstream)
    assert target.hostname is not None
    assert target.port is not None
    holder = _bound(0)
    host = "localhost" if target.scheme == "https" else "127.0.0.1"  # a certificate is for a name
    handle = Proxy(f"{target.scheme}://{host}:{holder.getsockname()[1]}", (target.hostname, target.port), holder)
    handle.then(*(ways or (passes,)))
    try:
        yield handle
    finally:
        await handle.close()


def _bound(port: int) -> socket.socket:
    """Return a socket at a port that the holder has too."""
    end = socket.socket()
    end.setblocking(False)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    end.bind(("127.0.0.1", port))
    return end


# --- The ways -------------------------------------------------------------------------------


async def passes(link: Link) -> None:
    """Pass everything, both ways."""
    await _carry(link, link.deliver)


async def refuses(link: Link) -> None:
    """Have nobody listen: connections are refused until another way is told.

    Stands alone or last in a list; it is never run, for there is no connection to run it for.
    """
    link.reset()


async def hangs(link: Link) -> None:
    """Take everything, pass nothing, answer nothing."""
    while piece := await link.reader.read(PIECE):
        link.request += piece


async def resets(link: Link) -> None:
    """Pass the request, wait until the server has answered in full, and reset: the client never hears.

    The server speaks plain HTTP/1.1.
    """
    await _answered(link)
    link.reset()


@dataclass(frozen=True)
class Halves:
    """Give the client `size` bytes of the answer, or half of them, and close, or reset.

    The server speaks plain HTTP/1.1.
    """

    size: int | None = None
    reset: bool = False

    async def __call__(self, link: Link) -> None:
        """Do so."""
        await _answered(link)
        await link.deliver(bytes(link.answer[: len(link.answer) // 2 if self.size is None else self.size]))
        if self.reset:
            link.reset()


@dataclass(frozen=True)
class Drips:
    """Pass requests at once and answers slowly: `size` bytes, then `pause` seconds."""

    pause: float = 1.0
    size: int = 1

    async def __call__(self, link: Link) -> None:
        """Do so."""

        async def drip(piece: bytes) -> None:
            for start in range(0, len(piece), self.size):
                await link.deliver(piece[start : start + self.size])
                await asyncio.sleep(self.pause)

        await _carry(link, drip)


# --- How they do it -------------------------------------------------------------------------


async def _carry(link: Link, deliver: Callable[[bytes], Awaitable[None]]) -> None:
    """Carry both ways until the server has ended; the end of the client is passed on."""
    async with _forwarding(link, pass_end=True) as reader:
        while piece := await reader.read(PIECE):
            link.answer += piece
            await deliver(piece)


async def _answered(link: Link) -> None:
    """Pass on what the client sends until the server has answered in full, though the client be gone."""
    async with _forwarding(link, pass_end=False) as reader:
        while not is_whole(link.answer) and (piece := await reader.read(PIECE)):
            link.answer += piece


@asynccontextmanager
async def _forwarding(link: Link, *, pass_end: bool) -> AsyncIterator[asyncio.StreamReader]:
    """Forward what the client sends, and return where the server's answer is read."""
    reader, writer = await asyncio.open_connection(*link.upstream)

    async def forward() -> None:
        try:
            while piece := await link.reader.read(PIECE):
                link.request += piece
                writer.write(piece)
                await writer.drain()
            if pass_end:
                writer.write_eof()
        except OSError:
            if pass_end:
                writer.transport.abort()

    forwarding = asyncio.ensure_future(forward())
    try:
        yield reader
    finally:
        # First of all, and at once: one that is cancelled while it waits below has closed all the same.
        writer.transport.abort()
        forwarding.cancel()
        await asyncio.gather(forwarding, return_exceptions=True)


def is_whole(answer: bytes | bytearray) -> bool:
    """Tell whether an answer of HTTP/1.1 has come in full, as far as its head can tell (RFC 9112, section 6.3)."""
    head, end, body = bytes(answer).partition(b"\r\n\r\n")
    if not end:
        return False
    if re.match(rb"HTTP/1\.1 (204|304) ", head):
        return True
    if re.search(rb"(?im)^transfer-encoding:.*chunked", head):
        return body.startswith(b"0\r\n") or b"\r\n0\r\n" in body
    length = re.search(rb"(?im)^content-length:\s*(\d+)", head)
    return length is not None and len(body) >= int(length.group(1))


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close, and wait until the socket is gone; one that is cancelled closes at once."""
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass
    except asyncio.CancelledError:
        writer.transport.abort()
        await asyncio.sleep(0)
        raise
