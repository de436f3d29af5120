"""What may answer at a CA's address and is no CA: bodies, heads and statuses that nobody should trip over."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from tests.servers.hostile import Behaviour, answers, drips, floods, sends

if TYPE_CHECKING:
    import asyncio

    from tests.servers.hostile import Heard

SIZE = 50_000_000
"""Bytes of a body that is larger than any answer."""

BOMB = 100_000_000
"""Bytes that a bomb is once it has gone off."""

ZLIB, GZIP = 15, 31

NONSENSE = frozenset({"malformed answer", "network"})
"""Something was said, and it is no answer: at which layer that shows is for each library to say."""
ERROR = frozenset({"malformed answer", "network", "server", "refused", "in progress", "throttled"})
"""An error was said, in words that are none: whether it passes is anybody's guess."""

Reasons: TypeAlias = frozenset[str]


def packed(encoding: str, wbits: int, status: int = 200) -> Behaviour:
    """Answer with a few hundred kilobytes that are `BOMB` bytes when they are unpacked."""

    async def behave(request: Heard, writer: asyncio.StreamWriter) -> None:
        await answers(status, _bomb(wbits), Content_Encoding=encoding)(request, writer)

    return behave


@lru_cache
def _bomb(wbits: int) -> bytes:
    packer, piece = zlib.compressobj(level=1, wbits=wbits), bytes(1_000_000)
    return b"".join((*(packer.compress(piece) for _ in range(BOMB // len(piece))), packer.flush()))


def make_bombs() -> None:
    """Have the bombs made before somebody is measured who meets them."""
    for wbits in (ZLIB, GZIP):
        _bomb(wbits)


def _head(*lines: bytes, body: bytes = b"{}") -> Behaviour:
    """Send this head and body, and close."""
    return sends(b"\r\n".join((*lines, b"", body)))


def _nested(opening: bytes, status: int = 200) -> Behaviour:
    return answers(status, opening * 100_000)


OK = b"HTTP/1.1 200 OK"

BODIES: dict[str, tuple[Behaviour, Reasons]] = {
    "nothing": (answers(200), NONSENSE),
    "no content": (_head(b"HTTP/1.1 204 No Content", body=b""), NONSENSE),
    "an empty object": (answers(200, {}), NONSENSE),
    "a page": (answers(200, b"<html>Sign in</html>", content_type="text/html"), NONSENSE),
    "a list": (answers(200, b"[]"), NONSENSE),
    "null": (answers(200, b"null"), NONSENSE),
    "a number": (answers(200, b"7"), NONSENSE),
    "lists without end": (_nested(b"["), NONSENSE),
    "objects without end": (_nested(b'{"a":'), NONSENSE),
    "no UTF-8": (answers(200, b'{"Certificate": "\xff\xfe"}'), NONSENSE),
    "a number without end": (answers(200, b'{"Certificate": ' + b"9" * 6000 + b"}"), NONSENSE),
    "half a surrogate": (answers(200, {"Certificate": "\ud800", "data": {"certificate": "\ud800"}}), NONSENSE),
    "50 MB": (floods([], SIZE), NONSENSE),
    "50 MB, announced": (floods([], SIZE, announced=True), NONSENSE),
    "a bomb of gzip": (packed("gzip", GZIP), NONSENSE),
    "a bomb of deflate": (packed("deflate", ZLIB), NONSENSE),
    "a bomb as an error": (packed("gzip", GZIP, status=500), ERROR),
    "gzip that is none": (answers(200, b"{}", Content_Encoding="gzip"), NONSENSE),
    "an unknown encoding": (answers(200, b"{}", Content_Encoding="zstd"), NONSENSE),
    "another protocol": (sends(b"SSH-2.0-OpenSSH_9.2\r\n"), NONSENSE),
    "an alert of TLS": (sends(b"\x15\x03\x01\x00\x02\x02\x0a"), NONSENSE),
    "a head of 1 MB": (_head(OK, b"X-Long: " + b"a" * 1_000_000), NONSENSE),
    "100 000 headers": (_head(OK, *[b"X-More: a"] * 100_000), NONSENSE),
    "less than was announced": (_head(OK, b"Content-Length: 500"), NONSENSE),
    "a negative length": (_head(OK, b"Content-Length: -5"), NONSENSE),
    "two lengths": (_head(OK, b"Content-Length: 5", b"Content-Length: 2"), NONSENSE),
    "a chunk that is none": (_head(OK, b"Transfer-Encoding: chunked", body=b"zz\r\n"), NONSENSE),
    "an unknown status": (_head(b"HTTP/1.1 999 What", b"Content-Length: 2"), ERROR),
    "a status of nought": (_head(b"HTTP/1.1 0 What", b"Content-Length: 2"), NONSENSE),
    "another protocol, politely": (_head(b"HTTP/1.1 101 Switching Protocols", b"Upgrade: x", body=b""), NONSENSE),
    "to be continued": (sends(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), NONSENSE),
    "a byte now and then": (drips(), frozenset({"time-out"})),
    "an error that is a list": (answers(400, b"[]"), ERROR),
    "an error that is null": (answers(400, b"null"), ERROR),
    "an error without end": (_nested(b"[", 400), ERROR),
    "a passing error without end": (_nested(b"[", 500), ERROR),
    "an error of numbers": (answers(400, {"__type": 5, "message": ["x"], "errors": [5, {}]}), ERROR),
    "an error of objects": (answers(400, {"__type": ["a"], "message": {"a": 1}, "errors": {"a": 1}}), ERROR),
    "an error of nulls": (answers(400, {"__type": None, "message": None, "errors": None}), ERROR),
    "a long error": (
        answers(400, {"__type": "Validation", "message": "x" * 400_000, "errors": ["x" * 400_000]}),
        ERROR,
    ),
    "a long error code": (answers(400, {"__type": "x" * 400_000, "message": "x", "errors": ["x"] * 50_000}), ERROR),
    "an error that paints": (
        answers(400, {"__type": "\x1b[31m\n", "message": "\x1b]0;x\x07\n\n", "errors": ["\x1b]0;x\x07\n"]}),
        ERROR,
    ),
    "a pause of ages": (answers(429, {"errors": ["x"], "__type": "Throttling"}, Retry_After="9" * 30), ERROR),
}
"""What stands there, and the reasons that an issuer may give for taking nothing of it."""
