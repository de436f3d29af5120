"""The HTTP endpoint, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from structlog.testing import capture_logs

from agent.core.configuration import Http
from agent.core.status import Health
from agent.errors import AgentError
from agent.web import server as server_module
from agent.web.server import LONGEST_HEADER, LONGEST_LINE, MOST_CONNECTIONS, MOST_HEADERS, WebServer
from tests.web.statuses import make_identity, make_status, not_ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent.core.status import AgentStatus

ROOT = Path(__file__).parents[2]
WELL = make_status(make_identity())
PATHS = ("/", "/livez", "/readyz", "/readyz?verbose", "/healthz", "/metrics", "/status")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as it came over the wire."""

    code: int
    headers: dict[str, str]
    body: str


def request(path: str = "/", method: str = "GET", host: str = "localhost", extra: str = "") -> bytes:
    """Write a request as any client could."""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{extra}\r\n".encode()


async def exchange(server: WebServer, raw: bytes) -> Answer:
    """Send bytes to the server and read what it answers until it ends the connection."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write(raw)
            answer = await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
    head, _, body = answer.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), headers, body)


@asynccontextmanager
async def serve(status: AgentStatus = WELL, *allowed_hosts: str) -> AsyncIterator[WebServer]:
    """Serve a status at a port that is free."""
    async with WebServer(Http(port=0, allowed_hosts=allowed_hosts), lambda: status) as server:
        yield server


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_is_answered_to_an_ordinary_client(path: str) -> None:
    """With the type that its readers expect, and headers that keep it out of caches and frames."""
    async with serve() as server, aiohttp.ClientSession() as session:
        async with session.get(server.url.rstrip("/") + path) as response:
            assert response.status == 200
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert "python" not in response.headers["Server"].lower()
            wanted = {
                "/healthz": "application/health+json",
                "/status": "application/json",
                "/metrics": "text/plain; version=0.0.4; charset=utf-8",
            }
            assert response.headers["Content-Type"] == wanted.get(path, "text/plain; charset=utf-8")
            whole = await response.read()
        async with session.head(server.url.rstrip("/") + path) as response:
            assert (response.status, await response.read()) == (200, b"")
            assert response.headers["Content-Length"] == str(len(whole))


async def test_status_and_metrics_tell_of_the_identity() -> None:
    """What is served is the status that was handed in."""
    async with serve() as server:
        status, metrics = await exchange(server, request("/status")), await exchange(server, request("/metrics"))
    assert json.loads(status.body)["identities"][0]["name"] == "broker"
    assert 'cert_agent_generation_number{identity="broker"} 42.0' in metrics.body


async def test_probes_say_no_with_503() -> None:
    """Each probe by its own measure: an identity that is not ready does not kill the agent."""
    async with serve(make_status(not_ready("client", "the leaf expired"))) as server:
        codes = {path: (await exchange(server, request(path))).code for path in PATHS}
        verbose = await exchange(server, request("/readyz?verbose=1"))
    assert codes == dict.fromkeys(PATHS, 200) | dict.fromkeys(("/readyz", "/readyz?verbose", "/healthz"), 503)
    assert "[-]client failed: the leaf expired" in verbose.body


async def test_a_loop_that_hangs_fails_every_probe_and_a_warning_none() -> None:
    """`turning` is what liveness means; a warning is well enough."""
    probes = ("/livez", "/readyz", "/healthz")
    async with serve(make_status(turning=False)) as server:
        assert [(await exchange(server, request(path))).code for path in probes] == [503] * 3
    async with serve(make_status(make_identity(health=Health.WARN, concerns=("look",)))) as server:
        assert [(await exchange(server, request(path))).code for path in probes] == [200] * 3


async def test_an_unknown_path_is_not_found() -> None:
    """And the answer repeats nothing of what was asked."""
    async with serve() as server:
        answer = await exchange(server, request("/nothing-of-this-name"))
    assert answer.code == 404
    assert "nothing-of-this-name" not in answer.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/status", "/nowhere"])
async def test_a_method_that_acts_is_refused(method: str, path: str) -> None:
    """405, and the header that says what would be answered (RFC 9110, 15.5.6)."""
    async with serve() as server:
        answer = await exchange(server, request(path, method, extra="Content-Length: 2\r\n") + b"{}")
    assert answer.code == 405
    assert answer.headers["allow"] == "get, head"


@pytest.mark.parametrize("host", ["localhost", "LocalHost:9847", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:9847"])
async def test_a_host_of_this_machine_is_served(host: str) -> None:
    """With a port or without, as a tunnel may have any."""
    async with serve() as server:
        assert (await exchange(server, request(host=host))).code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9847",
        "localhost.evil.example",
        "localhost:9847.evil.example",
        "localhost@evil.example",
        "evil.example@localhost",
        "localhost:",
        "localhost:123456",
        "[::2]",
        "::1",
        "127.0.0.2",
        "10.0.0.1:9847",
        "",
        "localhost localhost",
    ],
)
async def test_another_host_is_misdirected(host: str) -> None:
    """A page that points a name of its own at this address reads nothing (DNS rebinding)."""
    async with serve() as server:
        answers = [await exchange(server, request(path, host=host)) for path in ("/status", "/nowhere")]
    assert [answer.code for answer in answers] == [421, 421]
    assert "broker" not in answers[0].body


async def test_a_host_that_the_settings_allow_is_served() -> None:
    """In whatever case either is written; its neighbours are not."""
    async with serve(WELL, "Kafka1.example.com") as server:
        codes = [
            (await exchange(server, request(host=host))).code
            for host in ("kafka1.EXAMPLE.com:9847", "kafka1.example.com", "kafka2.example.com")
        ]
    assert codes == [200, 200, 421]


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET " + b"/" * (LONGEST_LINE + 1) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        request(extra=f"X-Long: {'x' * (LONGEST_HEADER + 1)}\r\n"),
        request(extra="".join(f"X-{number}: x\r\n" for number in range(MOST_HEADERS + 1))),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"not HTTP at all\r\n\r\n",
    ],
    ids=["no host", "two hosts", "absolute form", "long line", "long header", "many headers", "TLS", "garbage"],
)
async def test_a_malformed_request_is_refused(raw: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """400, the connection ended, and nothing in the log: a port scan must not fill it."""
    with capture_logs() as logs:
        async with serve() as server:
            assert (await exchange(server, raw)).code == 400
            assert (await exchange(server, request("/livez"))).code == 200
    assert (logs, capfd.readouterr().err) == ([], "")


async def test_what_says_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that does not come as a whole within its time never comes (slow loris)."""
    monkeypatch.setattr(server_module, "IDLE", 0.2)
    async with serve() as server, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localh")
        assert await reader.read() == b""
        writer.close()


