"""The agent as a process of its own: renewals, signals, locks, kills."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from agent.errors import AgentError
from agent.keystores import pkcs12, private_key
from tests.e2e.host import PATIENCE, ROOT, Host, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host with one identity."""
    return Host(tmp_path)


def assert_whole(host: Host, directory: str = "ssl") -> None:
    """Every file of the identity is there, belongs together and opens; nothing is left half written."""
    folder = host.folder / directory
    leaf = host.leaf(directory)
    for name in ("tls.key", "tls.pem"):
        assert private_key.public_der(private_key.from_pem((folder / name).read_bytes())) == leaf.public_key
    key, chain = pkcs12.read_keystore((folder / "keystore.p12").read_bytes(), (host.folder / "password").read_text())
    assert chain[0] == leaf
    assert private_key.public_der(key) == leaf.public_key
    assert not [path for path in folder.rglob("*") if path.name.startswith(".new-")]


@asynccontextmanager
async def listener(host: Host) -> AsyncIterator[str]:
    """Serve the identity with the example's listener, told of new files by the agent."""
    address, pid_file = f"localhost:{free_port()}", host.folder / "listener.pid"
    script = ROOT / "examples" / "tls_listener.py"
    host.settings["identities"]["broker"] |= {
        "reload": [{"type": "command", "argv": [sys.executable, str(script), "reload", "--pid-file", str(pid_file)]}],
        "prove": [{"address": address, "within": "5s"}],
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), "serve", "--directory", str(host.directory), "--address", address,
        "--pid-file", str(pid_file), stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(PATIENCE):
            await process.wait()


async def test_a_renewal_is_served_proven_and_settled(host: Host) -> None:
    """Issued, switched, told, and the new leaf seen in a handshake, by itself when it is due."""
    host.settings["identities"]["broker"]["lifetime"] = "12s"
    async with listener(host) as address, host.running() as agent:
        await agent.until_ready()
        first = host.leaf()
        await agent.until(
            lambda status: (
                status
                and status["identities"][0]["settled"]
                and status["identities"][0]["generation"] >= 2
                and status["identities"][0]["listeners"][0]["verdict"] == "proven"
            ),
            "not renewed",
        )
        assert host.leaf() != first
        status = await agent.status()
        assert status is not None
        assert status["identities"][0]["listeners"][0]["address"] == address
        assert_whole(host)


async def test_a_listener_that_keeps_the_old_leaf_is_rolled_back_from(host: Host) -> None:
    """A reload that says success and changes nothing is found out by the handshake."""
    async with listener(host), host.running() as agent:
        await agent.until_ready()
        first = host.leaf()
        host.settings["identities"]["broker"]["reload"] = [{"type": "command", "argv": ["true"]}]
        host.settings["identities"]["broker"]["prove"][0]["within"] = "1s"
        host.write()
        agent.send(signal.SIGHUP)
        await agent.until(lambda status: status and "true" in _log(host), "not read again")
        with pytest.raises(AgentError, match="rolled back"):
            await agent.ask("renew", identity="broker", discard_edits=False)
        assert host.leaf() == first
        assert_whole(host)


def _log(host: Host) -> str:
    return "true" if any("read again" in line["event"] for line in host.log()) else ""


async def test_a_restart_issues_nothing(host: Host) -> None:
    """Valid certificates are found and kept."""
    async with host.running() as agent:
        await agent.until_ready()
        first = host.leaf()
    async with host.running() as agent:
        await agent.until_ready()
        assert host.leaf() == first
        status = await agent.status()
        assert status is not None
        assert status["identities"][0]["counts"]["renewals"].get("issued", 0) == 0


async def test_sigterm_ends_it_in_order(host: Host) -> None:
    """Exit code 0, the socket gone, the files whole, in the middle of renewals too."""
    agent = await host.start()
    await agent.until_ready()
    renewing = asyncio.create_task(agent.ask("renew", identity="broker", discard_edits=False))
    await asyncio.sleep(0.02)
    assert await agent.stop() == 0
    with pytest.raises(AgentError):
        await renewing
    assert not (host.folder / "admin.sock").exists()
    assert_whole(host)


