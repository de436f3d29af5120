"""`config check --connect` at a real OpenBao: what will do, what will not, and what cannot be told."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.identity import KeyAlgorithm, Usage
from agent.core.issuer_spec import AppRoleLogin, Signing, TokenLogin
from agent.core.issuer_status import Opinion
from agent.core.secret import Secret
from agent.issuers.vault.role import judge
from tests.issuers.vault_clients import client, issue, spec
from tests.material import make_request
from tests.servers.bao_auth import LOGIN_POLICY, Tokens, enable_approle
from tests.servers.hostile import answers, hostile
from tests.servers.openbao import POLICY, ROLE, openbao

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent.core.identity import Request
    from agent.core.issuer_spec import VaultSpec
    from agent.core.issuer_status import Examined
    from tests.servers.openbao import OpenBao

READ_ROLE = 'path "pki/roles/kafka" { capabilities = ["read"] }'


@pytest.fixture
async def bao(tmp_path: Path) -> AsyncIterator[OpenBao]:
    """Start a server for the test."""
    async with openbao(tmp_path / "bao") as server:
        yield server


async def examined(of: VaultSpec, *requests: Request) -> dict[str, Examined]:
    """Return what is found, by what was asked; the last of each."""
    async with client(of) as vault:
        return {one.what: one for one in await vault.examine(requests or (make_request(),))}


@pytest.mark.slow
async def test_all_is_well_and_nothing_is_issued(bao: OpenBao, tmp_path: Path) -> None:
    """Address, login, right, role and CA are good, and the server stores no certificate more than before."""
    role = await enable_approle(bao, Tokens(policy=f"{LOGIN_POLICY}\n{READ_ROLE}"))
    (tmp_path / "role-id").write_text(role.role_id)
    (tmp_path / "secret-id").write_text(await role.secret_id())
    login = AppRoleLogin(Secret(file=tmp_path / "role-id"), Secret(file=tmp_path / "secret-id"))
    await bao.set_role(no_store=False)
    async with client(bao.spec(login=login)) as vault:
        await issue(vault)
    before = await bao.call("LIST", "pki/certs")
    found = await examined(bao.spec(login=login))
    assert {what: one.opinion for what, one in found.items()} == dict.fromkeys(
        ("address", "login", "right to sign", "role", "CA"), Opinion.GOOD
    )
    assert "active (2." in found["address"].sentence
    assert "AppRole as kafka" in found["login"].sentence
    assert "is renewed" in found["login"].sentence
    assert "CN=Test Intermediate" in found["CA"].sentence
    assert (await bao.call("LIST", "pki/certs"))["data"] == before["data"]


@pytest.mark.slow
async def test_token_of_least_policy_leaves_things_unknown(bao: OpenBao) -> None:
    """It signs; what it and the role are it may not say: the policy's lines are told."""
    found = await examined(bao.spec())
    assert found["login"].opinion is Opinion.UNKNOWN
    assert found["right to sign"].opinion is Opinion.GOOD
    assert found["role"].opinion is Opinion.UNKNOWN
    assert READ_ROLE in found["role"].sentence
    bao.token_file.write_text(
        await bao.make_token(f'{POLICY}\npath "auth/token/lookup-self" {{ capabilities = ["read"] }}')
    )
    found = await examined(bao.spec())
    assert found["login"].opinion is Opinion.GOOD
    assert "is renewed" in found["login"].sentence


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "what", "said"),
    [
        ({"role": "other"}, "right to sign", 'path "pki/sign/other" { capabilities = ["update"] }'),
        ({"mount": "other"}, "CA", "HTTP 4"),
        ({"login": TokenLogin(Secret(environment="NO_SUCH_TOKEN"))}, "login", "$NO_SUCH_TOKEN is empty"),
    ],
)
async def test_what_is_missing_is_bad_and_told(bao: OpenBao, changes: dict[str, Any], what: str, said: str) -> None:
    """A policy, a mount, a token: each sentence says what to do."""
    found = await examined(bao.spec(**changes))
    assert found[what].opinion is Opinion.BAD
    assert said in found[what].sentence


@pytest.mark.slow
async def test_role_that_is_none_or_forbids_is_told(bao: OpenBao) -> None:
    """With a token that may do all: an unknown role, and one whose fields do not fit."""
    bao.token_file.write_text(bao.root_token)
    found = await examined(bao.spec(role="nobody"))
    assert found["right to sign"].opinion is Opinion.BAD
    assert "make pki/roles/nobody" in found["right to sign"].sentence
    assert found["role"].opinion is Opinion.BAD
    await bao.set_role(key_type="rsa", ou=[], max_ttl="72h")
    found = await examined(bao.spec())
    assert found["login"].opinion is Opinion.GOOD
    assert "does not end" in found["login"].sentence
    assert found["key"].opinion is Opinion.BAD
    assert found["subject"].opinion is Opinion.DOUBTFUL
    assert "OU=nothing where the identity asks for Brokers" in found["subject"].sentence
    assert found["lifetime"].opinion is Opinion.DOUBTFUL
    found = await examined(bao.spec(), make_request(lifetime=timedelta(days=3000)))
    assert found["CA"].opinion is Opinion.DOUBTFUL
    assert "before a leaf" in found["CA"].sentence


