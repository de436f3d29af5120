"""What people say of a CA rotation, from the command line through the socket to the identities that it is about."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import yaml

from agent.cli import USAGE, main
from agent.core.instruction import Instruction, instruction
from agent.core.rotation import Stage
from agent.errors import AgentError, BusyError, NotConcernedError
from agent.host.peer import Gate
from agent.web.admin import AdminServer
from agent.wiring.verbs import Verbs
from tests.e2e.host import ROOT
from tests.settings.host import GOOD
from tests.web.statuses import make_identity, make_rotation, make_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from agent.core.status import AgentStatus
    from agent.daemon.keeper import Keeper

ANCHOR = "0123456789abcdef"


class Identity:
    """Notes what it is told, as a keeper does it; `outcome` is raised in its place."""

    def __init__(self, name: str, outcome: AgentError | None = None) -> None:
        self.wanted = SimpleNamespace(name=name)
        self.outcome = outcome
        self.told: list[tuple[object, ...]] = []

    async def _do(self, *what: object) -> str:
        self.told.append(what)
        await asyncio.sleep(0)
        if self.outcome is not None:
            raise self.outcome
        return f"{self.wanted.name}: {what[0]}"

    async def approve(self, fingerprint: str, *, by: str) -> str:
        """Approve."""
        return await self._do("approve", fingerprint, by)

    async def retire(self, fingerprint: str, *, by: str, force: bool) -> str:
        """Retire."""
        return await self._do("retire", fingerprint, by, force)

    async def confirm(self, peer: str, *, by: str) -> str:
        """Confirm."""
        return await self._do("confirm", peer, by)

    async def abort(self, *, by: str) -> str:
        """Abort."""
        return await self._do("abort", by)

    async def pause(self, *, by: str) -> str:
        """Pause."""
        return await self._do("pause", by)

    async def resume(self, *, by: str) -> str:
        """Resume."""
        return await self._do("resume", by)


def verbs_of(*identities: Identity) -> Verbs:
    """Return the verbs on some identities."""
    keepers = {one.wanted.name: cast("Keeper", one) for one in identities}
    return Verbs(lambda: keepers, make_status)


def knows_nothing(name: str) -> Identity:
    """Make an identity that a word is not about."""
    return Identity(name, NotConcernedError(f"{name} knows no such anchor", advice="see `cert-agent ca status`"))


# --- which identities ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (instruction("approve", ANCHOR, "alice"), ("approve", ANCHOR, "alice")),
        (instruction("retire", ANCHOR, "alice"), ("retire", ANCHOR, "alice", False)),
        (instruction("retire", ANCHOR, "alice", force=True), ("retire", ANCHOR, "alice", True)),
        (instruction("confirm", "orders-1", "alice"), ("confirm", "orders-1", "alice")),
    ],
)
async def test_a_word_on_an_anchor_or_a_peer_goes_to_every_identity(
    said: Instruction, told: tuple[object, ...]
) -> None:
    """One of several has to know it; what the others do not know is not told."""
    broker, client, other = Identity("broker"), knows_nothing("client"), Identity("other")
    verbs = verbs_of(other, broker, client)
    assert await verbs.ca(said) == (f"broker: {said.verb}", f"other: {said.verb}")
    assert broker.told == client.told == other.told == [told]


@pytest.mark.parametrize("verb", ["abort", "pause", "resume"])
async def test_a_word_on_an_identity_goes_to_that_one(verb: str) -> None:
    """As with a renewal, it may be left unnamed where there is only one."""
    broker, client = Identity("broker"), Identity("client")
    assert await verbs_of(broker, client).ca(instruction(verb, "client", "alice")) == (f"client: {verb}",)
    assert (broker.told, client.told) == ([], [(verb, "alice")])
    assert await verbs_of(broker).ca(instruction(verb, None, "alice")) == (f"broker: {verb}",)
    with pytest.raises(AgentError, match="there are several identities"):
        await verbs_of(broker, client).ca(instruction(verb, None, "alice"))
    with pytest.raises(AgentError, match="no identity named kafka"):
        await verbs_of(broker, client).ca(instruction(verb, "kafka", "alice"))


async def test_a_word_that_is_about_nothing_here_is_told_so() -> None:
    """By the first identity, with its advice; nothing at all is a failure too, and not silence."""
    with pytest.raises(NotConcernedError, match="broker knows no such anchor") as caught:
        await verbs_of(knows_nothing("client"), knows_nothing("broker")).ca(instruction("approve", ANCHOR, "alice"))
    assert caught.value.advice == "see `cert-agent ca status`"


async def test_a_failure_is_not_hidden_by_what_is_done_elsewhere() -> None:
    """Both are told: a person must know which identity has it and which has not."""
    full = Identity("broker", AgentError("broker: the disk is full", advice="make room"))
    done, unknown = Identity("client"), knows_nothing("other")
    with pytest.raises(AgentError) as caught:
        await verbs_of(full, done, unknown).ca(instruction("retire", ANCHOR, "alice"))
    assert caught.value.diagnosis() == (
        "not all is done: broker: the disk is full; what is done: client: retire: make room"
    )
    assert done.told


async def test_a_failure_keeps_its_kind_where_it_is_the_only_news() -> None:
    """Its kind is an exit code; two failures are told together."""
    busy = Identity("broker", BusyError("another process holds it"))
    with pytest.raises(BusyError):
        await verbs_of(busy, knows_nothing("client")).ca(instruction("approve", ANCHOR, "alice"))
    with pytest.raises(AgentError, match="the disk is full; another process holds it"):
        await verbs_of(Identity("a", AgentError("the disk is full")), busy).ca(instruction("approve", ANCHOR, "alice"))


# --- the command line ---------------------------------------------------------------------------


class Agent(Verbs):
    """The verbs of an agent on one identity, with a status that is given."""

    def __init__(self, identity: Identity, status: AgentStatus) -> None:
        super().__init__(lambda: {"broker": cast("Keeper", identity)}, lambda: status)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a configuration, and a name that is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="cert-agent-") as name:
        folder = Path(name)
        for secret in ("password", "token"):
            (folder / secret).write_text("not-to-be-told")
        settings = GOOD | {"http": {"admin_socket": "admin.sock"}}
        (folder / "cert-agent.yaml").write_text(yaml.safe_dump(settings))
        yield folder


@asynccontextmanager
async def running(folder: Path, identity: Identity, status: AgentStatus) -> AsyncIterator[None]:
    """Have an agent listen at the socket."""
    async with asyncio.timeout(30), AdminServer(folder / "admin.sock", Gate(None), Agent(identity, status)):
        yield


async def run(folder: Path, *arguments: str) -> tuple[int | None, str, str]:
    """Run a verb as an operator does; return exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", "ca", *arguments, "--config", str(folder / "cert-agent.yaml"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["approve", "01:23:45:67:89:AB:CD:EF", "--by", "Alice A"], ("approve", ANCHOR, "Alice A")),
        (["retire", ANCHOR, "--by", "a", "--force"], ("retire", ANCHOR, "a", True)),
        (["confirm", "orders-1", "--by", "a"], ("confirm", "orders-1", "a")),
        (["abort", "--by", "a"], ("abort", "a")),
        (["pause", "broker", "--by", "a"], ("pause", "a")),
        (["resume", "--by", "a"], ("resume", "a")),
    ],
)
async def test_each_verb_reaches_the_running_agent(
    folder: Path, arguments: list[str], told: tuple[object, ...]
) -> None:
    """And what came of it is printed."""
    identity = Identity("broker")
    async with running(folder, identity, make_status()):
        assert await run(folder, *arguments) == (0, f"broker: {arguments[0]}\n", "")
    assert identity.told == [told]


