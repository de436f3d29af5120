"""The fake Vault judges AWS logins as STS would: what botocore signs is believed, and nothing that was touched."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from cryptography import x509

from tests.servers.csr import csr_pem
from tests.servers.vault_aws import BODY, SERVER_ID, vault_aws

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.servers.sigv4 import Credentials
    from tests.servers.vault_aws import VaultAws

pytestmark = pytest.mark.slow

HERE = "vault.example.com"
TYPE = "application/x-www-form-urlencoded; charset=utf-8"


@pytest.fixture
async def vault() -> AsyncIterator[VaultAws]:
    """Start a server that wants to be named in the signature."""
    async with vault_aws(server_id=HERE) as server:
        yield server


def signed(
    credentials: Credentials,
    *,
    url: str = "https://sts.amazonaws.com/",
    region: str = "us-east-1",
    service: str = "sts",
    body: bytes = BODY,
    server_id: str | None = HERE,
    digest: str | None = None,
) -> dict[str, Any]:
    """Return the fields of a login with a request that botocore has signed, its headers as an object."""
    request = AWSRequest("POST", url, data=body, headers={"Content-Type": TYPE})
    if digest is not None:
        request.headers["X-Amz-Content-Sha256"] = digest
    if server_id is not None:
        request.headers[SERVER_ID] = server_id
    keys = BotocoreCredentials(credentials.access_key, credentials.secret_key, credentials.session_token)
    SigV4Auth(keys, service, region).add_auth(request)
    return {
        "role": "kafka",
        "iam_http_request_method": "POST",
        "iam_request_url": base64.b64encode(url.encode()).decode(),
        "iam_request_body": base64.b64encode(body).decode(),
        "iam_request_headers": dict(request.headers.items()),
    }


async def call(
    vault: VaultAws, method: str, path: str, body: Any = None, *, token: str = ""
) -> tuple[int, dict[str, Any]]:
    """Call the API; return the status and the answer."""
    headers = {"X-Vault-Token": token} if token else {}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{vault.address}/v1/{path}", json=body, headers=headers) as response,
    ):
        text = await response.text()
        return response.status, json.loads(text) if text else {}


async def login(vault: VaultAws, body: Any) -> tuple[int, dict[str, Any]]:
    """Log in."""
    return await call(vault, "POST", "auth/aws/login", body)


@pytest.mark.parametrize("temporary", [False, True])
@pytest.mark.parametrize("form", ["object", "lists", "base64"])
async def test_what_botocore_signs_is_believed(vault: VaultAws, form: str, *, temporary: bool) -> None:
    """With a lasting key and with a role's, the headers in each form that Vault takes."""
    credentials = vault.make_credentials(temporary=temporary)
    body = signed(credentials)
    headers: dict[str, str] = body["iam_request_headers"]
    if form == "lists":
        body["iam_request_headers"] = {name: [value] for name, value in headers.items()}
    elif form == "base64":
        body["iam_request_headers"] = base64.b64encode(json.dumps(headers).encode()).decode()
    status, answer = await login(vault, body)
    assert status == 200, answer
    auth = answer["auth"]
    assert (auth["lease_duration"], auth["renewable"], auth["policies"]) == (3600, True, ["kafka"])
    assert vault.logins == [credentials.arn]
    assert vault.server.heard[0].path == "/v1/auth/aws/login"
    assert credentials.secret_key not in repr(vault)
    assert auth["client_token"] not in repr(vault)


async def test_regional_endpoint_is_judged_by_its_region() -> None:
    """Host and scope are those of the region."""
    async with vault_aws(sts="https://sts.eu-central-1.amazonaws.com/", region="eu-central-1") as vault:
        credentials = vault.make_credentials()
        regional = signed(credentials, url=vault.sts, region=vault.region, server_id=None)
        assert (await login(vault, regional))[0] == 200
        for other in (
            signed(credentials, server_id=None),
            signed(credentials, url=vault.sts, server_id=None),
            signed(credentials, region=vault.region, server_id=None),
        ):
            assert (await login(vault, other))[0] == 400


def header(name: str, value: str | Callable[[str], str] | None) -> Callable[[dict[str, Any]], object]:
    """Return what changes a header after the signature, or takes it away."""

    def tamper(body: dict[str, Any]) -> None:
        headers = body["iam_request_headers"]
        if value is None:
            del headers[name]
        else:
            headers[name] = value if isinstance(value, str) else value(headers[name])

    return tamper


