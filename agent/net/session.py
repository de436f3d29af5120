"""HTTP calls with bounds on time, bytes and places: one session, closed by who made it."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import aiohttp

from agent.net.tls import Shown, showing_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from agent.core.issuer_spec import KeyPair

LARGEST_ANSWER = 1024 * 1024
"""Bytes of a body; more are not read."""

CONNECT_WITHIN = 5.0
"""Seconds for one TCP or TLS connection: a host that drops packets must not eat the time of the others."""

MOST_CONNECTIONS = 32

KEEP_ALIVE = 15.0
"""Seconds for which an idle connection is kept: long enough for a burst, gone before a balancer drops it."""

LONGEST_RETRY_AFTER = timedelta(days=7)


class CallError(Exception):
    """A call had no answer: its text says why, and names neither headers nor body of the request.

    `reason` is its sort: `network`, `TLS`, `time-out` or `malformed answer`. What was not `sent`
    was not done either; what was may have been.
    """

    def __init__(self, what: str, *, reason: str = "network", sent: bool = True) -> None:
        super().__init__(what)
        self.reason = reason
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `headers` are found by name in any case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Tls:
    """A context, what it shows, and the files that it was made of as they were."""

    stamp: object
    context: ssl.SSLContext
    shown: Shown

    def holds(self, stamp: object, now: datetime) -> bool:
        certificate = self.shown.certificate
        return self.stamp == stamp and (certificate is None or now < certificate.not_after)


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class Session:
    """A lean HTTP client of one server or cluster: no cookies, no proxies of the environment, no redirects.

    `server_name` is what the certificate must name instead of the address's host. The first of
    `client_certificates` that can be used is shown to whoever asks for one. The files of both and
    of CAs are read again when they change.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        server_name: str | None = None,
        client_certificates: Sequence[KeyPair] = (),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._ca_file = ca_file
        self._server_name = server_name
        self._client_certificates = tuple(client_certificates)
        self._clock = clock
        self._client: aiohttp.ClientSession | None = None
        self._closed = False
        self._tls: _Tls | None = None
        self._tls_turn = asyncio.Lock()

    async def call(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, within: timedelta
    ) -> Answer:
        """Return what the server answers, a redirect too.

        Raise `CallError` when the connection, the server or the bounds fail it, `TrustError` when
        the file of CAs cannot be used.
        """
        try:
            async with asyncio.timeout(within.total_seconds()):
                return await self._call(method, url, headers, body)
        except aiohttp.ClientConnectorDNSError:
            raise CallError("its name cannot be resolved", sent=False) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            # A system's bundle may have been renewed since it was read.
            self._tls = None
            raise CallError(f"TLS failed: {_reason(error)}", reason="TLS", sent=False) from None
        except aiohttp.ClientConnectorError as error:
            raise CallError(f"cannot connect: {error.os_error.strerror or error.os_error}", sent=False) from None
        except aiohttp.ServerDisconnectedError:
            raise CallError("it closed the connection without an answer") from None
        except aiohttp.ClientResponseError:
            raise CallError("it did not answer in HTTP", reason="malformed answer") from None
        except aiohttp.ClientPayloadError:
            raise CallError("its answer broke off") from None
        except aiohttp.ConnectionTimeoutError:
            raise CallError("no connection in time", reason="time-out", sent=False) from None
        except TimeoutError:
            raise CallError(f"no answer within {within.total_seconds():.3g} s", reason="time-out") from None
        except (aiohttp.ClientError, OSError) as error:
            alert = _alert(error)
            if alert:  # TLS 1.3 tells of a client certificate that it wants only after the handshake.
                raise CallError(f"TLS failed: {alert}", reason="TLS") from None
            raise CallError(f"the connection failed ({type(error).__name__})") from None

    async def shown(self) -> Shown:
        """Return the client certificate that would be shown now; raise `TrustError` for the file of CAs."""
        return (await self._current_tls()).shown

    async def close(self) -> None:
        """Close every connection; a call that is made meanwhile or afterwards is a `CallError`."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _call(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        tls = (await self._current_tls()).context if url.startswith("https:") else False
        if self._closed:
            raise CallError("the agent has closed its connections", sent=False)
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MOST_CONNECTIONS, keepalive_timeout=KEEP_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN),
                # A compressed answer could be small on the wire and huge in memory.
                auto_decompress=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "cert-agent"},
                read_bufsize=64 * 1024,
            )
        async with self._client.request(
            method,
            url,
            headers=headers,
            data=body,
            allow_redirects=False,
            ssl=tls,
            server_hostname=self._server_name if tls else None,
        ) as response:
            if (response.content_length or 0) > LARGEST_ANSWER:
                response.close()
                raise CallError(f"its answer is larger than {LARGEST_ANSWER} bytes", reason="malformed answer")
            content = bytearray()
            async for piece in response.content.iter_any():
                content += piece
                if len(content) > LARGEST_ANSWER:
                    response.close()
                    raise CallError(f"its answer is larger than {LARGEST_ANSWER} bytes", reason="malformed answer")
            return Answer(response.status, response.headers, bytes(content))

    async def _current_tls(self) -> _Tls:
        async with self._tls_turn:
            stamp = await asyncio.to_thread(self._stamp)
            now = self._clock()
            if self._tls is None or not self._tls.holds(stamp, now):
                made = await asyncio.to_thread(showing_context, self._ca_file, self._client_certificates, now)
                self._tls = _Tls(stamp, *made)
            return self._tls

    def _stamp(self) -> tuple[object, ...]:
        files = [self._ca_file]
        for pair in self._client_certificates:
            files += [pair.certificate, pair.key]
        return tuple(map(_stamp, files))


def retry_after(answer: Answer, now: datetime) -> timedelta | None:
    """Return for how long the server asks to be left alone (RFC 9110, 10.2.3): seconds or a date, a week at most."""
    value = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+", value, re.ASCII):
        # More digits than a week of seconds has are a week, without the cost of reading them.
        return min(timedelta(seconds=int(value)), LONGEST_RETRY_AFTER) if len(value) < 10 else LONGEST_RETRY_AFTER
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment - now, timedelta()), LONGEST_RETRY_AFTER)


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Return what changes when the file does; None without a file or when it is not there."""
    try:
        stat = path.stat() if path else None
    except OSError:
        return None
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns) if stat else None


def _reason(error: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError) -> str:
    """Return OpenSSL's own phrase, without its file and line."""
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error.os_error
    phrase = getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or type(cause).__name__
    return str(phrase)


def _alert(error: BaseException) -> str:
    """Return OpenSSL's phrase, if it is what ended a connection that stood."""
    seen: BaseException | None = error
    for _ in range(5):
        if seen is None:
            break
        if isinstance(seen, ssl.SSLError):
            return str(seen.reason or "") or "an alert"
        seen = seen.__cause__ or seen.__context__
    return ""