@pytest.mark.slow
async def test_what_is_not_done_is_an_exit_code_and_a_line(folder: Path) -> None:
    """In the agent's own words."""
    async with running(folder, knows_nothing("broker"), make_status()):
        code, out, errors = await run(folder, "approve", ANCHOR, "--by", "alice")
    assert (code, out) == (1, "")
    assert errors == "cert-agent: broker knows no such anchor: see `cert-agent ca status`\n"


@pytest.mark.slow
async def test_status_tells_people_and_programs(folder: Path) -> None:
    """Each identity, or the one named; a broken state is an exit code."""
    broken = make_rotation(stage=Stage.PEER_AHEAD, why="kafka3 uses a leaf of CN=X")
    status = make_status(make_identity("broker"), make_identity("client", rotation=broken))
    async with running(folder, Identity("broker"), status):
        code, out, _ = await run(folder, "status", "broker")
        assert (code, out.splitlines()[0]) == (0, "broker: anchor added, since 2026-11-22T12:00:00Z")
        assert "client" not in out
        code, out, _ = await run(folder, "status")
        assert code == 1
        assert "client: peer ahead" in out
        code, out, _ = await run(folder, "status", "--json")
        document = json.loads(out)
        assert code == 1
        assert [one["name"] for one in document["identities"]] == ["broker", "client"]
        assert document["identities"][1]["rotation"]["broken"] is True
        code, _, errors = await run(folder, "status", "nobody")
        assert (code, errors) == (1, "cert-agent: there is no identity named nobody: there is broker, client\n")


