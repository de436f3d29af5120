"""Vault's client against a real OpenBao."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.identity import EXTENDED_KEY_USAGE, KeyAlgorithm, Usage, mismatches
from agent.core.issuer_spec import Signing
from agent.errors import IssuerRefusedError, IssuerUnavailableError, TrustError
from agent.keystores.private_key import public_der
from tests.issuers.pendings import make_pending
from tests.issuers.vault_clients import WITHIN, client, issue
from tests.material import Ca, make_key, make_request
from tests.servers.csr import csr_pem
from tests.servers.openbao import POLICY, openbao

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent.keystores.material import PrivateKey
    from tests.servers.openbao import OpenBao

pytestmark = pytest.mark.slow


def ca_csr(key: PrivateKey, *, ca: bool = True) -> str:
    """Return the CSR of a subordinate CA, as AWS Private CA makes one."""
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name.from_rfc4514_string("CN=Sub,OU=PCA,O=MyOrg"))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.fixture
async def bao(tmp_path: Path) -> AsyncIterator[OpenBao]:
    """Start a server for the test."""
    async with openbao(tmp_path / "bao") as server:
        yield server


async def test_leaf_is_what_was_asked_and_chains_to_the_anchor(bao: OpenBao) -> None:
    """For each kind of key: subject, SANs and usages as asked, the chain whole, no remark on what is usual."""
    async with client(bao.spec()) as vault:
        (root,) = await vault.anchors()
        for algorithm in (KeyAlgorithm.EC_P256, KeyAlgorithm.EC_P384, KeyAlgorithm.RSA_2048, KeyAlgorithm.ED25519):
            request = make_request(uri=("spiffe://example.com/kafka1",), key=algorithm)
            pending = make_pending(request)
            issued = await issue(vault, pending)
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
    async with client(bao.spec()) as vault:
        issued = await issue(vault, make_pending(request))
    leaf = issued.certificates[0]
    assert mismatches(leaf, request) == ()
    assert timedelta(minutes=2) <= leaf.not_after - leaf.not_before <= timedelta(minutes=3)


async def test_role_without_a_usage_is_seen_in_the_leaf(bao: OpenBao) -> None:
    """What the role makes of the request comes through, for the proof to refute."""
    await bao.set_role(client_flag=False)
    request = make_request(usages=frozenset({Usage.SERVER, Usage.CLIENT}))
    async with client(bao.spec()) as vault:
        issued = await issue(vault, make_pending(request))
    assert [mismatch.what for mismatch in mismatches(issued.certificates[0], request)] == ["usages"]


async def test_shortened_ttl_is_remarked_on(bao: OpenBao) -> None:
    """A role's max_ttl is no error; Vault's warning says what it did."""
    await bao.set_role(max_ttl="72h")
    async with client(bao.spec()) as vault:
        issued = await issue(vault)
    (remark,) = issued.remarks
    assert "lives 3 d, not 30 d" in remark
    assert "longer than permitted maxTTL" in remark


async def test_changed_subject_is_remarked_on(bao: OpenBao) -> None:
    """A role without an OU and with another O makes another principal: the remark names both."""
    await bao.set_role(ou=[], organization=["Other"])
    async with client(bao.spec()) as vault:
        issued = await issue(vault)
    (remark,) = issued.remarks
    assert "dropped OU=Brokers" in remark
    assert "put O=Other for O=MyOrg" in remark
    assert "principal" in remark


async def test_life_that_the_ca_cuts_short_is_remarked_on(bao: OpenBao) -> None:
    """An issuer that is set to truncate gives 200 and a shorter leaf: it is reckoned and told."""
    await bao.call("POST", "pki/issuer/default", leaf_not_after_behavior="truncate")
    await bao.set_role(max_ttl="80000h")
    async with client(bao.spec()) as vault:
        issued = await issue(vault, make_pending(make_request(lifetime=timedelta(days=2500))))
        (remark,) = issued.remarks
        assert "it ends with its CA" in remark
        assert any("before a leaf" in remark for remark in vault.status().remarks)


@pytest.mark.parametrize("role", ["", "kafka"])
@pytest.mark.parametrize("issuer_ref", ["", "default"])
async def test_csr_has_the_last_word_with_sign_verbatim(bao: OpenBao, role: str, issuer_ref: str) -> None:
    """Subject, names and usages are the CSR's, whatever the role says of them; RSA keys encipher."""
    await bao.set_role(ou=[], organization=[], allowed_domains=["example.org"], max_ttl="2160h")
    path = ("pki/issuer/default/" if issuer_ref else "pki/") + "sign-verbatim" + (f"/{role}" if role else "")
    bao.token_file.write_text(await bao.make_token(f'path "{path}" {{ capabilities = ["update"] }}'))
    async with client(bao.spec(signing=Signing.VERBATIM, role=role, issuer_ref=issuer_ref)) as vault:
        for key, usages in (
            (KeyAlgorithm.EC_P256, frozenset({Usage.SERVER})),
            (KeyAlgorithm.RSA_2048, frozenset({Usage.SERVER, Usage.CLIENT})),
        ):
            request = make_request(
                "CN=kafka1.example.com,OU=A,OU=B,O=Own,C=DE", key=key, usages=usages, lifetime=timedelta(days=7)
            )
            issued = await issue(vault, make_pending(request))
            leaf = issued.certificates[0]
            assert mismatches(leaf, request) == ()
            assert issued.remarks == ()
            assert leaf.is_ca is not True
            expected = ["digital_signature", *(["key_encipherment"] if key is KeyAlgorithm.RSA_2048 else [])]
            assert sorted(leaf.key_usage or ()) == expected
            assert leaf.extended_key_usage == frozenset(EXTENDED_KEY_USAGE[usage] for usage in usages)


