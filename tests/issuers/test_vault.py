"""Vault's client against a server that misbehaves in every way a test can think of."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.issuer_spec import Signing as Signing_
from agent.core.issuer_spec import TokenLogin
from agent.core.secret import Secret
from agent.errors import IssuanceError, IssuerRefusedError, IssuerUnavailableError, TrustError
from agent.issuers.vault import Vault
from tests.issuers.pendings import make_pending
from tests.issuers.vault_clients import WITHIN, issue, spec
from tests.material import Ca, make_key, make_request
from tests.servers.hostile import Signing, answers, echoes, floods, hangs, hostile, sends

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


TOKEN = "hvs.canary-7f3a"  # noqa: S105 - made for these tests


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Write the token as an editor would, with a line end."""
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture
async def make_vault(token_file: Path) -> AsyncIterator[Callable[..., Vault]]:
    """Return a maker of clients, which are closed after the test."""
    made: list[Vault] = []

    def make(*addresses: str, **changes: Any) -> Vault:
        made.append(Vault(spec(TokenLogin(Secret(file=token_file)), *addresses, **changes), lambda: datetime.now(UTC)))
        return made[-1]

    yield make
    for vault in made:
        await vault.close()


async def test_issue_asks_for_what_is_wanted(make_vault: Callable[..., Vault]) -> None:
    """Path, headers and parameters are those of `sign/<role>`; the private key is in none of them."""
    root = Ca.root()
    pending = make_pending(make_request(uri=("spiffe://example.com/a,b",), lifetime=timedelta(seconds=90.5)))
    async with hostile(Signing(root.intermediate(), (root.certificate,), warnings=("TTL is shortened",))) as server:
        issued = await issue(make_vault(server.address, namespace="team1", mount="kafka/pki"), pending)
    (heard,) = server.heard
    assert (heard.method, heard.path) == ("POST", "/v1/kafka/pki/sign/kafka")
    assert heard.headers["x-vault-token"] == TOKEN
    assert heard.headers["x-vault-namespace"] == "team1"
    body = heard.json
    assert body.pop("csr").startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert body == {
        "format": "pem",
        "ttl": "91s",
        "common_name": "kafka1.example.com",
        "alt_names": "kafka1.example.com,localhost",
        "ip_sans": ["127.0.0.1"],
        "uri_sans": ["spiffe://example.com/a,b"],
        "exclude_cn_from_sans": True,
    }
    assert issued.certificates[0].public_key == pending.public_key
    assert len(issued.certificates) == 3
    assert issued.remarks == ("TTL is shortened",)


@pytest.mark.parametrize(
    "lie",
    [
        {"key": make_key()},
        {"dns": ("evil.example.com",)},
        {"ca": True},
        {"starts": timedelta(days=-2), "lasts": -WITHIN},
    ],
)
async def test_issue_passes_on_a_leaf_that_is_wrong(make_vault: Callable[..., Vault], lie: dict[str, Any]) -> None:
    """Another key or name, a CA, an expired leaf: to judge them is the proof's, so they come through whole."""
    async with hostile(Signing(Ca.root(), **lie)) as server:
        issued = await issue(make_vault(server.address))
    assert len(issued.certificates) == 2


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (answers(200, b"<html>Welcome</html>", content_type="text/html"), "no JSON"),
        (answers(200, b"[" * 100_000), "no JSON"),
        (answers(200, b"[]"), "JSON that is no object"),
        (answers(200, {}), "without a certificate"),
        (answers(200, {"data": {"certificate": 5}}), "without a certificate"),
        (answers(200, {"data": {"certificate": ""}}), "with no certificate"),
        (answers(200, {"data": {"certificate": "garbage"}}), "certificate that cannot be read"),
        (answers(200, {"data": {"certificate": "x", "ca_chain": {"a": 1}}}), "chain that is no list"),
        (answers(200, {"data": {"certificate": "-----BEGIN CERTIFICATE-----\n" * 30}}), "more than 20 certificates"),
        (answers(204), "no JSON"),
        (answers(403, b"<html>no</html>", content_type="text/html"), "not an answer of Vault's"),
        (answers(503, {"errors": ["Vault is sealed"]}), "Vault is sealed"),
        (answers(500, {"errors": ["no default issuer currently configured"]}), "no default issuer"),
        (answers(412, {"errors": ["required index state not present"]}), "required index state"),
        (answers(473), "HTTP 473"),
        (answers(307, Location="http://127.0.0.1:1/v1/pki/sign/kafka"), "none of the configured addresses"),
        (answers(307, Location="/v1/pki/sign/kafka"), "redirects to nowhere"),
        (answers(302), "redirects to nowhere"),
        (floods([]), "larger than"),
        (sends(b"garbage\r\n\r\n"), "did not answer in HTTP"),
        (sends(b""), "closed the connection"),
    ],
)
async def test_issue_is_tried_again_where_vault_gave_no_answer(
    make_vault: Callable[..., Vault], behaviour: Any, why: str
) -> None:
    """Each is unavailable with its reason, within the time, and the message names the address and not the token."""
    async with hostile(behaviour) as server:
        with pytest.raises(IssuerUnavailableError) as caught:
            await issue(make_vault(server.address))
        assert why in caught.value.what
        assert server.address in caught.value.what
        assert caught.value.advice
        assert TOKEN not in caught.value.diagnosis()


