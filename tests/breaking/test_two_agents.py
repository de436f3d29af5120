"""Two agents on one directory: the second says so and keeps off, and a killed one leaves no lock behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

import pytest

from agent.host.lock import DirectoryLock
from tests.breaking import view
from tests.breaking.harness import ticks
from tests.breaking.scenes import new_host
from tests.e2e.host import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.host import Host

pytestmark = pytest.mark.slow

BUSY = 75


def beside(host: Host, folder: Path) -> Host:
    """Make another host whose configuration names the same directory."""
    other = new_host(folder)
    other.settings["identities"]["broker"] |= {"directory": str(host.directory)}
    other.settings["issuers"]["local"]["directory"] = str(host.folder / "ca")
    for group in other.settings["identities"]["broker"]["files"]:
        if "password_file" in group:
            group["password_file"] = str(host.folder / "password")
    other.port = free_port()
    other.write()
    return other


async def test_the_second_of_two_agents_says_so_and_keeps_off(tmp_path: Path) -> None:
    """Another configuration, another port, another socket, and the same directory: exit code 75, nothing touched."""
    host = new_host(tmp_path / "one")
    async with host.running() as agent:
        await agent.until_ready()
        before = view.look(host)
        for verb in ("run", "renew"):
            code, _, errors = await beside(host, tmp_path / f"two-{verb}").verb(verb)
            assert code == BUSY, errors
            assert f"is kept by process {agent.process.pid}" in errors
            assert "stop it first" in errors
            assert view.look(host) == before
        assert view.unfinished(host) == []


async def test_a_killed_agent_leaves_no_lock_behind(tmp_path: Path) -> None:
    """Killed in a renewal, while a reload command that it started runs on: its successor starts at once."""
    host = new_host(tmp_path)
    reloading = tmp_path / "reloading"
    slow = f"echo $$ >{reloading}.new && mv {reloading}.new {reloading} && exec sleep 60"
    agent = await host.start()
    await agent.until_ready()
    host.settings["identities"]["broker"]["reload"] = [{"type": "command", "argv": ["/bin/sh", "-c", slow]}]
    host.write()
    agent.send(signal.SIGHUP)
    asking = asyncio.create_task(agent.ask("renew", identity="broker", discard_edits=False))
    try:
        await asyncio.to_thread(_wait_for, reloading)
        agent.process.kill()
        assert await agent.process.wait() == -signal.SIGKILL
        with contextlib.suppress(Exception):
            await asking
        os.kill(int(reloading.read_text()), 0)  # the command still runs
        before = view.look(host)
        assert host.settings["identities"]["broker"].pop("reload")
        with DirectoryLock(host.directory):
            pass  # it is free at once
        async with host.running() as successor:
            await successor.until_ready()
            assert view.look(host) == before
    finally:
        if reloading.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(reloading.read_text()), signal.SIGKILL)
        if agent.process.returncode is None:
            agent.process.kill()


def _wait_for(path: Path) -> None:
    for _ in ticks(0.01):
        if path.exists():
            return
    raise AssertionError(f"there is no {path}")
