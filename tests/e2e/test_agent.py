"""The agent as a process of its own: renewals, signals, locks, kills."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from agent.errors import AgentError
from agent.host.lock import DirectoryLock
from agent.keystores import pem, private_key
from tests.e2e.host import PATIENCE, Host, assert_whole, free_port, listener
from tests.material import Ca

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host with one identity."""
    return Host(tmp_path)


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


async def test_anchors_in_files_are_watched(host: Host) -> None:
    """A CA that is put into the folder stands in the truststores seconds later, and leaves when nothing uses it."""
    folder = host.folder / "ca.d"
    folder.mkdir()
    (folder / "one.pem").write_bytes(pem.encode([Ca.root("CN=One").certificate]))
    broker = host.settings["identities"]["broker"]
    broker["files"][0]["truststore"] = "ca.crt"
    broker["trust"] = [{"files": "ca.d"}, {"issuer": "local"}]
    broker["peer_trust"] = [{"issuer": "local"}]
    broker["rotation"] = {"peers": [], "soak": "0s", "retire": "automatic"}
    async with host.running() as agent:
        await agent.until_ready()
        first = host.leaf()
        assert len(pem.decode((host.directory / "ca.crt").read_bytes())) == 2
        (folder / "two.pem").write_bytes(pem.encode([Ca.root("CN=Two").certificate]))
        await agent.until(
            lambda _: len(pem.decode((host.directory / "ca.crt").read_bytes())) == 3, "the new anchor was not taken"
        )
        assert host.leaf() == first
        broker["trust"] = [{"issuer": "local"}]
        host.write()
        agent.send(signal.SIGHUP)
        await agent.until(
            lambda _: len(pem.decode((host.directory / "ca.crt").read_bytes())) == 1, "the folder is still trusted"
        )


async def test_the_systems_bundle_can_be_trusted(host: Host) -> None:
    """A client of a cloud's brokers has a leaf of a private CA and trusts public roots."""
    broker = host.settings["identities"]["broker"]
    broker["files"][0]["truststore"] = "ca.crt"
    broker["trust"] = [{"system": True}]
    code, _, errors = await host.verb("once")
    assert code == 0, errors
    assert len(pem.decode((host.directory / "ca.crt").read_bytes())) > 20


async def test_sighup_takes_no_directory_that_another_keeps(host: Host) -> None:
    """A configuration that cannot be kept as a whole is not taken in part."""
    with DirectoryLock(host.folder / "other"):
        async with host.running() as agent:
            await agent.until_ready()
            host.settings["identities"]["other"] = host.identity("other")
            host.write()
            agent.send(signal.SIGHUP)
            await agent.until(lambda _: any("is kept by" in line["event"] for line in host.log()), "not told")
            status = await agent.status()
            assert status is not None
            assert [one["name"] for one in status["identities"]] == ["broker"]


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


async def test_the_service_manager_hears_of_start_life_and_end(host: Host) -> None:
    """`Type=notify`: READY once it is up, WATCHDOG while every keeper turns, STOPPING at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(host.folder / "notify"))
        manager.settimeout(PATIENCE)

        def hear(word: str) -> str:
            while True:
                message = manager.recv(4096).decode()
                if word in message:
                    return message

        environment = {"NOTIFY_SOCKET": str(host.folder / "notify"), "WATCHDOG_USEC": "300000"}
        async with host.running(**environment) as agent:
            assert "STATUS=keeps 1 identities" in await asyncio.to_thread(hear, "READY=1")
            for _ in range(3):
                await asyncio.to_thread(hear, "WATCHDOG=1")
            assert await agent.stop() == 0
            await asyncio.to_thread(hear, "STOPPING=1")


async def test_a_folder_that_others_may_write_to_is_told_at_the_start(host: Host) -> None:
    """Whoever runs the agent without `config check` reads it in the log."""
    host.folder.chmod(0o777)
    try:
        async with host.running() as agent:
            await agent.until_ready()
    finally:
        host.folder.chmod(0o700)
    told = [line for line in host.log() if "writable by everybody" in line["event"]]
    assert len(told) == 1
    assert str(host.folder) in told[0]["event"]


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