async def test_a_kill_at_any_moment_leaves_whole_files(host: Host) -> None:
    """Killed in the middle of renewals a dozen times, readers find one whole generation each time."""
    agent = await host.start()
    await agent.until_ready()
    await agent.stop()
    chance = random.Random(7)  # noqa: S311 - which moment is hit decides no secret
    for _ in range(12):
        agent = await host.start()
        renewals = asyncio.create_task(_renew_for_ever(agent.ask))
        await asyncio.sleep(chance.uniform(0.0, 0.25))
        agent.send(signal.SIGKILL)
        await agent.process.wait()
        renewals.cancel()
        await asyncio.wait([renewals])
        assert (
            private_key.public_der(private_key.from_pem((host.directory / "tls.pem").read_bytes()))
            == host.leaf().public_key
        )
    async with host.running() as agent:
        await agent.until_ready()
        await agent.until(lambda _: not (host.directory / ".pending").exists(), "a pending key was left")
        assert_whole(host)


async def _renew_for_ever(ask: object) -> None:
    while True:
        try:
            await ask("renew", identity="broker", discard_edits=False)  # type: ignore[operator]
        except AgentError:
            return


async def test_sighup_takes_a_good_configuration(host: Host) -> None:
    """A new identity is kept, a changed one is renewed, one that is gone is left alone."""
    host.settings["identities"]["other"] = host.identity("other")
    async with host.running() as agent:
        await agent.until_ready()
        first, other = host.leaf(), host.leaf("other")
        del host.settings["identities"]["other"]
        host.settings["identities"]["third"] = host.identity("third")
        host.settings["identities"]["broker"]["sans"]["dns"].append("kafka.example.com")
        host.write()
        agent.send(signal.SIGHUP)
        await agent.until(
            lambda status: (
                status
                and [one["name"] for one in status["identities"]] == ["broker", "third"]
                and all(not one["not_ready"] and one["generation"] for one in status["identities"])
            ),
            "not taken",
        )
        await agent.until(lambda _: "kafka.example.com" in host.leaf().sans.dns, "not renewed")
        assert host.leaf() != first
        assert host.leaf("other") == other


async def test_sighup_keeps_the_old_configuration_when_the_new_is_bad(host: Host) -> None:
    """Each mistake is logged, and everything goes on."""
    async with host.running() as agent:
        await agent.until_ready()
        good = json.loads(json.dumps(host.settings))
        host.settings["identities"]["broker"] |= {"lifetimes": "1h", "sans": {"ip": ["999.1.1.1"]}}
        host.write()
        agent.send(signal.SIGHUP)
        await agent.until(
            lambda _: any("is kept as it was" in line["event"] for line in host.log()), "the mistakes were not told"
        )
        told = "\n".join(line["event"] for line in host.log())
        assert "did you mean `lifetime`?" in told
        assert "sans.ip[0]" in told
        status = await agent.status()
        assert status is not None
        assert [one["name"] for one in status["identities"]] == ["broker"]
        host.settings = good


async def test_no_second_process_touches_a_store(host: Host) -> None:
    """A second agent ends with 75 and names the first; a verb goes through the socket."""
    async with host.running() as agent:
        await agent.until_ready()
        first = host.leaf()
        code, _, errors = await host.verb("run")
        assert code == 75
        assert str(agent.process.pid) in errors
        assert host.leaf() == first
        code, out, errors = await host.verb("renew")
        assert (code, errors) == (0, "")
        assert "renewed" in out
        assert host.leaf() != first


async def test_a_lock_keeps_verbs_out_when_the_socket_is_gone(host: Host) -> None:
    """Without its socket an agent cannot be asked, and its store is not touched all the same."""
    async with host.running() as agent:
        await agent.until_ready()
        first = host.leaf()
        (host.folder / "admin.sock").unlink()
        for verb in ("renew", "once", "rollback"):
            code, _, errors = await host.verb(verb)
            assert code == 75, errors
        assert host.leaf() == first


async def test_once_does_what_is_due_and_exits(host: Host) -> None:
    """The first time it issues, the second time there is nothing to do."""
    code, out, _ = await host.verb("once")
    assert code == 0
    first = host.leaf()
    assert_whole(host)
    code, out, _ = await host.verb("once")
    assert code == 0
    assert "its renewal falls there" in out
    assert host.leaf() == first


async def test_plan_tells_and_changes_nothing(host: Host) -> None:
    """Neither a directory nor a CA is made by it."""
    code, out, _ = await host.verb("plan")
    assert code == 0
    assert "ask the CA for a leaf now: there is no certificate yet" in out
    assert not host.directory.exists()
    assert not (host.folder / "ca").exists()
    await host.verb("once")
    before = sorted((path, path.lstat().st_mtime_ns) for path in host.folder.rglob("*") if path != host.config)
    code, out, _ = await host.verb("plan")
    assert code == 0
    assert sorted((path, path.lstat().st_mtime_ns) for path in host.folder.rglob("*") if path != host.config) == before


