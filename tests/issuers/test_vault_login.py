"""Each way to log in at a real OpenBao, and what is said where it is refused."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.issuer_spec import AppRoleLogin, CertificateLogin, JwtLogin, KeyPair, TokenLogin, UserpassLogin
from agent.core.secret import Secret
from agent.errors import IssuanceError, IssuerRefusedError, IssuerUnavailableError
from tests.issuers.vault_clients import Steady, client, forget_wrappings, issue, spec
from tests.servers.bao_auth import (
    LOGIN_POLICY,
    Tokens,
    enable_approle,
    enable_cert,
    enable_jwt,
    enable_kubernetes,
    enable_userpass,
    host_certificate,
)
from tests.servers.hostile import Heard, answers, hostile
from tests.servers.openbao import POLICY, openbao
from tests.servers.token_review import token_review

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent.issuers.vault import Vault
    from tests.servers.openbao import OpenBao


@pytest.fixture
async def bao(tmp_path: Path) -> AsyncIterator[OpenBao]:
    """Start a server for the test."""
    async with openbao(tmp_path / "bao") as server:
        yield server


def secret(directory: Path, name: str, value: str) -> Secret:
    """Put a secret into a file."""
    file = directory / name
    file.write_text(value + "\n")
    return Secret(file=file)


async def tokens_left(bao: OpenBao) -> int:
    """Count the tokens that the server knows."""
    return len((await bao.call("LIST", "auth/token/accessors"))["data"]["keys"])


async def refusal(vault: Vault, kind: type[IssuanceError] = IssuerRefusedError) -> IssuanceError:
    """Return what a call fails with."""
    with pytest.raises(kind) as caught:
        await issue(vault)
    return caught.value


# --- AppRole --------------------------------------------------------------------------------


@pytest.mark.slow
async def test_approle_logs_in_and_gives_its_token_back(bao: OpenBao, tmp_path: Path) -> None:
    """The token signs, the status tells the role, and after the end the server knows no more tokens than before."""
    role = await enable_approle(bao)
    login = AppRoleLogin(
        secret(tmp_path, "role-id", role.role_id), secret(tmp_path, "secret-id", await role.secret_id())
    )
    before = await tokens_left(bao)
    async with client(bao.spec(login=login)) as vault:
        assert (await issue(vault)).certificates
        assert "AppRole as kafka, policies login-" in vault.status().login
        assert await tokens_left(bao) == before + 1
    assert await tokens_left(bao) == before


@pytest.mark.slow
async def test_approle_that_is_refused_is_told(bao: OpenBao, tmp_path: Path) -> None:
    """A wrong secret id: Vault's words, ours, and not the secret; the file is read again at the next login."""
    role = await enable_approle(bao)
    login = AppRoleLogin(secret(tmp_path, "role-id", role.role_id), secret(tmp_path, "secret-id", "canary-123"))
    steady = Steady()
    async with client(bao.spec(login=login), monotonic=steady) as vault:
        error = await refusal(vault)
        assert "invalid role or secret ID" in error.what
        assert "secret id" in error.advice
        assert error.reason == "login"
        assert "canary" not in repr(error) + error.diagnosis() + repr(vault.status())
        secret(tmp_path, "secret-id", await role.secret_id())
        steady.seconds += 1
        assert (await issue(vault)).certificates
    async with client(bao.spec(login=AppRoleLogin(login.role_id, login.secret_id, mount="other/place"))) as vault:
        assert "auth/other/place" in (await refusal(vault)).what


@pytest.mark.slow
async def test_wrapped_secret_id_is_unwrapped_once_and_serves_on(bao: OpenBao, tmp_path: Path) -> None:
    """Later logins use what was in it; another wrapping in the file is opened at the next login."""
    role = await enable_approle(bao, Tokens(ttl="60s"))
    login = AppRoleLogin(
        secret(tmp_path, "role-id", role.role_id),
        secret(tmp_path, "wrapping", await role.wrapped_secret_id(num_uses=2)),
        wrapped=True,
    )
    steady = Steady()
    async with client(bao.spec(login=login), monotonic=steady) as vault:
        await issue(vault)
        steady.seconds += 61
        await issue(vault)
        steady.seconds += 61
        assert "invalid role or secret ID" in (await refusal(vault)).what  # it was for two logins
        secret(tmp_path, "wrapping", await role.wrapped_secret_id())
        steady.seconds += 1
        assert (await issue(vault)).certificates