async def test_issuer_of_the_mount_is_the_one_that_is_named(bao: OpenBao) -> None:
    """Two CAs in one mount: leaf, chain and anchors are those of the reference; one that is none is refused."""
    await bao.write("pki/issuers/generate/root/internal", common_name="Second", key_type="ec", issuer_name="second")
    bao.token_file.write_text(
        await bao.make_token(
            'path "pki/issuer/second/sign/kafka" { capabilities = ["update"] }\n'
            'path "pki/issuer/nobody/sign/kafka" { capabilities = ["update"] }'
        )
    )
    async with client(bao.spec(issuer_ref="second")) as vault:
        (anchor,) = await vault.anchors()
        assert anchor.subject.rfc4514_string() == "CN=Second"
        issued = await issue(vault, make_pending(make_request(lifetime=timedelta(days=1))))
        assert issued.certificates[1] == anchor
        assert vault.status().authority == anchor
    async with client(bao.spec(issuer_ref="nobody")) as vault:
        with pytest.raises(IssuerRefusedError) as caught:
            await issue(vault)
        assert "issuer_ref" in caught.value.advice


@pytest.mark.parametrize("issuer_ref", ["", "default"])
async def test_subordinate_ca_is_signed_and_no_host_is(bao: OpenBao, issuer_ref: str) -> None:
    """The CSR of a CA gives a CA with its own subject, a path length and the chain; that of a host is refused here."""
    path = "pki/issuer/default/sign-intermediate" if issuer_ref else "pki/root/sign-intermediate"
    bao.token_file.write_text(await bao.make_token(f'path "{path}" {{ capabilities = ["update"] }}'))
    key = make_key()
    async with client(bao.spec(issuer_ref=issuer_ref)) as vault:
        csr = ca_csr(key)
        certificate, chain = await vault.sign_ca(csr, lifetime=timedelta(days=10), path_length=0)
        assert (certificate.is_ca, certificate.path_length) == (True, 0)
        assert certificate.subject.rfc4514_string() == "CN=Sub,OU=PCA,O=MyOrg"
        assert certificate.public_key == public_der(key)
        certificate.x509.verify_directly_issued_by(chain[0].x509)
        endless, _ = await vault.sign_ca(csr, lifetime=timedelta(days=10), path_length=None)
        assert (endless.is_ca, endless.path_length) == (True, None)
        for wrong in (csr_pem(), ca_csr(key, ca=False), "no CSR"):
            with pytest.raises(IssuerRefusedError, match="CSR"):
                await vault.sign_ca(wrong, lifetime=timedelta(days=10))
        # The right to make CAs is not the right to make leaves.
        with pytest.raises(IssuerRefusedError, match="403"):
            await issue(vault)


@pytest.mark.parametrize("no_store", [True, False])
async def test_leaf_is_revoked_stored_or_not(bao: OpenBao, *, no_store: bool) -> None:
    """It stands in the CRL then; once more is well; without the right the policy's line is told."""
    await bao.set_role(no_store=no_store)
    may = 'path "pki/revoke" { capabilities = ["update"] }'
    async with client(bao.spec()) as vault:
        leaf = (await issue(vault)).certificates[0]
        with pytest.raises(IssuerRefusedError) as caught:
            await vault.revoke(leaf, within=WITHIN)
        assert may in caught.value.advice
        assert (await issue(vault)).certificates
        bao.token_file.write_text(await bao.make_token(f"{POLICY}\n{may}"))
        await vault.revoke(leaf, within=WITHIN)
        await vault.revoke(leaf, within=WITHIN)
        crl = x509.load_pem_x509_crl((await bao.call("GET", "pki/cert/crl"))["data"]["certificate"].encode())
        assert crl.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None
        with pytest.raises(IssuerRefusedError, match="verify signature") as caught:
            await vault.revoke(Ca.root().leaf(make_request(), make_key()), within=WITHIN)
        assert "import the CA" in caught.value.advice


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
    async with client(bao.spec()) as vault:
        with pytest.raises(IssuerRefusedError) as caught:
            await issue(vault, make_pending(make_request(**request_changes)))
    assert said in caught.value.what
    assert advice in caught.value.advice


