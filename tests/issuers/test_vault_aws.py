"""Login at Vault with an AWS identity, judged by a fake that checks the signature as STS would."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.issuer_spec import AwsAccess, AwsLogin
from agent.errors import IssuerRefusedError, IssuerUnavailableError
from agent.issuers.vault.aws_iam import sts_url
from tests.issuers.vault_clients import Steady, client, issue, spec
from tests.servers.hostile import answers, hostile
from tests.servers.vault_aws import vault_aws

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from tests.servers.hostile import Heard
    from tests.servers.sigv4 import Credentials

HERE = "vault.example.com"


@dataclass(frozen=True)
class Key:
    """A key as `agent.issuers.aws` hands it out."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)


def finder(credentials: Credentials) -> Callable[[AwsAccess], Awaitable[Key]]:
    """Return what finds this key, whatever the settings say."""

    async def find(_access: AwsAccess) -> Key:
        return Key(credentials.access_key, credentials.secret_key, credentials.session_token)

    return find


@pytest.mark.parametrize("temporary", [False, True])
@pytest.mark.parametrize("server_id", ["", HERE])
async def test_identity_of_aws_logs_in(server_id: str, *, temporary: bool) -> None:
    """With a lasting key and a role's, with the header that names this Vault and without; the token is given back."""
    async with vault_aws(server_id=server_id) as server:
        credentials = server.make_credentials(temporary=temporary)
        login = AwsLogin("kafka", server_id=server_id)
        async with client(spec(login, server.address), credentials=finder(credentials)) as vault:
            assert (await issue(vault)).certificates
            assert vault.status().login == "AWS IAM, policies kafka"
        assert server.logins == [credentials.arn]
        assert not server.tokens


async def test_region_has_its_own_endpoint() -> None:
    """The request is for the region's STS and signed for it."""
    async with vault_aws(sts="https://sts.eu-central-1.amazonaws.com/", region="eu-central-1") as server:
        credentials = server.make_credentials()
        login = AwsLogin("kafka", AwsAccess(region="eu-central-1"))
        async with client(spec(login, server.address), credentials=finder(credentials)) as vault:
            assert (await issue(vault)).certificates


@pytest.mark.parametrize(
    ("access", "url"),
    [
        (AwsAccess(), "https://sts.amazonaws.com/"),
        (AwsAccess(region="eu-west-1"), "https://sts.eu-west-1.amazonaws.com/"),
        (AwsAccess(region="us-east-1", fips=True), "https://sts-fips.us-east-1.amazonaws.com/"),
        (AwsAccess(region="cn-north-1"), "https://sts.cn-north-1.amazonaws.com.cn/"),
        (AwsAccess(region="eu-west-1", sts_endpoint="https://vpce-1.example.com"), "https://vpce-1.example.com/"),
    ],
)
def test_endpoint_is_that_of_the_settings(access: AwsAccess, url: str) -> None:
    """The one that is named, the region's own, or the global one."""
    assert sts_url(access) == url


async def test_refusal_names_what_to_see_and_no_key() -> None:
    """Another secret key: Vault repeats what STS said of the signature, the message nothing of the key."""
    async with vault_aws(server_id=HERE) as server:
        credentials = server.make_credentials(temporary=True)
        login, steady = AwsLogin("kafka", server_id="other.example.com"), Steady()
        async with client(spec(login, server.address), credentials=finder(credentials), monotonic=steady) as vault:
            with pytest.raises(IssuerRefusedError, match="expected") as caught:
                await issue(vault)
            assert "`server_id`" in caught.value.advice
            assert credentials.secret_key not in caught.value.diagnosis()
            assert str(credentials.session_token) not in caught.value.diagnosis()
            server.server_id = "other.example.com"
            steady.seconds += 1
            assert (await issue(vault)).certificates


async def test_signature_that_a_server_repeats_is_not_in_words() -> None:
    """Headers in Base64 and decoded: for a quarter of an hour they would log anybody in."""
    signatures = []

    async def parrot(request: Heard, writer: asyncio.StreamWriter) -> None:
        headers = base64.b64decode(request.json["iam_request_headers"]).decode()
        signatures.append(json.loads(headers)["Authorization"].rpartition("=")[2])
        await answers(400, {"errors": [headers[-150:], signatures[-1], request.json["iam_request_headers"]]})(
            request, writer
        )

    async with vault_aws() as server, hostile(parrot) as other:
        login = AwsLogin("kafka")
        key = finder(server.make_credentials(temporary=True))
        async with client(spec(login, other.address), credentials=key) as vault:
            with pytest.raises(IssuerRefusedError) as caught:
                await issue(vault)
    assert signatures[0] not in caught.value.diagnosis()
    assert caught.value.what.count("[secret]") >= 3


async def test_credentials_that_cannot_be_had_are_told() -> None:
    """The error of AWS's side is the login's."""

    async def find(_access: AwsAccess) -> Any:
        raise IssuerUnavailableError("the AWS credentials cannot be had", reason="credentials")

    async with vault_aws() as server, client(spec(AwsLogin("kafka"), server.address), credentials=find) as vault:
        with pytest.raises(IssuerUnavailableError, match="cannot be had"):
            await issue(vault)
        assert vault.status().reason == "credentials"
        assert server.server.heard == []


async def test_credentials_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another finder AWS's own chain is asked, here the environment."""
    async with vault_aws() as server:
        credentials = server.make_credentials()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", credentials.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credentials.secret_key)
        async with client(spec(AwsLogin("kafka"), server.address)) as vault:
            assert (await issue(vault)).certificates


@pytest.mark.slow
def test_libraries_of_aws_are_loaded_by_this_login_alone() -> None:
    """Importing the issuer brings neither botocore nor aiobotocore into the process."""
    import subprocess

    code = "import sys, agent.issuers.vault; print([m for m in sys.modules if m.startswith(('boto', 'aioboto'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
