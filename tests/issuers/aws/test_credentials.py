"""As whom AWS is asked: profiles, web identities, roles in other accounts, and what is said when that fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.issuer_spec import AssumeRole, AwsAccess, WebIdentity
from agent.core.secret import Secret
from agent.errors import IssuanceError, IssuerRefusedError, IssuerUnavailableError
from agent.issuers.aws.session import client_config, credentials, open_session
from tests.issuers.aws.clients import issuer_at, kept

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.pca import Pca

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

ROLE_SESSION = "arn:aws:sts::222222222222:assumed-role/"


@pytest.fixture
def no_key(server: Pca, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the key out of the environment that leads to the server."""
    assert server.endpoint
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)


async def test_the_default_chain_is_the_environment_s(server: Pca) -> None:
    """As AWS's own tools find them."""
    arn = await server.make_ca()
    async with issuer_at(server, arn) as issuer:
        await kept(server).issue(issuer)
    assert server.issued[0].caller == server.credentials.arn


@pytest.mark.usefixtures("no_key")
async def test_a_profile_is_read_from_aws_s_own_files(server: Pca, tmp_path: Path) -> None:
    """By its name; one that is not there is told."""
    other = server.access.make_credentials("arn:aws:iam::111111111111:user/profile")
    (tmp_path / "credentials").write_text(
        f"[kafka]\naws_access_key_id={other.access_key}\naws_secret_access_key={other.secret_key}\n"
    )
    arn = await server.make_ca()
    async with issuer_at(server, arn, access=AwsAccess(profile="kafka")) as issuer:
        await kept(server).issue(issuer)
    assert server.issued[0].caller == other.arn
    async with issuer_at(server, arn, access=AwsAccess(profile="kafak")) as issuer:
        with pytest.raises(IssuerRefusedError, match="configuration cannot be used") as caught:
            await kept(server).issue(issuer)
    assert "`profile`" in caught.value.advice


async def test_a_role_in_the_ca_s_account_is_assumed_with_the_external_id(server: Pca, tmp_path: Path) -> None:
    """The session carries the configured name; the user of the first account asks STS alone."""
    secret = tmp_path / "external-id"
    secret.write_text("external-0815\n")
    server.access.external_id = "external-0815"
    arn = await server.make_ca()
    role = AssumeRole(server.role, "orders", Secret(file=secret))
    async with issuer_at(server, arn, access=AwsAccess(assume_role=role)) as issuer:
        await kept(server).issue(issuer)
    assert server.issued[0].caller.startswith(ROLE_SESSION)
    assert server.issued[0].caller.endswith("/orders")
    assert server.count("AssumeRole") == 1


@pytest.mark.parametrize("external_id", [None, "wrong"])
async def test_a_role_that_is_not_given_is_told_with_what_is_missing(
    server: Pca, tmp_path: Path, external_id: str | None
) -> None:
    """Action, principal, trust policy and external id; never the external id itself."""
    server.access.external_id = "external-0815"
    secret = None
    if external_id is not None:
        (tmp_path / "id").write_text(external_id)
        secret = Secret(file=tmp_path / "id")
    arn = await server.make_ca()
    access = AwsAccess(assume_role=AssumeRole(server.role, "orders", secret))
    async with issuer_at(server, arn, access=access) as issuer:
        with pytest.raises(IssuerRefusedError) as caught:
            await kept(server).issue(issuer)
    assert caught.value.reason == "access denied"
    assert "sts:AssumeRole" in caught.value.advice
    assert "external id" in caught.value.advice
    assert "external-0815" not in caught.value.diagnosis()


async def test_an_external_id_that_was_mended_is_read_again(server: Pca, tmp_path: Path) -> None:
    """Nobody restarts an agent for it."""
    secret = tmp_path / "external-id"
    secret.write_text("wrong")
    server.access.external_id = "external-0815"
    arn = await server.make_ca()
    access = AwsAccess(assume_role=AssumeRole(server.role, "orders", Secret(file=secret)))
    async with issuer_at(server, arn, access=access) as issuer:
        with pytest.raises(IssuerRefusedError):
            await kept(server).issue(issuer)
        secret.write_text("external-0815")
        await kept(server).issue(issuer)
    assert len(server.issued) == 1


async def test_the_credentials_of_a_role_are_refreshed_before_they_end(server: Pca) -> None:
    """A call never goes out with a session that has ended."""
    server.access.session = timedelta(seconds=30)
    arn = await server.make_ca()
    access = AwsAccess(assume_role=AssumeRole(server.role))
    async with issuer_at(server, arn, access=access) as issuer:
        for number in range(3):
            await kept(server, token=f"t{number}").issue(issuer)
            server.advance(timedelta(seconds=25))
    assert len(server.issued) == 3
    assert server.count("AssumeRole") >= 2
    assert all("Expired" not in (call.outcome or "") for call in server.calls)


