"""The proxy does what it says: each way, seen by a client and by the server behind it."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.servers.csr import csr_pem
from tests.servers.hostile import answers, hostile
from tests.servers.openbao import openbao
from tests.servers.proxy import Drips, Halves, hangs, is_whole, passes, proxy, refuses, resets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers.hostile import Hostile
    from tests.servers.proxy import Proxy, Way

BODY = b'{"data": "0123456789"}'


@asynccontextmanager
async def serving(*ways: Way) -> AsyncIterator[tuple[Proxy, Hostile, aiohttp.ClientSession]]:
    """Return a proxy in front of a server, and a client that keeps no connection."""
    async with (
        hostile(answers(200, BODY)) as server,
        proxy(server.address, *ways) as front,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
    ):
        yield front, server, session


async def ask(front: Proxy, session: aiohttp.ClientSession) -> bytes:
    """Send a request with a body and return the answer's."""
    async with session.post(f"{front.address}/v1/pki", data=b"question") as response:
        return await response.read()


async def test_passing_is_invisible_and_recorded() -> None:
    """Requests and answers come through whole, several on one connection; the proxy knows the bytes."""
    async with hostile(answers(200, BODY)) as server, proxy(server.address) as front:
        async with aiohttp.ClientSession() as session:
            assert [await ask(front, session), await ask(front, session)] == [BODY, BODY]
        (link,) = front.links
        await asyncio.wait_for(link.ended.wait(), 5)
    assert [heard.body for heard in server.heard] == [b"question"] * 2
    assert link.way is passes
    assert link.request.count(b"question") == 2
    assert link.answer.count(BODY) == 2
    assert link.delivered == len(link.answer)


async def test_large_bodies_pass() -> None:
    """More than all the buffers hold comes through."""
    body = bytes(8_000_000)
    async with hostile(answers(200, body)) as server, proxy(server.address) as front, aiohttp.ClientSession() as client:
        assert await ask(front, client) == body


async def test_refusing_closes_the_port_and_the_same_one_comes_back() -> None:
    """While it refuses nobody listens and no server is asked."""
    async with serving(refuses) as (front, server, session):
        port = front.port
        assert front.refusing
        for _ in range(2):
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await ask(front, session)
            assert isinstance(caught.value.os_error, ConnectionRefusedError)
        assert not server.heard
        front.then(passes)
        assert await ask(front, session) == BODY
        assert front.port == port
        front.then(refuses)
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(front, session)


async def test_list_is_consumed_by_connection_and_its_last_repeats() -> None:
    """Two connections pass; of those that come at the same moment, none more does."""
    async with serving(passes, passes, refuses) as (front, server, session):
        results = await asyncio.gather(*(ask(front, session) for _ in range(6)), return_exceptions=True)
        assert sum(result == BODY for result in results) == 2
        assert all(isinstance(result, bytes | aiohttp.ClientError) for result in results)
        assert len(server.heard) == len(front.links) == 2
        front.then(resets, passes)
        with pytest.raises(aiohttp.ClientError):
            await ask(front, session)
        assert [await ask(front, session) for _ in range(3)] == [BODY] * 3


async def test_hanging_takes_and_never_answers() -> None:
    """The request arrives at the proxy and no further."""
    async with serving(hangs) as (front, server, session):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(front, session), 0.2)
        (link,) = front.links
        assert link.request.endswith(b"question")
        assert not server.heard


