"""What a listener serves, asked of real listeners: good, strict, old, silent, rude and none at all."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.core.evidence import Verdict
from agent.keystores import pem
from agent.wire.handshake import Handshaker
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from agent.core.certificate import Certificate

    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

SOON = timedelta(seconds=3)
AT_ONCE = timedelta(milliseconds=300)
OTHER = "0" * 64


class Identity:
    """A leaf with its key in a combined PEM file."""

    def __init__(self, folder: Path, name: str = "leaf") -> None:
        self.ca = Ca.root()
        key = make_key()
        self.leaf: Certificate = self.ca.leaf(make_request(), key)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + pem.encode([self.leaf])
        )
        self.ca_file = folder / f"{name}-ca.pem"
        self.ca_file.write_bytes(pem.encode([self.ca.certificate]))

    def context(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, *, mutual: bool = False) -> ssl.SSLContext:
        """Return what a listener needs to serve it in one version of TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = version
        context.load_cert_chain(self.file)
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca_file)
        return context


async def _wait_for_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        await reader.read()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def _listener(
    context: ssl.SSLContext | None, serve: Serve = _wait_for_end, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    server = await asyncio.start_server(serve, host, port, ssl=context)
    async with server:
        yield str(server.sockets[0].getsockname()[1])


def _handshaker() -> Handshaker:
    return Handshaker(lambda: NOW)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("mutual", [False, True])
async def test_look_sees_the_leaf_of_any_listener(tmp_path: Path, version: ssl.TLSVersion, mutual: bool) -> None:
    """The leaf is seen in both versions of TLS, also where the listener refuses us for want of a certificate."""
    identity = Identity(tmp_path)
    async with _listener(identity.context(version, mutual=mutual)) as port:
        served = await _handshaker().look(f"127.0.0.1:{port}", wanted=identity.leaf.fingerprint, within=SOON)
    assert served.fingerprint == identity.leaf.fingerprint
    assert (served.not_after, served.at, served.trouble) == (identity.leaf.not_after, NOW, "")
    assert served.address == f"127.0.0.1:{port}"


async def test_look_speaks_to_an_ipv6_address(tmp_path: Path) -> None:
    """An IPv6 address stands in brackets."""
    identity = Identity(tmp_path)
    try:
        async with _listener(identity.context(), host="::1") as port:
            served = await _handshaker().look(f"[::1]:{port}", wanted=identity.leaf.fingerprint, within=SOON)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    assert served.fingerprint == identity.leaf.fingerprint


@pytest.mark.parametrize(("host", "sent"), [("localhost", "localhost"), ("127.0.0.1", None)])
async def test_look_names_the_host_and_no_address(tmp_path: Path, host: str, sent: str | None) -> None:
    """A name is sent as SNI, an IP address is not; a name is tried at each of its addresses."""
    identity = Identity(tmp_path)
    context = identity.context()
    names: list[str | None] = []
    context.sni_callback = lambda _connection, name, _context: names.append(name)
    async with _listener(context) as port:
        served = await _handshaker().look(f"{host}:{port}", wanted=identity.leaf.fingerprint, within=SOON)
    assert served.fingerprint == identity.leaf.fingerprint
    assert names == [sent]


async def test_look_returns_the_leaf_that_is_served_instead(tmp_path: Path) -> None:
    """A listener that keeps its old leaf is asked until the time is over, and its leaf is what is returned."""
    identity = Identity(tmp_path)
    context = identity.context()
    handshakes: list[None] = []
    context.sni_callback = lambda _connection, _name, _context: handshakes.append(None)
    async with _listener(context) as port:
        served = await _handshaker().look(f"127.0.0.1:{port}", wanted=OTHER, within=AT_ONCE)
    assert served.fingerprint == identity.leaf.fingerprint
    assert served.verdict(OTHER) is Verdict.REFUTED
    assert len(handshakes) > 1


async def test_look_waits_for_the_new_leaf(tmp_path: Path) -> None:
    """A listener that takes a moment to read the new leaf is proven as soon as it serves it."""
    old, new = Identity(tmp_path, "old"), Identity(tmp_path, "new")
    context, handshakes = old.context(), 0

    def change(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        nonlocal handshakes
        handshakes += 1
        if handshakes > 2:
            connection.context = new.context()

    context.sni_callback = change
    async with _listener(context) as port:
        served = await _handshaker().look(f"127.0.0.1:{port}", wanted=new.leaf.fingerprint, within=SOON)
    assert served.verdict(new.leaf.fingerprint) is Verdict.PROVEN
    assert handshakes == 3


async def test_look_keeps_the_leaf_that_a_later_failure_does_not_disprove(tmp_path: Path) -> None:
    """A handshake that breaks off after one that did not says nothing about what is served."""
    identity = Identity(tmp_path)
    calls = 0

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            with suppress(OSError):
                await writer.start_tls(identity.context())
        await reader.read(1)
        writer.close()

    async with _listener(None, break_off) as port:
        served = await _handshaker().look(f"127.0.0.1:{port}", wanted=OTHER, within=AT_ONCE)
    assert calls > 1
    assert served.fingerprint == identity.leaf.fingerprint


@pytest.mark.slow
async def test_look_forgets_the_leaf_of_a_listener_that_went_away(tmp_path: Path) -> None:
    """Where nobody listens any more, what was served before refutes nothing: the listener may be restarting."""
    identity = Identity(tmp_path)
    server = await asyncio.start_server(_wait_for_end, "127.0.0.1", 0, ssl=identity.context())
    port = server.sockets[0].getsockname()[1]
    look = asyncio.create_task(_handshaker().look(f"127.0.0.1:{port}", wanted=OTHER, within=timedelta(seconds=1)))
    await asyncio.sleep(0.1)
    server.close()
    await server.wait_closed()
    served = await look
    assert (served.fingerprint, served.trouble) == (None, "nothing listens there")


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _wait_for_end(reader, writer)


async def _hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await _wait_for_end(reader, writer)


@pytest.mark.parametrize(
    ("serve", "trouble"),
    [
        (_say_nothing, "no TLS handshake within"),
        (_hang_up, "the TLS handshake failed: "),
        (_speak_http, "the TLS handshake failed: wrong version number"),
    ],
)
async def test_look_is_unknown_where_no_tls_is_spoken(serve: Serve, trouble: str) -> None:
    """Silence, a closed door and another protocol leave the proof unknown and say why; nothing is raised."""
    async with _listener(None, serve) as port:
        served = await _handshaker().look(f"127.0.0.1:{port}", wanted=OTHER, within=AT_ONCE)
    assert served.verdict(OTHER) is Verdict.UNKNOWN
    assert served.trouble.startswith(trouble)


@pytest.mark.parametrize(
    ("address", "trouble"),
    [
        ("broker.invalid:9093", "the name is not found: "),
        ("localhost", "the TLS handshake failed: localhost is no host:port"),
        (f"{'x' * 70}.example:9093", "the TLS handshake failed: "),
    ],
)
async def test_look_is_unknown_for_an_address_that_leads_nowhere(address: str, trouble: str) -> None:
    """A name that is not found and an address that is none are said, not raised."""
    served = await _handshaker().look(address, wanted=OTHER, within=AT_ONCE)
    assert served.fingerprint is None
    assert served.trouble.startswith(trouble)


async def test_look_waits_for_a_listener_that_starts_late(tmp_path: Path) -> None:
    """A listener that comes up within the time is proven."""
    identity = Identity(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    look = asyncio.create_task(
        _handshaker().look(f"127.0.0.1:{port}", wanted=identity.leaf.fingerprint, within=timedelta(seconds=5))
    )
    await asyncio.sleep(0.1)
    async with _listener(identity.context(), port=port):
        served = await look
    assert served.verdict(identity.leaf.fingerprint) is Verdict.PROVEN


async def test_look_leaves_nothing_open_when_cancelled() -> None:
    """A look that is cancelled in the midst of a handshake closes its connection and leaves no task."""
    ended = asyncio.Event()

    async def note_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _wait_for_end(reader, writer)
        ended.set()

    async with _listener(None, note_the_end) as port:
        before = asyncio.all_tasks()
        look = asyncio.create_task(_handshaker().look(f"127.0.0.1:{port}", wanted=OTHER, within=SOON))
        await asyncio.sleep(0.1)
        look.cancel()
        with pytest.raises(asyncio.CancelledError):
            await look
        async with asyncio.timeout(2):
            await ended.wait()
        await asyncio.sleep(0)  # the listener's own task comes to its end
        assert asyncio.all_tasks() - before == set()


async def test_look_tells_the_hour_of_its_own_clock(tmp_path: Path) -> None:
    """The moment of the handshake is that of the clock that was given."""
    identity = Identity(tmp_path)
    hours = iter(datetime(2030, 1, day, tzinfo=UTC) for day in range(1, 30))
    async with _listener(identity.context()) as port:
        served = await Handshaker(lambda: next(hours)).look(
            f"127.0.0.1:{port}", wanted=identity.leaf.fingerprint, within=SOON
        )
    assert served.at == datetime(2030, 1, 1, tzinfo=UTC)
