"""The agent against a real OpenBao: two hundred renewals while four readers loop."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.host import PATIENCE, Host
from tests.e2e.reader import READERS
from tests.servers.openbao import openbao

if TYPE_CHECKING:
    from tests.servers.openbao import OpenBao

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

RENEWALS = 200
PACE = 0.2
"""Seconds between two renewals: the files that a reader has resolved stay for two more of them."""


def of_vault(folder: Path, bao: OpenBao) -> Host:
    """Return a host whose identity comes from the server."""
    host = Host(folder)
    spec = bao.spec()
    host.settings["issuers"] = {
        "bao": {
            "type": "vault",
            "addresses": list(spec.addresses),
            "mount": spec.mount,
            "role": spec.role,
            "auth": {"method": "token", "token_file": str(spec.token.file)},
        }
    }
    files: list[dict[str, Any]] = host.settings["identities"]["broker"]["files"]
    files[0]["truststore"] = "ca.crt"
    host.settings["identities"]["broker"]["issuer"] = "bao"
    return host


async def test_two_hundred_renewals_are_seen_whole_by_four_readers(tmp_path: Path) -> None:
    """Readers that resolve `.current` once, and readers of one-file stores, see no mismatch and nothing missing."""
    stop = tmp_path / "stop"
    async with openbao(tmp_path / "bao") as bao:
        host = of_vault(tmp_path, bao)
        async with host.running() as agent:
            await agent.until_ready()
            readers = [
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    str(Path(__file__).with_name("reader.py")),
                    kind,
                    str(host.directory),
                    str(tmp_path / "password"),
                    str(stop),
                    stdout=asyncio.subprocess.PIPE,
                )
                for kind in READERS
            ]
            loop = asyncio.get_running_loop()
            try:
                for _ in range(RENEWALS):
                    began = loop.time()
                    await agent.ask("renew", identity="broker", discard_edits=False)
                    await asyncio.sleep(max(0.0, began + PACE - loop.time()))
            finally:
                stop.touch()
            results = {}
            for kind, reader in zip(READERS, readers, strict=True):
                async with asyncio.timeout(PATIENCE):
                    out, _ = await reader.communicate()
                results[kind] = json.loads(out)
            status = await agent.status()
    assert status is not None
    assert status["identities"][0]["counts"]["renewals"]["issued"] == RENEWALS + 1
    for kind, result in results.items():
        assert result["count"] == 0, f"{kind}: {result}"
        assert result["leaves"] > RENEWALS / 2, f"{kind} looked too rarely to have seen anything: {result}"


async def test_the_private_key_never_leaves_the_host(tmp_path: Path) -> None:
    """What OpenBao was asked is a CSR: its audit log and storage see no key, and it has a leaf by our key."""
    async with openbao(tmp_path / "bao") as bao:
        host = of_vault(tmp_path, bao)
        code, _, errors = await host.verb("once")
        assert code == 0, errors
        key = (host.directory / "tls.key").read_text().splitlines()[1]
        for path in (tmp_path / "bao").rglob("*"):
            if path.is_file():
                assert key.encode() not in path.read_bytes()
        token = bao.token_file.read_text().strip()
        assert token not in errors


async def test_a_sealed_server_is_waited_for(tmp_path: Path) -> None:
    """While it is sealed the old leaf stays, and the status says why; once it is unsealed the renewal comes."""
    async with openbao(tmp_path / "bao") as bao:
        host = of_vault(tmp_path, bao)
        host.settings["identities"]["broker"]["lifetime"] = "15s"
        async with host.running() as agent:
            await agent.until_ready()
            first = host.leaf()
            await bao.seal()
            await agent.until(
                lambda status: status and any("ealed" in why for why in status["identities"][0]["concerns"]),
                "nobody said that it is sealed",
            )
            assert host.leaf() == first
            await bao.unseal()
            await agent.until(lambda _: host.leaf() != first, "not renewed")