def part(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    """Return what changes a field of the login; bytes are put in Base64."""
    return lambda body: body.update({name: base64.b64encode(value).decode() if isinstance(value, bytes) else value})


def without(name: str) -> Callable[[str], str]:
    """Return what takes a name out of the list of those signed."""
    return lambda text: text.replace(f";{name}", "").replace(f"{name};", "")


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (part("role", "other"), "entry for role other not found"),
        (part("iam_http_request_method", "GET"), "currently only 'POST' is supported"),
        (part("iam_request_url", b"https://sts.example.com/"), "iam_request_url is not"),
        (part("iam_request_url", b"https://sts.amazonaws.com/?Action=GetCallerIdentity"), "iam_request_url is not"),
        (part("iam_request_url", b"http://sts.amazonaws.com/"), "iam_request_url is not"),
        (part("iam_request_url", "?"), "failed to base64 decode iam_request_url"),
        (part("iam_request_body", b"Action=AssumeRole&Version=2011-06-15"), "is no GetCallerIdentity"),
        (part("iam_request_headers", b"no JSON"), "is no JSON"),
        (part("iam_request_headers", b"[]"), "is no JSON"),
        (header("Authorization", None), "vault header wasn't signed"),
        (header("Authorization", lambda text: text[:-1] + ("0" if text[-1] != "0" else "1")), "not the one calculated"),
        (header("Authorization", lambda text: text.replace("us-east-1", "eu-west-1")), "not scoped to us-east-1/sts"),
        (header("Authorization", lambda text: text.replace("/sts/", "/iam/")), "not scoped to us-east-1/sts"),
        (header("Authorization", lambda text: text.replace("AKIA", "AKIB")), "InvalidClientTokenId"),
        (header("Authorization", lambda text: text.replace("AWS4-", "AWS3-")), "IncompleteSignature"),
        (header("Authorization", without("host")), "sent and not signed: ['host']"),
        (header("Authorization", without("x-amz-date")), "sent and not signed: ['x-amz-date']"),
        (header("Authorization", without("content-type")), "sent and not signed: ['content-type']"),
        (header("Authorization", without(SERVER_ID.lower())), "vault header wasn't signed"),
        (header("Authorization", lambda text: text.replace("host;x-amz-date", "x-amz-date;host")), "not sorted"),
        (header("Content-Type", "text/plain"), "not the one calculated"),
        (header("Content-Type", None), "signed and not sent: ['content-type']"),
        (header("Host", "sts.eu-west-1.amazonaws.com"), "the request is for sts.eu-west-1.amazonaws.com"),
        (header("X-Amz-Date", "20200101T000000Z"), "date is not that of x-amz-date"),
        (header("X-Amz-Date", lambda text: text[:8] + "noon"), "IncompleteSignature"),
        (header("X-Amz-Date", lambda text: f"{text[:-2]}{(int(text[-2]) + 1) % 10}Z"), "not the one calculated"),
        (header("X-Amz-Security-Token", "added"), "sent and not signed: ['x-amz-security-token']"),
        (header("X-Amz-Content-Sha256", "0" * 64), "sent and not signed: ['x-amz-content-sha256']"),
        (header(SERVER_ID, "other.example.com"), f'expected "{HERE}" but got "other.example.com"'),
        (header(SERVER_ID, None), f'missing header "{SERVER_ID}"'),
        (header(SERVER_ID.lower(), HERE), "twice"),
    ],
)
async def test_whatever_is_touched_is_refused(
    vault: VaultAws, tamper: Callable[[dict[str, Any]], object], reason: str
) -> None:
    """Each part of the login, changed after the signature: 400 with the reason, and no token."""
    body = signed(vault.make_credentials())
    tamper(body)
    status, answer = await login(vault, body)
    assert status == 400
    (said,) = answer["errors"]
    assert reason in said
    assert vault.logins == [said]
    assert not vault.tokens


async def test_header_of_this_vault_that_was_added_later_is_refused(vault: VaultAws) -> None:
    """A request that was signed for nobody in particular is not made to name this Vault."""
    body = signed(vault.make_credentials(), server_id=None)
    body["iam_request_headers"][SERVER_ID] = HERE
    _, answer = await login(vault, body)
    assert "vault header wasn't signed" in answer["errors"][0]
    other = signed(vault.make_credentials(), server_id="other.example.com")
    _, answer = await login(vault, other)
    assert "but got" in answer["errors"][0]
    # A proper signature all the same: a Vault that does not look takes both.
    vault.server_id = ""
    assert [(await login(vault, each))[0] for each in (body, other)] == [200, 200]


