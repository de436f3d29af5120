"""Vault's client against a real OpenBao."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.identity import KeyAlgorithm, Usage, mismatches
from agent.errors import IssuerRefusedError, IssuerUnavailableError, TrustError
from agent.issuers.vault import Vault
from tests.issuers.pendings import make_pending
from tests.material import make_request
from tests.servers.openbao import openbao

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers.openbao import OpenBao

pytestmark = pytest.mark.slow

WITHIN = timedelta(seconds=20)


@pytest.fixture
async def bao(tmp_path: Path) -> AsyncIterator[OpenBao]:
    """Start a server for the test."""
    async with openbao(tmp_path / "bao") as server:
        yield server


@asynccontextmanager
async def client(bao: OpenBao, **changes: Any) -> AsyncIterator[Vault]:
    """Return a client of the server, closed at the end."""
    vault = Vault(bao.spec(**changes), lambda: datetime.now(UTC))
    try:
        yield vault
    finally:
        await vault.close()


async def test_leaf_is_what_was_asked_and_chains_to_the_anchor(bao: OpenBao) -> None:
    """For each kind of key: subject, SANs and usages as asked, the chain whole, no remark on what is usual."""
    async with client(bao) as vault:
        (root,) = await vault.anchors()
        for algorithm in (KeyAlgorithm.EC_P256, KeyAlgorithm.EC_P384, KeyAlgorithm.RSA_2048, KeyAlgorithm.ED25519):
            request = make_request(uri=("spiffe://example.com/kafka1",), key=algorithm)
            pending = make_pending(request)
            issued = await vault.issue(pending, within=WITHIN)
            leaf, intermediate, *rest = issued.certificates
            assert mismatches(leaf, request) == ()
            assert leaf.public_key == pending.public_key
            assert leaf.is_ca is not True
            assert rest == [root]
            assert issued.remarks == ()
            leaf.x509.verify_directly_issued_by(intermediate.x509)
            intermediate.x509.verify_directly_issued_by(root.x509)


async def test_names_are_as_asked_where_the_role_ignores_the_csr(bao: OpenBao) -> None:
    """A role that takes names from the call alone gives the same leaf; the common name is not added as a SAN."""
    await bao.set_role(use_csr_sans=False, use_csr_common_name=False)
    request = make_request(dns=("localhost",), uri=("spiffe://example.com/a,b",), lifetime=timedelta(minutes=2))
    async with client(bao) as vault:
        issued = await vault.issue(make_pending(request), within=WITHIN)
    leaf = issued.certificates[0]
    assert mismatches(leaf, request) == ()
    assert timedelta(minutes=2) <= leaf.not_after - leaf.not_before <= timedelta(minutes=3)


async def test_role_without_a_usage_is_seen_in_the_leaf(bao: OpenBao) -> None:
    """What the role makes of the request comes through, for the proof to refute."""
    await bao.set_role(client_flag=False)
    request = make_request(usages=frozenset({Usage.SERVER, Usage.CLIENT}))
    async with client(bao) as vault:
        issued = await vault.issue(make_pending(request), within=WITHIN)
    assert [mismatch.what for mismatch in mismatches(issued.certificates[0], request)] == ["usages"]


async def test_shortened_ttl_is_remarked_on(bao: OpenBao) -> None:
    """A role's max_ttl is no error; Vault's warning says what it did."""
    await bao.set_role(max_ttl="72h")
    async with client(bao) as vault:
        issued = await vault.issue(make_pending(), within=WITHIN)
    (remark,) = issued.remarks
    assert "longer than permitted maxTTL" in remark


@pytest.mark.parametrize(
    ("role", "request_changes", "said", "advice"),
    [
        ({"max_ttl": "90000h"}, {"lifetime": timedelta(days=3000)}, "beyond the expiration", "shorter `lifetime`"),
        ({"key_type": "rsa"}, {}, "role requires keys of type rsa", "key_type"),
        ({"allowed_domains": ["example.org"]}, {}, "not allowed by this role", "allow the name"),
        ({"allow_ip_sans": False}, {}, "not allowed in this role", "allow such names"),
    ],
)
async def test_what_the_role_forbids_is_refused_with_advice(
    bao: OpenBao, role: dict[str, Any], request_changes: dict[str, Any], said: str, advice: str
) -> None:
    """Vault's own words, and ours on what to change."""
    await bao.set_role(**role)
    async with client(bao) as vault:
        with pytest.raises(IssuerRefusedError) as caught:
            await vault.issue(make_pending(make_request(**request_changes)), within=WITHIN)
    assert said in caught.value.what
    assert advice in caught.value.advice