@pytest.mark.slow
async def test_wrapping_of_another_path_stays_closed(
    bao: OpenBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapping that somebody else made is told with both paths, and can still be opened by whose it is."""
    role = await enable_approle(bao)
    foreign = await bao.wrap("POST", "auth/token/create", "60s", policies=["default"])
    login = AppRoleLogin(secret(tmp_path, "role-id", role.role_id), secret(tmp_path, "wrapping", foreign), wrapped=True)
    async with client(bao.spec(login=login)) as vault:
        error = await refusal(vault)
    assert "made at 'auth/token/create', not at 'auth/approle/role/*/secret-id'" in error.what
    assert foreign not in error.diagnosis()
    mine = secret(tmp_path, "wrapping", await role.wrapped_secret_id())
    for path in ("auth/approle/role/other/secret-id", "auth/approle/role"):
        async with client(bao.spec(login=AppRoleLogin(login.role_id, mine, wrapped=True, creation_path=path))) as vault:
            assert "stays closed" in (await refusal(vault)).what
    good = AppRoleLogin(login.role_id, mine, wrapped=True, creation_path=role.creation_path)
    async with client(bao.spec(login=good)) as vault:
        (found,) = [one for one in await vault.examine(()) if one.what == "login"]
        assert "to log in would use it up" in found.sentence
        assert (await issue(vault)).certificates
    async with client(bao.spec(login=good)) as vault:
        assert (await issue(vault)).certificates
    forget_wrappings(monkeypatch)
    async with client(bao.spec(login=good)) as vault:
        error = await refusal(vault)
    assert "has been used or has ended" in error.what
    assert "somebody else may hold" in error.advice


@pytest.mark.slow
async def test_wrapped_token_is_the_agents_own(bao: OpenBao, tmp_path: Path) -> None:
    """It is unwrapped once, revoked at the end; when it ends there must be a new wrapping."""
    await bao.write("sys/policies/acl/mine", policy=LOGIN_POLICY)

    async def wrapping() -> Secret:
        token = await bao.wrap("POST", "auth/token/create", "60s", policies=["mine"], ttl="90s")
        return secret(tmp_path, "wrapping", token)

    steady, before = Steady(), await tokens_left(bao)
    async with client(bao.spec(login=TokenLogin(await wrapping(), wrapped=True)), monotonic=steady) as vault:
        await issue(vault)
        assert vault.status().login_until is not None
        steady.seconds += 91
        assert "put a new wrapping there" in (await refusal(vault)).advice
        await wrapping()
        steady.seconds += 1
        await issue(vault)
    assert await tokens_left(bao) == before + 1  # the one that the test's clock had end
    login = TokenLogin(await wrapping(), wrapped=True, creation_path="auth/token/create/kafka")
    async with client(bao.spec(login=login)) as vault:
        assert "not at 'auth/token/create/kafka'" in (await refusal(vault)).what


# --- users, JWT, Kubernetes -----------------------------------------------------------------


@pytest.mark.slow
async def test_user_logs_in_and_the_token_is_renewed_for_real(bao: OpenBao, tmp_path: Path) -> None:
    """With a life of three seconds the same token serves for longer, renewed by `tend` alone."""
    user = await enable_userpass(bao, Tokens(ttl="3s", max_ttl="1h"))
    login = UserpassLogin(user.name, secret(tmp_path, "password", user.password))
    async with client(bao.spec(login=login)) as vault:
        await issue(vault)
        known = await tokens_left(bao)
        for _ in range(3):
            wish = await vault.tend()
            assert wish is not None
            await asyncio.sleep(wish.total_seconds() + 0.01)
        await vault.tend()
        await issue(vault)
        assert await tokens_left(bao) == known
    secret(tmp_path, "password", "wrong")
    async with client(bao.spec(login=login)) as vault:
        assert "invalid username or password" in (await refusal(vault)).what


@pytest.mark.slow
async def test_token_at_its_maximum_is_replaced_before_it_ends(bao: OpenBao, tmp_path: Path) -> None:
    """Renewals get shorter, then there is a new login; no call ever meets an ended token."""
    user = await enable_userpass(bao, Tokens(ttl="3s", max_ttl="4s"))
    login = UserpassLogin(user.name, secret(tmp_path, "password", user.password))
    async with client(bao.spec(login=login)) as vault:
        await issue(vault)
        ends = set()
        end = asyncio.get_running_loop().time() + 6
        while asyncio.get_running_loop().time() < end:
            wish = await vault.tend()
            assert wish is not None
            status = vault.status()
            ends.add(status.login_until)
            assert status.trouble == ""
            assert status.login_until is not None
            assert status.login_until > datetime.now(UTC)
            await asyncio.sleep(wish.total_seconds() + 0.01)
        assert len(ends) >= 4


@pytest.mark.slow
async def test_jwt_logs_in_and_is_read_again(bao: OpenBao, tmp_path: Path) -> None:
    """Whoever rotates the token writes the same file; one of another subject is refused."""
    issuer = await enable_jwt(bao)
    login = JwtLogin("kafka", secret(tmp_path, "jwt", issuer.token()), "jwt")
    async with client(bao.spec(login=login)) as vault:
        assert (await issue(vault)).certificates
        assert "JWT as kafka" in vault.status().login
    secret(tmp_path, "jwt", issuer.token(sub="other"))
    steady = Steady()
    async with client(bao.spec(login=login), monotonic=steady) as vault:
        assert "audience and subject" in (await refusal(vault)).advice
        secret(tmp_path, "jwt", issuer.token())
        steady.seconds += 1
        assert (await issue(vault)).certificates


@pytest.mark.slow
async def test_pod_logs_in_and_a_refusal_is_tried_again(bao: OpenBao, tmp_path: Path) -> None:
    """403 may mean that Kubernetes is down: it is unavailable, not refused, and passes by itself."""
    async with token_review(tmp_path / "kubernetes") as api:
        await enable_kubernetes(bao, api)
        login = JwtLogin("kafka", secret(tmp_path, "jwt", api.token()), "kubernetes")
        steady = Steady()
        async with client(bao.spec(login=login), monotonic=steady) as vault:
            api.status = 500
            error = await refusal(vault, IssuerUnavailableError)
            assert error.reason == "login"
            assert "API server" in error.advice
            assert api.token() not in error.diagnosis()
            api.status = 201
            steady.seconds += 1
            assert (await issue(vault)).certificates
            assert "as kafka" in vault.status().login


# --- certificates ---------------------------------------------------------------------------


def publish(directory: Path, pair: tuple[Path, Path], number: int) -> None:
    """Make a pair the current generation, as the agent's own store does."""
    folder = directory / ".generations" / str(number)
    folder.mkdir(parents=True)
    (folder / "cert.pem").write_bytes(pair[0].read_bytes())
    (folder / "key.pem").write_bytes(pair[1].read_bytes())
    link = directory / ".new"
    link.symlink_to(f".generations/{number}")
    link.replace(directory / ".current")


@pytest.mark.slow
async def test_host_logs_in_with_its_leaf_and_again_after_it_changed(tmp_path: Path) -> None:
    """Before it has a leaf it shows another certificate; a new leaf means a new login at the next `tend`."""
    async with openbao(tmp_path / "bao", tls=True) as bao:
        await enable_cert(bao)
        first = await host_certificate(bao, tmp_path / "first")
        directory = tmp_path / "kafka1"
        pairs = (KeyPair(directory / ".current/cert.pem", directory / ".current/key.pem"), KeyPair(*first))
        of = bao.spec(login=CertificateLogin("kafka"), client_certificates=pairs)
        before = await tokens_left(bao)
        async with client(of) as vault:
            assert (await issue(vault)).certificates
            assert vault.status().login.startswith("certificate as kafka")
            until = vault.status().login_until
            await vault.tend()
            assert vault.status().login_until == until
            publish(directory, await host_certificate(bao, tmp_path / "second"), 1)
            await vault.tend()
            second = vault.status().login_until
            assert second != until
            assert (await issue(vault)).certificates
            # The token of before was given back: one is left.
            assert await tokens_left(bao) == before + 1
            publish(directory, await host_certificate(bao, tmp_path / "third"), 2)
            await vault.tend()
            assert vault.status().login_until != second
            assert vault.status().trouble == ""
            examined = {one.what: one.sentence for one in await vault.examine(())}
            assert "CN=kafka1.example.com" in examined["client certificate"]
        assert await tokens_left(bao) == before


@pytest.mark.slow
async def test_certificate_that_may_not_log_in_is_told(tmp_path: Path) -> None:
    """None that can be used, and one that no role fits."""
    async with openbao(tmp_path / "bao", tls=True) as bao:
        await enable_cert(bao)
        absent = KeyPair(tmp_path / "absent.pem", tmp_path / "absent.key")
        async with client(bao.spec(login=CertificateLogin(), client_certificates=(absent,))) as vault:
            error = await refusal(vault, IssuerUnavailableError)
            assert "absent.pem cannot be read" in error.what
        other = KeyPair(*await host_certificate(bao, tmp_path, "localhost"))
        async with client(bao.spec(login=CertificateLogin(), client_certificates=(other,))) as vault:
            error = await refusal(vault)
            assert "certificate role" in error.advice


# --- namespaces -----------------------------------------------------------------------------


@pytest.mark.slow
async def test_login_and_wrapping_are_those_of_the_namespace(bao: OpenBao, tmp_path: Path) -> None:
    """Auth method, wrapping and mount stand in one namespace, and are found there."""
    await bao.call("POST", "sys/namespaces/team1")
    for path, body in (
        ("sys/auth/approle", {"type": "approle"}),
        ("sys/mounts/pki", {"type": "pki"}),
        ("pki/root/generate/internal", {"common_name": "Team", "key_type": "ec"}),
        ("pki/roles/kafka", {"allow_any_name": True, "require_cn": False, "key_type": "any"}),
        ("sys/policies/acl/sign", {"policy": POLICY}),
        ("auth/approle/role/kafka", {"token_policies": ["sign"]}),
    ):
        await bao.call("POST", f"team1/{path}", **body)
    role_id = (await bao.call("GET", "team1/auth/approle/role/kafka/role-id"))["data"]["role_id"]
    wrapping = await bao.wrap("POST", "team1/auth/approle/role/kafka/secret-id", "60s")
    login = AppRoleLogin(secret(tmp_path, "role-id", role_id), secret(tmp_path, "wrapping", wrapping), wrapped=True)
    async with client(bao.spec(login=login, namespace="team1")) as vault:
        assert (await issue(vault)).certificates


# --- secrets --------------------------------------------------------------------------------


async def parrot(request: Heard, writer: asyncio.StreamWriter) -> None:
    """Refuse with all that was sent, in Vault's form."""
    said = [*request.headers.values(), json.dumps(request.json) if request.body else "", request.body.decode()]
    await answers(400, {"errors": said})(request, writer)


async def test_nothing_that_was_sent_in_secret_comes_back_in_words(tmp_path: Path) -> None:
    """A server that repeats passwords, JWTs, ids and wrappings brings none of them into an error."""
    canary = 'canary"7f\\3a'
    place = secret(tmp_path, "secret", canary)
    plain = secret(tmp_path, "plain", "canary-plain")
    async with hostile(parrot) as server:
        for login in (
            UserpassLogin("kafka", place),
            AppRoleLogin(place, place),
            AppRoleLogin(place, plain, wrapped=True),
            JwtLogin("kafka", place, "jwt"),
            TokenLogin(plain, wrapped=True),
            TokenLogin(plain),
        ):
            async with client(spec(login, server.address)) as vault:
                error = await refusal(vault)
                assert "canary" not in repr(error) + error.diagnosis() + repr(vault.status()), login
                assert "[secret]" in error.what


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"auth": None},
        {"auth": {}},
        {"auth": {"client_token": ""}},
        {"auth": {"client_token": "two words"}},
        {"auth": {"client_token": ["hvs.x"]}},
    ],
)
async def test_login_that_gives_no_token_is_unavailable(tmp_path: Path, answer: dict[str, Any]) -> None:
    """An answer without what a login is for is told as that, and tried again."""
    login = UserpassLogin("kafka", secret(tmp_path, "password", "x"))
    async with hostile(answers(200, answer)) as server, client(spec(login, server.address)) as vault:
        error = await refusal(vault, IssuerUnavailableError)
        assert error.reason == "malformed answer"


@pytest.mark.parametrize("wrong", ["many", True, -1, None, 10**30, 1e400])
async def test_life_that_is_no_number_is_for_ever(tmp_path: Path, wrong: object) -> None:
    """A lease that makes no sense is not reckoned with; the token is used until it is refused."""
    login = UserpassLogin("kafka", secret(tmp_path, "password", "x"))
    auth = {"client_token": "hvs.x", "lease_duration": wrong, "renewable": "yes", "policies": 5, "metadata": []}
    said = json.dumps({"auth": auth}).encode()
    async with (
        hostile(answers(200, said), answers(403, {"errors": ["no"]})) as server,
        client(spec(login, server.address, within=timedelta(seconds=2))) as vault,
    ):
        await refusal(vault)
        assert vault.status().login_until is None
        assert await vault.tend() is None
