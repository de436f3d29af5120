"""Who asks the AWS test server: signatures, rights, roles and web identities."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.servers.pca_access import ROLE, USER
from tests.servers.pca_desk import (
    Desk,
    about,
    open_desk,
    refused,
    session_of,
)
from tests.servers.sigv4 import Credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


pytestmark = pytest.mark.slow


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A CA on P-256 below a root, asked by the long-lived user."""
    async with open_desk() as opened:
        yield opened


async def test_credentials_that_are_no_good_are_refused(desk: Desk) -> None:
    """Unknown, expired and forged ones are told apart, in JSON."""
    server, good = desk.server, desk.server.credentials
    stranger = Credentials("AKIAIOSFODNN7EXAMPLE", good.secret_key)
    forger = Credentials(good.access_key, "another")
    ended = server.access.make_credentials(lasts=timedelta(seconds=-1))
    for credentials, code in (
        (stranger, "UnrecognizedClientException"),
        (ended, "ExpiredTokenException"),
        (forger, "InvalidSignatureException"),
    ):
        async with server.client(credentials=credentials) as client:
            with refused(code):
                await client.describe_certificate_authority(CertificateAuthorityArn=desk.arn)
    server.access.skew = timedelta(hours=1)
    with refused("InvalidSignatureException"):
        await desk.describe()


async def test_who_has_not_the_right_is_told_which(desk: Desk) -> None:
    """A denial names caller, action and CA as AWS does."""
    server = desk.server
    session = server.access.make_credentials("arn:aws:sts::222222222222:assumed-role/kafka/session")
    server.access.deny("acm-pca:IssueCertificate", "*:assumed-role/kafka/*")
    words = (
        "User: arn:aws:sts::222222222222:assumed-role/kafka/session is not authorized to perform:"
        f" acm-pca:IssueCertificate on resource: {desk.arn} because no identity-based policy allows the"
        " acm-pca:IssueCertificate action"
    )
    async with server.client(credentials=session) as client:
        mine = Desk(server, desk.arn, client)
        with refused("AccessDeniedException", words):
            await mine.issue(Csr=b"no CSR")
        await mine.describe()
        server.access.allow("acm-pca:IssueCertificate", "*:assumed-role/kafka/*")
        await mine.issue()
    await desk.issue()


async def test_a_share_leaves_other_accounts_one_template(desk: Desk) -> None:
    """Who is of the CA's account is not bound by the share."""
    desk.server.access.shared = frozenset({"EndEntityCertificate/V1"})
    await desk.issue()
    with refused("AccessDeniedException", "resource-based"):
        await desk.issue(template="EndEntityServerAuthCertificate")
    session = desk.server.access.make_credentials("arn:aws:sts::222222222222:assumed-role/kafka/session")
    async with desk.server.client(credentials=session) as client:
        await Desk(desk.server, desk.arn, client).issue(template="EndEntityServerAuthCertificate")


async def test_a_role_is_assumed_and_its_session_ends(desk: Desk) -> None:
    """The session is the role's, and ends when the server says so."""
    server = desk.server
    async with server.client("sts") as sts:
        assert (await sts.get_caller_identity())["Arn"] == USER
        answer = await sts.assume_role(RoleArn=ROLE, RoleSessionName="session", DurationSeconds=900)
    credentials = session_of(answer)
    assert about(answer["Credentials"]["Expiration"], datetime.now(UTC) + timedelta(minutes=15))
    async with server.client("sts", credentials) as sts, server.client(credentials=credentials) as client:
        identity = await sts.get_caller_identity()
        assert identity["Arn"] == "arn:aws:sts::222222222222:assumed-role/kafka/session"
        assert identity["Account"] == "222222222222"
        mine = Desk(server, desk.arn, client)
        await mine.issue()
        server.advance(timedelta(minutes=15))
        with refused("ExpiredTokenException"):
            await mine.issue()
        with refused("ExpiredToken", status=403):
            await sts.get_caller_identity()
    assert server.issued[-1].caller == "arn:aws:sts::222222222222:assumed-role/kafka/session"


