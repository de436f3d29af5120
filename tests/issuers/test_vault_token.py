"""The life of a token: made once, renewed at two thirds, made again when it is refused, and never a storm."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from agent.core.issuer_spec import TokenLogin
from agent.core.secret import Secret
from agent.errors import IssuanceError, IssuerRefusedError, IssuerUnavailableError
from tests.issuers.pendings import make_pending
from tests.issuers.vault_clients import Counting, Steady, client, issue, spec, user
from tests.servers.hostile import answers, hangs, hostile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent.issuers.vault import Vault
    from tests.servers.hostile import Heard

LOGIN = "auth/userpass/login/kafka"
SIGN = "pki/sign/kafka"
RENEW = "auth/token/renew-self"
REVOKE = "auth/token/revoke-self"
LOOK_UP = "auth/token/lookup-self"


@asynccontextmanager
async def world(directory: Path, **changes: Any) -> AsyncIterator[tuple[Vault, Counting, Steady]]:
    """Start a server that counts, and a client of it with a clock of its own; its closing is not counted."""
    counting, steady = Counting(**changes), Steady()
    async with (
        hostile(counting) as server,
        client(spec(user(counting, directory), server.address), monotonic=steady) as vault,
    ):
        yield vault, counting, steady


async def failure(vault: Vault) -> IssuanceError:
    """Return what a call fails with."""
    with pytest.raises(IssuanceError) as caught:
        await issue(vault)
    return caught.value


# --- made, kept, given back -----------------------------------------------------------------


async def test_token_is_made_once_and_given_back_at_the_end(tmp_path: Path) -> None:
    """The first call logs in, the others use the token, and closing revokes it."""
    counting = Counting()
    async with hostile(counting) as server:
        async with client(spec(user(counting, tmp_path), server.address)) as vault:
            assert vault.status().login == ""
            await asyncio.gather(*(issue(vault) for _ in range(5)))
            status = vault.status()
            assert status.login == "user and password as kafka, policies kafka"
            assert status.login_until is not None
            assert timedelta(minutes=59) < status.login_until - datetime.now(UTC) <= timedelta(hours=1)
            assert status.authority == counting.signing.issuer.certificate
        assert counting.asked == [LOGIN, *[SIGN] * 5, REVOKE]
        assert not counting.tokens


async def test_batch_token_is_neither_renewed_nor_revoked(tmp_path: Path) -> None:
    """It is replaced at two thirds of its life, and left alone at the end."""
    counting = Counting(auth={"token_type": "batch", "renewable": False})
    steady = Steady()
    async with hostile(counting) as server:
        async with client(spec(user(counting, tmp_path), server.address), monotonic=steady) as vault:
            await issue(vault)
            steady.seconds += 2401
            assert await vault.tend() == timedelta(seconds=2400)
        assert counting.asked == [LOGIN, SIGN, LOGIN]


async def test_end_does_not_wait_for_a_server_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be given back in time is logged and ends by itself."""
    monkeypatch.setattr("agent.issuers.vault.issuer.GIVEN_BACK_WITHIN", timedelta(seconds=0.2))
    counting = Counting()
    async with hostile(counting) as server:
        with structlog.testing.capture_logs() as logs:
            async with client(spec(user(counting, tmp_path), server.address)) as vault:
                await issue(vault)
                server.then(hangs)
    assert any("given back" in line["event"] for line in logs)
    assert not any(token in str(logs) for token in counting.tokens)


async def test_tending_that_meets_the_end_raises_nothing(tmp_path: Path) -> None:
    """SIGHUP closes the issuer while its renewal is under way: the token is given back, and there is no more to do."""
    counting, steady = Counting(), Steady()
    renews, answered = asyncio.Event(), asyncio.Event()

    async def slowly(request: Heard, writer: asyncio.StreamWriter) -> None:
        if request.path.endswith(RENEW):
            renews.set()
            await answered.wait()
        await counting(request, writer)

    async with (
        hostile(slowly) as server,
        client(spec(user(counting, tmp_path), server.address), monotonic=steady) as vault,
    ):
        await issue(vault)
        steady.seconds += 2400
        tending = asyncio.ensure_future(vault.tend())
        waiting = asyncio.ensure_future(vault.tend())
        await renews.wait()
        closing = asyncio.ensure_future(vault.close())
        await asyncio.sleep(0.05)
        answered.set()
        await asyncio.gather(tending, waiting, closing)
        assert await vault.tend() is None
        assert not counting.tokens
        assert "given it back" in (await failure(vault)).what
    assert counting.asked == [LOGIN, SIGN, RENEW, REVOKE]


