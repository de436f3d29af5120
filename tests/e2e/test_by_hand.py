"""Signing by hand with the real agent, its command line, and OpenSSL as the CA elsewhere."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import nullcontext
from signal import SIGKILL
from typing import TYPE_CHECKING

import pytest

from agent.errors import AgentError
from agent.wiring.brought import LARGEST_CHAIN
from tests.e2e.elsewhere import Elsewhere
from tests.e2e.host import ROOT, Host, assert_whole, listener
from tests.tools import need

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.host import Running

pytestmark = pytest.mark.slow


@pytest.fixture
def elsewhere(tmp_path: Path) -> Elsewhere:
    """A CA that no program can call."""
    return Elsewhere(tmp_path / "elsewhere")


@pytest.fixture
def host(tmp_path: Path, elsewhere: Elsewhere) -> Host:
    """A host whose leaves are signed by hand."""
    host = Host(tmp_path)
    (tmp_path / "ca.crt").write_text(elsewhere.text("root.crt"))
    host.settings["issuers"] = {"hand": {"type": "manual", "anchors": "ca.crt"}}
    host.settings["identities"]["broker"]["issuer"] = "hand"
    return host


async def csr_of(host: Host) -> str:
    """Print the CSR, and nothing beside it."""
    code, out, errors = await host.verb("csr", "broker")
    assert code == 0, errors
    assert out.startswith("-----BEGIN CERTIFICATE REQUEST-----\n")
    assert out.endswith("\n-----END CERTIFICATE REQUEST-----\n")
    return out


async def bring(host: Host, chain: str | bytes) -> tuple[int, str, str]:
    """Import a chain from a file."""
    path = host.folder / "chain.pem"
    path.write_bytes(chain if isinstance(chain, bytes) else chain.encode())
    return await host.verb("import", "broker", str(path))


def seen(host: Host) -> dict[str, bytes]:
    """Return all that stands in the identity's directory, the pending key included, but for who holds the lock."""
    return {
        str(path): path.read_bytes() for path in host.directory.rglob("*") if path.is_file() and path.name != ".lock"
    }


async def test_a_host_without_an_agent_is_served_by_three_commands(host: Host, elsewhere: Elsewhere) -> None:
    """CSR, sign elsewhere, import; the leaf is what the CSR asked for, and OpenSSL believes it."""
    csr = await csr_of(host)
    assert await csr_of(host) == csr
    # The anchor may come along, and the order is anybody's.
    code, out, errors = await bring(host, elsewhere.text("root.crt", "between.crt") + elsewhere.sign(csr))
    assert code == 0, errors
    assert out.startswith("broker is renewed; next: ")
    assert_whole(host)
    (elsewhere.folder / "tls.pem").write_text((host.directory / "tls.pem").read_text())
    told = elsewhere.openssl(
        "verify", "-CAfile", "root.crt", "-untrusted", "tls.pem", "-purpose", "sslserver", "tls.pem"
    )
    assert told == "tls.pem: OK\n"
    code, _, errors = await bring(host, elsewhere.sign(csr))
    assert code == 1
    assert "no pending key of broker fits this leaf" in errors
    code, out, _ = await host.verb("status")
    assert code == 0
    assert "from hand" in out


async def test_an_agent_that_runs_takes_it_in_through_its_socket(host: Host, elsewhere: Elsewhere) -> None:
    """It says that it waits for a person, then goes the way of any renewal: reload, handshake, settled."""
    async with listener(host) as address, host.running() as agent:
        await agent.until(waits_for_a_person, "it does not say that it waits for a person")
        csr = await csr_of(host)
        code, _, errors = await bring(host, elsewhere.sign(csr) + elsewhere.text("between.crt"))
        assert code == 0, errors
        await agent.until_ready()
        first = host.leaf()
        await assert_served(agent, address, first.fingerprint)
        # A person who wants another is told how, and the CSR that was printed holds through the refusal.
        again = await csr_of(host)
        code, _, errors = await host.verb("renew")
        assert code == 1
        assert "cert-agent csr NAME" in errors
        assert await csr_of(host) == again != csr
        status = await agent.status()
        assert status is not None
        (broker,), (issuer,) = status["identities"], status["issuers"]
        assert broker["health"] == "warn"
        assert broker["ready"]
        assert (issuer["kind"], issuer["trouble"]) == ("manual", "")
        code, _, errors = await bring(host, elsewhere.sign(again) + elsewhere.text("between.crt"))
        assert code == 0, errors
        await agent.until_ready()
        await assert_served(agent, address, host.leaf().fingerprint)
        assert host.leaf() != first


def waits_for_a_person(status: dict[str, object] | None) -> bool:
    """Return whether the status says so."""
    return status is not None and "is to be signed by hand" in str(status["identities"])