@pytest.mark.parametrize(
    ("status", "error", "advice"),
    [
        (403, "permission denied", 'path "pki/sign/kafka" { capabilities = ["update"] }'),
        (404, "no handler for route", "PKI engine is mounted at 'pki'"),
        (400, "unknown role: kafka", "make pki/roles/kafka"),
        (400, "common name X not allowed by this role", "let pki/roles/kafka allow the name"),
        (400, "role requires keys of type rsa", "key_type"),
        (400, "notAfter is beyond the expiration of the CA certificate", "shorter `lifetime`"),
        (400, "something new", "correct pki/roles/kafka"),
    ],
)
async def test_issue_that_vault_refuses_quotes_it_and_advises(
    make_vault: Callable[..., Vault], status: int, error: str, advice: str
) -> None:
    """A person must act, and is told in Vault's words and ours."""
    async with hostile(answers(status, {"errors": [error]})) as server:
        with pytest.raises(IssuerRefusedError) as caught:
            await issue(make_vault(server.address))
    assert error in caught.value.what
    assert advice in caught.value.advice


async def test_words_of_a_server_are_cleaned_and_cut(make_vault: Callable[..., Vault]) -> None:
    """Control characters and endless text do not reach a terminal or a log."""
    async with hostile(answers(400, {"errors": ["\x1b[2Jno\r\nFATAL forged " + "x" * 100_000]})) as server:
        with pytest.raises(IssuerRefusedError) as caught:
            await issue(make_vault(server.address))
    assert caught.value.what.isprintable()
    assert len(caught.value.what) < 500


@pytest.mark.parametrize("status", [400, 403, 500, 503])
@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_token_that_a_server_echoes_is_not_repeated(
    make_vault: Callable[..., Vault], status: int, content_type: str
) -> None:
    """An error page that shows the request's headers does not bring the token into a message."""
    async with hostile(echoes(status, content_type=content_type)) as server:
        with pytest.raises((IssuerRefusedError, IssuerUnavailableError)) as caught:
            await issue(make_vault(server.address))
    assert TOKEN not in repr(caught.value) + caught.value.diagnosis()
    assert "[secret]" in caught.value.what


@pytest.mark.parametrize(("status", "seconds"), [(429, 7), (503, 90)])
async def test_retry_after_is_passed_on(make_vault: Callable[..., Vault], status: int, seconds: int) -> None:
    """The server's wish reaches whoever plans the next try."""
    async with hostile(answers(status, {"errors": ["slow down"]}, Retry_After=str(seconds))) as server:
        with pytest.raises(IssuerUnavailableError) as caught:
            await issue(make_vault(server.address))
    assert caught.value.retry_after == timedelta(seconds=seconds)


async def test_next_address_is_asked_when_one_cannot_tell(make_vault: Callable[..., Vault]) -> None:
    """Nobody there, sealed, garbage, then one that serves; the next call begins with that one."""
    async with hostile(answers(200)) as gone:
        pass
    async with (
        hostile(answers(503, {"errors": ["Vault is sealed"]})) as sealed,
        hostile(answers(200, b"garbage")) as garbage,
        hostile(Signing(Ca.root())) as serves,
    ):
        vault = make_vault(gone.address, sealed.address, garbage.address, serves.address)
        await issue(vault)
        await issue(vault)
    assert [len(server.heard) for server in (sealed, garbage, serves)] == [1, 1, 2]


async def test_rate_limit_is_not_gone_round(make_vault: Callable[..., Vault]) -> None:
    """429 is the cluster's word: its next member is not asked."""
    async with hostile(answers(429)) as limited, hostile(Signing(Ca.root())) as other:
        with pytest.raises(IssuerUnavailableError):
            await issue(make_vault(limited.address, other.address))
    assert other.heard == []


async def test_refusal_is_not_asked_elsewhere(make_vault: Callable[..., Vault]) -> None:
    """A no of one node is the cluster's no."""
    async with hostile(answers(403, {"errors": ["permission denied"]})) as no, hostile(Signing(Ca.root())) as other:
        with pytest.raises(IssuerRefusedError):
            await issue(make_vault(no.address, other.address))
    assert other.heard == []


