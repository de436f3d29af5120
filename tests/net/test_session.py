"""HTTP calls with bounds."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.issuer_spec import KeyPair
from agent.errors import TrustError
from agent.keystores import pem, private_key
from agent.net.session import LARGEST_ANSWER, LONGEST_RETRY_AFTER, Answer, CallError, Session, retry_after
from tests.material import NOW, Ca, make_key, make_request
from tests.servers.hostile import answers, drips, floods, hangs, hostile, sends

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers.hostile import Heard

WITHIN = timedelta(seconds=5)
DAY = timedelta(days=1)


async def call(url: str, *, within: timedelta = WITHIN) -> Answer:
    """Make one call with a session of its own."""
    session = Session()
    try:
        return await session.call("GET", url, headers={}, within=within)
    finally:
        await session.close()


async def test_call_returns_status_headers_and_body() -> None:
    """An answer comes back as it was sent, whatever its status."""
    async with hostile(answers(418, b"short", content_type="text/plain", Retry_After="7")) as server:
        answer = await call(server.address)
    assert (answer.status, answer.body, answer.headers["retry-after"]) == (418, b"short", "7")


async def test_call_reuses_its_connection() -> None:
    """Two calls of one session are answered on one connection: the first behaviour leaves it open."""
    connections = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    session = Session()
    for _ in range(3):
        await session.call("GET", url, headers={}, within=WITHIN)
    await session.close()
    server.close()
    assert connections == 1


async def test_call_after_or_during_the_end_is_a_call_error() -> None:
    """What closes meanwhile is no bug of the caller's: a call in the gap, one on the way and a later one are told."""
    heard = asyncio.Event()

    async def hears(request: Heard, writer: asyncio.StreamWriter) -> None:
        heard.set()
        await hangs(request, writer)

    async with hostile(answers(204), hears) as server:
        session = Session()
        await session.call("GET", server.address, headers={}, within=WITHIN)
        on_the_way = asyncio.ensure_future(session.call("POST", server.address, headers={}, within=WITHIN))
        await heard.wait()
        assert session._client is not None  # The gap is inside it, and else too short to meet.
        connector = session._client.connector
        assert connector is not None
        close, gap, goes_on = connector.close, asyncio.Event(), asyncio.Event()

        async def slowly() -> None:
            await close()
            gap.set()
            await goes_on.wait()

        connector.close = slowly  # type: ignore[assignment,method-assign]  # a server that takes its time to part
        closing = asyncio.ensure_future(session.close())
        await gap.wait()
        with pytest.raises(CallError, match="closed its connections") as caught:
            await session.call("GET", server.address, headers={}, within=WITHIN)
        assert not caught.value.sent
        goes_on.set()
        await closing
        with pytest.raises(CallError):
            await on_the_way
        with pytest.raises(CallError, match="closed its connections"):
            await session.call("GET", server.address, headers={}, within=WITHIN)
        await session.close()


async def test_call_does_not_follow_a_redirect() -> None:
    """The answer is the redirect itself, and nobody is asked a second time."""
    async with hostile(answers(200)) as other, hostile(answers(307, Location=other.address)) as server:
        assert (await call(server.address)).status == 307
        assert other.heard == []


@pytest.mark.parametrize("announced", [True, False])
async def test_call_cuts_a_huge_answer_off(announced: bool) -> None:
    """50 MB are not read: the connection is closed soon after the bound, or before it when the length is told."""
    sent: list[int] = []
    async with hostile(floods(sent, announced=announced)) as server:
        with pytest.raises(CallError, match=f"larger than {LARGEST_ANSWER} bytes"):
            await call(server.address)
    assert sent[0] < 20_000_000


@pytest.mark.parametrize("behaviour", [hangs, drips()])
async def test_call_ends_at_its_time_limit(behaviour: object) -> None:
    """A server that takes the request and says nothing, or a byte now and then, costs the limit and no more."""
    assert callable(behaviour)
    async with hostile(behaviour) as server:
        begin = time.monotonic()
        with pytest.raises(CallError, match=r"no answer within 0\.3 s"):
            await call(server.address, within=timedelta(seconds=0.3))
        assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "broke off"),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n", "did not answer in HTTP"),
    ],
)
async def test_call_tells_what_is_no_answer(content: bytes, why: str) -> None:
    """Nothing, another protocol, half an answer and endless headers are told apart, without the bytes."""
    async with hostile(sends(content)) as server:
        with pytest.raises(CallError, match=why):
            await call(server.address)


async def test_call_tells_a_port_that_nobody_listens_on() -> None:
    """The system's own word for it is in the message."""
    async with hostile(answers(200)) as server:
        address = server.address
    with pytest.raises(CallError, match=r"cannot connect: Connec"):
        await call(address)


async def test_call_without_its_ca_file_raises_trust_error(tmp_path: object) -> None:
    """HTTPS with a file of CAs that is not there is a matter of trust, told with the path."""
    from pathlib import Path

    session = Session(ca_file=Path(str(tmp_path)) / "ca.pem")
    with pytest.raises(TrustError, match=r"ca\.pem: No such file"):
        await session.call("GET", "https://127.0.0.1:9", headers={}, within=WITHIN)
    await session.close()


