"""The HTTP endpoint: health, metrics and status, to be read and nothing else.

Made on aiohttp's low-level server and its own modules: `aiohttp.web`, with routes and sessions,
costs a megabyte more and is not needed for six paths.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import TYPE_CHECKING, Self

import structlog
from aiohttp.web_response import Response
from aiohttp.web_server import Server

from agent.errors import AgentError
from agent.web import health, status_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from aiohttp.web_protocol import RequestHandler
    from aiohttp.web_request import BaseRequest

    from agent.core.configuration import Http
    from agent.core.status import AgentStatus

MOST_CONNECTIONS = 32
"""Connections at a time; one more ends the oldest, so that who says nothing keeps nobody out."""

IDLE = 15.0
"""Seconds in which a request must be there as a whole, counted from the connection or the last answer."""

ANSWER_WITHIN = 10.0
"""Seconds in which an answer must be made, and again in which it must be taken."""

LONGEST_LINE = 4096
LONGEST_HEADER = 8190
MOST_HEADERS = 48

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})

AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^\s:/@\[\]]+)(?::[0-9]{1,5})?")
"""A Host header's value (RFC 9110, 7.2): a name or an address in brackets, with or without a port."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "cert-agent",
    "X-Content-Type-Options": "nosniff",
}

TEXT = "text/plain; charset=utf-8"

INDEX = """\
cert-agent keeps the TLS identities of this host.

/status          how every identity is, as JSON
/readyz?verbose  whether every identity is ready, and why not
/livez           whether the agent's loop turns
/healthz         pass, warn or fail, as health+json
/metrics         for Prometheus
"""


class WebServer:
    """Serves while it is entered; `status` tells how the agent is, from its last looks."""

    def __init__(self, http: Http, status: Callable[[], AgentStatus]) -> None:
        self._http = http
        self._status = status
        self._allowed = LOOPBACK | {host.lower() for host in http.allowed_hosts}
        self._log = structlog.get_logger()
        self._rendering = asyncio.Lock()
        self._connections: _Bounded | None = None
        self._listening: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen; raise `AgentError` when the address cannot be had."""
        connections = _Bounded(self._respond)
        try:
            self._listening = await asyncio.get_running_loop().create_server(
                connections, self._http.host, self._http.port
            )
        except OSError as error:
            raise AgentError(
                f"cannot listen at {self._http.host}:{self._http.port}: {error.strerror}",
                advice="free the address, or set another as http.listen",
            ) from error
        self._connections = connections
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no longer, let answers under way be written for a second, and end every connection."""
        if self._listening is None or self._connections is None:
            return
        self._listening.close()
        self._connections.pre_shutdown()
        await self._connections.shutdown(1.0)
        self._connections.abort()
        await self._listening.wait_closed()

    @property
    def port(self) -> int:
        """The port that is listened at: the one set, or the one that the system chose for 0."""
        if self._listening is None:
            return self._http.port
        port: int = self._listening.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Where the index is, for people on this host."""
        host = self._http.host
        if host in ("", "0.0.0.0", "::"):  # noqa: S104 - every address is listened at because the settings say so
            host = "localhost"
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    async def _respond(self, request: BaseRequest) -> Response:
        """Answer, and write the answer within its time: a reader that takes nothing holds nothing."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                response = await self._answer(request)
        except TimeoutError:
            response = _text(503, "too busy to answer\n", **{"Retry-After": "10"})
        except Exception:  # noqa: BLE001 - a bug in one answer is told loudly, and ends no renewal
            self._log.exception("a request could not be answered", path=request.raw_path[:100])
            response = _text(500, "the agent met a bug; its log tells more\n")
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _answer(self, request: BaseRequest) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        match request.path:
            case "/":
                return _text(200, INDEX)
            case "/livez":
                well, text = health.live(self._status())
                return _text(200 if well else 503, text)
            case "/readyz":
                well, text = health.ready(self._status(), verbose="verbose" in request.query)
                return _text(200 if well else 503, text)
            case "/healthz":
                well, document = health.health(self._status())
                body = json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
                return _response(200 if well else 503, body, "application/health+json")
            case "/metrics":
                return await self._rendered(_metrics)
            case "/status":
                return await self._rendered(_status)
            case _:
                return _text(404, "there is no such page; / names those that are\n")

    def _refusal(self, request: BaseRequest) -> Response | None:
        """Refuse what is not a plain read that was meant for this agent.

        A page in a browser can point a name of its own at this address and read the answer; the
        Host header then names the page's host (DNS rebinding). A port is of no concern: it may be
        that of a tunnel.
        """
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not request.raw_path.startswith("/"):
            return _text(400, "a request has a path and one Host header\n")
        authority = AUTHORITY.fullmatch(hosts[0].lower())
        if authority is None or authority["host"] not in self._allowed:
            return _text(421, "this host is not served here; http.allowed_hosts names those that are\n")
        if request.method not in ("GET", "HEAD"):
            return _text(405, "only GET and HEAD are answered\n", Allow="GET, HEAD")
        return None

    async def _rendered(self, render: Callable[[AgentStatus], Response]) -> Response:
        """Render a long document in a thread, one at a time: the loop turns on, and the stores keep their threads."""
        async with self._rendering:
            return await asyncio.to_thread(render, self._status())


class _Bounded(Server):
    """aiohttp's server with a bound on its connections, and without its log."""

    def __init__(self, respond: Callable[[BaseRequest], Awaitable[Response]]) -> None:
        # What is no HTTP is answered with 400 and logged as an error with a traceback: a port scan would fill the log.
        silent = logging.Logger("aiohttp.server")  # noqa: LOG001 - one that nobody configures or listens to
        silent.disabled = True
        super().__init__(
            respond,
            access_log=None,
            logger=silent,
            keepalive_timeout=IDLE,
            lingering_time=1.0,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_HEADER,
            max_headers=MOST_HEADERS,
            auto_decompress=False,
        )
        self._open: dict[RequestHandler, asyncio.Transport] = {}

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Note a connection, and end the oldest when there are too many."""
        super().connection_made(handler, transport)
        self._open[handler] = transport
        if len(self._open) > MOST_CONNECTIONS:
            self._open.pop(next(iter(self._open))).abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        super().connection_lost(handler, exc)
        self._open.pop(handler, None)

    def abort(self) -> None:
        """End what is still open, written or not."""
        for transport in self._open.values():
            transport.abort()


def _metrics(status: AgentStatus) -> Response:
    from agent.web import metrics

    return _response(200, metrics.render(status), metrics.CONTENT_TYPE)


def _status(status: AgentStatus) -> Response:
    return _response(200, status_json.render(status), "application/json")


def _text(code: int, text: str, **headers: str) -> Response:
    return _response(code, text.encode(), TEXT, **headers)


def _response(code: int, body: bytes, content_type: str, **headers: str) -> Response:
    return Response(status=code, body=body, headers={**HEADERS, "Content-Type": content_type, **headers})
