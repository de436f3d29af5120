"""The agent against a real OpenBao: two hundred renewals while four readers loop."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from tests.e2e.host import PATIENCE, Host
from tests.e2e.reader import READERS
from tests.material import make_key
from tests.servers.bao_auth import Tokens, enable_cert, host_certificate
from tests.servers.openbao import POLICY, openbao

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
            "auth": {"method": "token", "token_file": str(bao.token_file)},
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
                    "0",
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
        assert result["count"] == result["straddles"] == result["overtaken"] == 0, f"{kind}: {result}"
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


async def test_a_long_seal_is_recovered_from_within_one_retry_step(tmp_path: Path) -> None:
    """Sealed for longer than a step of the ladder: after unsealing the leaf comes with the step that is then due."""
    async with openbao(tmp_path / "bao") as bao:
        host = of_vault(tmp_path, bao)
        await bao.seal()
        async with host.running() as agent:
            await agent.until(
                lambda status: (
                    status and status["identities"][0]["tries"].get("issuing", {"failures": 0})["failures"] >= 3
                ),
                "it was not tried three times",
            )
            status = await agent.status()
            assert status is not None
            (bao_status,) = status["issuers"]
            assert (bao_status["reason"], "ealed" in bao_status["trouble"]) == ("sealed", True)
            tries = status["identities"][0]["tries"]["issuing"]
            due = datetime.fromisoformat(tries["next_at"])
            assert tries["failure"]["reason"] == "sealed"
            await bao.unseal()
            await agent.until_ready()
            assert datetime.now(UTC) <= due + timedelta(seconds=10)
        assert host.leaf().not_after > datetime.now(UTC)


async def test_a_login_by_the_agent_s_own_leaf_is_made_again_after_each_renewal(tmp_path: Path) -> None:
    """From a bootstrap certificate to the identity's own: no secret on the host, and a token that hangs on the leaf."""
    async with openbao(tmp_path / "bao", tls=True) as bao:
        await enable_cert(bao, Tokens(policy=POLICY))
        certificate, key = await host_certificate(bao, tmp_path / "bao", "kafka1.example.com")
        host = of_vault(tmp_path, bao)
        host.settings["issuers"]["bao"] |= {
            "ca_file": str(bao.ca_file),
            "auth": {"method": "cert", "role": "kafka"},
            "client_certificate": {
                "identity": "broker",
                "certificate_file": str(certificate),
                "key_file": str(key),
            },
        }
        async with host.running() as agent:
            await agent.until_ready()
            certificate.unlink()
            key.unlink()
            leaves = [host.leaf()]
            for _ in range(3):
                await agent.ask("renew", identity="broker", discard_edits=False)
                leaves.append(host.leaf())
            status = await agent.status()
        assert len({leaf.fingerprint for leaf in leaves}) == 4
        assert status is not None
        assert status["issuers"][0]["trouble"] == ""


async def test_sign_ca_signs_a_subordinate_and_no_host(tmp_path: Path) -> None:
    """The CSR of AWS Private CA's subordinate, say: certificate first, then its chain; a host's CSR is refused."""
    async with openbao(tmp_path / "bao") as bao:
        host = of_vault(tmp_path, bao)
        host.settings["issuers"]["bao"] |= {"mount": "pki-root", "sign": "verbatim"}
        del host.settings["issuers"]["bao"]["role"], host.settings["identities"]
        bao.token_file.write_text(
            await bao.make_token('path "pki-root/root/sign-intermediate" {capabilities=["update"]}')
        )
        key = make_key()
        name = x509.Name.from_rfc4514_string("CN=Subordinate,O=MyOrg")
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        of_a_ca = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        (tmp_path / "ca.csr").write_bytes(of_a_ca.sign(key, SHA256()).public_bytes(Encoding.PEM))
        (tmp_path / "host.csr").write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
        code, out, errors = await host.verb("sign-ca", str(tmp_path / "ca.csr"), "--days", "30")
        assert code == 0, errors
        certificate, *chain = x509.load_pem_x509_certificates(out.encode())
        assert certificate.subject == name
        certificate.verify_directly_issued_by(chain[0])
        code, _, errors = await host.verb("sign-ca", str(tmp_path / "host.csr"))
        assert code == 1
        assert "CA" in errors


async def test_config_check_connect_tells_in_words_and_signs_nothing(tmp_path: Path) -> None:
    """Login, right, role and CA; and what is missing when the token lacks the right."""
    async with openbao(tmp_path / "bao") as bao:
        await bao.set_role(no_store=False)
        host = of_vault(tmp_path, bao)
        code, out, errors = await host.verb("config", "check", "--connect")
        assert (code, errors) == (0, "")
        assert "issuers.bao: " in out
        assert ": good: " in out
        bao.token_file.write_text(await bao.make_token('path "sys/health" {capabilities=["read"]}'))
        code, out, _ = await host.verb("config", "check", "--connect")
        assert code == 1
        assert 'path "pki/sign/kafka" { capabilities = ["update"] }' in out
        with pytest.raises(AssertionError, match="404"):  # there is not one to list
            await bao.call("LIST", "pki/certs")
        assert not host.directory.exists()
