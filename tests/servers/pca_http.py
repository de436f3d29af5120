"""The AWS test server's door: HTTP on loopback in a thread of its own, so that no test can starve it."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from aiohttp import web
from moto.core.request import Request

from tests.servers.pca_access import Access, Sts, StsResponse
from tests.servers.pca_faults import DROPPED, JSON, OK, XML, Asked, Call, Fault, Faults, RefusedError, Reply, refusal
from tests.servers.pca_moto import PcaBackend, PcaResponse
from tests.servers.sigv4 import Signed

if TYPE_CHECKING:
    import ssl

TARGET = "ACMPrivateCA."
UP_WITHIN = 10.0
STS_OPERATIONS = frozenset({"AssumeRole", "AssumeRoleWithWebIdentity", "GetCallerIdentity"})


class _DroppedError(Exception):
    """The connection is cut."""


@dataclass
class Door:
    """Takes a call through signature, pace, faults and rights to moto, and writes it into the book."""

    access: Access
    faults: Faults
    backend: PcaBackend
    calls: list[Call]
    errors: list[Exception] = field(default_factory=list)
    """Faults of the test server's own, which fail the test in the end."""

    def __post_init__(self) -> None:
        """Have moto's STS beside its Private CA."""
        self._sts = Sts(self.access)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        url = f"http://{headers.get('host', '')}{request.path_qs}"
        signed = Signed(request.method, url, headers, await request.read())
        service, operation, parameters = _understood(signed)
        call = Call(operation, self.access.clock(), parameters=parameters)
        self.calls.append(call)
        try:
            reply = await self._answer(signed, Asked(service, operation, parameters), call)
        except RefusedError as refused:
            reply = refusal(service, refused)
        except _DroppedError:
            call.outcome = DROPPED
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told at the end
            self.errors.append(error)
            reply = refusal(service, RefusedError("InternalFailure", repr(error), 500))
        call.outcome = reply.code
        number = {"x-amzn-RequestId": str(uuid.uuid4())}
        return web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type} | number)

    async def _answer(self, signed: Signed, asked: Asked, call: Call) -> Reply:
        if not asked.operation:
            raise RefusedError("UnknownOperationException", "There is no such operation", 404)
        call.caller = self.access.authenticate(signed, asked.service, asked.operation)
        asked = Asked(asked.service, asked.operation, asked.parameters, call.caller)
        self.faults.check_pace(asked)
        reply = None if self.faults.before is None else self.faults.before(asked)
        await self._suffer(self.faults.striking(asked.operation, after=False))
        if reply is None:
            self.access.authorize(asked)
            reply = self._run(signed, asked)
        call.outcome = reply.code
        if self.faults.after is not None:
            reply = self.faults.after(asked, reply)
        reply = self.faults.lied(asked, reply)
        await self._suffer(self.faults.striking(asked.operation, after=True))
        return reply

    async def _suffer(self, faults: list[Fault]) -> None:
        for fault in faults:
            await asyncio.sleep(fault.hold)
            if fault.error is not None:
                raise fault.error
            if fault.drop:
                raise _DroppedError

    def _run(self, signed: Signed, asked: Asked) -> Reply:
        """Have moto answer."""
        response: StsResponse | PcaResponse
        if asked.service == "sts":
            response = StsResponse(self._sts, asked.account)
        else:
            response = PcaResponse(self.backend, asked.caller)
        request = Request.from_primitives(signed.method, signed.url, signed.headers, signed.body)
        status, _, content = response._dispatch(request)
        body: bytes = content.encode() if isinstance(content, str) else content
        return Reply(status, body, XML if asked.service == "sts" else JSON, _code(status, body))


def _code(status: int, body: bytes) -> str:
    """Return the code of an error that moto has written by itself."""
    if status < 300:
        return OK
    found = re.search(rb'"__type": "([^"]+)"|<Code>([^<]+)</Code>', body)
    return (found[1] or found[2]).decode() if found else str(status)


def _understood(request: Signed) -> tuple[str, str, dict[str, Any]]:
    """Return service, operation and parameters; the operation is empty where there is none such."""
    target = request.headers.get("x-amz-target", "")
    if target.startswith(TARGET):
        try:
            told = json.loads(request.body)
        except ValueError:
            told = None
        operation = target.removeprefix(TARGET)
        known = isinstance(told, dict) and hasattr(PcaResponse, re.sub(r"(?<!^)([A-Z])", r"_\1", operation).lower())
        return "acm-pca", operation if known else "", told if isinstance(told, dict) else {}
    form = dict(parse_qsl(request.body.decode(errors="replace"), keep_blank_values=True))
    operation = form.get("Action", "")
    return "sts", operation if operation in STS_OPERATIONS else "", form


class Serving(threading.Thread):
    """Serves a door on a free port of loopback until it is told to end."""

    def __init__(self, door: Door, context: ssl.SSLContext | None) -> None:
        super().__init__(name="pca", daemon=True)
        self.port = 0
        self._door, self._context = door, context
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ends: asyncio.Event | None = None

    def run(self) -> None:
        """Serve."""
        asyncio.run(self._serve())

    def begin(self) -> None:
        """Start and wait until it serves."""
        self.start()
        assert self._ready.wait(UP_WITHIN), "the AWS test server did not start"

    def end(self) -> None:
        """Close every connection, held ones too, and wait for the thread."""
        if self._loop is not None and self._ends is not None:
            self._loop.call_soon_threadsafe(self._ends.set)
        self.join(UP_WITHIN)
        assert not self.is_alive(), "the AWS test server did not end"

    async def _serve(self) -> None:
        self._loop, self._ends = asyncio.get_running_loop(), asyncio.Event()
        runner = web.ServerRunner(web.Server(self._door, access_log=None), shutdown_timeout=0.01)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._context).start()
            self.port = runner.addresses[0][1]
            self._ready.set()
            await self._ends.wait()
        finally:
            await runner.cleanup()
