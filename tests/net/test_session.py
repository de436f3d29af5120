"""HTTP calls with bounds."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import TrustError
from agent.net.session import LARGEST_ANSWER, LONGEST_RETRY_AFTER, Answer, CallError, Session, retry_after
from tests.material import NOW
from tests.servers.hostile import answers, drips, floods, hangs, hostile, sends

WITHIN = timedelta(seconds=5)


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