@pytest.mark.slow
async def test_each_address_is_told(bao: OpenBao) -> None:
    """One that is down is doubtful beside one that serves, and bad alone; a sealed one says so."""
    async with client(bao.spec(addresses=("http://127.0.0.1:1", bao.address))) as vault:
        one, two, *_ = await vault.examine((make_request(),))
    assert (one.opinion, two.opinion) == (Opinion.DOUBTFUL, Opinion.GOOD)
    assert "http://127.0.0.1:1: cannot connect" in one.sentence
    await bao.seal()
    found = await examined(bao.spec())
    assert found["address"].opinion is Opinion.BAD
    assert "unseal it" in found["address"].sentence
    assert found["CA"].opinion is Opinion.BAD


@pytest.mark.parametrize(
    ("status", "opinion"),
    [(429, Opinion.GOOD), (472, Opinion.DOUBTFUL), (473, Opinion.GOOD), (501, Opinion.BAD), (599, Opinion.DOUBTFUL)],
)
async def test_states_of_nodes_are_told_in_words(
    status: int, opinion: Opinion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standbys are well, a node that was never initialised is not; garbage for a version is left out."""
    monkeypatch.setenv("A_TOKEN", "hvs.x")
    async with hostile(answers(status, b"[]")) as server:
        found = await examined(spec(TokenLogin(Secret(environment="A_TOKEN")), server.address))
    assert found["address"].opinion is opinion


def judged(request: Request, signing: Signing = Signing.ROLE, **changes: Any) -> dict[str, Opinion]:
    """Return what is found of a role's fields."""
    of = spec(TokenLogin(Secret(environment="T")), "http://127.0.0.1:1", signing=signing)
    role = ROLE | {"max_ttl": 90 * 86400} | changes
    return {one.what: one.opinion for one in judge(of, role, (request,))}


@pytest.mark.parametrize(
    ("request_changes", "role", "expected"),
    [
        ({}, {}, {"role": Opinion.GOOD}),
        ({"subject": "O=MyOrg,OU=Brokers"}, {"require_cn": True}, {"names": Opinion.BAD}),
        ({"dns": ("kafka1.example.org",)}, {}, {"names": Opinion.BAD}),
        ({"dns": ("kafka1.example.org",)}, {"allowed_domains_template": True}, {"names": Opinion.UNKNOWN}),
        ({"dns": ("kafka1.example.org",)}, {"allow_any_name": True}, {"role": Opinion.GOOD}),
        (
            {"dns": ("kafka1.eu.example.com",)},
            {"allowed_domains": ["kafka*.example.com"], "allow_glob_domains": True},
            {"role": Opinion.GOOD},
        ),
        ({}, {"allow_ip_sans": False}, {"names": Opinion.BAD}),
        ({"uri": ("spiffe://example.org/x",)}, {}, {"names": Opinion.BAD}),
        ({"uri": ("spiffe://example.com/x",)}, {}, {"role": Opinion.GOOD}),
        ({}, {"key_type": "ec", "key_bits": 384}, {"key": Opinion.BAD}),
        ({"key": KeyAlgorithm.ED25519}, {"key_type": "ed25519"}, {"role": Opinion.GOOD}),
        ({"key": KeyAlgorithm.RSA_2048}, {"key_type": "rsa", "key_bits": 2048}, {"role": Opinion.GOOD}),
        ({}, {"client_flag": False}, {"usages": Opinion.BAD}),
        ({"usages": frozenset({Usage.SERVER})}, {"client_flag": False}, {"role": Opinion.GOOD}),
        ({}, {"client_flag": False, "ext_key_usage": ["ExtKeyUsageClientAuth"]}, {"role": Opinion.GOOD}),
        ({}, {"organization": ["Other"]}, {"subject": Opinion.DOUBTFUL}),
        ({"lifetime": timedelta(days=91)}, {}, {"lifetime": Opinion.DOUBTFUL}),
        ({}, {"allowed_domains": "garbage", "max_ttl": "garbage"}, {"names": Opinion.BAD}),
    ],
)
def test_fields_of_a_role_are_judged(
    request_changes: dict[str, Any], role: dict[str, Any], expected: dict[str, Opinion]
) -> None:
    """Names, keys, usages, subject and life, each on its own."""
    assert judged(make_request(**request_changes), **role) == expected


def test_role_is_asked_for_little_where_the_csr_has_the_last_word() -> None:
    """With `sign: verbatim` its longest life counts and nothing else."""
    assert judged(make_request(), Signing.VERBATIM, allowed_domains=[], key_type="rsa") == {"role": Opinion.GOOD}
    assert judged(make_request(), Signing.VERBATIM, max_ttl=60) == {"lifetime": Opinion.DOUBTFUL}
