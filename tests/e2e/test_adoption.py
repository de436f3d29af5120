"""A host that somebody set up with openssl and keytool is taken over by the real agent, under a serving listener."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.elsewhere import Elsewhere
from tests.e2e.host import Host, assert_whole, listener
from tests.tools import need

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SANS = "DNS:kafka1.example.com,DNS:localhost,IP:127.0.0.1"
USAGES = "extendedKeyUsage=serverAuth,clientAuth"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host with files of an earlier life, and an issuer that issues nothing: whatever comes, nobody was asked."""
    host = Host(tmp_path)
    elsewhere = Elsewhere(tmp_path / "elsewhere")
    make_files(host, elsewhere)
    host.settings["issuers"] = {"hand": {"type": "manual", "anchors": "elsewhere/root.crt"}}
    host.settings["identities"]["broker"] |= {"issuer": "hand", "lifetime": "90d"}
    return host


def make_files(host: Host, elsewhere: Elsewhere) -> None:
    """Make key, certificate and stores as the guides of Kafka do: root in the keystore, an alias of one's own."""
    folder, password = host.directory, (host.folder / "password").read_text()
    folder.mkdir()
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(folder / "tls.key")]
    names = ["-subj", "/O=MyOrg/OU=Brokers/CN=kafka1.example.com", "-addext", f"subjectAltName={SANS}"]
    csr = elsewhere.openssl("req", *key, "-new", *names, "-addext", USAGES)
    (folder / "tls.crt").write_text(elsewhere.sign(csr) + elsewhere.text("between.crt"))
    (folder / "tls.pem").touch(mode=0o600)
    (folder / "tls.pem").write_text((folder / "tls.key").read_text() + (folder / "tls.crt").read_text())
    chain = ["-certfile", str(elsewhere.folder / "root.crt"), "-name", "broker-2019"]
    stores = ["-out", str(folder / "keystore.p12"), "-passout", f"file:{host.folder / 'password'}"]
    elsewhere.openssl("pkcs12", "-export", "-in", str(folder / "tls.pem"), *chain, *stores)
    command = [need("keytool"), "-importcert", "-noprompt", "-storetype", "PKCS12", "-alias", "caroot"]
    command += ["-file", str(elsewhere.folder / "root.crt"), "-keystore", str(folder / "truststore.p12")]
    done = subprocess.run([*command, "-storepass:env", "STOREPASS"], env={"STOREPASS": password}, capture_output=True)  # noqa: PLW1510
    assert done.returncode == 0, done.stdout


def contents(host: Host) -> dict[str, bytes]:
    """Return the files as a reader opens them."""
    names = ("tls.crt", "tls.key", "tls.pem", "keystore.p12", "truststore.p12")
    return {name: (host.directory / name).read_bytes() for name in names}


async def test_a_running_host_is_taken_over_as_it_is(host: Host) -> None:
    """The same bytes behind links, served and proven, nothing issued, the renewal at its time."""
    before = contents(host)
    async with listener(host), host.running() as agent:
        await agent.until_ready()
        status = await agent.status()
        assert status is not None
        (identity,) = status["identities"]
        assert identity["generation"] == 1
        assert identity["health"] == "pass"
        assert identity["renew_at"] > status["now"]
        assert contents(host) == before
        assert (host.directory / "keystore.p12").is_symlink()
        assert (host.directory / ".found" / "keystore.p12").read_bytes() == before["keystore.p12"]
        assert not (host.directory / ".pending").exists()
    code, out, _ = await host.verb("plan")
    assert code == 0
    assert "its renewal falls there" in out


async def test_a_renewal_after_it_can_be_gone_back_from(host: Host) -> None:
    """The first generation is what was there, to the byte, and a roll-back leads to it."""
    before = contents(host)
    elsewhere_folder = host.folder / "elsewhere"
    async with listener(host), host.running() as agent:
        await agent.until_ready()
        csr = (await host.verb("csr", "broker"))[1]
        key = ["-CA", "between.crt", "-CAkey", "between.key", "-copy_extensions", "copy", "-days", "90"]
        (elsewhere_folder / "host.csr").write_text(csr)
        sign = [need("openssl"), "x509", "-req", "-in", "host.csr", *key]
        leaf = await asyncio.to_thread(subprocess.run, sign, cwd=elsewhere_folder, capture_output=True, check=True)
        chain = host.folder / "chain.pem"
        chain.write_bytes(leaf.stdout + (elsewhere_folder / "between.crt").read_bytes())
        code, out, errors = await host.verb("import", "broker", str(chain))
        assert code == 0, errors
        assert contents(host)["tls.pem"] != before["tls.pem"]
        assert_whole(host)
        code, out, errors = await host.verb("rollback", "broker")
        assert code == 0, errors
        assert "generation 1" in out
        assert contents(host) == before
        await agent.until_ready()
