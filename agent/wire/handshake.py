"""What a listener serves, seen in a TLS handshake (RFC 8446, RFC 5246)."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import socket
import ssl
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from agent.core.certificate import Certificate
from agent.core.evidence import Served
from agent.errors import MaterialError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

LONGEST_TRY = 5.0
"""Seconds for one handshake, from the look-up of the name to the listener's certificate."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two handshakes; each pause is twice the one before."""

_READ = 65_536
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
            except _NobodyThereError as error:
                seen = None
                last = Served(address, self._clock(), None, trouble=str(error))
            except _NoHandshakeError as error:
                last = seen or Served(address, self._clock(), None, trouble=str(error))
            if last.fingerprint == wanted or end - loop.time() < pause:
                return last
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _handshake(self, address: str, seconds: float) -> Served:
        """Return what one handshake shows; raise `_NoHandshakeError` when there is none."""
        try:
            host, port = _split(address)
            async with asyncio.timeout(seconds):
                der = await _leaf(host, port)
        except ConnectionRefusedError:
            raise _NobodyThereError("nothing listens there") from None
        except TimeoutError:
            raise _NoHandshakeError(f"no TLS handshake within {max(seconds, 0):.1f} s") from None
        except socket.gaierror as error:
            raise _NoHandshakeError(f"the name is not found: {error.strerror}") from error
        except ssl.SSLError as error:
            raise _NoHandshakeError(f"the TLS handshake failed: {_reason(error)}") from error
        except (OSError, ValueError) as error:
            raise _NoHandshakeError(f"the TLS handshake failed: {error}") from error
        fingerprint = hashlib.sha256(der).hexdigest()
        try:
            return Served(address, self._clock(), fingerprint, Certificate.from_der(der).not_after)
        except MaterialError as error:
            return Served(address, self._clock(), fingerprint, trouble=f"what it serves is {error.what}")


class _NoHandshakeError(Exception):
    """A try that showed no leaf; the message says why."""


class _NobodyThereError(_NoHandshakeError):
    """The connection was refused: what was served before is served no more."""


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{address} is no host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def _leaf(host: str, port: int) -> bytes:
    """Return the DER of the leaf that a listener presents; raise `OSError` when it presents none."""
    reader, writer = await _connect(host, port)
    try:
        return await _shake_hands(reader, writer, None if _is_ip(host) else host)
    finally:
        # What was written is tiny and lies in the kernel's buffer already: closing flushes it and waits for nobody.
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first of the host's addresses that takes the connection; raise what the first one said."""
    loop = asyncio.get_running_loop()
    first: OSError | None = None
    for family, kind, protocol, _, target in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            await loop.sock_connect(connection, target)
            return await asyncio.open_connection(sock=connection)
        except OSError as error:
            connection.close()
            first = first or error
        except BaseException:
            connection.close()
            raise
    raise first or OSError(f"{host} has no address")


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
            if received := await reader.read(_READ):
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


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


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
