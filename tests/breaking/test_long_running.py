"""Faults under the agent that runs on: once they end it goes on by itself, within a step of its ladder of retries."""

from __future__ import annotations

import asyncio
import resource
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.errors import AgentError
from tests.breaking import view
from tests.breaking.disks import in_memory, need_mounts
from tests.breaking.scenes import new_host
from tests.e2e.host import PATIENCE
from tests.tools import need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.breaking.view import View
    from tests.e2e.host import Host, Running

pytestmark = pytest.mark.slow

WITHIN = 10.0
"""Seconds for the agent to recover: a step or two of the ladder, on a machine that is busy."""


async def refused(agent: Running, host: Host, word: str) -> View:
    """Ask for a renewal while the fault lasts: it fails, the fault is named with advice, readers see what they saw."""
    before = view.look(host)
    with pytest.raises(AgentError) as caught:
        await agent.ask("renew", identity="broker", discard_edits=False)
    assert word in caught.value.diagnosis()
    assert caught.value.advice
    assert view.look(host) == before
    return before


async def recovered(agent: Running, host: Host, before: View) -> None:
    """Nobody does anything, and the renewal comes; the log tells what has happened."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await agent.until(lambda _: view.look(host).leaf != before.leaf, "it does not renew")
    assert loop.time() - began < WITHIN
    await agent.until_ready()
    assert view.unfinished(host) == []
    assert view.pending(host) is None
    new = len(view.issued(host)) - 1
    assert new == 1, f"{new} leaves were issued"
    assert [line for line in host.log() if line["level"] == "warning" and line.get("advice")]


@asynccontextmanager
async def injected(agent: Running, *expressions: str) -> AsyncIterator[None]:
    """Have every thread of a running agent meet a fault, until strace lets go of it."""
    strace = await asyncio.create_subprocess_exec(
        need("strace"), "-f", "-o", "/dev/null", "-p", str(agent.process.pid),
        *(part for one in expressions for part in ("-e", one)),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert strace.stderr is not None
        async with asyncio.timeout(PATIENCE):
            assert b"attached" in await strace.stderr.readline()
        yield
    finally:
        if strace.returncode is None:
            strace.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            await strace.communicate()


async def status_text(agent: Running) -> str:
    """Return what the status document says of the identity, as text."""
    status: dict[str, Any] | None = await agent.status()
    assert status is not None
    return str(status["identities"])


@pytest.mark.parametrize(
    ("expression", "word"),
    [
        ("inject=fsync:error=EIO", "Input/output error"),
        ("inject=rename,renameat,renameat2:error=EIO", "Input/output error"),
        ("inject=?mkdir,?mkdirat:error=ENOSPC", "No space left on device"),
    ],
    ids=["fsync", "rename", "no-room"],
)
async def test_a_call_that_fails_for_a_while(tmp_path: Path, expression: str, word: str) -> None:
    """While the fault lasts the old generation stays; after it the agent renews by itself."""
    host = new_host(tmp_path)
    async with host.running() as agent:
        await agent.until_ready()
        async with injected(agent, expression.replace("inject=", "trace=").partition(":")[0], expression):
            before = await refused(agent, host, word)
            assert word in await status_text(agent)
        await recovered(agent, host, before)


async def test_descriptors_that_run_out_for_a_while(tmp_path: Path) -> None:
    """The real limit, taken down to what is open already, and given back."""
    host = new_host(tmp_path)
    async with host.running() as agent:
        await agent.until_ready()
        before = view.look(host)
        pid = agent.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # One for the admin socket's connection, and none for a file.
        free = _lowest_free(pid)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free + 1, limits[1]))
        try:
            before = await refused(agent, host, "Too many open files")
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        await agent.until(lambda status: status is not None, "the agent is gone")
        await agent.until_ready()
        await agent.ask("renew", identity="broker", discard_edits=False)
        assert view.look(host).leaf != before.leaf
        new = len(view.issued(host)) - 1
        assert new == 1, f"{new} leaves were issued"


def _lowest_free(pid: int) -> int:
    used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in range(max(used) + 2) if number not in used)


async def test_a_disk_that_is_full_for_a_while(tmp_path: Path) -> None:
    """Filled to the last block: told with advice, in log and status; with room again the renewal comes."""
    need_mounts()
    with in_memory(tmp_path / "disk", "size=1m") as disk:
        host = new_host(disk / "h")
        async with host.running() as agent:
            await agent.until_ready()
            filler = disk / "filler"
            _fill(filler)
            before = await refused(agent, host, "No space left on device")
            assert "free some space" in await status_text(agent)
            filler.unlink()
            await recovered(agent, host, before)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as stream:
        try:
            while stream.write(b"\0" * 4096):
                pass
        except OSError:
            return
