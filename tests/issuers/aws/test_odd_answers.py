"""Whatever stands at the endpoint: an answer that is none of AWS's is an error with advice, and ends no agent."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.generation import Order
from agent.core.issuer_spec import AssumeRole, AwsAccess, AwsPcaSpec, InDoubt
from agent.core.secret import Secret
from agent.errors import IssuanceError, IssuerRefusedError, IssuerUnavailableError, OrderLostError, TrustError
from agent.issuers.aws.issuer import AwsPca
from tests.issuers.aws.clients import Clock, issuer_at, kept
from tests.servers.hostile import answers, hostile, sends
from tests.servers.pca_faults import JSON, Asked, Reply
from tests.servers.proxy import passes, proxy, resets

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.hostile import Behaviour
    from tests.servers.pca import Pca

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

ARN = "arn:aws:acm-pca:eu-west-1:222222222222:certificate-authority/1a2b"
SIX_MINUTES = timedelta(minutes=6)

ODD: list[Behaviour] = [
    answers(200, b"[]"),
    answers(200, b'"x"'),
    answers(200, b"null"),
    answers(200, b"[" * 100_000),
    answers(200, b'{"Certificate": 5}'),
    answers(200, b'{"Certificate": ["x"]}'),
    answers(200, b"<html>"),
    answers(400, b"[]"),
    answers(400, b'"x"'),
    answers(400, b'{"__type": 5}'),
    answers(400, b'{"message": {"a": 1}}'),
    answers(500, b"\xff\xfe"),
    answers(302, b"", Location="http://127.0.0.1:1/"),
    answers(204),
    sends(b"SSH-2.0-OpenSSH\r\n"),
    sends(b""),
]


@pytest.mark.parametrize("behaviour", ODD, ids=range(len(ODD)))
@pytest.mark.usefixtures("server")
async def test_an_answer_that_is_none_is_told(behaviour: Behaviour) -> None:
    """By the CA's endpoint: one error of ours, whatever the library made of it."""
    async with hostile(behaviour) as stranger:
        issuer = AwsPca(AwsPcaSpec("pca", ARN, AwsAccess(endpoint=stranger.address)), Clock())
        try:
            with pytest.raises(TrustError) as caught:
                await issuer.anchors()
            assert caught.value.advice
            assert (await issuer.tend()) is not None
            assert issuer.status().trouble
        finally:
            await issuer.close()


@pytest.mark.parametrize(
    "body", [b"", b"<a/>", b"not xml", b"<AssumeRoleResponse><AssumeRoleResult/></AssumeRoleResponse>"]
)
async def test_an_answer_of_sts_that_is_none_is_told(server: Pca, body: bytes) -> None:
    """Of the role that was to be assumed."""
    arn = await server.make_ca()
    async with hostile(answers(200, body, content_type="text/xml")) as stranger:
        access = AwsAccess(endpoint=server.endpoint, sts_endpoint=stranger.address, assume_role=AssumeRole(server.role))
        issuer = AwsPca(AwsPcaSpec("pca", arn, access), Clock())
        try:
            with pytest.raises(IssuanceError):
                await kept(server).issue(issuer)
        finally:
            await issuer.close()


async def test_credentials_that_have_ended_by_our_clock_are_told(server: Pca) -> None:
    """This host's clock is ahead of AWS's by more than a session lasts."""
    server.access.session = timedelta(hours=-1)
    arn = await server.make_ca()
    async with issuer_at(server, arn, access=AwsAccess(assume_role=AssumeRole(server.role))) as issuer:
        with pytest.raises(IssuanceError) as caught:
            await kept(server).issue(issuer)
    assert caught.value.advice


async def test_a_reset_after_the_order_leaves_it_in_doubt(server: Pca) -> None:
    """The request had gone out, and the certificate is there: it is not forgotten when the token has run out."""
    arn = await server.make_ca()
    pending, clock = kept(server), Clock()
    async with proxy(server.endpoint, passes) as front:
        access = AwsAccess(sts_endpoint=server.endpoint, endpoint=front.address)
        issuer = AwsPca(AwsPcaSpec("pca", arn, access, in_doubt=InDoubt.ASK), clock)
        try:
            await issuer.anchors()
            front.then(resets, passes)
            await front.cut()
            with pytest.raises(IssuerUnavailableError):
                await pending.issue(issuer)
            assert len(server.issued) == 1
            assert pending.pending.order.asked_at is not None
            clock.offset += SIX_MINUTES
            server.advance(SIX_MINUTES)
            with pytest.raises(IssuerRefusedError) as caught:
                await pending.issue(issuer)
        finally:
            await issuer.close()
    assert caught.value.reason == "in doubt"
    assert len(server.issued) == 1


