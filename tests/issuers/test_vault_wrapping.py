"""Wrappings give their content once: who took it out, what SIGHUP and a restart mean, and answers that are lost."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.issuer_spec import AppRoleLogin, TokenLogin
from agent.core.issuer_status import Opinion
from agent.core.secret import Secret
from agent.errors import IssuanceError, IssuerRefusedError, IssuerUnavailableError
from agent.issuers.vault import opened
from agent.issuers.vault.opened import MOST, Content, Opened
from tests.issuers.vault_clients import Counting, Steady, client, forget_wrappings, issue, spec
from tests.servers.hostile import Heard, answers, hostile, sends

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from agent.core.issuer_status import Examined
    from agent.issuers.vault import Vault

LOOK_UP = "sys/wrapping/lookup"
UNWRAP = "sys/wrapping/unwrap"
LOGIN = "auth/approle/login"


@dataclass
class Wrapping:
    """A cluster with one wrapping, of a secret id or of a token; tests have its answer lost, or open it themselves."""

    path: str = "auth/approle/role/kafka/secret-id"
    lost: bytes = b""
    """What is sent in place of its content."""
    busy: bool = False
    """Whether to open it is answered with a limit that is reached."""
    whole: bool = True
    token: str = field(default_factory=lambda: f"hvs.{os.urandom(12).hex()}", repr=False)
    content: str = field(default_factory=lambda: f"hvs.{os.urandom(12).hex()}", repr=False)
    counting: Counting = field(default_factory=Counting, repr=False)

    @property
    def asked(self) -> list[str]:
        """The paths that were asked for."""
        return self.counting.asked

    async def __call__(self, request: Heard, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        path = request.path.removeprefix("/v1/")
        if path not in (LOOK_UP, UNWRAP, LOGIN):
            await self.counting(request, writer)
            return
        self.asked.append(path)
        if path == LOGIN:
            right = request.json.get("secret_id") == self.content
            token = f"hvs.{os.urandom(12).hex()}"
            self.counting.tokens.add(token)
            answer = answers(200, self._auth(token)) if right else answers(400, {"errors": ["invalid secret id"]})
        elif not self.whole:
            answer = answers(400, {"errors": ["wrapping token is not valid or does not exist"]})
        elif path == LOOK_UP:
            answer = answers(200, {"data": {"creation_path": self.path}})
        elif self.busy:
            answer = answers(429, {"errors": ["request path: rate limit quota exceeded"]})
        else:
            self.whole = False
            answer = sends(self.lost) if self.lost else answers(200, self._opened())
        await answer(request, writer)

    def secret(self, directory: Path) -> Secret:
        """Put the wrapping into a file."""
        file = directory / "wrapping"
        file.write_text(self.token)
        return Secret(file=file)

    def approle(self, directory: Path, **changes: Any) -> AppRoleLogin:
        """Return the login with the secret id that is in it."""
        file = directory / "role-id"
        file.write_text("a-role")
        return AppRoleLogin(Secret(file=file), self.secret(directory), wrapped=True, **changes)

    def _opened(self) -> dict[str, Any]:
        if self.path.startswith("auth/token"):
            self.counting.tokens.add(self.content)
            return self._auth(self.content)
        return {"data": {"secret_id": self.content}}

    def _auth(self, token: str) -> dict[str, Any]:
        return {"auth": {"client_token": token, "lease_duration": 3600, "renewable": True, "policies": ["kafka"]}}


async def failure(vault: Vault, kind: type[IssuanceError] = IssuerRefusedError) -> IssuanceError:
    """Return what a call fails with."""
    with pytest.raises(kind) as caught:
        await issue(vault)
    return caught.value


async def examined(vault: Vault) -> Examined:
    """Return what `config check --connect` says of the login."""
    (found,) = [one for one in await vault.examine(()) if one.what == "login"]
    return found


# --- SIGHUP and restart ---------------------------------------------------------------------


async def test_wrapped_secret_id_serves_on_after_sighup(tmp_path: Path) -> None:
    """Another client in the same process logs in with what the first one took out; no `repr` shows it."""
    wrapping = Wrapping()
    async with hostile(wrapping) as server:
        async with client(spec(wrapping.approle(tmp_path), server.address)) as before:
            await issue(before)
            async with client(spec(wrapping.approle(tmp_path), server.address, role="other")) as after:
                assert (await examined(after)).opinion is Opinion.GOOD
        async with client(spec(wrapping.approle(tmp_path), server.address)) as after:
            await issue(after)
    assert wrapping.asked.count(UNWRAP) == 1
    assert wrapping.asked.count(LOGIN) == 3
    assert wrapping.content not in repr(opened.OPENED) + repr(opened.OPENED.recall(wrapping.token))


async def test_wrapping_that_was_opened_is_not_taken_from_another_path_after_sighup(tmp_path: Path) -> None:
    """What the memory gives has come from the path that the settings want now, or it is not given."""
    wrapping = Wrapping()
    async with hostile(wrapping) as server:
        async with client(spec(wrapping.approle(tmp_path), server.address)) as before:
            await issue(before)
        login = wrapping.approle(tmp_path, creation_path="auth/approle/role/other/secret-id")
        async with client(spec(login, server.address)) as after:
            assert "not at 'auth/approle/role/other/secret-id'" in (await failure(after)).what


async def test_wrapped_token_is_handed_over_at_sighup_and_revoked_at_the_end(tmp_path: Path) -> None:
    """The client that takes the place of another has its token; the last one revokes it, and a later one is told."""
    wrapping = Wrapping(path="auth/token/create")
    login = TokenLogin(wrapping.secret(tmp_path), wrapped=True)
    async with hostile(wrapping) as server:
        async with client(spec(login, server.address)) as before:
            await issue(before)
            async with client(spec(login, server.address, role="kafka")) as after:
                await before.close()
                assert wrapping.counting.revoked == []
                await issue(after)
        assert wrapping.counting.revoked == [wrapping.content]
        async with client(spec(login, server.address)) as late:
            error = await failure(late)
    assert "this agent has opened the wrapping" in error.what
    assert "put a new wrapping there" in error.advice
    assert wrapping.asked.count(UNWRAP) == 1


async def test_wrapping_that_was_opened_before_a_restart_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whom it was opened nobody can tell then: both are said, and that a restart needs a new one."""
    wrapping = Wrapping()
    async with hostile(wrapping) as server:
        async with client(spec(wrapping.approle(tmp_path), server.address)) as vault:
            await issue(vault)
        forget_wrappings(monkeypatch)
        async with client(spec(wrapping.approle(tmp_path), server.address)) as vault:
            error = await failure(vault)
            found = await examined(vault)
    assert "has been used or has ended" in error.what
    for said in ("opened before, by this agent or by somebody else", "a restart", "somebody else may hold"):
        assert said in error.advice
    assert found.opinion is Opinion.UNKNOWN
    assert "an agent that runs and is logged in" in found.sentence
    assert "until its restart" in found.sentence


