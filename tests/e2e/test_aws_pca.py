"""The agent against AWS Private CA's protocol: killed at every step, it pays for one certificate."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.keystores import private_key
from tests.e2e.broken_off import WHOLE
from tests.e2e.host import PATIENCE, ROOT, Host, assert_whole, listener
from tests.servers.pca import Pca, pca

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers.pca_faults import Asked, Reply

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

MOST_STEPS = 80
BROKEN_OFF = Path(__file__).with_name("broken_off.py")


@pytest.fixture
async def server() -> AsyncIterator[Pca]:
    """Run a server."""
    async with pca() as running:
        yield running


async def of_pca(folder: Path, server: Pca, **changes: Any) -> Host:
    """Return a host whose identity comes from a CA of the server."""
    host = Host(folder)
    host.settings["issuers"] = {
        "pca": {
            "type": "aws_pca",
            "certificate_authority_arn": await server.make_ca(),
            "endpoint": server.endpoint,
            "sts_endpoint": server.endpoint,
            **changes,
        }
    }
    host.settings["identities"]["broker"]["issuer"] = "pca"
    return host


async def broken_off(host: Host, server: Pca, steps: int) -> int:
    """Run `once` and kill it before one of its steps; return how it ended."""
    host.write()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(BROKEN_OFF),
        str(host.directory),
        str(steps),
        "once",
        "--config",
        str(host.config),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env=os.environ | server.environment() | {"PYTHONPATH": str(ROOT)},
    )
    async with asyncio.timeout(PATIENCE * 2):
        out, _ = await process.communicate()
    assert process.returncode in (-9, WHOLE), out.decode()
    return process.returncode


async def test_the_agent_has_its_leaf_from_another_account(server: Pca, tmp_path: Path) -> None:
    """A role is assumed with an external id, a leaf ordered, proven and renewed."""
    server.access.external_id = "external-0815"
    server.access.deny("acm-pca:*", "arn:aws:iam::111111111111:*")
    (tmp_path / "external-id").write_text("external-0815\n")
    role = {"role_arn": server.role, "session_name": "orders", "external_id_file": "external-id"}
    host = await of_pca(tmp_path, server, assume_role=role)
    async with host.running(**server.environment()) as agent:
        await agent.until_ready()
        first = host.leaf()
        await agent.ask("renew", identity="broker", discard_edits=False)
        status = await agent.status()
    assert host.leaf() != first
    assert_whole(host)
    assert {issued.caller.rpartition("/")[2] for issued in server.issued} == {"orders"}
    assert status is not None
    (issuer,) = status["issuers"]
    assert (issuer["kind"], issuer["trouble"], issuer["remarks"]) == ("aws_pca", "", [])
    secrets = [server.credentials.secret_key, "external-0815"]
    assert not [one for one in secrets if one in (tmp_path / "agent.log").read_text()]


@pytest.mark.parametrize("offset", [0, 1])
async def test_killed_before_any_step_on_disk_or_network_it_pays_once(server: Pca, tmp_path: Path, offset: int) -> None:
    """Each file that is opened or renamed, each connection: `once` after the kill ends with one certificate."""
    for steps in range(offset, MOST_STEPS, 2):
        folder = tmp_path / str(steps)
        folder.mkdir()
        host = await of_pca(folder, server)
        host.settings["identities"]["broker"]["files"] = [{"format": "pem", "combined": "tls.pem"}]
        before = len(server.issued)
        ended = await broken_off(host, server, steps)
        if ended != WHOLE:
            code, _, errors = await host.verb("once", **server.environment())
            assert code == 0, errors
        assert len(server.issued) - before == 1, f"killed before step {steps}"
        key = private_key.from_pem((host.directory / "tls.pem").read_bytes())
        assert private_key.public_der(key) == host.leaf().public_key
        assert not (host.directory / ".pending").exists()
        if ended == WHOLE:
            break
    assert 12 <= steps < MOST_STEPS - 2, f"the verb has {steps} steps"


@pytest.mark.parametrize("operation", ["IssueCertificate", "GetCertificate"])
@pytest.mark.parametrize("after", [False, True])
async def test_killed_while_the_service_works_it_pays_once(
    server: Pca, tmp_path: Path, operation: str, after: bool
) -> None:
    """The call is on its way, or its effect is there and the answer is not."""
    reached = threading.Event()

    def hear(asked: Asked) -> None:
        if asked.operation == operation and not after:
            reached.set()

    def answer(asked: Asked, reply: Reply) -> Reply:
        if asked.operation == operation and after:
            reached.set()
        return reply

    host = await of_pca(tmp_path, server)
    server.faults.hold(operation, 30, times=1, after=after)
    server.faults.before, server.faults.after = hear, answer
    agent = await host.start(**server.environment())
    assert await asyncio.to_thread(reached.wait, PATIENCE)
    await asyncio.sleep(0.2)
    agent.process.kill()
    await agent.process.wait()
    server.faults.clear()
    code, _, errors = await host.verb("once", **server.environment())
    assert code == 0, errors
    assert len(server.issued) == 1
    assert_whole(host)


async def test_config_check_connect_tells_in_words_and_orders_nothing(server: Pca, tmp_path: Path) -> None:
    """Who the agent is, the CA's state and end, the right with the template; and each of them when it is bad."""
    host = await of_pca(tmp_path, server)
    environment = server.environment()
    code, out, errors = await host.verb("config", "check", "--connect", **environment)
    assert (code, errors) == (0, "")
    assert f"credentials: good: the agent is {server.credentials.arn}" in out
    assert "is active" in out
    assert "acm-pca:IssueCertificate is allowed with arn:aws:acm-pca:::template/EndEntityCertificate/V1" in out
    server.access.deny("acm-pca:IssueCertificate")
    code, out, _ = await host.verb("config", "check", "--connect", **environment)
    assert code == 1
    assert f"let {server.credentials.arn} do acm-pca:IssueCertificate" in out
    server.set_state(host.settings["issuers"]["pca"]["certificate_authority_arn"], "DISABLED")
    code, out, _ = await host.verb("config", "check", "--connect", **environment)
    assert code == 1
    assert "is DISABLED: enable it" in out
    code, out, _ = await host.verb("config", "check", "--connect", **(environment | {"AWS_SECRET_ACCESS_KEY": "no"}))
    assert code == 1
    assert "credentials: bad" in out
    assert server.issued == []
    assert not host.directory.exists()


