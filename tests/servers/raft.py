"""Three OpenBao nodes with raft storage: one is active, and tests kill it."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.servers.openbao import UP_WITHIN, OpenBao, end, free_port
from tests.tools import need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

ACTIVE = 200
STANDBY = 429
SEALED = 503
UNINITIALISED = 501

QUICK = {
    "performance_multiplier": "1",
    "autopilot_update_interval": "500ms",
    "autopilot_reconcile_interval": "1s",
}
"""The shortest waits that raft has, for a leader and for a vote: all nodes are on one machine."""


@dataclass
class Node(OpenBao):
    """One node; its calls go to it alone, which as a standby forwards them.

    `directory` holds its configuration, its data and its log; the token of least policy stands above.
    """

    cluster_port: int = 0

    @property
    def name(self) -> str:
        """The name of the node in the cluster."""
        return self.directory.name

    @property
    def token_file(self) -> Path:
        """Where the token of least policy stands, the same for all nodes."""
        return self.directory.parent / "token"

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self.process.returncode is None

    async def is_active(self) -> bool:
        """Tell whether it is the leader."""
        return await self.health() == ACTIVE


@dataclass
class Raft:
    """A running cluster; `nodes[0]` was its first leader."""

    nodes: list[Node]
    root_token: str = field(repr=False)
    unseal_key: str = field(repr=False)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of all nodes, dead ones too."""
        return tuple(node.address for node in self.nodes)

    @property
    def token_file(self) -> Path:
        """Where the token of least policy stands."""
        return self.nodes[0].token_file

    async def leader(self) -> Node:
        """Wait until one node is active and return it."""
        async with asyncio.timeout(UP_WITHIN):
            while True:
                for node in self.nodes:
                    if node.running and await node.is_active():
                        return node
                await asyncio.sleep(0.05)

    async def standbys(self) -> list[Node]:
        """Return the nodes that run and are not active."""
        return [node for node in self.nodes if node.running and not await node.is_active()]

    async def kill_leader(self) -> Node:
        """Kill the active node, as a machine that is lost, and return it."""
        node = await self.leader()
        await self.stop(node, kill=True)
        return node

    async def stop(self, node: Node, *, kill: bool = False) -> None:
        """End a node; asked politely a leader hands over first."""
        if kill:
            node.process.kill()
            await node.process.wait()
        else:
            await end(node.process)

    async def start(self, node: Node, *, unseal: bool = True) -> None:
        """Start a node again with the data that it had, and unseal it."""
        node.process = await _start(node.directory)
        await node.wait_until_up(SEALED, ACTIVE, STANDBY)
        if unseal:
            await self.unseal(node)

    async def unseal(self, node: Node) -> None:
        """Unseal a node; without a quorum it stays a standby that knows no leader."""
        await node.call("POST", "sys/unseal", key=self.unseal_key)
        await node.wait_until_up(ACTIVE, STANDBY)

    async def all_vote(self) -> bool:
        """Tell whether each node has a vote."""
        node = await self.leader()
        answer = await node.call("GET", "sys/storage/raft/configuration")
        servers: list[dict[str, Any]] = answer["data"]["config"]["servers"]
        return {server["node_id"] for server in servers if server["voter"]} == {node.name for node in self.nodes}


@asynccontextmanager
async def raft(directory: Path, size: int = 3) -> AsyncIterator[Raft]:
    """Start a cluster below `directory` with `make_pki` done; end each node by its pid.

    All nodes have a vote before it is handed over, so one of three may be lost at once.
    """
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        nodes: list[Node] = []
        for number in range(size):
            node = await _made(directory / f"node{number}", session)
            nodes.append(node)
            stack.push_async_callback(_ended, node)
        for node in nodes:
            await node.wait_until_up(UNINITIALISED)
        first, *others = nodes
        made = await first.call("PUT", "sys/init", secret_shares=1, secret_threshold=1)
        cluster = Raft(nodes, made["root_token"], made["keys"][0])
        for node in nodes:
            node.root_token, node.unseal_key = cluster.root_token, cluster.unseal_key
        await first.unseal()
        await first.write("sys/storage/raft/autopilot/configuration", server_stabilization_time="1s")
        for node in others:
            await node.call("POST", "sys/storage/raft/join", leader_api_addr=first.address)
            await cluster.unseal(node)
        await until(cluster.all_vote)
        await first.make_pki()
        yield cluster


async def until(question: Callable[[], Awaitable[bool]], within: float = UP_WITHIN) -> None:
    """Ask again and again until the answer is yes."""
    async with asyncio.timeout(within):
        while True:
            if await question():
                return
            await asyncio.sleep(0.05)


async def _ended(node: Node) -> None:
    await end(node.process)  # the process that it has by then


async def _made(directory: Path, session: aiohttp.ClientSession) -> Node:
    """Write the configuration of a node and start it, empty."""
    data = directory / "data"
    await asyncio.to_thread(data.mkdir, parents=True)
    port, cluster_port = free_port(), free_port()
    address = f"http://127.0.0.1:{port}"
    configuration = {
        "ui": False,
        "api_addr": address,
        "cluster_addr": f"https://127.0.0.1:{cluster_port}",
        "storage": {"raft": {"path": str(data), "node_id": directory.name} | QUICK},
        "listener": {
            "tcp": {
                "address": f"127.0.0.1:{port}",
                "cluster_address": f"127.0.0.1:{cluster_port}",
                "tls_disable": True,
            }
        },
    }
    (directory / "bao.json").write_text(json.dumps(configuration))
    return Node(address, directory, session, await _start(directory), "", cluster_port=cluster_port)


async def _start(directory: Path) -> asyncio.subprocess.Process:
    with (directory / "bao.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            need("bao"),
            "server",
            f"-config={directory / 'bao.json'}",
            cwd=directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"HOME": str(directory), "PATH": os.environ["PATH"]},
        )