async def test_reset_comes_when_the_server_has_done_the_work() -> None:
    """The server has the whole request and has answered; the client has a reset and not a byte."""
    async with serving(resets) as (front, server, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 8\r\n\r\n")
        await asyncio.sleep(0.05)
        assert not server.heard
        writer.write(b"question")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()
        (link,) = front.links
        assert link.answer.endswith(BODY)
        assert link.delivered == 0
        assert [heard.body for heard in server.heard] == [b"question"]


async def test_work_is_done_though_the_client_has_gone() -> None:
    """A client that gives up does not take its request back."""
    async with serving(resets) as (front, server, _):
        _, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 8\r\n\r\nquestion")
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(5):
            await front.until(1)
            await front.links[0].ended.wait()
        assert [heard.body for heard in server.heard] == [b"question"]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("size", [None, 0, 20, 80])
async def test_half_an_answer_is_all_that_comes(size: int | None, *, reset: bool) -> None:
    """A half, or so many bytes, and the end; aiohttp takes it for no answer."""
    async with serving(Halves(size, reset=reset)) as (front, server, session):
        with pytest.raises(aiohttp.ClientError):
            await ask(front, session)
        (link,) = front.links
        assert link.delivered == (len(link.answer) // 2 if size is None else size)
        assert len(server.heard) == 1


async def test_drip_comes_byte_by_byte() -> None:
    """The answer is whole in the end, and late."""
    async with serving(Drips(0.002)) as (front, _, session):
        start = time.monotonic()
        assert await ask(front, session) == BODY
        (link,) = front.links
        assert time.monotonic() - start >= 0.002 * (len(link.answer) - 1)


async def test_cut_ends_what_is_open_so_that_a_new_way_takes_hold() -> None:
    """A connection that is kept alive keeps its way until it is cut."""
    async with hostile(answers(200, BODY)) as server, proxy(server.address) as front, aiohttp.ClientSession() as client:
        assert await ask(front, client) == BODY
        front.then(refuses)
        assert await ask(front, client) == BODY
        await front.cut()
        with pytest.raises(aiohttp.ClientError):
            await ask(front, client)
        assert len(front.links) == 1


async def test_server_that_is_gone_resets_the_client() -> None:
    """Where the proxy itself is refused, the client is reset; a server at another port may follow."""
    async with serving() as (front, server, session):
        alive, front.upstream = front.upstream, ("127.0.0.1", 1)
        with pytest.raises(aiohttp.ClientError):
            await ask(front, session)
        front.upstream = alive
        assert await ask(front, session) == BODY
        assert len(server.heard) == 1


async def test_ending_leaves_nothing_open() -> None:
    """Connections in every state end with the context, with clients that never read or spoke too."""
    async with hostile(answers(200, bytes(8_000_000))) as server, proxy(server.address, passes, hangs) as front:
        writers = [(await asyncio.open_connection("127.0.0.1", front.port))[1] for _ in range(4)]
        writers[0].transport.pause_reading()  # type: ignore[attr-defined]  # typeshed has it for the read half alone
        writers[0].write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(5):
            await front.until(4)
        await asyncio.sleep(0.1)  # the answer fills every buffer meanwhile
    for writer in writers:
        writer.transport.abort()
    assert all(link.ended.is_set() for link in front.links)


@pytest.mark.slow
async def test_leaf_is_in_the_store_of_a_ca_whose_client_never_heard(tmp_path: Path) -> None:
    """A real OpenBao has signed, once per connection that was reset or halved."""
    async with openbao(tmp_path / "bao") as bao, proxy(bao.address, resets, Halves(), passes) as front:
        await bao.set_role(no_store=False)
        token = bao.token_file.read_text().strip()
        statuses: list[int] = []
        for _ in range(3):
            with suppress(aiohttp.ClientError):
                async with (
                    aiohttp.ClientSession(headers={"X-Vault-Token": token}) as session,
                    session.post(f"{front.address}/v1/pki/sign/kafka", json={"csr": csr_pem()}) as response,
                ):
                    await response.read()
                    statuses.append(response.status)
        assert statuses == [200]
        assert len((await bao.call("LIST", "pki/certs"))["data"]["keys"]) == 3


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (b"", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\n12", True),
        (b"HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", False),
    ],
)
def test_whole_answer_is_told_by_its_head(answer: bytes, *, whole: bool) -> None:
    """Length, chunks, or neither; without them only the end of the connection tells."""
    assert is_whole(answer) is whole