@pytest.mark.usefixtures("no_key")
async def test_a_web_identity_is_exchanged_for_a_role(server: Pca, tmp_path: Path) -> None:
    """As IRSA has it; the token's file is read at each refresh."""
    token = tmp_path / "token"
    token.write_text(server.access.make_web_identity())
    arn = await server.make_ca()
    web = WebIdentity(server.role, token, "pod")
    async with issuer_at(server, arn, access=AwsAccess(web_identity=web)) as issuer:
        await kept(server).issue(issuer)
    assert server.issued[0].caller.endswith("/pod")


@pytest.mark.usefixtures("no_key")
async def test_the_web_identity_of_the_environment_is_found_by_the_default_chain(
    server: Pca, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EKS sets these variables in a pod."""
    (tmp_path / "token").write_text(server.access.make_web_identity())
    monkeypatch.setenv("AWS_ROLE_ARN", server.role)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    arn = await server.make_ca()
    async with issuer_at(server, arn) as issuer:
        await kept(server).issue(issuer)
    assert server.issued[0].caller.startswith(ROLE_SESSION)


@pytest.mark.usefixtures("no_key")
async def test_a_web_identity_that_is_not_trusted_or_not_there_is_told(server: Pca, tmp_path: Path) -> None:
    """A refusal each, and the token is in no message."""
    arn = await server.make_ca()
    token = tmp_path / "token"
    web = AwsAccess(web_identity=WebIdentity(server.role, token))
    async with issuer_at(server, arn, access=web) as issuer:
        with pytest.raises(IssuerRefusedError, match="cannot read") as caught:
            await kept(server).issue(issuer)
        assert caught.value.reason == "credentials"
        token.write_text(server.access.make_web_identity(sub="system:serviceaccount:other:pod"))
        with pytest.raises(IssuanceError) as refused:
            await kept(server).issue(issuer)
    assert token.read_text() not in refused.value.diagnosis()


@pytest.mark.usefixtures("no_key")
async def test_no_credentials_at_all_are_told(server: Pca) -> None:
    """With what to give."""
    arn = await server.make_ca()
    async with issuer_at(server, arn) as issuer:
        with pytest.raises(IssuerRefusedError, match="there are no AWS credentials") as caught:
            await kept(server).issue(issuer)
    assert "instance role" in caught.value.advice


async def test_credentials_that_aws_does_not_know_are_a_person_s_matter(
    server: Pca, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the secret key is in no message."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-0815")
    arn = await server.make_ca()
    async with issuer_at(server, arn) as issuer:
        with pytest.raises(IssuerRefusedError) as caught:
            await kept(server).issue(issuer)
    assert caught.value.reason == "credentials"
    assert "wrong-secret-0815" not in caught.value.diagnosis()


async def test_access_denied_names_action_and_principal(server: Pca) -> None:
    """Of the role that was assumed."""
    server.access.deny("acm-pca:IssueCertificate")
    arn = await server.make_ca()
    async with issuer_at(server, arn, access=AwsAccess(assume_role=AssumeRole(server.role))) as issuer:
        with pytest.raises(IssuerRefusedError) as caught:
            await kept(server).issue(issuer)
    assert f"let {ROLE_SESSION}" in caught.value.advice
    assert f"do acm-pca:IssueCertificate on {arn}" in caught.value.advice


async def test_a_template_that_a_share_does_not_allow_is_told(server: Pca) -> None:
    """A CA shared with another account takes one template."""
    server.access.shared = frozenset({"EndEntityCertificate/V1"})
    arn = await server.make_ca()
    async with issuer_at(server, arn, template="EndEntityClientAuthCertificate/V1") as issuer:
        with pytest.raises(IssuerRefusedError) as caught:
            await kept(server).issue(issuer)
        assert "acm-pca:TemplateArn" in caught.value.advice
    async with issuer_at(server, arn, template="EndEntityCertificate/V1") as issuer:
        await kept(server).issue(issuer)


async def test_a_login_elsewhere_gets_the_same_key(server: Pca) -> None:
    """What Vault's AWS login signs with: of the chain, or of an assumed role."""
    at = AwsAccess(region=server.region, sts_endpoint=server.endpoint)
    assert (await credentials(at)).access_key == server.credentials.access_key
    assumed = await credentials(replace(at, assume_role=AssumeRole(server.role)))
    assert assumed.token is not None
    server.faults.drop("AssumeRole")
    with pytest.raises(IssuerUnavailableError):
        await credentials(replace(at, assume_role=AssumeRole(server.role)))


@pytest.mark.parametrize(("fips", "host"), [(False, "acm-pca.us-east-1"), (True, "acm-pca-fips.us-east-1")])
async def test_the_endpoint_is_the_region_s_own_or_the_fips_one(
    monkeypatch: pytest.MonkeyPatch, fips: bool, host: str
) -> None:
    """AWS's library knows their names; nothing is asked there."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "not-used")
    access = AwsAccess(fips=fips)
    session = await open_session(access, "us-east-1")
    async with session.create_client("acm-pca", region_name="us-east-1", config=client_config(access)) as client:
        assert client.meta.endpoint_url == f"https://{host}.amazonaws.com"