async def test_what_a_person_must_do_stands_in_log_status_and_metrics(server: Pca, tmp_path: Path) -> None:
    """The missing action and who lacks it; the agent goes on by itself once the right is given."""
    server.access.deny("acm-pca:IssueCertificate")
    host = await of_pca(tmp_path, server)
    advice = f"let {server.credentials.arn} do acm-pca:IssueCertificate"
    async with host.running(**server.environment()) as agent:
        await agent.until(
            lambda status: status and any(advice in concern for concern in status["identities"][0]["concerns"]),
            "nobody said what is missing",
        )
        status = await agent.status()
        code, out, _ = await host.verb("status")
        metrics = await asyncio.to_thread(scraped, host.port)
        server.access.allow("acm-pca:IssueCertificate")
        await agent.ask("renew", identity="broker", discard_edits=False)
        await agent.until_ready()
    assert status is not None
    assert status["issuers"][0]["reason"] == "access denied"
    assert status["identities"][0]["tries"]["issuing"]["failure"]["refused"]
    assert (code, advice in out) == (1, True)
    assert any(advice in line.get("advice", "") for line in host.log())
    assert 'cert_agent_issuer_errors_total{identity="broker",reason="access denied"} 1.0' in metrics
    assert 'cert_agent_issuer_up{issuer="pca"} 0.0' in metrics


def scraped(port: int) -> str:
    """Return the metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
        return text


async def test_a_replaced_leaf_is_revoked_at_the_service(server: Pca, tmp_path: Path) -> None:
    """Once a listener serves the new one and three generations lie between."""
    host = await of_pca(tmp_path, server, revoke=True)
    async with listener(host), host.running(**server.environment()) as agent:
        await agent.until_ready()
        for _ in range(3):
            await agent.ask("renew", identity="broker", discard_edits=False)
            await agent.until_ready()
        await agent.until(lambda _: server.count("RevokeCertificate", "OK") == 1, "nothing was revoked")
    assert len(server.issued) == 4
