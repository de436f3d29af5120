"""Each auth method logs in at a real OpenBao and refuses what it should, by plain HTTP."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from agent.core.identity import KeyAlgorithm
from tests.material import make_key
from tests.servers.bao_auth import (
    Tokens,
    enable_approle,
    enable_cert,
    enable_jwt,
    enable_kubernetes,
    enable_userpass,
    host_certificate,
)
from tests.servers.csr import csr_pem
from tests.servers.jwt import Signer
from tests.servers.openbao import openbao
from tests.servers.proxy import passes, proxy, refuses
from tests.servers.token_review import token_review

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent.keystores.material import PrivateKey
    from tests.servers.openbao import OpenBao

PERMISSION_DENIED = "permission denied"

pytestmark = pytest.mark.slow


@pytest.fixture
async def bao(tmp_path: Path) -> AsyncIterator[OpenBao]:
    """Start a server for the test."""
    async with openbao(tmp_path / "bao") as server:
        yield server


async def post(
    bao: OpenBao, path: str, body: dict[str, Any], *, token: str = "", session: aiohttp.ClientSession | None = None
) -> tuple[int, dict[str, Any]]:
    """Call the API as anybody; return the status and the answer."""
    headers = {"X-Vault-Token": token} if token else {}
    async with (session or bao.session).post(f"{bao.address}/v1/{path}", json=body, headers=headers) as response:
        answer: dict[str, Any] = await response.json() if response.status != 204 else {}
        return response.status, answer


async def logged_in(
    bao: OpenBao, path: str, body: dict[str, Any], session: aiohttp.ClientSession | None = None
) -> dict[str, Any]:
    """Log in, sign with the token and renew it; return `auth`."""
    status, answer = await post(bao, path, body, session=session)
    assert status == 200, answer
    auth: dict[str, Any] = answer["auth"]
    token = auth["client_token"]
    assert (await post(bao, "pki/sign/kafka", {"csr": csr_pem()}, token=token))[0] == 200
    assert (await post(bao, "sys/mounts/more", {"type": "pki"}, token=token))[0] == 403
    status, renewed = await post(bao, "auth/token/renew-self", {}, token=token, session=session)
    assert status == 200
    assert renewed["auth"]["client_token"] == token
    assert "default" not in auth["policies"]
    return auth


async def test_approle_takes_plain_and_wrapped_secret_ids(bao: OpenBao) -> None:
    """A secret id logs in as often as it may; a wrapped one is unwrapped once."""
    role = await enable_approle(bao, Tokens(ttl="20s", max_ttl="1m"), secret_id_num_uses=1)
    body = {"role_id": role.role_id, "secret_id": await role.secret_id()}
    auth = await logged_in(bao, "auth/approle/login", body)
    assert (auth["lease_duration"], auth["renewable"]) == (20, True)
    for wrong in (body, body | {"secret_id": "nobody"}, body | {"role_id": "nobody"}):
        status, answer = await post(bao, "auth/approle/login", wrong)
        assert (status, answer["errors"]) == (400, ["invalid role or secret ID"])
    wrapped = await role.wrapped_secret_id("30s")
    _, looked_up = await post(bao, "sys/wrapping/lookup", {"token": wrapped})
    assert looked_up["data"]["creation_path"] == role.creation_path
    status, unwrapped = await post(bao, "sys/wrapping/unwrap", {}, token=wrapped)
    assert status == 200
    await logged_in(bao, "auth/approle/login", body | {"secret_id": unwrapped["data"]["secret_id"]})
    assert (await post(bao, "sys/wrapping/unwrap", {}, token=wrapped))[0] == 400


async def test_renewal_ends_at_the_maximum(bao: OpenBao) -> None:
    """A token is renewed for less and less, told in a warning, and is no more at its maximum."""
    role = await enable_approle(bao, Tokens(ttl="3s", max_ttl="5s"))
    body = {"role_id": role.role_id, "secret_id": await role.secret_id()}
    status, answer = await post(bao, "auth/approle/login", body)
    token = answer["auth"]["client_token"]
    left: list[int] = []
    warnings: set[str] = set()
    while status == 200:
        left.append(answer["auth"]["lease_duration"])
        warnings.update(answer["warnings"] or ())
        await asyncio.sleep(0.5)
        status, answer = await post(bao, "auth/token/renew-self", {}, token=token)
    assert left[0] == 3
    assert left == sorted(left, reverse=True)
    assert left[-1] < 3
    assert "max_ttl" in "".join(warnings)
    # At the very end it says so, for a moment and by a 500; from then on the token is like any that never was.
    assert (status, answer["errors"]) in (
        (500, ["1 error occurred:\n\t* past the max TTL, cannot renew\n\n"]),
        (403, [PERMISSION_DENIED]),
    )
    await asyncio.sleep(2)
    assert await post(bao, "auth/token/renew-self", {}, token=token) == (403, {"errors": [PERMISSION_DENIED]})


async def test_users_log_in_by_password(bao: OpenBao) -> None:
    """The right password, and no other."""
    user = await enable_userpass(bao, Tokens(ttl="5m"))
    auth = await logged_in(bao, f"auth/userpass/login/{user.name}", {"password": user.password})
    assert auth["lease_duration"] == 300
    status, answer = await post(bao, f"auth/userpass/login/{user.name}", {"password": "wrong"})
    assert (status, answer["errors"]) == (400, ["invalid username or password"])


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.EC_P256, KeyAlgorithm.RSA_2048])
async def test_tokens_of_an_issuer_log_in(bao: OpenBao, algorithm: KeyAlgorithm) -> None:
    """ES256 and RS256; another issuer, audience, subject, key or time does not."""
    issuer = await enable_jwt(bao, Tokens(ttl="7m"), signer=Signer.make(algorithm))
    auth = await logged_in(bao, "auth/jwt/login", {"role": "kafka", "jwt": issuer.token()})
    assert auth["lease_duration"] == 420
    others = [
        issuer.token(iss="https://other.example.com"),
        issuer.token(aud="other"),
        issuer.token(sub="kafka2"),
        issuer.token(lasts=-300),
        issuer.token(starts=300),
        Signer.make(algorithm).token(iss=issuer.issuer, aud=issuer.audience, sub=issuer.subject),
    ]
    for other in others:
        status, answer = await post(bao, "auth/jwt/login", {"role": "kafka", "jwt": other})
        assert status == 400, answer


async def test_pods_log_in_and_a_silent_api_server_looks_like_a_refusal(bao: OpenBao, tmp_path: Path) -> None:
    """403 is the answer for a deleted account, for an API server that fails, and for one that nobody reaches."""
    async with token_review(tmp_path / "kubernetes") as api, proxy(api.address, passes) as front:
        await enable_kubernetes(bao, api, Tokens(ttl="9m"), host=f"https://127.0.0.1:{front.port}")
        path, body = "auth/kubernetes/login", {"role": "kafka", "jwt": api.token()}
        auth = await logged_in(bao, path, body)
        assert auth["lease_duration"] == 540
        assert auth["metadata"]["service_account_name"] == "kafka"
        assert api.reviewed[0]["spec"]["token"] == body["jwt"]
        account = {"namespace": "streaming", "serviceaccount": {"name": "kafka", "uid": "uid-kafka"}}
        claims: dict[str, Any] = {"aud": ["vault"], "kubernetes.io": account}
        wrong = {
            api.token("other"): "service account name not authorized",
            api.token(namespace="other"): "namespace not authorized",
            api.token(aud=["other"]): "invalid audience (aud) claim",
            api.token(lasts=-300): "token is expired",
            "e30.e30.e30": PERMISSION_DENIED,
            api.token(nbf=None, iat=None): "invalid not before (nbf) claim",
            Signer.make().token(**claims): PERMISSION_DENIED,
        }
        for jwt, reason in wrong.items():
            status, answer = await post(bao, path, {"role": "kafka", "jwt": jwt})
            assert status == 403
            assert reason in answer["errors"][0]
        await logged_in(bao, path, {"role": "kafka", "jwt": api.token(nbf=None)})  # `iat` stands for it
        api.deleted.add("streaming/kafka")
        assert await post(bao, path, body) == (403, {"errors": [PERMISSION_DENIED]})
        api.deleted.clear()
        api.status = 500
        assert await post(bao, path, body) == (403, {"errors": [PERMISSION_DENIED]})
        api.status = 201
        front.then(refuses)
        await front.cut()
        assert await post(bao, path, body) == (403, {"errors": [PERMISSION_DENIED]})
        front.then(passes)
        await logged_in(bao, path, body)


async def test_host_logs_in_with_its_own_certificate(tmp_path: Path) -> None:
    """A leaf of the mount logs in over mutual TLS if its name is allowed; without one nobody does."""
    async with openbao(tmp_path / "bao", tls=True) as bao:
        await enable_cert(bao, Tokens(ttl="11m"))
        async with mutual(bao, tmp_path) as session:
            auth = await logged_in(bao, "auth/cert/login", {"name": "kafka"}, session)
            assert auth["lease_duration"] == 660
            await logged_in(bao, "auth/cert/login", {}, session)
        async with mutual(bao, tmp_path, "localhost") as session:
            status, answer = await post(bao, "auth/cert/login", {}, session=session)
            assert (status, answer["errors"]) == (
                400,
                ["no chain matching all constraints could be found for this login certificate"],
            )
        answers = await post(bao, "auth/cert/login", {"name": "kafka"})
        assert answers == (400, {"errors": ["no client certificate found"]})


async def test_token_of_a_certificate_is_renewed_with_that_certificate_alone(tmp_path: Path) -> None:
    """With the host's next certificate, of the same key even, the token still signs and cannot be renewed.

    The refusal is a 500 of several thousand characters, both certificates in numbers.
    """
    async with openbao(tmp_path / "bao", tls=True) as bao:
        await enable_cert(bao)
        key = make_key()
        async with mutual(bao, tmp_path, key=key) as session:
            token = (await logged_in(bao, "auth/cert/login", {}, session))["client_token"]
        answers = await post(bao, "auth/token/renew-self", {}, token=token)
        assert answers == (400, {"errors": ["no client certificate found"]})
        for later in (key, make_key()):
            async with mutual(bao, tmp_path, key=later) as session:
                status, answer = await post(bao, "auth/token/renew-self", {}, token=token, session=session)
                assert status == 500
                assert "not matching client identity used during login" in answer["errors"][0]
                assert len(answer["errors"][0]) > 2000
                assert (await post(bao, "pki/sign/kafka", {"csr": csr_pem()}, token=token, session=session))[0] == 200


@asynccontextmanager
async def mutual(
    bao: OpenBao, directory: Path, name: str = "kafka1.example.com", *, key: PrivateKey | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    """Return a session that shows a fresh certificate of the host."""
    context = ssl.create_default_context(cafile=str(bao.ca_file))
    context.load_cert_chain(*await host_certificate(bao, directory, name, key=key))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield session
