"""A cluster that loses its leader: the client finds who serves, and says in time when nobody does."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.issuer_spec import AppRoleLogin
from agent.core.issuer_status import Opinion
from agent.core.secret import Secret
from agent.errors import IssuerUnavailableError
from tests.issuers.vault_clients import client, issue
from tests.servers.bao_auth import enable_approle
from tests.servers.openbao import ROLE
from tests.servers.raft import raft

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def test_leader_that_is_lost_is_gone_round(tmp_path: Path) -> None:
    """Leaves are stored, so only a leader signs: after its loss calls go on within seconds, by a login too."""
    async with raft(tmp_path / "raft") as cluster:
        first = cluster.nodes[0]
        await first.write("pki/roles/kafka", **(ROLE | {"no_store": False}))
        role = await enable_approle(first)
        (tmp_path / "role-id").write_text(role.role_id)
        (tmp_path / "secret-id").write_text(await role.secret_id())
        login = AppRoleLogin(Secret(file=tmp_path / "role-id"), Secret(file=tmp_path / "secret-id"))
        of = first.spec(login=login, addresses=cluster.addresses, within=timedelta(seconds=5))
        async with client(of) as vault:
            await issue(vault)
            await cluster.kill_leader()
            async with asyncio.timeout(30):
                while True:
                    with suppress(IssuerUnavailableError):
                        await issue(vault)
                        break
                    assert vault.status().reason in ("standby", "server", "network", "time-out")
                    await asyncio.sleep(0.2)
            found = [one for one in await vault.examine(()) if one.what == "address"]
            assert [one.opinion for one in found].count(Opinion.DOUBTFUL) == 1
            assert any("a standby" in one.sentence for one in found)
            # The second is lost as well: no quorum, and the last node points to the dead one for ever.
            await cluster.kill_leader()
            begin = time.monotonic()
            with pytest.raises(IssuerUnavailableError, match="redirects to") as caught:
                await issue(vault)
            assert time.monotonic() - begin < 10
            assert caught.value.reason == "standby"
            assert vault.status().reason == "standby"