def server_context(directory: Path, ca: Ca) -> ssl.SSLContext:
    """Return the context of a server that wants a certificate of the CA, which is written to `ca.pem`."""
    key, now = make_key(), datetime.now(UTC)
    leaf = ca.leaf(make_request("CN=server", dns=("localhost",)), key, not_before=now, not_after=now + DAY)
    (directory / "server.pem").write_bytes(pem.encode((leaf,)) + private_key.to_pem(key))
    (directory / "ca.pem").write_bytes(pem.encode((ca.certificate,)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    context.load_verify_locations(directory / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def mutual(directory: Path, ca: Ca) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve HTTPS to whoever shows a certificate of the CA; return the address and the names that were shown."""
    context = server_context(directory, ca)
    names: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                subject = dict(part[0] for part in writer.get_extra_info("peercert")["subject"])
                names.append(subject["commonName"])
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}", names
    finally:
        server.close()


def client_pair(ca: Ca, directory: Path, name: str, lasts: timedelta = DAY) -> KeyPair:
    """Write a client's certificate and key, both at once for who looks between two calls."""
    key, now = make_key(), datetime.now(UTC)
    leaf = ca.leaf(make_request(f"CN={name}"), key, not_before=now - DAY, not_after=now + lasts)
    directory.mkdir(exist_ok=True)
    (directory / "cert.pem").write_bytes(pem.encode((leaf,)))
    (directory / "key.pem").write_bytes(private_key.to_pem(key))
    return KeyPair(directory / "cert.pem", directory / "key.pem")


async def test_client_certificate_is_shown_and_followed_when_it_changes(tmp_path: Path) -> None:
    """The first that can be used; a new one in its place, or the end of one, means another from the next call on."""
    now = datetime.now(UTC)
    ca = Ca.root(not_before=now - DAY, not_after=now + DAY)
    spare = client_pair(ca, tmp_path / "spare", "spare")
    own = KeyPair(tmp_path / "own" / "cert.pem", tmp_path / "own" / "key.pem")
    moments = [now]
    async with mutual(tmp_path, ca) as (address, names):
        session = Session(ca_file=tmp_path / "ca.pem", client_certificates=(own, spare), clock=lambda: moments[-1])
        for name in ("", "first", "second"):
            if name:
                client_pair(ca, tmp_path / "own", name, timedelta(hours=1))
            for _ in range(2):
                assert (await session.call("GET", address, headers={}, within=WITHIN)).status == 204
        moments.append(now + timedelta(hours=2))
        await session.call("GET", address, headers={}, within=WITHIN)
        shown = await session.shown()
        await session.close()
    assert names == ["spare"] * 2 + ["first"] * 2 + ["second"] * 2 + ["spare"]
    assert shown.certificate is not None
    assert "expired" in shown.troubles[0]


async def test_server_that_wants_another_certificate_is_told_as_that(tmp_path: Path) -> None:
    """None, and one that it does not trust: OpenSSL's word for it, which TLS 1.3 sends after the handshake."""
    now = datetime.now(UTC)
    ca = Ca.root(not_before=now - DAY, not_after=now + DAY)
    stranger = client_pair(
        Ca.root(not_before=now - DAY, not_after=now + DAY, name="CN=Stranger"), tmp_path / "stranger", "x"
    )
    context = server_context(tmp_path, ca)
    for pairs, alert in (((), "CERTIFICATE_REQUIRED"), ((stranger,), "UNKNOWN_CA")):
        with socket.create_server(("127.0.0.1", 0)) as server:
            # asyncio's own server drops the alert that says what is wrong; Vault's does not.
            refusal = asyncio.ensure_future(asyncio.to_thread(refuse, server, context))
            session = Session(ca_file=tmp_path / "ca.pem", client_certificates=pairs)
            with pytest.raises(CallError, match=f"TLS failed: .*{alert}") as caught:
                # aiohttp itself makes a GET that failed once more.
                await session.call("POST", f"https://localhost:{server.getsockname()[1]}", headers={}, within=WITHIN)
            await session.close()
            await refusal
        assert caught.value.reason == "TLS"


def refuse(server: socket.socket, context: ssl.SSLContext) -> None:
    """Take one connection, fail its handshake, and read on until the client has gone: a reset would eat the alert."""
    connection, _ = server.accept()
    with connection.dup() as beneath, suppress(ssl.SSLError):
        wrapped = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        wrapped.settimeout(5)
        with wrapped:
            try:
                wrapped.do_handshake()
            finally:
                beneath.settimeout(5)
                while beneath.recv(4096):
                    pass


def answer_with(value: str) -> Answer:
    """Return an answer that carries the header."""
    return Answer(503, {"Retry-After": value}, b"")


@given(st.integers(min_value=0, max_value=10**30))
def test_retry_after_reads_seconds_up_to_a_week(seconds: int) -> None:
    """Any number of seconds is taken, and more than a week is a week."""
    week = int(LONGEST_RETRY_AFTER.total_seconds())
    assert retry_after(answer_with(str(seconds)), NOW) == timedelta(seconds=min(seconds, week))


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001 - made aware below
def test_retry_after_reads_a_date_and_is_never_negative(naive: datetime) -> None:
    """A date counts from our clock: nothing when it has passed, a week at most."""
    moment = naive.replace(microsecond=0, tzinfo=UTC)
    expected = min(max(moment - NOW, timedelta()), LONGEST_RETRY_AFTER)
    assert retry_after(answer_with(format_datetime(moment, usegmt=True)), NOW) == expected


@given(st.text(max_size=40))
def test_retry_after_that_is_neither_is_none_or_bounded(value: str) -> None:
    """Whatever stands there, the result is nothing or a span within its bounds."""
    wish = retry_after(answer_with(value), NOW)
    assert wish is None or timedelta() <= wish <= LONGEST_RETRY_AFTER


def test_retry_after_that_is_missing_or_garbage_is_none() -> None:
    """No wish is no wish."""
    assert retry_after(Answer(503, {}, b""), NOW) is None
    assert retry_after(answer_with("soon"), NOW) is None
    assert retry_after(answer_with("-5"), NOW) is None
