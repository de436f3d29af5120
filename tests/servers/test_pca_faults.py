"""What goes wrong at the AWS test server when it is told to, and that it ends well."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import HTTPClientError, SSLError
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.material import Ca, make_key, make_request
from tests.servers.pca import pca
from tests.servers.pca_access import USER
from tests.servers.pca_authority import Authority
from tests.servers.pca_desk import (
    Desk,
    about,
    make_csr,
    open_desk,
    refused,
    until,
)
from tests.servers.pca_faults import Asked, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


pytestmark = pytest.mark.slow


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A CA on P-256 below a root, asked by the long-lived user."""
    async with open_desk() as opened:
        yield opened


async def test_calls_beyond_the_pace_are_throttled(desk: Desk) -> None:
    """A bucket for all operations, or for one; nothing is issued by a throttled call."""
    desk.server.faults.throttle(0.001, burst=2)
    await desk.describe()
    await desk.issue()
    with refused("ThrottlingException", "Rate exceeded"):
        await desk.issue()
    desk.server.faults.throttle(None)
    desk.server.faults.throttle(0.001, operation="IssueCertificate")
    await desk.issue()
    with refused("ThrottlingException"):
        await desk.issue()
    await desk.describe()
    assert desk.server.throttled == 2
    assert desk.server.count("IssueCertificate", "ThrottlingException") == 2
    assert len(desk.server.issued) == 2


async def test_a_bucket_fills_again(desk: Desk) -> None:
    """After a pause there are tokens again."""
    desk.server.faults.throttle(50, burst=1)
    await desk.describe()
    await asyncio.sleep(0.05)
    await desk.describe()


async def test_an_error_comes_before_the_effect_or_after_it(desk: Desk) -> None:
    """The client sees the same; the book does not."""
    faults = desk.server.faults
    faults.fail("IssueCertificate", times=1)
    with refused("InternalFailure", status=500):
        await desk.issue()
    assert desk.server.issued == []
    faults.fail("IssueCertificate", "ServiceUnavailable", 503, times=1, after=True)
    with refused("ServiceUnavailable", status=503):
        await desk.issue()
    assert len(desk.server.issued) == 1
    await desk.issue()


async def test_an_answer_is_lost_and_the_certificate_found_again(desk: Desk) -> None:
    """The order that was cut off has been carried out; its token finds it."""
    desk.server.faults.drop("IssueCertificate", times=1, after=True)
    csr = make_csr()
    with pytest.raises(HTTPClientError):
        await desk.issue(Csr=csr, IdempotencyToken="t")
    assert desk.server.count("IssueCertificate", "dropped") == 1
    assert await desk.issue(Csr=csr, IdempotencyToken="t") == desk.server.issued[0].arn
    assert len(desk.server.issued) == 1


async def test_a_held_call_holds_nobody_else(desk: Desk) -> None:
    """While one answer is held others are served, and the book shows it."""
    desk.server.faults.hold("IssueCertificate", 0.4, times=1, after=True)
    held = asyncio.create_task(desk.issue())
    await until(lambda: bool(desk.server.issued))
    await desk.describe()
    assert not held.done()
    assert await held == desk.server.issued[0].arn


async def test_the_server_ends_although_a_call_is_held() -> None:
    """A client that waits is cut off, and nothing is left behind."""
    async with pca() as server, server.client() as client:
        arn = await server.make_ca()
        server.faults.hold("*", 60)
        waiting = asyncio.create_task(client.describe_certificate_authority(CertificateAuthorityArn=arn))
        await until(lambda: bool(server.calls))
        begun = time.monotonic()
    assert time.monotonic() - begun < 3
    with pytest.raises(HTTPClientError):
        await waiting
    assert server.calls[0].outcome == ""


async def test_hooks_and_lies_change_what_is_said(desk: Desk) -> None:
    """A hook answers instead of the service or after it; a lie changes a good answer alone."""
    arn = await desk.issue()
    faults, seen = desk.server.faults, []

    def before(asked: Asked) -> Reply | None:
        seen.append((asked.operation, asked.caller, asked.resource))
        return Reply(502, b"<html>", "text/html", "502") if len(seen) == 1 else None

    faults.before = before
    with refused("502", status=502):
        await desk.describe()
    faults.after = lambda _asked, reply: Reply(reply.status, reply.body + b" ", reply.content_type)
    await desk.describe()
    assert seen == [("DescribeCertificateAuthority", USER, desk.arn)] * 2
    other = make_key()
    assert isinstance(other, ec.EllipticCurvePrivateKey)
    faults.lies["GetCertificate"] = lambda told: told | {"CertificateChain": told["Certificate"]}
    chain = await desk.get(arn)
    assert chain[0] == chain[1]
    faults.clear()
    assert len(await desk.get(arn)) == 3