async def test_many_silent_connections_keep_nobody_out() -> None:
    """The oldest make room: who asks is answered at once, however many say nothing."""
    async with serve() as server, asyncio.timeout(20):
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(MOST_CONNECTIONS * 2)]
        try:
            for _, writer in silent:
                writer.write(b"GET / HTTP/1.1\r\n")
            answer = await exchange(server, request("/livez"))
            ended = [await _is_ended(reader) for reader, _ in silent]
        finally:
            for _, writer in silent:
                writer.transport.abort()
    assert answer.code == 200
    assert ended == [True] * (MOST_CONNECTIONS + 1) + [False] * (MOST_CONNECTIONS - 1)


async def _is_ended(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.01):
            return await reader.read() == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.slow
async def test_a_reader_that_takes_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that nobody takes does not stay in memory."""
    monkeypatch.setattr(server_module, "ANSWER_WITHIN", 2.0)
    # Few identities with much to tell: a busy machine has the answer ready in time.
    identity = make_identity(sentence="x" * 100_000)
    async with serve(make_status(*[identity] * 100)) as server, asyncio.timeout(20):
        loop = asyncio.get_running_loop()
        with socket.socket() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.setblocking(False)
            await loop.sock_connect(caller, ("127.0.0.1", server.port))
            await loop.sock_sendall(caller, request("/status"))
            await asyncio.sleep(5)
            taken = b""
            with suppress(ConnectionResetError):
                while chunk := await loop.sock_recv(caller, 1 << 20):
                    taken += chunk
    head, _, body = taken.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert 0 < len(body) < 10_000_000


async def test_a_connection_serves_one_request_after_the_other() -> None:
    """A scraper keeps its connection."""
    async with serve() as server, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        for path in PATHS:
            async with session.get(server.url.rstrip("/") + path) as response:
                assert response.status == 200


async def test_a_bug_is_answered_with_500_and_told_in_the_log() -> None:
    """The traceback is for the log and not for whoever asks; the next request is answered."""

    def status() -> AgentStatus:
        raise RuntimeError("a bug with a detail")

    with capture_logs() as logs:
        async with WebServer(Http(port=0), status) as server:
            answer = await exchange(server, request("/status"))
            assert (await exchange(server, request("/"))).code == 200
    assert answer.code == 500
    assert "detail" not in answer.body
    assert [entry["log_level"] for entry in logs] == ["error"]


async def test_a_long_document_is_rendered_while_the_loop_turns() -> None:
    """The probe of the loop is answered while a thousand identities are put into words."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(str):
        """A name that takes its time to be written."""

        __slots__ = ()

        def __str__(self) -> str:
            begun.set()
            go_on.wait(10)
            return "pass"

    status = make_status(make_identity(tries={}))
    slow = make_status(make_identity(health=Slow("pass")))
    current = slow
    async with WebServer(Http(port=0), lambda: current) as server:
        long = asyncio.create_task(exchange(server, request("/status")))
        assert await asyncio.to_thread(begun.wait, 10)
        current = status
        assert (await exchange(server, request("/livez"))).code == 200
        assert not long.done()
        go_on.set()
        assert (await long).code == 200