async def test_address_that_hangs_leaves_time_for_the_next(make_vault: Callable[..., Vault]) -> None:
    """One that never answers costs its share of the time, and the whole stays within the limit."""
    async with hostile(hangs) as dead, hostile(Signing(Ca.root())) as serves:
        vault = make_vault(dead.address, serves.address)
        assert (await issue(vault, within=timedelta(seconds=2))).certificates


async def test_all_hanging_addresses_together_take_the_limit(make_vault: Callable[..., Vault]) -> None:
    """The limit is of the call, not of an address; that of the settings counts if it is shorter."""
    async with hostile(hangs) as one, hostile(hangs) as two:
        begin = time.monotonic()
        with pytest.raises(IssuerUnavailableError, match="no answer within"):
            await issue(make_vault(one.address, two.address, within=timedelta(seconds=0.4)))
        assert time.monotonic() - begin < 5


async def test_redirect_leads_only_to_a_configured_address(make_vault: Callable[..., Vault]) -> None:
    """A standby's 307 to a node of ours is followed; one to a stranger is not, and the stranger gets no token."""
    async with hostile(Signing(Ca.root())) as active, hostile(answers(500)) as third, hostile(answers(200)) as stranger:
        async with hostile(answers(307, Location=f"{active.address}/v1/pki/sign/kafka")) as standby:
            await issue(make_vault(standby.address, third.address, active.address))
        async with hostile(answers(307, Location=f"{stranger.address}/v1/pki/sign/kafka")) as bad:
            with pytest.raises(IssuerUnavailableError, match="gets no token"):
                await issue(make_vault(bad.address))
    assert [len(server.heard) for server in (active, third, stranger)] == [1, 0, 0]


async def test_redirects_in_a_circle_end(make_vault: Callable[..., Vault]) -> None:
    """Two standbys that point to each other are each asked once."""
    async with hostile(answers(500)) as one, hostile(answers(500)) as two:
        one.then(answers(307, Location=two.address))
        two.then(answers(307, Location=one.address))
        with pytest.raises(IssuerUnavailableError, match="which has been asked"):
            await issue(make_vault(one.address, two.address))
    assert (len(one.heard), len(two.heard)) == (1, 1)


@pytest.mark.parametrize("content", [None, "", "two words\n", "line\nline\n", "\x00"])
async def test_token_that_is_none_is_told_without_a_call(
    make_vault: Callable[..., Vault], token_file: Path, content: str | None
) -> None:
    """A token file that is missing, empty or not a token is named; nothing of it is shown or sent."""
    if content is None:
        await asyncio.to_thread(token_file.unlink)
    else:
        await asyncio.to_thread(token_file.write_text, content)
    async with hostile(answers(200)) as server:
        with pytest.raises(IssuerUnavailableError) as caught:
            await issue(make_vault(server.address))
    assert str(token_file) in caught.value.what
    assert "words" not in caught.value.diagnosis()
    assert server.heard == []


async def test_token_is_read_at_each_call(make_vault: Callable[..., Vault], token_file: Path) -> None:
    """A token that another process renewed is used from the next call on."""
    async with hostile(Signing(Ca.root())) as server:
        vault = make_vault(server.address)
        await issue(vault)
        await asyncio.to_thread(token_file.write_text, "hvs.new")
        await issue(vault)
    assert [heard.headers["x-vault-token"] for heard in server.heard] == [TOKEN, "hvs.new"]


async def test_anchors_are_the_roots_that_the_ca_leads_to(make_vault: Callable[..., Vault]) -> None:
    """Of a chain with both, the root alone is an anchor, once; the token is not sent for it."""
    root = Ca.root()
    async with hostile(Signing(root.intermediate(), (root.certificate, root.certificate))) as server:
        assert await make_vault(server.address).anchors() == (root.certificate,)
    (heard,) = server.heard
    assert heard.path == "/v1/pki/ca_chain"
    assert "x-vault-token" not in heard.headers


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (answers(204), "no self-signed certificate"),
        (answers(200, b"\n", content_type="application/pem-certificate-chain"), "no self-signed certificate"),
        (Signing(Ca.root().intermediate()), "no self-signed certificate"),
        (answers(200, b"garbage"), "cannot be read"),
        (answers(404, {"errors": []}), "HTTP 404"),
        (answers(503, {"errors": ["Vault is sealed"]}), "Vault is sealed"),
        (floods([]), "larger than"),
    ],
)
async def test_anchors_that_cannot_be_had_are_told(make_vault: Callable[..., Vault], behaviour: Any, why: str) -> None:
    """None, an intermediate alone, garbage, sealed: never an empty list, always a reason and advice."""
    async with hostile(behaviour) as server:
        with pytest.raises(TrustError, match=why) as caught:
            await make_vault(server.address).anchors()
    assert caught.value.advice