def test_memory_of_wrappings_is_bounded() -> None:
    """The one that was of no use for longest is forgotten."""
    memory = Opened()
    for number in range(MOST):
        memory.keep(f"wrapping {number}", Content("path", str(number)))
    assert memory.recall("wrapping 0") == Content("path", "0")
    memory.keep("one more", Content("path", "more"))
    assert memory.recall("wrapping 0") is not None
    assert memory.recall("wrapping 1") is None


# --- lost answers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lost", [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhalf"]
)
async def test_answer_of_an_unwrap_that_is_lost_is_no_theft(tmp_path: Path, lost: bytes) -> None:
    """No second address is asked, whose no would be an alarm; then and later the agent itself is named."""
    wrapping, steady = Wrapping(lost=lost), Steady()
    async with hostile(wrapping) as one, hostile(wrapping) as two:
        of = spec(wrapping.approle(tmp_path), one.address, two.address)
        async with client(of, monotonic=steady) as vault:
            error = await failure(vault, IssuerUnavailableError)
            assert wrapping.asked == [LOOK_UP, UNWRAP]
            assert two.heard == []
            assert "the agent itself may have used it up, and then needs a new one" in error.advice
            steady.seconds += 1
            error = await failure(vault)
            assert "most likely used it up itself: put a new one there" in error.advice
    assert wrapping.token not in error.diagnosis()


async def test_wrapping_that_stayed_closed_leaves_no_mark(tmp_path: Path) -> None:
    """A rate limit has opened nothing: who opens the wrapping then is somebody else, and told as before."""
    wrapping, steady = Wrapping(busy=True), Steady()
    async with (
        hostile(wrapping) as server,
        client(spec(wrapping.approle(tmp_path), server.address), monotonic=steady) as vault,
    ):
        assert (await failure(vault, IssuerUnavailableError)).reason == "throttled"
        wrapping.whole = False
        steady.seconds += 1
        assert "somebody else may hold" in (await failure(vault)).advice


@pytest.mark.parametrize("lost", [True, False])
async def test_unwrap_is_asked_where_the_lookup_was_answered(tmp_path: Path, lost: bool) -> None:
    """The first address does not answer; the second one looks, and opens."""
    wrapping = Wrapping(lost=b"HTTP/1.1 200 OK\r\n" if lost else b"")
    async with (
        hostile(answers(503, {"errors": ["Vault is sealed"]})) as one,
        hostile(wrapping) as two,
        client(spec(wrapping.approle(tmp_path), one.address, two.address)) as vault,
    ):
        if lost:
            await failure(vault, IssuerUnavailableError)
        else:
            await issue(vault)
    assert [heard.path for heard in one.heard] == [f"/v1/{LOOK_UP}"]
    assert wrapping.asked[:2] == [LOOK_UP, UNWRAP]


# --- paths ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["auth/approle/role/a/b/secret-id", "auth/approle/role//secret-id", "auth/approle/role/x/secret-id/lookup"],
)
async def test_role_of_a_wrapping_is_one_part_of_its_path(tmp_path: Path, path: str) -> None:
    """Without `creation_path` any role of the mount will do, but nothing with slashes in a role's place."""
    wrapping = Wrapping(path=path)
    async with hostile(wrapping) as server, client(spec(wrapping.approle(tmp_path), server.address)) as vault:
        assert "it stays closed" in (await failure(vault)).what
    assert wrapping.whole


# --- the check ------------------------------------------------------------------------------


async def test_check_with_a_plain_secret_id_says_that_it_was_a_login(tmp_path: Path) -> None:
    """It uses up one of the uses that a secret id may have; what is logged in already uses up none."""
    wrapping = Wrapping()
    login = wrapping.approle(tmp_path)
    (tmp_path / "secret-id").write_text(wrapping.content)
    plain = AppRoleLogin(login.role_id, Secret(file=tmp_path / "secret-id"))
    async with hostile(wrapping) as server, client(spec(plain, server.address)) as vault:
        first, second = await examined(vault), await examined(vault)
    assert "this check was one login more" in first.sentence
    assert "one login more" not in second.sentence
    assert wrapping.asked.count(LOGIN) == 1
