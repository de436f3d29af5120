"""Orders and CAs of the AWS test server: tokens, states, revocation, imports."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from tests.servers.pca_desk import (
    Desk,
    make_csr,
    open_desk,
    refused,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


pytestmark = pytest.mark.slow


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A CA on P-256 below a root, asked by the long-lived user."""
    async with open_desk() as opened:
        yield opened


async def test_a_token_is_one_certificate_for_five_minutes(desk: Desk) -> None:
    """The same order with the same token is the first one again, until the service has forgotten it."""
    csr = make_csr()
    first = await desk.issue(Csr=csr, IdempotencyToken="t" * 36)
    assert await desk.issue(Csr=csr, IdempotencyToken="t" * 36) == first
    assert await desk.issue(Csr=csr, IdempotencyToken="u") != first
    desk.server.advance(timedelta(minutes=4, seconds=50))
    assert await desk.issue(Csr=csr, IdempotencyToken="t" * 36) == first
    assert [one.token[:1] for one in desk.server.issued] == ["t", "u"]
    desk.server.advance(timedelta(seconds=11))
    assert await desk.issue(Csr=csr, IdempotencyToken="t" * 36) != first
    with refused("ValidationException", "less than or equal to 36"):
        await desk.issue(IdempotencyToken="t" * 37)


async def test_a_token_with_another_request_does_as_it_is_told(desk: Desk) -> None:
    """Nobody knows what the service does, so a test says it."""
    first = await desk.issue(IdempotencyToken="t")
    with refused("InvalidArgsException"):
        await desk.issue(IdempotencyToken="t")
    desk.server.orders.conflict = ""
    assert await desk.issue(IdempotencyToken="t") == first
    assert len(desk.server.issued) == 1


async def test_an_order_is_in_progress_for_a_while(desk: Desk) -> None:
    """A pending certificate is there after its time."""
    desk.server.orders.pending = timedelta(hours=1)
    arn = await desk.issue()
    with refused("RequestInProgressException"):
        await desk.get(arn)
    desk.server.advance(timedelta(hours=1))
    await desk.get(arn)
    assert desk.server.count("GetCertificate", "RequestInProgressException") == 1
    assert desk.server.count("GetCertificate") == 2


async def test_an_order_may_fail(desk: Desk) -> None:
    """An order that the CA failed is no certificate, the next one is."""
    desk.server.orders.failing = 1
    arn = await desk.issue()
    with refused("RequestFailedException"):
        await desk.get(arn)
    assert desk.server.issued == []
    await desk.get(await desk.issue())


async def test_unknown_arns_are_told_apart(desk: Desk) -> None:
    """No CA, no certificate, and what is no ARN at all."""
    absent = desk.arn[:-1] + ("0" if desk.arn[-1] != "0" else "1")
    with refused("ResourceNotFoundException"):
        await desk.issue(CertificateAuthorityArn=absent)
    with refused("InvalidArnException"):
        await desk.issue(CertificateAuthorityArn="arn:aws:acm-pca:nonsense")
    with refused("ResourceNotFoundException"):
        await desk.get(f"{desk.arn}/certificate/0123")
    with refused("InvalidArnException"):
        await desk.get("arn:aws:acm-pca:nonsense")


async def test_a_revoked_certificate_stays_readable(desk: Desk) -> None:
    """It is revoked once, by its serial number in either form."""

    async def revoke(serial: str, reason: str = "SUPERSEDED") -> None:
        await desk.client.revoke_certificate(
            CertificateAuthorityArn=desk.arn, CertificateSerial=serial, RevocationReason=reason
        )

    arn, other = await desk.issue(), await desk.leaf()
    text = f"{(await desk.get(arn))[0].serial_number:040x}"
    await revoke(":".join(text[at : at + 2] for at in range(0, 40, 2)))
    with refused("RequestAlreadyProcessedException"):
        await revoke(text.upper())
    await revoke(f"{other.serial_number:X}")
    with refused("ResourceNotFoundException"):
        await revoke("0a0b")
    with refused("InvalidRequestException"):
        await revoke("xyz")
    with refused("ValidationException"):
        await revoke(text, "BOREDOM")
    await desk.get(arn)
    assert desk.server.authority(desk.arn).revoked == {int(text, 16), other.serial_number}


async def test_a_ca_tells_its_certificate_and_what_is_above(desk: Desk) -> None:
    """The chain of a CA is without itself, and a root has none."""
    told = await desk.client.get_certificate_authority_certificate(CertificateAuthorityArn=desk.arn)
    own, above = (x509.load_pem_x509_certificate(told[name].encode()) for name in ("Certificate", "CertificateChain"))
    own.verify_directly_issued_by(above)
    assert above.issuer == above.subject
    root = await desk.server.make_ca(subordinate=False)
    told = await desk.client.get_certificate_authority_certificate(CertificateAuthorityArn=root)
    assert told.get("CertificateChain") is None
    described = await desk.describe()
    assert (described["Status"], described["Type"], described["UsageMode"]) == (
        "ACTIVE",
        "SUBORDINATE",
        "GENERAL_PURPOSE",
    )
    assert described["NotAfter"] == own.not_valid_after_utc
    assert described["NotBefore"] == own.not_valid_before_utc
    assert not described["RevocationConfiguration"]["CrlConfiguration"]["Enabled"]
    permissions = await desk.client.list_permissions(CertificateAuthorityArn=desk.arn)
    assert permissions["Permissions"] == []