async def test_token_and_place_that_are_wrong_are_refused_with_advice(bao: OpenBao) -> None:
    """Another role, mount or namespace and a bad token: the policy's line or the mount is named."""
    for changes, advice in (
        ({"role": "other"}, 'path "pki/sign/other"'),
        ({"mount": "other"}, 'path "other/sign/kafka"'),
        ({"namespace": "other"}, "namespace 'other'"),
    ):
        async with client(bao, **changes) as vault:
            with pytest.raises(IssuerRefusedError) as caught:
                await vault.issue(make_pending(), within=WITHIN)
        assert advice in caught.value.advice
    token = await asyncio.to_thread(bao.token_file.read_text)
    await asyncio.to_thread(bao.token_file.write_text, "hvs.wrong")
    async with client(bao) as vault:
        with pytest.raises(IssuerRefusedError, match="403"):
            await vault.issue(make_pending(), within=WITHIN)
        await asyncio.to_thread(bao.token_file.write_text, token)
        assert (await vault.issue(make_pending(), within=WITHIN)).certificates


async def test_seal_and_rate_limit_are_waited_out(bao: OpenBao) -> None:
    """Both are unavailable and end by themselves; the same client then goes on."""
    async with client(bao) as vault:
        await bao.write("sys/quotas/rate-limit/q", path="pki", rate=1, interval="1m")
        await vault.issue(make_pending(), within=WITHIN)
        with pytest.raises(IssuerUnavailableError, match="rate limit quota exceeded"):
            await vault.issue(make_pending(), within=WITHIN)
        await bao.call("DELETE", "sys/quotas/rate-limit/q")
        await bao.seal()
        with pytest.raises(IssuerUnavailableError, match="sealed") as caught:
            await vault.issue(make_pending(), within=WITHIN)
        assert "unseal it" in caught.value.advice
        with pytest.raises(TrustError, match="sealed"):
            await vault.anchors()
        await bao.unseal()
        assert (await vault.issue(make_pending(), within=WITHIN)).certificates


async def test_mount_without_a_root_has_no_anchor(bao: OpenBao) -> None:
    """An intermediate whose root stands elsewhere is no anchor: the advice names both ways out."""
    await bao.write("sys/mounts/alone", type="pki", config={"max_lease_ttl": "87600h"})
    asked = await bao.write("alone/intermediate/generate/internal", common_name="Alone", key_type="ec")
    signed = await bao.write("pki-root/root/sign-intermediate", csr=asked["csr"], common_name="Alone", ttl="8760h")
    await bao.write("alone/intermediate/set-signed", certificate=signed["certificate"])
    async with client(bao, mount="alone") as vault:
        with pytest.raises(TrustError, match="no self-signed certificate") as caught:
            await vault.anchors()
    assert "peer_trust" in caught.value.advice


async def test_tls_is_verified(tmp_path: Path) -> None:
    """The right file of CAs and the right name pass; without the one or the other there is no call."""
    async with openbao(tmp_path / "bao", tls=True) as bao:
        async with client(bao) as vault:
            assert (await vault.issue(make_pending(), within=WITHIN)).certificates
        for changes, why in (
            ({"ca_file": None}, "unable to get local issuer certificate"),
            ({"server_name": "vault.example.com"}, "Hostname mismatch"),
            ({"addresses": (bao.address.replace("https", "http"),)}, "HTTP request to an HTTPS server"),
        ):
            async with client(bao, **changes) as vault:
                with pytest.raises(IssuerUnavailableError, match=why):
                    await vault.issue(make_pending(), within=WITHIN)
        by_address = bao.address.replace("localhost", "127.0.0.1")
        async with client(bao, addresses=(by_address,), server_name="localhost") as vault:
            assert (await vault.issue(make_pending(), within=WITHIN)).certificates


async def test_two_hundred_at_once_are_all_issued(bao: OpenBao) -> None:
    """The client queues what its connections do not carry; every answer belongs to its question."""
    pendings = [make_pending() for _ in range(200)]
    async with client(bao) as vault:
        answers = await asyncio.gather(*(vault.issue(pending, within=WITHIN) for pending in pendings))
    assert [answer.certificates[0].public_key for answer in answers] == [pending.public_key for pending in pendings]
