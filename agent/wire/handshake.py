"""What a listener serves, seen in a TLS handshake (RFC 8446, RFC 5246)."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from agent.core.evidence import Served
from agent.wire.connection import (
    FIRST_PAUSE,
    LARGEST_READ,
    LONGEST_PAUSE,
    LONGEST_TRY,
    NobodyThereError,
    NoHandshakeError,
    connect,
    failures_told,
    presented,
    server_name,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

_FLIGHTS_OF_A_KEY_EXCHANGE = 2


class Handshaker:
    """Looks at listeners with handshakes of its own; nothing is sent over them."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock

    async def look(self, address: str, *, wanted: str, within: timedelta) -> Served:
        """Handshake with `host:port` until the leaf with the fingerprint `wanted` is served or the time is over.

        `[::1]:9093` names an IPv6 address. A host's name is sent as SNI, an IP address is not
        (RFC 6066, 3). The last handshake that showed a leaf counts, whatever went wrong with a
        later one, unless nothing listens any more: a listener that restarts is no proof against
        the new leaf.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + within.total_seconds()
        pause = FIRST_PAUSE
        seen: Served | None = None
        while True:
            try:
                seen = await self._handshake(address, min(LONGEST_TRY, end - loop.time()))
                last = seen
            except NobodyThereError as error:
                seen = None
                last = Served(address, self._clock(), None, trouble=str(error), address=address)
            except NoHandshakeError as error:
                last = seen or Served(address, self._clock(), None, trouble=str(error), address=address)
            if last.fingerprint == wanted or end - loop.time() < pause:
                return last
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _handshake(self, address: str, seconds: float) -> Served:
        """Return what one handshake shows; raise `NoHandshakeError` when there is none."""
        with failures_told(seconds):
            host, port = split(address)
            async with asyncio.timeout(seconds):
                der = await _leaf(host, port)
        return presented(der, listener=address, address=address, at=self._clock())


async def _leaf(host: str, port: int) -> bytes:
    """Return the DER of the leaf that a listener presents; raise `OSError` when it presents none."""
    connection = await connect(host, port)
    try:
        reader, writer = await asyncio.open_connection(sock=connection)
    except BaseException:
        connection.close()
        raise
    try:
        return await _shake_hands(reader, writer, server_name(host))
    except ssl.SSLError as error:
        raise OSError(_reason(error)) from error
    finally:
        # What was written is tiny and lies in the kernel's buffer already: closing flushes it and waits for nobody.
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str | None) -> bytes:
    """Return the leaf as soon as the listener has shown that it holds the leaf's key.

    A listener that demands a client certificate refuses us, for we bring none. In TLS 1.3 our
    handshake is over by then. In TLS 1.2 it is not, but the server has signed its key exchange
    and OpenSSL has checked that before it answered with a flight of our own, the second: the
    leaf is as good as in a handshake that went to its end.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = _context().wrap_bio(incoming, outgoing, server_hostname=name)
    flights = 0
    try:
        while not _is_done(tls):
            if flight := outgoing.read():
                writer.write(flight)
                flights += 1
            if received := await reader.read(LARGEST_READ):
                incoming.write(received)
            else:
                incoming.write_eof()
    except OSError as error:
        leaf = _presented(tls) if flights >= _FLIGHTS_OF_A_KEY_EXCHANGE and _is_from_peer(error) else None
        if leaf is None:
            raise
        return leaf
    finally:
        with suppress(ssl.SSLError):
            tls.unwrap()  # says goodbye (RFC 8446, 6.1); the answer is not waited for
        writer.write(outgoing.read())
    leaf = tls.getpeercert(binary_form=True)
    if leaf is None:
        raise OSError("the listener presented no certificate")
    return leaf


def _is_done(tls: ssl.SSLObject) -> bool:
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _presented(tls: ssl.SSLObject) -> bytes | None:
    """Return the leaf of a handshake that did not come to its end, where `getpeercert` knows none yet."""
    if hasattr(tls, "get_unverified_chain"):  # Python 3.13
        chain: list[bytes] = tls.get_unverified_chain()
        return chain[0] if chain else None
    # Before 3.13 the same method is there, one object deeper.
    inner: Any = getattr(tls, "_sslobj", None)
    certificates = inner.get_unverified_chain() if inner is not None else None
    return ssl.PEM_cert_to_DER_cert(certificates[0].public_bytes()) if certificates else None


def _is_from_peer(error: OSError) -> bool:
    """Whether the peer ended the handshake, with an alert or without a word; else OpenSSL itself found it wrong."""
    return not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError) or "ALERT" in (error.reason or "")


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "the listener closed the connection"
    return (error.reason or str(error)).replace("_", " ").lower()


@cache
def _context() -> ssl.SSLContext:
    """Return a context that takes any certificate, for it is a question, not a channel.

    Nothing secret is sent and nothing that is received is believed but the leaf itself, and that
    is compared with one fingerprint. A verification would hide the very answers that are looked
    for: the expired leaf, the old one, another host's. That the peer holds the leaf's key is
    checked by TLS all the same.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