async def test_no_secret_that_was_sent_is_repeated(server: Pca, tmp_path: Path) -> None:
    """Neither the external id nor a session token, though the service quotes them."""
    secret = "external id 0815"  # noqa: S105 - made up, and looked for
    (tmp_path / "id").write_text(secret)
    arn = await server.make_ca()
    role = AssumeRole(server.role, external_id=Secret(file=tmp_path / "id"))
    token = "IQoJb3JpZ2luX2VjE" * 20

    def quote(asked: Asked) -> Reply | None:
        if asked.operation == "AssumeRole":
            text = f"<ErrorResponse><Error><Code>ValidationError</Code><Message>Value '{secret}' at 'externalId'"
            return Reply(400, f"{text}</Message></Error></ErrorResponse>".encode(), "text/xml", "ValidationError")
        return None

    server.faults.before = quote
    async with issuer_at(server, arn, access=AwsAccess(assume_role=role)) as issuer:
        with pytest.raises(IssuerRefusedError) as caught:
            await kept(server).issue(issuer)
        assert "externalId" in caught.value.what
        assert secret not in caught.value.diagnosis()
        assert secret not in issuer.status().trouble

    def echo(asked: Asked) -> Reply | None:
        if asked.service != "acm-pca":
            return None
        body = json.dumps({"__type": "InvalidSignatureException", "message": f"x-amz-security-token:{token}"})
        return Reply(400, body.encode(), JSON, "InvalidSignatureException")

    server.faults.before = echo
    async with issuer_at(server, arn) as issuer:
        with pytest.raises(TrustError) as told:
            await issuer.anchors()
    assert "x-amz-security-token" in told.value.what
    assert token[:50] not in told.value.diagnosis()


@pytest.mark.parametrize(("policy", "raised"), [(InDoubt.ASK, IssuerRefusedError), (InDoubt.REISSUE, OrderLostError)])
async def test_a_receipt_that_aws_does_not_know_any_more_is_no_dead_end(
    server: Pca, policy: InDoubt, raised: type[IssuanceError]
) -> None:
    """At first it may not be everywhere yet; later a person is asked, or it is ordered anew."""
    arn = await server.make_ca()
    pending, clock = kept(server), Clock()
    unknown = f"{arn}/certificate/0123"
    await pending.note(Order(asked_at=clock(), receipt=unknown))
    async with issuer_at(server, arn, clock, in_doubt=policy) as issuer:
        with pytest.raises(IssuerUnavailableError, match="does not know the certificate 0123 yet"):
            await pending.issue(issuer)
        clock.offset += SIX_MINUTES
        with pytest.raises(raised, match="no longer knows the certificate 0123"):
            await pending.issue(issuer)


async def test_a_chain_that_was_exchanged_is_seen(server: Pca) -> None:
    """The CA's own certificate is the same, and what stands above it is not: a stranger's root is no anchor of it."""
    first, second = await server.make_ca(), await server.make_ca(subordinate=False, common_name="Other Root")
    other = server.authority(second).chain[0]
    async with issuer_at(server, first) as issuer:
        await issuer.anchors()

        def exchange(answer: dict[str, Any]) -> dict[str, Any]:
            from cryptography.hazmat.primitives.serialization import Encoding

            return answer | {"CertificateChain": other.public_bytes(Encoding.PEM).decode()}

        server.faults.lies["GetCertificateAuthorityCertificate"] = exchange
        with pytest.raises(TrustError, match="no self-signed certificate that it leads to"):
            await issuer.anchors()
        assert "imported anew" in issuer.status().remarks[0]


async def test_the_ca_is_looked_at_where_nobody_asks_for_its_anchors(server: Pca) -> None:
    """Trust may come from files: the CA's end and a re-import are seen all the same."""
    arn = await server.make_ca(lifetime=timedelta(days=10))
    clock = Clock()
    async with issuer_at(server, arn, clock) as issuer:
        assert await issuer.tend() is not None
        assert server.calls == []
        await kept(server).issue(issuer)
        assert any("ends at" in remark for remark in issuer.status().remarks)
        await server.reimport(arn)
        clock.offset += timedelta(hours=2)
        await issuer.tend()
        assert "imported anew" in issuer.status().remarks[0]


async def test_a_revocation_that_was_done_before_leaves_no_trouble(server: Pca) -> None:
    """The issuer is well."""
    arn = await server.make_ca()
    async with issuer_at(server, arn) as issuer:
        leaf = (await kept(server).issue(issuer)).certificates[0]
        for _ in range(2):
            await issuer.revoke(leaf, within=timedelta(seconds=10))
        assert issuer.status().trouble == ""


async def test_the_configured_timeout_bounds_an_order(server: Pca) -> None:
    """The shorter of the two counts."""
    server.orders.pending = timedelta(hours=1)
    arn = await server.make_ca()
    clock = Clock()
    async with issuer_at(server, arn, within=timedelta(seconds=1)) as issuer:
        began = clock()
        with pytest.raises(IssuerUnavailableError):
            await kept(server).issue(issuer, timedelta(seconds=20))
    assert clock() - began < timedelta(seconds=5)


async def test_an_examination_goes_on_where_sts_hangs(server: Pca) -> None:
    """A VPC that leads to the CA and not to STS is no reason to call the credentials bad."""
    server.faults.hold("GetCallerIdentity", 30, times=1)
    arn = await server.make_ca()
    async with issuer_at(server, arn, within=timedelta(seconds=6)) as issuer:
        found = {one.what: one.opinion for one in await issuer.examine([kept(server).pending.request])}
    assert found == {"credentials": "unknown", "CA": "good", "right to issue": "good"}