async def test_tending_that_is_cut_off_by_the_end_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal that hangs is not waited for; it fails when the connections close, which nobody needs to know."""
    monkeypatch.setattr("agent.issuers.vault.issuer.GIVEN_BACK_WITHIN", timedelta(seconds=0.1))
    counting, steady = Counting(), Steady()
    async with (
        hostile(counting) as server,
        client(spec(user(counting, tmp_path), server.address), monotonic=steady) as vault,
    ):
        await issue(vault)
        steady.seconds += 2400
        server.then(hangs)
        tending = asyncio.ensure_future(vault.tend())
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            await vault.close()
            assert await tending is None
        assert vault.status().trouble == ""


async def test_login_that_meets_the_end_is_given_back(tmp_path: Path) -> None:
    """Its token, which came a moment too late to be used, does not stay behind."""
    counting, heard = Counting(pause=0.1), asyncio.Event()

    async def hears(request: Heard, writer: asyncio.StreamWriter) -> None:
        heard.set()
        await counting(request, writer)

    async with hostile(hears) as server, client(spec(user(counting, tmp_path), server.address)) as vault:
        call = asyncio.ensure_future(issue(vault))
        await heard.wait()
        await vault.close()
        await asyncio.gather(call, return_exceptions=True)
        assert isinstance(call.exception(), IssuanceError | None)
    assert counting.asked.count(LOGIN) == 1
    assert len(counting.revoked) == 1
    assert not counting.tokens


# --- renewed --------------------------------------------------------------------------------


async def test_token_is_renewed_at_two_thirds(tmp_path: Path) -> None:
    """Before that nothing is asked; `tend` says when to come again."""
    async with world(tmp_path, auth={"lease_duration": 90}) as (vault, counting, steady):
        assert await vault.tend() is None
        await issue(vault)
        assert await vault.tend() == timedelta(seconds=60)
        steady.seconds += 59
        assert await vault.tend() == timedelta(seconds=1)
        assert counting.asked == [LOGIN, SIGN]
        steady.seconds += 1
        assert await vault.tend() == timedelta(seconds=60)
        assert counting.asked == [LOGIN, SIGN, RENEW]


async def test_renewal_that_is_cut_short_is_followed_by_a_login(tmp_path: Path) -> None:
    """At the token's maximum a renewal gives less: before that ends there is another token, the old one is revoked."""
    async with world(tmp_path, auth={"lease_duration": 90}) as (vault, counting, steady):
        await issue(vault)
        steady.seconds += 60
        counting.auth["lease_duration"] = 30
        assert await vault.tend() == timedelta(seconds=20)
        steady.seconds += 20
        counting.auth["lease_duration"] = 90
        (first,) = counting.tokens
        assert await vault.tend() == timedelta(seconds=60)
        assert counting.asked == [LOGIN, SIGN, RENEW, LOGIN, REVOKE]
        assert counting.revoked == [first]


