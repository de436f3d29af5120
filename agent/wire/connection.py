"""What all ways of looking at a listener share: the connection, the words for its failure, the leaf that was shown."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from agent.core.certificate import Certificate
from agent.core.evidence import Served
from agent.errors import MaterialError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

LONGEST_TRY = 5.0
"""Seconds for one handshake, from the look-up of the name to the listener's certificate."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two handshakes; each pause is twice the one before."""

LARGEST_READ = 65_536
"""Bytes that are taken from a connection at once."""


_LARGEST_PORT = 65_535


class NoHandshakeError(Exception):
    """A try that showed no leaf; the message says why."""


class NobodyThereError(NoHandshakeError):
    """The connection was refused: what was served before is served no more."""


@contextmanager
def failures_told(seconds: float) -> Iterator[None]:
    """Raise `NoHandshakeError` for whatever keeps a handshake of `seconds` from showing a leaf."""
    try:
        yield
    except ConnectionRefusedError:
        raise NobodyThereError("nothing listens there") from None
    except TimeoutError:
        raise NoHandshakeError(f"no TLS handshake within {max(seconds, 0):.1f} s") from None
    except socket.gaierror as error:
        raise NoHandshakeError(f"the name is not found: {error.strerror}") from error
    except (OSError, ValueError) as error:
        raise NoHandshakeError(f"the TLS handshake failed: {error}") from error


def split(address: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[::1]:port`; `ValueError` where it is neither."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _LARGEST_PORT:
        raise ValueError(f"{address} is no host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def server_name(host: str) -> str | None:
    """Return what is sent as SNI: a host's name, and nothing for an IP address (RFC 6066, 3)."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return None


async def connect(host: str, port: int) -> socket.socket:
    """Connect to the first of the host's addresses that takes the connection; raise what the first one said."""
    loop = asyncio.get_running_loop()
    first: OSError | None = None
    for family, kind, protocol, _, target in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            await loop.sock_connect(connection, target)
        except OSError as error:
            connection.close()
            first = first or error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise first or OSError(f"{host} has no address")


def presented(der: bytes, *, listener: str, address: str, at: datetime, others: Iterable[bytes] = ()) -> Served:
    """Return what a listener serves: this leaf, or one that cannot be read.

    `others` are the certificates that came behind it. Of those one that cannot be read is left out:
    what leads on from the leaf is found by the rest, or not at all.
    """
    fingerprint = hashlib.sha256(der).hexdigest()
    try:
        leaf = Certificate.from_der(der)
    except MaterialError as error:
        return Served(listener, at, fingerprint, trouble=f"what it serves is {error.what}", address=address)
    chain = (leaf, *_readable(others))
    return Served(listener, at, fingerprint, leaf.not_after, address=address, leaf=leaf, chain=chain)


def _readable(certificates: Iterable[bytes]) -> Iterator[Certificate]:
    for der in certificates:
        with suppress(MaterialError):
            yield Certificate.from_der(der)