async def test_a_role_is_for_who_knows_the_external_id(desk: Desk) -> None:
    """Without it, with a wrong one, and for a role that is not there, the answer is the same."""
    desk.server.access.external_id = "ours"
    words = f"User: {USER} is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::222222222222:role/"
    async with desk.server.client("sts") as sts:
        for role, more in ((ROLE, {}), (ROLE, {"ExternalId": "theirs"}), (f"{ROLE}2", {"ExternalId": "ours"})):
            with refused("AccessDenied", words, 403):
                await sts.assume_role(RoleArn=role, RoleSessionName="session", **more)
        await sts.assume_role(RoleArn=ROLE, RoleSessionName="session", ExternalId="ours")
        desk.server.access.deny("sts:AssumeRole")
        with refused("AccessDenied", words, 403):
            await sts.assume_role(RoleArn=ROLE, RoleSessionName="session", ExternalId="ours")


async def test_a_session_lasts_as_long_as_it_may(desk: Desk) -> None:
    """The service has limits, the role its own, and a test another."""
    async with desk.server.client("sts") as sts:
        for seconds in (3600 + 1, 12 * 3600):
            with refused("ValidationError"):
                await sts.assume_role(RoleArn=ROLE, RoleSessionName="session", DurationSeconds=seconds)
        desk.server.access.session = timedelta(seconds=2)
        answer = await sts.assume_role(RoleArn=ROLE, RoleSessionName="session")
    assert about(answer["Credentials"]["Expiration"], datetime.now(UTC))
    desk.server.access.session, desk.server.access.longest = None, timedelta(hours=12)
    async with desk.server.client("sts", session_of(answer)) as chained:
        with refused("ValidationError", "chaining"):
            await chained.assume_role(RoleArn=ROLE, RoleSessionName="again", DurationSeconds=3601)


async def test_a_web_identity_is_a_session_too(desk: Desk) -> None:
    """A good token needs no credentials; one that is late, forged, for others or not trusted is refused."""
    access = desk.server.access
    async with desk.server.client("sts") as sts:

        async def assume(token: str) -> dict[str, Any]:
            answer: dict[str, Any] = await sts.assume_role_with_web_identity(
                RoleArn=ROLE, RoleSessionName="pod", WebIdentityToken=token
            )
            return answer

        answer = await assume(access.make_web_identity())
        with refused("ExpiredTokenException"):
            await assume(access.make_web_identity(lasts=-5))
        with refused("InvalidIdentityToken"):
            await assume("no.good.token")
        with refused("InvalidIdentityToken", "audience"):
            await assume(access.make_web_identity(aud="others"))
        with refused("AccessDenied", status=403):
            await assume(access.make_web_identity(sub="system:serviceaccount:other:other"))
    async with desk.server.client(credentials=session_of(answer)) as client:
        await Desk(desk.server, desk.arn, client).issue()
    assert desk.server.issued[-1].caller == "arn:aws:sts::222222222222:assumed-role/kafka/pod"


async def test_who_does_not_sign_is_told_so(desk: Desk) -> None:
    """Neither service answers a bare request, nor one that it does not know."""
    headers = {"X-Amz-Target": "ACMPrivateCA.ListTags", "Content-Type": "application/x-amz-json-1.1"}
    async with aiohttp.ClientSession() as session:
        async with session.post(desk.server.endpoint, headers=headers, data=b"{}") as response:
            assert response.status == 400
            assert b"MissingAuthenticationTokenException" in await response.read()
        async with session.post(desk.server.endpoint, data={"Action": "GetCallerIdentity"}) as response:
            assert response.status == 403
            assert b"<Code>MissingAuthenticationToken</Code>" in await response.read()
        async with session.post(desk.server.endpoint, headers=headers | {"X-Amz-Target": "Other.X"}) as response:
            assert response.status == 404
    assert [call.outcome for call in desk.server.calls] == [
        "MissingAuthenticationTokenException",
        "MissingAuthenticationToken",
        "UnknownOperationException",
    ]