async def test_revocation_names_the_certificate_and_falls_back_to_its_number(make_vault: Callable[..., Vault]) -> None:
    """A Vault that does not know `certificate` asks for the number; another no is a no."""
    leaf = Ca.root().leaf(make_request(), make_key())
    unknown = answers(400, {"errors": ["The serial number must be provided"]})
    async with hostile(unknown, answers(200, {"data": {}}), answers(400, {"errors": ["no"]})) as server:
        vault = make_vault(server.address, mount="kafka/pki")
        await vault.revoke(leaf, within=WITHIN)
        with pytest.raises(IssuerRefusedError):
            await vault.revoke(leaf, within=WITHIN)
    assert [heard.path for heard in server.heard] == ["/v1/kafka/pki/revoke"] * 3
    assert list(server.heard[0].json) == ["certificate"]
    number = server.heard[1].json["serial_number"]
    assert int(number.replace(":", ""), 16) == leaf.serial_number
    assert all(len(pair) == 2 for pair in number.split(":"))


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (answers(503, {"errors": ["Vault is sealed"]}), "sealed"),
        (answers(503, {"errors": ["Vault is not initialized"]}), "uninitialised"),
        (answers(429, {"errors": ["quota"]}), "throttled"),
        (answers(500, {"errors": ["oops"]}), "server"),
        (answers(473, {"errors": []}), "standby"),
        (answers(307, Location="http://127.0.0.1:1/"), "standby"),
        (answers(200, b"garbage"), "malformed answer"),
        (answers(502, b"<html>", content_type="text/html"), "malformed answer"),
        (floods([]), "malformed answer"),
        (sends(b"SSH-2.0"), "malformed answer"),
        (sends(b""), "network"),
        (hangs, "time-out"),
        (answers(403, {"errors": ["permission denied"]}), "access denied"),
        (answers(400, {"errors": ["unknown role: x"]}), "refused"),
    ],
)
async def test_failures_have_their_sort_for_metrics(
    make_vault: Callable[..., Vault], behaviour: Any, reason: str
) -> None:
    """The error and the status name it; the next call that succeeds clears it."""
    async with hostile(behaviour) as server:
        vault = make_vault(server.address, within=timedelta(seconds=0.5))
        with pytest.raises(IssuanceError) as caught:
            await issue(vault)
        assert caught.value.reason == reason
        status = vault.status()
        assert (status.name, status.kind, status.reason) == ("vault", "vault", reason)
        assert status.trouble == caught.value.diagnosis()
        assert status.asked_at is not None
        server.then(Signing(Ca.root()))
        await vault.anchors()
        assert (vault.status().trouble, vault.status().reason) == ("", "")
        assert vault.status().authority is not None


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({}, "pki/sign/kafka"),
        ({"issuer_ref": "r 2"}, "pki/issuer/r%202/sign/kafka"),
        ({"signing": Signing_.VERBATIM}, "pki/sign-verbatim/kafka"),
        ({"signing": Signing_.VERBATIM, "role": ""}, "pki/sign-verbatim"),
        ({"signing": Signing_.VERBATIM, "role": "", "issuer_ref": "r2"}, "pki/issuer/r2/sign-verbatim"),
        ({"mount": "/a b/pki/", "role": "x/y"}, "a%20b/pki/sign/x%2Fy"),
    ],
)
async def test_csr_goes_where_the_settings_say(
    make_vault: Callable[..., Vault], changes: dict[str, Any], path: str
) -> None:
    """A role, verbatim, an issuer of the mount; names are quoted, and an address may have a path of its own."""
    async with hostile(Signing(Ca.root())) as server:
        await issue(make_vault(f"{server.address}/team1/", **changes))
    assert server.heard[0].path == f"/team1/v1/{path}"


async def test_ca_file_that_is_none_is_told(make_vault: Callable[..., Vault], tmp_path: Path) -> None:
    """HTTPS without the file that says whom to trust: no call is made, the path is named."""
    vault = make_vault("https://127.0.0.1:1", ca_file=tmp_path / "absent.pem")
    with pytest.raises(IssuerUnavailableError, match=r"absent\.pem") as caught:
        await issue(vault)
    assert caught.value.reason == "TLS"


async def test_close_without_a_call_is_fine(make_vault: Callable[..., Vault]) -> None:
    """An issuer that was never asked holds nothing; closing twice is no error."""
    vault = make_vault("http://127.0.0.1:1")
    await vault.close()
    await vault.close()