@pytest.mark.parametrize("changes", [{"renews": False}, {"auth": {"renewable": False}}])
async def test_token_that_cannot_be_renewed_is_replaced(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Refused or not renewable: a new login, and the identities notice nothing."""
    async with world(tmp_path, **changes) as (vault, counting, steady):
        await issue(vault)
        steady.seconds += 2400
        await vault.tend()
        await issue(vault)
        assert counting.asked.count(LOGIN) == 2
        assert vault.status().trouble == ""


async def test_token_that_has_ended_is_replaced_by_the_next_call(tmp_path: Path) -> None:
    """After a sleep of the host nobody tended it; one call of many logs in."""
    async with world(tmp_path) as (vault, counting, steady):
        await issue(vault)
        steady.seconds += 3601
        await asyncio.gather(*(issue(vault) for _ in range(10)))
        assert counting.asked.count(LOGIN) == 2


async def test_login_that_cannot_be_kept_is_told_and_tried_again_with_pauses(tmp_path: Path) -> None:
    """Nothing is raised: status, log and a growing pause; the old token serves to its end."""
    async with world(tmp_path, renews=False) as (vault, counting, steady):
        await issue(vault)
        steady.seconds += 2400
        counting.login_answer = (400, {"errors": ["invalid username or password"]})
        with structlog.testing.capture_logs() as logs:
            assert await vault.tend() == timedelta(seconds=1)
            steady.seconds += 1
            assert await vault.tend() == timedelta(seconds=2)
        assert [line["log_level"] for line in logs].count("warning") == 1
        status = vault.status()
        assert "refused the login" in status.trouble
        assert status.reason == "login"
        await issue(vault)
        counting.login_answer = None
        steady.seconds += 2
        assert await vault.tend() == timedelta(seconds=2400)
        assert vault.status().trouble == ""


async def test_renewal_that_does_not_reach_vault_is_tried_again(tmp_path: Path) -> None:
    """Sealed: no login is tried in its place; a fault of the renewal alone is answered by a login."""
    counting, steady = Counting(), Steady()
    async with hostile(counting) as server:
        async with client(spec(user(counting, tmp_path), server.address), monotonic=steady) as vault:
            await issue(vault)
            steady.seconds += 2400
            server.then(answers(503, {"errors": ["Vault is sealed"]}))
            assert await vault.tend() == timedelta(seconds=1)
            assert vault.status().reason == "sealed"
            assert await vault.tend() == timedelta(seconds=1)
            server.then(answers(500, {"errors": ["certificate of another login"]}), counting)
            steady.seconds += 1
            assert await vault.tend() == timedelta(seconds=2400)
        assert [heard.path.rpartition("/")[2] for heard in server.heard] == [
            *("kafka", "kafka"),
            *("renew-self", "renew-self", "kafka"),
            *("revoke-self", "revoke-self"),
        ]


# --- refused --------------------------------------------------------------------------------


async def test_token_that_is_refused_is_replaced_once(tmp_path: Path) -> None:
    """A revoked token: one new login, the call is made once more."""
    async with world(tmp_path) as (vault, counting, _):
        await issue(vault)
        counting.forget_tokens()
        assert (await issue(vault)).certificates
        assert counting.asked == [LOGIN, SIGN, SIGN, LOGIN, SIGN]


async def test_revoked_token_is_no_storm_with_two_hundred_identities(tmp_path: Path) -> None:
    """All are served with one new login; few have met the old token."""
    async with world(tmp_path) as (vault, counting, _):
        await issue(vault)
        counting.forget_tokens()
        counting.pause = 0.005
        counting.asked.clear()
        pendings = [make_pending() for _ in range(200)]
        answers = await asyncio.gather(*(issue(vault, pending) for pending in pendings))
        assert len(answers) == 200
        assert counting.asked.count(LOGIN) == 1
        assert counting.asked.count(SIGN) <= 206


async def test_right_that_is_lost_is_no_storm_with_two_hundred_identities(tmp_path: Path) -> None:
    """Whatever they ask for in a minute, Vault hears ten requests at most, and each identity its answer."""
    async with world(tmp_path) as (vault, counting, steady):
        await issue(vault)
        counting.asked.clear()
        counting.may_sign = False
        pending = make_pending()
        for second in range(60):
            many = 200 if second in (0, 1, 10) else 10
            errors = await asyncio.gather(*(issue(vault, pending) for _ in range(many)), return_exceptions=True)
            assert {type(error) for error in errors} == {IssuerRefusedError}
            steady.seconds += 1
        assert len(counting.asked) <= 10, counting.asked
        assert 'path "pki/sign/kafka"' in str(vault.status().trouble)
        assert vault.status().reason == "access denied"
        counting.may_sign = True
        steady.seconds += 61
        assert (await issue(vault)).certificates


async def test_right_that_was_never_there_costs_one_login(tmp_path: Path) -> None:
    """A fresh token that is refused is not made again before a minute; pauses grow; then all go on."""
    async with world(tmp_path, may_sign=False) as (vault, counting, steady):
        errors = await asyncio.gather(*(issue(vault) for _ in range(200)), return_exceptions=True)
        assert {type(error) for error in errors} == {IssuerRefusedError}
        assert counting.asked == [LOGIN, SIGN]
        await failure(vault)
        assert counting.asked == [LOGIN, SIGN]
        steady.seconds += 1.1
        await failure(vault)
        assert counting.asked == [LOGIN, SIGN, SIGN]
        steady.seconds += 1.1
        await failure(vault)
        assert counting.asked == [LOGIN, SIGN, SIGN]
        counting.may_sign = True
        steady.seconds += 1
        await asyncio.gather(*(issue(vault) for _ in range(20)))
        assert counting.asked.count(LOGIN) == 1


async def test_login_that_is_refused_is_no_storm(tmp_path: Path) -> None:
    """Of two hundred one logs in, the others hear the same; a password that is put right later is read."""
    async with world(tmp_path) as (vault, counting, steady):
        file = tmp_path / "password"
        good = file.read_text()
        file.write_text("wrong canary")
        errors = await asyncio.gather(*(issue(vault) for _ in range(200)), return_exceptions=True)
        assert {type(error) for error in errors} == {IssuerRefusedError}
        assert counting.asked == [LOGIN]
        error = await failure(vault)
        assert error.reason == "login"
        assert "wrong canary" not in repr(error) + error.diagnosis() + repr(vault.status())
        file.write_text(good)
        steady.seconds += 2
        await issue(vault)
        assert counting.asked == [LOGIN, LOGIN, SIGN]


async def test_call_that_hangs_holds_the_others_to_their_time(tmp_path: Path) -> None:
    """Who waited while one hung hears the same, within the limit."""
    counting = Counting()
    async with (
        hostile(hangs) as server,
        client(spec(user(counting, tmp_path), server.address, within=timedelta(seconds=0.5))) as vault,
    ):
        async with asyncio.timeout(5):
            errors = await asyncio.gather(*(issue(vault) for _ in range(50)), return_exceptions=True)
        assert {type(error) for error in errors} == {IssuerUnavailableError}
        assert len(server.heard) <= 2
        assert {getattr(error, "reason", "") for error in errors} == {"time-out"}


async def test_signature_that_hangs_is_waited_for_by_one(tmp_path: Path) -> None:
    """Of fifty with a token that nobody has tried one asks; the others hear what it heard."""
    login = given(tmp_path, "hvs.x")
    async with (
        hostile(hangs) as server,
        client(spec(login, server.address, within=timedelta(seconds=2))) as vault,
    ):
        first = asyncio.ensure_future(issue(vault, within=timedelta(seconds=0.3)))
        errors = await asyncio.gather(first, *(issue(vault) for _ in range(4)), return_exceptions=True)
        assert {getattr(error, "reason", "") for error in errors} == {"time-out"}
        assert len(server.heard) == 1


# --- given ----------------------------------------------------------------------------------


async def test_given_token_is_not_tended_after_the_end(tmp_path: Path) -> None:
    """Nothing is asked and nothing logged, also of a look that was under way."""
    login, heard = given(tmp_path, "hvs.x"), asyncio.Event()

    async def hears(request: Heard, writer: asyncio.StreamWriter) -> None:
        heard.set()
        await hangs(request, writer)

    with structlog.testing.capture_logs() as logs:
        async with hostile(hears) as server, client(spec(login, server.address)) as vault:
            tending = asyncio.ensure_future(vault.tend())
            await heard.wait()
            await vault.close()
            async with asyncio.timeout(5):
                assert await tending is None
                assert await vault.tend() is None
            assert len(server.heard) == 1
    assert logs == []


def given(directory: Path, value: str) -> TokenLogin:
    """Put a token into a file and return the login with it."""
    file = directory / "token"
    file.write_text(value)
    return TokenLogin(Secret(file=file))


async def test_given_token_that_is_refused_is_read_again_and_else_left_alone(tmp_path: Path) -> None:
    """Refused: one request until the pause is over; another token in the file is used at once; none is revoked."""
    counting, steady = Counting(tokens={"hvs.good"}), Steady()
    async with hostile(counting) as server:
        async with client(spec(given(tmp_path, "hvs.bad"), server.address), monotonic=steady) as vault:
            errors = await asyncio.gather(*(issue(vault) for _ in range(200)), return_exceptions=True)
            assert {type(error) for error in errors} == {IssuerRefusedError}
            assert counting.asked == [SIGN]
            steady.seconds += 1
            await failure(vault)
            assert counting.asked == [SIGN, SIGN]
            given(tmp_path, "hvs.good")
            await issue(vault)
        assert counting.asked == [SIGN, SIGN, SIGN]
        assert counting.tokens == {"hvs.good"}


async def test_given_token_that_was_replaced_meanwhile_serves_the_same_call(tmp_path: Path) -> None:
    """It is refused while another process puts the next one there: the call is made once more with that."""
    counting = Counting(tokens={"hvs.next"})

    async def swap(request: Any, writer: Any) -> None:
        given(tmp_path, "hvs.next")
        await counting(request, writer)

    async with hostile(swap) as server, client(spec(given(tmp_path, "hvs.last"), server.address)) as vault:
        assert (await issue(vault)).certificates
    assert counting.asked == [SIGN, SIGN]


async def test_given_token_is_renewed_where_it_may_look_itself_up(tmp_path: Path) -> None:
    """Its life is known then: renewed at two thirds of it, told in the status, and not revoked."""
    told = {"ttl": 50, "creation_ttl": 90, "renewable": True, "type": "service", "display_name": "token-kafka"}
    counting, steady = Counting(tokens={"hvs.good"}, looks_up=told, auth={"lease_duration": 90}), Steady()
    async with hostile(counting) as server:
        async with client(spec(given(tmp_path, "hvs.good"), server.address), monotonic=steady) as vault:
            assert await vault.tend() == timedelta(seconds=20)
            assert vault.status().login_until is not None
            assert "token-kafka" in vault.status().login
            steady.seconds += 20
            assert await vault.tend() == timedelta(seconds=60)
            steady.seconds += 60
            counting.renews = False
            assert await vault.tend() is None
            (remark,) = vault.status().remarks
            assert "is not renewed" in remark
        assert counting.asked == [LOOK_UP, RENEW, RENEW]
        assert counting.tokens == {"hvs.good"}


async def test_given_token_of_least_policy_is_used_as_it_is(tmp_path: Path) -> None:
    """It may not look itself up: that is asked once, and there is nothing to tend."""
    counting = Counting(tokens={"hvs.good"})
    async with hostile(counting) as server, client(spec(given(tmp_path, "hvs.good"), server.address)) as vault:
        assert await vault.tend() is None
        assert await vault.tend() is None
        await issue(vault)
        assert counting.asked == [LOOK_UP, SIGN]
        status = vault.status()
        assert (status.login, status.login_until, status.remarks) == (f"the token in {tmp_path}/token", None, ())


async def test_given_token_that_cannot_be_looked_after_raises_nothing(tmp_path: Path) -> None:
    """No file and no server: both are logged once a pause, and tried again."""
    login, steady = TokenLogin(Secret(file=tmp_path / "absent")), Steady()
    with structlog.testing.capture_logs() as logs:
        async with client(spec(login, "http://127.0.0.1:1"), monotonic=steady) as vault:
            assert await vault.tend() == timedelta(seconds=1)
            assert await vault.tend() == timedelta(seconds=1)
            steady.seconds += 1
            assert await vault.tend() == timedelta(seconds=2)
    assert len(logs) == 2