async def assert_served(agent: Running, address: str, fingerprint: str) -> None:
    """The listener serves that leaf, by the agent's own handshake."""
    status = await agent.status()
    assert status is not None
    (one,) = status["identities"][0]["listeners"]
    assert (one["address"], one["verdict"], one["fingerprint"]) == (address, "proven", fingerprint)


async def test_a_wrong_answer_is_refused_with_its_reason(host: Host, elsewhere: Elsewhere) -> None:
    """Files, key and CSR stay as they are; the right one is taken afterwards."""
    async with host.running() as agent:
        csr = await csr_of(host)
        code, _, errors = await bring(host, elsewhere.sign(csr) + elsewhere.text("between.crt"))
        assert code == 0, errors
        csr = await csr_of(host)
        before = seen(host)
        for chain, why in wrong_answers(elsewhere, csr):
            with pytest.raises(AgentError) as caught:
                await agent.ask("import", identity="broker", chain=chain)
            assert why in caught.value.what
            assert seen(host) == before, why
        assert await csr_of(host) == csr
        code, _, errors = await bring(host, elsewhere.sign(csr) + elsewhere.text("between.crt"))
        assert code == 0, errors
        assert_whole(host)


def wrong_answers(elsewhere: Elsewhere, csr: str) -> list[tuple[str, str]]:
    """Return what may be brought in place of the leaf and its chain, and why it is refused."""
    between = elsewhere.text("between.crt")
    other = elsewhere.openssl("req", "-new", "-key", "stranger.key", "-subj", "/OU=Brokers/CN=kafka1.example.com")
    (elsewhere.folder / "names.cnf").write_text("subjectAltName=DNS:kafka2.example.com\n")
    (elsewhere.folder / "sub.cnf").write_text("basicConstraints=critical,CA:TRUE\n")
    leaf, none = elsewhere.sign(csr), "there is no certificate in PEM"
    return [
        (elsewhere.sign(other) + between, "no pending key of broker fits this leaf"),
        (elsewhere.sign(csr, "-extfile", "names.cnf", copy="none") + between, "DNS SANs: asked for"),
        (elsewhere.sign(csr, "-days", "9", "-extfile", "sub.cnf") + between, "may sign certificates for other hosts"),
        (elsewhere.sign_dated(csr, "20200101000000Z", "20200201000000Z") + between, "the leaf expired at 2020-02-01"),
        (leaf, "CN=between, which is no trusted anchor"),
        (
            elsewhere.sign(csr, by="stranger") + elsewhere.text("stranger.crt"),
            "CN=stranger, which is no trusted anchor",
        ),
        (elsewhere.text("root.crt", "between.crt"), "none but certificates of CAs"),
        (csr, none),
        ("", none),
        ("".join(map(chr, range(256))), none),
        (leaf[:-60] + between, "what was brought cannot be read"),
        (leaf.replace("\nM", "\nM?", 1), "what was brought cannot be read"),
        ("\ud800", none),
        (f"{leaf}\udfff", "CN=between, which is no trusted anchor"),
        ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "not a certificate that can be read"),
    ]


async def test_without_an_agent_a_wrong_answer_is_refused_alike(host: Host, elsewhere: Elsewhere) -> None:
    """Nothing stays but the reason, on standard error."""
    csr = await csr_of(host)
    before = seen(host)
    chain = elsewhere.sign(csr) + elsewhere.text("between.crt")
    for brought, why in (
        (b"\0" * 1_000_000, "more than 95000 bytes"),
        ((chain * 100).encode(), "more than 95000 bytes"),
        (bytes(range(256)) * 100, "there is no certificate in PEM"),
        (elsewhere.sign(csr), "bring the certificate of CN=between too"),
    ):
        code, out, errors = await bring(host, brought)
        assert (code, out) == (1, ""), why
        assert why in errors
        assert seen(host) == before, why
    code, _, errors = await bring(host, chain)
    assert code == 0, errors


@pytest.mark.parametrize("runs", [False, True], ids=["without an agent", "with an agent"])
async def test_a_file_that_is_long_for_what_is_around_the_leaf_is_taken_in(
    host: Host, elsewhere: Elsewhere, *, runs: bool
) -> None:
    """Notes of whoever signs, in quotes and under Windows; it makes no difference who reads them."""
    async with host.running() if runs else nullcontext():
        chain = elsewhere.sign(await csr_of(host)) + elsewhere.text("between.crt")
        around = LARGEST_CHAIN - len(chain)
        code, _, errors = await bring(host, chain + ('"\t\r\n' * around)[:around])
        assert code == 0, errors
        assert host.leaf().issuer.rfc4514_string() == "CN=between"