async def test_rollback_goes_back_and_status_tells(host: Host) -> None:
    """The leaf of the generation before is current again; the status says that a person held it."""
    await host.verb("once")
    first = host.leaf()
    await host.verb("renew")
    assert host.leaf() != first
    code, out, _ = await host.verb("rollback")
    assert code == 0
    assert "back at generation 1" in out
    assert host.leaf() == first
    code, out, _ = await host.verb("status")
    assert code == 0
    assert "person rolled back" in out
    code, out, _ = await host.verb("status", "--json")
    assert json.loads(out)["identities"][0]["generation"] == 1
    code, _, errors = await host.verb("rollback", "--to", "99")
    assert code == 1
    assert "not kept" in errors


async def test_bad_configuration_touches_nothing(host: Host) -> None:
    """All mistakes at once, a line each, exit code 78, no file made."""
    host.settings["identities"]["broker"] |= {
        "lifetime": "3s",
        "unknown": 1,
        "key": {"algorithm": "rsa-1024"},
        "sans": {"ip": ["10.0.0.300"]},
    }
    host.settings["identities"]["copy"] = host.identity("ssl", files=[
        {"format": "pkcs12", "keystore": "k.p12", "password_file": "nowhere"}
    ])  # fmt: skip
    for verb in (["run"], ["once"], ["plan"], ["config", "check"]):
        code, _, errors = await host.verb(*verb)
        assert code == 78
        lines = errors.splitlines()
        assert len(lines) == 6, errors
        for word in ("unknown", "lifetime", "key.algorithm", "sans.ip[0]", "password_file", "copy.directory"):
            assert sum(word in line for line in lines) == 1, word
        assert all(str(host.config) in line for line in lines)
    assert not host.directory.exists()


async def test_http_tells_and_refuses(host: Host) -> None:
    """Health, metrics and status over real HTTP; nothing but GET, no foreign Host, no secret."""
    async with host.running() as agent:
        await agent.until_ready()
        for path, word in (
            ("livez", "ok"),
            ("readyz?verbose", "broker ok"),
            ("healthz", '"pass"'),
            ("metrics", "cert_agent_identity_ready"),
            ("status", '"fingerprint"'),
        ):
            code, body = await asyncio.to_thread(_get, host, path)
            assert code == 200
            assert word in body
            assert "PRIVATE" not in body
            assert (host.folder / "password").read_text() not in body
        assert (await asyncio.to_thread(_get, host, "status", "evil.example.com"))[0] in (403, 421)
        assert (await asyncio.to_thread(_get, host, "status", "", "POST"))[0] == 405


def _get(host: Host, path: str, name: str = "", method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{host.port}/{path}", method=method)
    if name:
        request.add_header("Host", name)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - http, to loopback
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_a_lost_file_comes_back_without_a_new_leaf(host: Host) -> None:
    """What was deleted is rendered from the generation."""
    async with host.running() as agent:
        await agent.until_ready()
        first = host.leaf()
        (host.directory / ".current" / "keystore.p12").unlink()
        (host.directory / "tls.crt").unlink()
        await agent.ask("once")
        assert_whole(host)
        assert host.leaf() == first


async def test_a_corrupt_store_is_reported_and_replaced(host: Host) -> None:
    """Garbage wherever the agent keeps its own notes is no reason to crash."""
    await host.verb("once")
    (host.directory / ".state.json").write_bytes(os.urandom(200))
    manifest = host.directory / ".current" / "generation.json"
    manifest.chmod(0o644)
    manifest.write_bytes(b"{")
    async with host.running() as agent:
        await agent.until_ready()
        assert_whole(host)
        assert any("cannot be read" in line["event"] for line in host.log())


async def test_a_failing_identity_holds_up_no_other(host: Host) -> None:
    """One issuer is down, the other identity is issued at once."""
    (host.folder / "token").write_text("s.none")
    host.settings["issuers"]["down"] = {
        "type": "vault",
        "addresses": [f"http://127.0.0.1:{free_port()}"],
        "role": "kafka",
        "auth": {"method": "token", "token_file": "token"},
    }
    host.settings["identities"]["a"] = host.identity("a", issuer="down")
    async with host.running() as agent:
        await agent.until(
            lambda status: status and not status["identities"][1]["not_ready"] and status["identities"][0]["concerns"],
            "the good identity was held up",
        )
        status = await agent.status()
        assert status is not None
        assert status["identities"][0]["not_ready"]
        assert "s.none" not in json.dumps(status)
        assert "s.none" not in (host.folder / "agent.log").read_text()
