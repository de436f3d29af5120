"""A cluster of three: what nodes answer while the leader lives, is lost, and no quorum is left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.servers.csr import csr_pem
from tests.servers.openbao import POLICY, ROLE
from tests.servers.raft import ACTIVE, SEALED, STANDBY, raft, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.raft import Node, Raft

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

NO_QUORUM = 3.0
"""Seconds for which the node that is left alone is watched; by hand it was 40, with the same answers."""

BOTH_ROLES = f'{POLICY}\npath "pki/sign/kept" {{ capabilities = ["update"] }}'


async def sign(node: Node, token: str, role: str = "kafka") -> tuple[int, str | None]:
    """Ask one node for a leaf, follow nothing; return the status and where it points."""
    async with node.session.post(
        f"{node.address}/v1/pki/sign/{role}",
        json={"csr": csr_pem()},
        headers={"X-Vault-Token": token},
        allow_redirects=False,
    ) as response:
        return response.status, response.headers.get("Location")


async def all_sign(nodes: list[Node], token: str, role: str = "kafka") -> bool:
    """Tell whether each of these nodes gives a leaf."""
    return {(await sign(node, token, role))[0] for node in nodes} == {200}


async def with_a_role_that_keeps(cluster: Raft) -> str:
    """Make the role `kept`, which stores each leaf, and return a token for both roles."""
    (first, *others) = cluster.nodes
    await first.write("pki/roles/kept", **(ROLE | {"no_store": False}))
    token = await first.make_token(BOTH_ROLES)

    async def known() -> bool:
        return await all_sign(others, token) and await all_sign(others, token, "kept")

    await until(known)  # a standby knows of either a moment later
    return token


async def test_every_node_serves_and_one_is_active(tmp_path: Path) -> None:
    """Standbys sign, with the token of least policy; a node that is restarted is sealed until told."""
    async with raft(tmp_path / "raft") as cluster:
        assert await cluster.leader() is cluster.nodes[0]
        assert [await node.health() for node in cluster.nodes] == [ACTIVE, STANDBY, STANDBY]
        assert await cluster.standbys() == cluster.nodes[1:]
        token = cluster.token_file.read_text().strip()
        await with_a_role_that_keeps(cluster)
        assert [await sign(node, token) for node in cluster.nodes] == [(200, None)] * 3
        # A leader that is asked to end hands over: another one leads as soon as it has gone.
        first = cluster.nodes[0]
        await cluster.stop(first)
        assert await cluster.leader() is not first
        assert await first.health() is None
        await cluster.start(first, unseal=False)
        assert await first.health() == SEALED
        assert (await sign(first, token))[0] == SEALED
        await cluster.unseal(first)
        assert await first.health() == STANDBY
        await until(cluster.all_vote)


async def test_lost_leader_is_pointed_at_until_there_is_another(tmp_path: Path) -> None:
    """A standby redirects what must be stored to the dead leader: for two seconds, or as long as no quorum is left.

    What needs no storage (`no_store`) a standby signs by itself all the while.
    """
    async with raft(tmp_path / "raft") as cluster:
        token = await with_a_role_that_keeps(cluster)
        dead = await cluster.kill_leader()
        left = await cluster.standbys()
        assert len(left) == 2
        seen = [await sign(node, token, "kept") for node in left]
        assert seen == [(307, f"{dead.address}/v1/pki/sign/kept")] * 2
        async with asyncio.timeout(20):
            while any(status != 200 for status, _ in seen):
                await asyncio.sleep(0.05)
                seen = [await sign(node, token, "kept") for node in left]
                assert {status for status, _ in seen} <= {200, 307, 500}
        second = await cluster.kill_leader()
        (alone,) = await cluster.standbys()
        ends = asyncio.get_running_loop().time() + NO_QUORUM
        while asyncio.get_running_loop().time() < ends:
            assert await sign(alone, token, "kept") == (307, f"{second.address}/v1/pki/sign/kept")
            assert await sign(alone, token) == (200, None)
            assert await alone.health() == STANDBY
            await asyncio.sleep(0.1)
        await cluster.start(dead)
        assert await cluster.leader() in [alone, dead]
        await until(lambda: all_sign([alone, dead], token, "kept"))