async def test_a_fault_of_the_server_itself_fails_the_test() -> None:
    """What the server did not foresee is told when it ends."""

    async def provoke() -> None:
        async with pca() as server, server.client() as client:
            arn = await server.make_ca()
            server.faults.lies["DescribeCertificateAuthority"] = lambda told: told["Absent"]
            with refused("InternalFailure", status=500):
                await client.describe_certificate_authority(CertificateAuthorityArn=arn)

    with pytest.raises(ExceptionGroup) as raised:
        await provoke()
    assert raised.group_contains(KeyError)


async def test_the_book_has_every_call(desk: Desk) -> None:
    """Operation, time, outcome and caller, in the order of coming."""
    arn = await desk.issue()
    await desk.get(arn)
    async with desk.server.client("sts") as sts:
        await sts.get_caller_identity()
    told = [(call.operation, call.outcome, call.caller) for call in desk.server.calls]
    assert told == [("IssueCertificate", "OK", USER), ("GetCertificate", "OK", USER), ("GetCallerIdentity", "OK", USER)]
    assert about(desk.server.calls[0].when, datetime.now(UTC))
    assert desk.server.issued[0].certificate == (await desk.get(arn))[0]


async def test_many_at_once_are_served(desk: Desk) -> None:
    """Forty orders at once are forty certificates."""
    await asyncio.gather(*(desk.issue() for _ in range(40)))
    assert len({one.certificate.serial_number for one in desk.server.issued}) == 40


async def test_two_servers_know_nothing_of_each_other(desk: Desk) -> None:
    """Each has its CAs and its keys."""
    async with pca() as other:
        with refused("ResourceNotFoundException"):
            async with other.client() as client:
                await client.describe_certificate_authority(CertificateAuthorityArn=desk.arn)
        async with other.client(credentials=desk.server.credentials) as client:
            with refused("UnrecognizedClientException"):
                await client.list_certificate_authorities()


async def test_the_environment_leads_a_session_here(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS's own variables are enough for a client."""
    from aiobotocore.session import get_session

    for name, value in desk.server.environment().items():
        monkeypatch.setenv(name, value)
    async with get_session().create_client("acm-pca") as client:
        told = await client.list_certificate_authorities()
    assert desk.arn in {one["Arn"] for one in told["CertificateAuthorities"]}


async def test_it_is_served_by_https_too(tmp_path: Path) -> None:
    """With a context the endpoint is `https://localhost`, and clients believe its CA alone."""
    now, key = datetime.now(UTC), make_key()
    ca = Ca.root(not_before=now - timedelta(days=1), not_after=now + timedelta(days=1))
    leaf = ca.leaf(make_request(lifetime=timedelta(hours=1)), key, not_before=now - timedelta(minutes=1))
    (tmp_path / "ca.pem").write_bytes(ca.certificate.x509.public_bytes(Encoding.PEM))
    (tmp_path / "leaf.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + leaf.x509.public_bytes(Encoding.PEM)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "leaf.pem")
    async with pca(context=context) as server:
        assert server.endpoint.startswith("https://localhost:")
        async with server.client("sts", verify=str(tmp_path / "ca.pem")) as sts:
            assert (await sts.get_caller_identity())["Arn"] == USER
        async with server.client("sts") as sts:
            with pytest.raises(SSLError):
                await sts.get_caller_identity()


def open_files() -> int:
    """Return how many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.slow
async def test_nothing_is_left_behind() -> None:
    """Ten servers leave no thread and no open file."""
    before = open_files()
    for _ in range(10):
        async with pca() as server, server.client() as client:
            await client.describe_certificate_authority(CertificateAuthorityArn=await server.make_ca())
    assert not [one for one in threading.enumerate() if one.name == "pca"]
    assert open_files() <= before + 1
    assert not Authority.instances_tracked  # type: ignore[attr-defined]  # by moto's metaclass