@pytest.mark.parametrize("state", ["DISABLED", "EXPIRED", "PENDING_CERTIFICATE", "DELETED"])
async def test_a_ca_in_another_state_issues_nothing(desk: Desk, state: str) -> None:
    """Only an active CA issues; one that has a certificate still tells it."""
    arn = await desk.issue()
    desk.server.set_state(desk.arn, state)
    assert (await desk.describe())["Status"] == state
    with refused("InvalidStateException"):
        await desk.issue()
    if state in ("DISABLED", "EXPIRED"):
        await desk.get(arn)
    else:
        with refused("InvalidStateException"):
            await desk.client.get_certificate_authority_certificate(CertificateAuthorityArn=desk.arn)
    desk.server.set_state(desk.arn, "ACTIVE")
    await desk.issue()


async def test_a_ca_expires_by_itself_and_is_imported_anew(desk: Desk) -> None:
    """A new certificate under the same ARN and key makes it active; old leaves keep their chain."""
    old = await desk.issue()
    before = await desk.get(old)
    desk.server.advance(timedelta(days=5 * 365, minutes=1))
    assert (await desk.describe())["Status"] == "EXPIRED"
    with refused("InvalidStateException"):
        await desk.issue()
    own = await desk.server.reimport(desk.arn, timedelta(days=30))
    _, issuer, root = await desk.get(await desk.issue())
    assert issuer == own
    assert (issuer.public_key(), issuer.subject) == (before[1].public_key(), before[1].subject)
    assert issuer.not_valid_after_utc > before[1].not_valid_after_utc
    assert root == before[2]
    assert await desk.get(old) == before


async def test_a_new_root_has_cas_below_it(desk: Desk) -> None:
    """A CA may be below any other, and ends before it."""
    root = await desk.server.make_ca(subordinate=False, lifetime=timedelta(days=10), common_name="Root 2")
    desk.arn = await desk.server.make_ca(above=root, lifetime=timedelta(days=9))
    chain = await desk.get(await desk.issue())
    assert chain[2] == desk.server.authority(root).chain[0]
    assert chain[2].subject.rfc4514_string() == "CN=Root 2,O=MyOrg"
    with refused("ValidationException"):
        await desk.issue(Validity={"Type": "DAYS", "Value": 10})


async def test_a_ca_is_made_by_the_api_alone(desk: Desk) -> None:
    """Create, fetch the CSR, certify by another CA, import: what an operator does."""
    created = await desk.client.create_certificate_authority(
        CertificateAuthorityConfiguration={
            "KeyAlgorithm": "EC_secp384r1",
            "SigningAlgorithm": "SHA384WITHECDSA",
            "Subject": {"CommonName": "By hand"},
        },
        CertificateAuthorityType="SUBORDINATE",
    )
    made = created["CertificateAuthorityArn"]
    with refused("InvalidStateException"):
        await desk.issue(CertificateAuthorityArn=made)
    csr = (await desk.client.get_certificate_authority_csr(CertificateAuthorityArn=made))["Csr"]
    root = await desk.server.make_ca(subordinate=False)
    arn = await desk.issue(CertificateAuthorityArn=root, Csr=csr.encode(), template="SubordinateCACertificate_PathLen0")
    told = await desk.client.get_certificate(CertificateAuthorityArn=root, CertificateArn=arn)
    parts = {name: told[name].encode() for name in ("Certificate", "CertificateChain")}
    with refused("CertificateMismatchException"):
        await desk.client.import_certificate_authority_certificate(CertificateAuthorityArn=desk.arn, **parts)
    with refused("MalformedCertificateException"):
        await desk.client.import_certificate_authority_certificate(CertificateAuthorityArn=made, Certificate=b"none")
    await desk.client.import_certificate_authority_certificate(CertificateAuthorityArn=made, **parts)
    desk.arn = made
    day = {"Type": "DAYS", "Value": 1}
    leaf, issuer, _ = await desk.get(await desk.issue(SigningAlgorithm="SHA384WITHECDSA", Validity=day))
    leaf.verify_directly_issued_by(issuer)


async def test_a_root_certifies_itself_by_the_api(desk: Desk) -> None:
    """A pending root takes its own CSR and nothing else."""
    made = desk.server.backend.make({"KeyAlgorithm": "RSA_2048", "Subject": {"CommonName": "Root"}}, "ROOT")
    order = {"CertificateAuthorityArn": made.arn, "template": "RootCACertificate", "SigningAlgorithm": "SHA256WITHRSA"}
    with refused("InvalidArgsException"):
        await desk.issue(**order)
    arn = await desk.issue(**order, Csr=made.csr)
    told = await desk.client.get_certificate(CertificateAuthorityArn=made.arn, CertificateArn=arn)
    assert "CertificateChain" not in told
    own = x509.load_pem_x509_certificate(told["Certificate"].encode())
    own.verify_directly_issued_by(own)