async def test_wrong_keys_and_tokens_of_sessions_are_refused(vault: VaultAws) -> None:
    """Another secret; a session's key without its token, with another or after its end."""
    key = vault.make_credentials()
    session = vault.make_credentials(temporary=True)
    ended = vault.make_credentials(temporary=True, ends=datetime.now(UTC) - timedelta(seconds=1))
    used = [
        (replace(key, secret_key=session.secret_key), "not the one calculated"),
        (replace(session, session_token=None), "InvalidClientTokenId"),
        (replace(session, session_token=ended.session_token), "InvalidClientTokenId"),
        (ended, "ExpiredToken"),
    ]
    for credentials, reason in used:
        _, answer = await login(vault, signed(credentials))
        assert reason in answer["errors"][0]
    vault.principals = frozenset({"arn:aws:iam::111111111111:role/other"})
    _, answer = await login(vault, signed(key))
    assert "does not belong to the role" in answer["errors"][0]


@pytest.mark.parametrize(("minutes", "status"), [(-16, 400), (-14, 200), (14, 200), (16, 400)])
async def test_request_is_fresh_for_a_quarter_of_an_hour(vault: VaultAws, minutes: int, status: int) -> None:
    """Older ones, and those of a clock that runs ahead, are refused."""
    vault.clock = lambda: datetime.now(UTC) + timedelta(minutes=minutes)
    assert (await login(vault, signed(vault.make_credentials())))[0] == status


async def test_hash_of_the_body_may_be_sent_and_must_fit(vault: VaultAws) -> None:
    """Where `x-amz-content-sha256` is signed it is that of the body."""
    good = signed(vault.make_credentials(), digest=hashlib.sha256(BODY).hexdigest())
    assert (await login(vault, good))[0] == 200
    body = signed(vault.make_credentials(), digest="0" * 64)
    _, answer = await login(vault, body)
    assert "x-amz-content-sha256" in answer["errors"][0]


async def test_body_that_is_no_login_is_refused(vault: VaultAws) -> None:
    """No object, and one of nothing."""
    assert await login(vault, ["no"]) == (400, {"errors": ["failed to parse JSON input"]})
    assert (await login(vault, {}))[0] == 400


async def test_token_signs_is_renewed_and_given_back(vault: VaultAws) -> None:
    """The token that was given may do what the agent does; nobody else's may, nor this one after its end."""
    now = datetime.now(UTC)
    vault.clock = lambda: now
    vault.ttl, vault.max_ttl = timedelta(minutes=10), timedelta(minutes=15)
    _, answer = await login(vault, signed(vault.make_credentials()))
    token = answer["auth"]["client_token"]
    csr = {"csr": csr_pem()}
    denied = (403, {"errors": ["permission denied"]})
    assert await call(vault, "POST", "pki/sign/kafka", csr) == denied
    assert await call(vault, "POST", "pki/sign/kafka", csr, token="hvs.other") == denied  # noqa: S106 - no secret
    status, answer = await call(vault, "POST", "pki/sign/kafka", csr, token=token)
    assert status == 200
    leaf = x509.load_pem_x509_certificate(answer["data"]["certificate"].encode())
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(answer["data"]["ca_chain"][0].encode()))
    async with aiohttp.ClientSession() as session, session.get(f"{vault.address}/v1/pki/ca_chain") as response:
        assert (await response.text()).count("BEGIN CERTIFICATE") == 2
    now += timedelta(minutes=8)
    _, answer = await call(vault, "GET", "auth/token/lookup-self", token=token)
    assert answer["data"]["ttl"] == 120
    _, answer = await call(vault, "POST", "auth/token/renew-self", {}, token=token)
    assert answer["auth"]["lease_duration"] == 420
    assert (await call(vault, "GET", "sys/nothing", token=token))[0] == 404
    assert await call(vault, "POST", "auth/token/revoke-self", {}, token=token) == (204, {})
    assert await call(vault, "GET", "auth/token/lookup-self", token=token) == denied
    _, answer = await login(vault, signed(vault.make_credentials()))
    now += timedelta(minutes=11)
    assert await call(vault, "POST", "auth/token/renew-self", {}, token=answer["auth"]["client_token"]) == denied