@pytest.mark.slow
async def test_without_an_agent_status_looks_itself_and_changes_nothing(folder: Path) -> None:
    """As the other status does."""
    before = await asyncio.to_thread(lambda: sorted(folder.rglob("*")))
    code, out, errors = await run(folder, "status")
    assert code == 0
    assert "Traceback" not in errors
    assert out.splitlines()[0] == "no agent runs; this is what the disk tells"
    assert out.splitlines()[1].startswith("broker: ")
    assert await asyncio.to_thread(lambda: sorted(folder.rglob("*"))) == before


@pytest.mark.slow
async def test_without_an_agent_a_verb_acts_itself(folder: Path) -> None:
    """Under the locks, on what the disk has: here nothing that it could be about."""
    code, out, errors = await run(folder, "approve", ANCHOR, "--by", "alice")
    assert (code, out) == (1, "")
    assert "broker" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["approve", "--by", "a"], "FINGERPRINT"),
        (["approve", ANCHOR], "--by"),
        (["approve", ANCHOR[:-1], "--by", "a"], "its first 16 digits"),
        (["approve", "CN=New CA", "--by", "a"], "its first 16 digits"),
        (["retire", "", "--by", "a"], "its first 16 digits"),
        (["approve", ANCHOR, "--by", ""], "who says so is no name"),
        (["approve", ANCHOR, "--by", "a\x1b[2J"], "who says so is no name"),
        (["approve", ANCHOR, "--by", "a", "--force"], "--force"),
        (["confirm", " ", "--by", "a"], "the peer is none"),
        (["pause"], "--by"),
        (["status", "--by", "a"], "--by"),
        ([], "VERB"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    """Before any configuration is read or anybody is asked."""
    with pytest.raises(SystemExit) as ended:
        main(["ca", *arguments])
    assert ended.value.code == USAGE
    assert why in capsys.readouterr().err


def test_a_fingerprint_is_read_as_tools_print_it() -> None:
    """With colons or without, in either case, whole or begun."""
    whole = "ab" * 32
    for written in (whole, whole.upper(), ":".join(["AB"] * 32), "aB" * 32):
        assert instruction("approve", written, "a").about == whole
    assert instruction("retire", "AB:" * 8, " a ") == replace(instruction("retire", "ab" * 8, "a"))


def test_no_verb_is_told_that_nobody_knows() -> None:
    """Whatever the socket is sent."""
    with pytest.raises(ValueError, match="write one of approve, retire, confirm, abort, pause, resume"):
        instruction("anoint", ANCHOR, "a")