@pytest.mark.parametrize("reuse", [False, True])
async def test_the_key_is_kept_where_the_settings_say_so(host: Host, elsewhere: Elsewhere, *, reuse: bool) -> None:
    """The next CSR is of the key in use, and its leaf is taken in; by default each CSR after a leaf is of a new key."""
    host.settings["identities"]["broker"]["key"] = {"reuse": reuse}
    keys = []
    for _ in range(2):
        csr = await csr_of(host)
        code, _, errors = await bring(host, elsewhere.sign(csr) + elsewhere.text("between.crt"))
        assert code == 0, errors
        assert_whole(host)
        keys.append(host.leaf().public_key)
    assert (keys[0] == keys[1]) is reuse


async def test_the_anchors_of_a_ca_that_only_people_can_ask_may_be_a_store(host: Host, elsewhere: Elsewhere) -> None:
    """A truststore that keytool has made; a change of it is read within seconds, and config check opens it too."""
    anchors = {"type": "manual", "anchors": "ca.jks", "password_file": "ca-password"}
    (host.folder / "ca-password").write_text("changeit\n")
    host.settings["issuers"]["hand"] = anchors
    truststore(host.folder / "ca.jks", elsewhere.folder / "root.crt")
    async with host.running() as agent:
        chain = elsewhere.sign(await csr_of(host)) + elsewhere.text("between.crt")
        code, _, errors = await bring(host, chain)
        assert code == 0, errors
        await agent.until_ready()
        held = host.directory / "truststore.p12"
        before = held.read_bytes()
        truststore(host.folder / "ca.jks", elsewhere.folder / "stranger.crt")
        await agent.until(lambda _: held.read_bytes() != before, "the anchors stay as they were")
    code, out, errors = await host.verb("config", "check", "--connect")
    assert "there are 2, and the first of them ends" in out, errors


def truststore(path: Path, certificate: Path) -> None:
    """Add a certificate to a truststore, as a person does."""
    command = [need("keytool"), "-importcert", "-noprompt", "-keystore", str(path), "-storepass", "changeit"]
    subprocess.run([*command, "-alias", certificate.name, "-file", str(certificate)], check=True, capture_output=True)


async def test_a_chain_may_come_on_standard_input(host: Host, elsewhere: Elsewhere) -> None:
    """As the end of a pipe; the name may be left out where there is one identity."""
    chain = elsewhere.sign(await csr_of(host)) + elsewhere.text("between.crt")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", "import", "-", "--config", str(host.config),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    out, _ = await process.communicate(chain.encode())
    assert process.returncode == 0
    assert out.decode().startswith("broker is renewed")
    code, _, errors = await host.verb("import", str(host.folder / "nowhere.pem"))
    assert code == 1
    assert "nowhere.pem cannot be read: No such file" in errors


async def test_an_agent_that_is_killed_amid_an_import_loses_nothing(host: Host, elsewhere: Elsewhere) -> None:
    """What it had taken in is used by the next, or brought again; either way the leaf ends in use, whole and once."""
    chain = elsewhere.sign(await csr_of(host)) + elsewhere.text("between.crt")
    agent = await host.start()
    bringing = asyncio.create_task(bring(host, chain))
    while not bringing.done() and agent.process.returncode is None:
        if b'"certificates"' in (host.directory / ".pending").read_bytes() or (host.directory / ".current").exists():
            agent.process.kill()
            await agent.process.wait()
        await asyncio.sleep(0)
    await agent.stop(SIGKILL)
    await bringing
    async with host.running():
        code, _, errors = await bring(host, chain)
        assert code == 0, errors
        assert host.leaf().issuer.rfc4514_string() == "CN=between"
        assert_whole(host)


async def test_a_host_whose_ca_is_there_may_be_served_by_hand_too(host: Host, elsewhere: Elsewhere) -> None:
    """The embedded CA signs the first leaf, a person the second; the agent goes on from there."""
    host.settings["issuers"]["local"] = {"type": "local_ca", "directory": "ca"}
    host.settings["identities"]["broker"] |= {
        "issuer": "local",
        "peer_trust": [{"issuer": "local"}, {"issuer": "hand"}],
        "rotation": {"peers": []},
    }
    async with host.running() as agent:
        await agent.until_ready()
        chain = elsewhere.sign(await csr_of(host)) + elsewhere.text("between.crt")
        code, _, errors = await bring(host, chain)
        assert code == 0, errors
        assert host.leaf().issuer.rfc4514_string() == "CN=between"
        csr = await csr_of(host)
        code, _, errors = await host.verb("renew")
        assert code == 1
        assert "the truststores here are not shown to be in use" in errors
        code, _, errors = await host.verb("ca", "confirm", "broker", "--by", "alice")
        assert code == 0, errors
        assert host.leaf().issuer.rfc4514_string() != "CN=between"
        code, _, errors = await bring(host, elsewhere.sign(csr) + elsewhere.text("between.crt"))
        assert code == 1
        assert "print a new CSR with `cert-agent csr broker`" in errors