async def test_token_and_place_that_are_wrong_are_refused_with_advice(bao: OpenBao) -> None:
    """Another role, mount or namespace and a bad token: the policy's line or the mount is named."""
    for changes, advice in (
        ({"role": "other"}, 'path "pki/sign/other"'),
        ({"mount": "other"}, 'path "other/sign/kafka"'),
        ({"namespace": "other"}, "namespace 'other'"),
    ):
        async with client(bao.spec(**changes)) as vault:
            with pytest.raises(IssuerRefusedError) as caught:
                await issue(vault)
        assert advice in caught.value.advice
    token = await asyncio.to_thread(bao.token_file.read_text)
    await asyncio.to_thread(bao.token_file.write_text, "hvs.wrong")
    async with client(bao.spec()) as vault:
        with pytest.raises(IssuerRefusedError, match="403"):
            await issue(vault)
        await asyncio.to_thread(bao.token_file.write_text, token)
        assert (await issue(vault)).certificates


async def test_seal_and_rate_limit_are_waited_out(bao: OpenBao) -> None:
    """Both are unavailable and end by themselves; the same client then goes on."""
    async with client(bao.spec()) as vault:
        await bao.write("sys/quotas/rate-limit/q", path="pki", rate=1, interval="1m")
        await issue(vault)
        with pytest.raises(IssuerUnavailableError, match="rate limit quota exceeded"):
            await issue(vault)
        await bao.call("DELETE", "sys/quotas/rate-limit/q")
        await bao.seal()
        with pytest.raises(IssuerUnavailableError, match="sealed") as caught:
            await issue(vault)
        assert "unseal it" in caught.value.advice
        with pytest.raises(TrustError, match="sealed"):
            await vault.anchors()
        with pytest.raises(TrustError, match="sealed"):
            await vault.listed()
        await bao.unseal()
        assert (await issue(vault)).certificates


async def test_mount_without_a_root_has_no_anchor(bao: OpenBao) -> None:
    """An intermediate whose root stands elsewhere is no anchor: the advice names both ways out."""
    await bao.write("sys/mounts/alone", type="pki", config={"max_lease_ttl": "87600h"})
    asked = await bao.write("alone/intermediate/generate/internal", common_name="Alone", key_type="ec")
    signed = await bao.write("pki-root/root/sign-intermediate", csr=asked["csr"], common_name="Alone", ttl="8760h")
    await bao.write("alone/intermediate/set-signed", certificate=signed["certificate"])
    async with client(bao.spec(mount="alone")) as vault:
        with pytest.raises(TrustError, match="no self-signed certificate") as caught:
            await vault.anchors()
    assert "peer_trust" in caught.value.advice


async def test_tls_is_verified(tmp_path: Path) -> None:
    """The right file of CAs and the right name pass; without the one or the other there is no call."""
    async with openbao(tmp_path / "bao", tls=True) as bao:
        async with client(bao.spec()) as vault:
            assert (await issue(vault)).certificates
        for changes, why in (
            ({"ca_file": None}, "unable to get local issuer certificate"),
            ({"server_name": "vault.example.com"}, "Hostname mismatch"),
            ({"addresses": (bao.address.replace("https", "http"),)}, "HTTP request to an HTTPS server"),
        ):
            async with client(bao.spec(**changes)) as vault:
                with pytest.raises(IssuerUnavailableError, match=why):
                    await issue(vault)
        by_address = bao.address.replace("localhost", "127.0.0.1")
        async with client(bao.spec(addresses=(by_address,), server_name="localhost")) as vault:
            assert (await issue(vault)).certificates


async def test_two_hundred_at_once_are_all_issued(bao: OpenBao) -> None:
    """The client queues what its connections do not carry; every answer belongs to its question."""
    pendings = [make_pending() for _ in range(200)]
    async with client(bao.spec()) as vault:
        answers = await asyncio.gather(*(issue(vault, pending) for pending in pendings))
    assert [answer.certificates[0].public_key for answer in answers] == [pending.public_key for pending in pendings]