async def test_an_address_that_is_taken_is_told() -> None:
    """With what to do about it; the first server is not disturbed."""
    async with serve() as server:
        with pytest.raises(AgentError, match=f"cannot listen at 127.0.0.1:{server.port}: .*in use") as caught:
            await WebServer(Http(port=server.port), lambda: WELL).__aenter__()
        assert "http.listen" in caught.value.advice
        assert (await exchange(server, request())).code == 200


async def test_closing_ends_every_connection_and_frees_the_port() -> None:
    """Idle and half-said ones too, without delay."""
    async with asyncio.timeout(5):
        async with serve() as server:
            port = server.port
            idle = await asyncio.open_connection("127.0.0.1", port)
            half = await asyncio.open_connection("127.0.0.1", port)
            half[1].write(b"GET / HT")
            await exchange(server, request())
        assert [await reader.read() for reader, _ in (idle, half)] == [b"", b""]
        for _, writer in (idle, half):
            writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "wanted"),
    [("127.0.0.1", "http://127.0.0.1:{}/"), ("0.0.0.0", "http://localhost:{}/"), ("::1", "http://[::1]:{}/")],  # noqa: S104 - what the settings may say
)
async def test_url_is_one_that_can_be_opened(host: str, wanted: str) -> None:
    """Brackets around IPv6, and no address that means all of them."""
    try:
        async with WebServer(Http(host=host, port=0), lambda: WELL) as server:
            assert server.url == wanted.format(server.port)
    except AgentError:
        assert host == "::1", "only a machine without IPv6 may fail here"


def test_serving_imports_neither_routes_nor_metrics_before_they_are_asked_for() -> None:
    """What is imported is memory: aiohttp.web and prometheus_client are not there at the start."""
    program = (
        "import sys, agent.web.server\n"
        "print([name for name in ('aiohttp.web', 'prometheus_client', 'aiohttp.web_urldispatcher') "
        "if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"
