"""The admin socket, from its file to the answer, with its own client."""
# ruff: noqa: ASYNC240 - a look at a file of the test holds up nobody

from __future__ import annotations

import asyncio
import grp
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from agent.errors import AgentError, BusyError, MaterialError
from agent.host.peer import Gate
from agent.web import admin as admin_module
from agent.web.admin import LARGEST_REQUEST, MOST_CONNECTIONS, AdminServer
from agent.web.admin_client import NobodyListensError, ask
from agent.web.status_json import status_document
from agent.wiring.brought import LARGEST_CHAIN, read_chain
from tests.web.statuses import make_identity, make_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from agent.core.instruction import Instruction
    from agent.core.status import AgentStatus

ROOT = Path(__file__).parents[2]
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

ASK_AS = """
import asyncio, os, sys
from pathlib import Path
from agent.errors import AgentError
from agent.web.admin_client import ask
os.setgroups([])
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[2]))
try:
    print(asyncio.run(ask(Path(sys.argv[1]), "renew", identity="broker")))
except AgentError as error:
    print(type(error).__name__, error.diagnosis())
"""


class Commands:
    """Notes what it is told to do, as an agent would do it."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.answer = make_status(make_identity())

    async def renew(self, identity: str | None, *, discard_edits: bool) -> tuple[str, ...]:
        """Renew, when it may go on."""
        self.begun.set()
        await self.go_on.wait()
        if identity == "unknown":
            raise AgentError("there is no identity named unknown", advice="there is broker")
        if identity == "bug":
            raise RuntimeError("a bug with a detail")
        self.done.append(("renew", identity, discard_edits))
        return (f"{identity} is renewed",)

    async def roll_back(self, identity: str | None, to: int | None) -> tuple[str, ...]:
        """Roll back."""
        self.done.append(("rollback", identity, to))
        return ("rolled back",)

    async def csr(self, identity: str | None) -> tuple[str, ...]:
        """Print a CSR."""
        self.done.append(("csr", identity))
        return ("-----BEGIN CERTIFICATE REQUEST-----", "-----END CERTIFICATE REQUEST-----")

    async def take_in(self, identity: str | None, chain: str) -> tuple[str, ...]:
        """Take in a chain."""
        self.done.append(("import", identity, chain))
        return ("taken in",)

    async def ca(self, said: Instruction) -> tuple[str, ...]:
        """Do what a person says of a rotation."""
        self.done.append((said.verb, said.about, said.by, said.force))
        return (f"{said.verb} by {said.by}",)

    async def once(self) -> tuple[str, ...]:
        """Do what is due."""
        return ("broker: done",)

    async def plan(self) -> tuple[str, ...]:
        """Tell the plan."""
        return ("broker: nothing is due", "client: nothing is due")

    def status(self) -> AgentStatus:
        """Tell how the agent is."""
        return self.answer


@pytest.fixture
async def commands() -> Commands:
    """What the server has done."""
    return Commands()


@pytest.fixture
def path() -> Iterator[Path]:
    """Where the socket is: a folder with a short name that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="cert-agent-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "admin.sock"


@asynccontextmanager
async def serve(path: Path, commands: Commands, group: str | None = None) -> AsyncIterator[AdminServer]:
    """Serve at the path, and take no longer than a test may."""
    async with asyncio.timeout(30), AdminServer(path, Gate(group), commands) as server:
        yield server


async def exchange(path: Path, raw: bytes) -> dict[str, Any]:
    """Send bytes of any kind, and read the answer."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(raw)
    try:
        answer: dict[str, Any] = json.loads(await reader.readline())
    finally:
        writer.transport.abort()
    return answer


async def test_each_command_reaches_the_agent_with_its_arguments(path: Path, commands: Commands) -> None:
    """What is left out is what the command line leaves out."""
    async with serve(path, commands):
        assert await ask(path, "renew", identity="broker", discard_edits=True) == {"lines": ["broker is renewed"]}
        assert await ask(path, "renew") == {"lines": ["None is renewed"]}
        assert await ask(path, "rollback", identity="broker", to=41) == {"lines": ["rolled back"]}
        assert await ask(path, "rollback", identity=None, to=None) == {"lines": ["rolled back"]}
        assert (await ask(path, "plan"))["lines"] == ["broker: nothing is due", "client: nothing is due"]
        assert (await ask(path, "once"))["lines"] == ["broker: done"]
        assert len((await ask(path, "csr", identity="broker"))["lines"]) == 2
        assert await ask(path, "import", identity=None, chain="a\nb") == {"lines": ["taken in"]}
        assert await ask(path, "ca pause", about=None, by="alice") == {"lines": ["pause by alice"]}
    assert commands.done == [
        ("renew", "broker", True),
        ("renew", None, False),
        ("rollback", "broker", 41),
        ("rollback", None, None),
        ("csr", "broker"),
        ("import", None, "a\nb"),
        ("pause", None, "alice", False),
    ]


FINGERPRINT = "AB:CD:EF:01:23:45:67:89"


@pytest.mark.parametrize(
    ("verb", "arguments", "told"),
    [
        ("approve", {"about": FINGERPRINT, "by": " alice "}, ("approve", "abcdef0123456789", "alice", False)),
        ("retire", {"about": "ab" * 32, "by": "a", "force": True}, ("retire", "ab" * 32, "a", True)),
        ("confirm", {"about": "orders-1:9093", "by": "a"}, ("confirm", "orders-1:9093", "a", False)),
        ("abort", {"about": "broker", "by": "a"}, ("abort", "broker", "a", False)),
        ("resume", {"by": "a"}, ("resume", None, "a", False)),
    ],
)
async def test_what_is_said_of_a_rotation_reaches_the_agent(
    path: Path, commands: Commands, verb: str, arguments: dict[str, Any], told: tuple[Any, ...]
) -> None:
    """A fingerprint as tools print it; who says so, beside whom the kernel says, which is logged."""
    with capture_logs() as logs:
        async with serve(path, commands):
            assert (await ask(path, f"ca {verb}", **arguments))["lines"] == [f"{verb} by {told[2]}"]
    assert commands.done == [told]
    (came,) = [one for one in logs if one["event"] == "a command came"]
    assert (came["command"], came["user"]) == (f"ca {verb}", os.getuid())


@pytest.mark.parametrize(
    ("command", "arguments", "why"),
    [
        ("ca anoint", {"about": FINGERPRINT, "by": "a"}, "no such verb"),
        ("ca ", {"by": "a"}, "no such verb"),
        ("ca approve", {"about": FINGERPRINT}, "who says so is no name"),
        ("ca approve", {"about": FINGERPRINT, "by": "\x1b[2J"}, "who says so is no name"),
        ("ca approve", {"about": FINGERPRINT, "by": "a" * 101}, "who says so is no name"),
        ("ca approve", {"about": FINGERPRINT[:-1], "by": "a"}, "the fingerprint is none"),
        ("ca approve", {"about": "ab" * 33, "by": "a"}, "the fingerprint is none"),
        ("ca approve", {"about": "g" * 64, "by": "a"}, "the fingerprint is none"),
        ("ca retire", {"by": "a"}, "the fingerprint is none"),
        ("ca retire", {"about": "ab" * 32, "by": "a", "force": 1}, "force is no bool"),
        ("ca approve", {"about": "ab" * 32, "by": "a", "force": True}, "approve forces nothing"),
        ("ca confirm", {"about": " ", "by": "a"}, "the peer is none"),
        ("ca confirm", {"about": "a\nb", "by": "a"}, "the peer is none"),
        ("ca pause", {"about": 5, "by": "a"}, "about is no str"),
        ("ca pause", {"by": "a", "until": "tomorrow"}, "arguments that the agent does not know"),
    ],
)
async def test_what_nobody_can_have_said_does_not_reach_the_agent(
    path: Path, commands: Commands, command: str, arguments: dict[str, Any], why: str
) -> None:
    """Whoever speaks to the socket without the command line is held to the same."""
    async with serve(path, commands):
        with pytest.raises(AgentError, match=why):
            await ask(path, command, **arguments)
    assert commands.done == []


@pytest.mark.parametrize(
    "longest", [b"A", b'"', b"\\", b"\t", b"\r\n", b"\x00", b"\x7f", "é".encode(), bytes(range(256))]
)
async def test_a_chain_as_long_as_any_reaches_the_agent(
    path: Path, tmp_path: Path, commands: Commands, longest: bytes
) -> None:
    """What the command line reads of a file, the socket takes, whatever JSON makes of its line ends and quotes."""
    file, name = tmp_path / "chain.pem", "b" * 250
    file.write_bytes((longest * LARGEST_CHAIN)[:LARGEST_CHAIN])
    chain = read_chain(str(file))
    assert len(chain) == LARGEST_CHAIN
    async with serve(path, commands):
        assert await ask(path, "import", identity=name, chain=chain) == {"lines": ["taken in"]}
    assert commands.done == [("import", name, chain)]
    file.write_bytes((longest * (LARGEST_CHAIN + 1))[: LARGEST_CHAIN + 1])
    with pytest.raises(MaterialError, match="more than 95000 bytes"):
        read_chain(str(file))


@pytest.mark.parametrize("size", [LARGEST_REQUEST, 2 * LARGEST_REQUEST, 20 * LARGEST_REQUEST])
async def test_a_chain_that_is_longer_than_any_is_refused(path: Path, commands: Commands, size: int) -> None:
    """Whatever else than the command line may send it: not kept in memory, and the next command is done."""
    async with serve(path, commands):
        with pytest.raises(AgentError):
            await ask(path, "import", identity="broker", chain="A" * size)
        assert (await ask(path, "plan"))["lines"]
    assert commands.done == []


async def test_status_is_the_document_of_the_endpoint(path: Path, commands: Commands) -> None:
    """The command line prints the same as /status has, however many identities there are."""
    commands.answer = make_status(*[make_identity()] * 300)
    async with serve(path, commands):
        assert await ask(path, "status") == {"status": status_document(commands.answer)}


async def test_what_was_not_done_comes_back_as_the_agents_own_words(path: Path, commands: Commands) -> None:
    """With its advice, as if it had happened in the command line's own process."""
    async with serve(path, commands):
        with pytest.raises(AgentError, match="there is no identity named unknown") as caught:
            await ask(path, "renew", identity="unknown")
    assert caught.value.advice == "there is broker"
    assert not isinstance(caught.value, NobodyListensError)


async def test_a_bug_is_told_in_the_log_and_not_to_the_asker(path: Path, commands: Commands) -> None:
    """The next command is done."""
    with capture_logs() as logs:
        async with serve(path, commands):
            with pytest.raises(AgentError, match="the agent met a bug") as caught:
                await ask(path, "renew", identity="bug")
            await ask(path, "renew", identity="broker")
    assert "detail" not in caught.value.diagnosis()
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["a command met a bug"]


async def test_who_commanded_is_in_the_log(path: Path, commands: Commands) -> None:
    """User and process, as the kernel has them."""
    with capture_logs() as logs:
        async with serve(path, commands):
            await ask(path, "plan")
    assert {"event": "a command came", "command": "plan", "user": os.geteuid(), "process": os.getpid()}.items() <= logs[
        0
    ].items()


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\n", "one line of JSON"),
        (b"renew\n", "one line of JSON"),
        (b"[]\n", "one line of JSON"),
        (b'{"command": "renew"}\n', "one line of JSON"),
        (b'{"command": 1, "arguments": {}}\n', "one line of JSON"),
        (b"\xff\xfe\n", "one line of JSON"),
        (b"[" * 5000 + b"\n", "one line of JSON"),
        (b"[" * (LARGEST_REQUEST - 1) + b"\n", "one line of JSON"),
        (b'{"command": "' + b"x" * LARGEST_REQUEST + b'", "arguments": {}}\n', "one line of JSON"),
        (b'{"command": "rm", "arguments": {}}\n', "does not know this command"),
        (b'{"command": "renew", "arguments": {"identity": 1}}\n', "identity is no str"),
        (b'{"command": "renew", "arguments": {"discard_edits": "no"}}\n', "discard_edits is no bool"),
        (b'{"command": "rollback", "arguments": {"to": true}}\n', "to is no int"),
        (b'{"command": "csr", "arguments": {"identity": 1}}\n', "identity is no str"),
        (b'{"command": "csr", "arguments": {"chain": "x"}}\n', "arguments that the agent does not know"),
        (b'{"command": "import", "arguments": {"identity": "broker", "chain": ["x"]}}\n', "chain is no str"),
        (b'{"command": "import", "arguments": {"file": "/etc/shadow"}}\n', "arguments that the agent does not know"),
        (b'{"command": "plan", "arguments": {"identity": "broker"}}\n', "arguments that the agent does not know"),
        (b'{"command": "status", "arguments": {"x": 1}}\n', "arguments that the agent does not know"),
    ],
)
async def test_a_request_that_is_none_is_refused(path: Path, commands: Commands, raw: bytes, why: str) -> None:
    """Nothing is done, and the next is answered."""
    async with serve(path, commands):
        answer = await exchange(path, raw)
        assert why in answer["error"]["what"]
        assert (await ask(path, "plan"))["lines"]
    assert commands.done == []


async def test_who_says_nothing_is_not_waited_for(
    path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request has its time."""
    monkeypatch.setattr(admin_module, "ASK_WITHIN", 0.1)
    async with serve(path, commands):
        assert "no command came" in (await exchange(path, b'{"command": "re'))["error"]["what"]


async def test_too_many_commands_at_a_time_are_told_so(path: Path, commands: Commands) -> None:
    """Those under way are done all the same."""
    commands.go_on.clear()
    async with serve(path, commands), asyncio.TaskGroup() as group:
        asked = [group.create_task(ask(path, "renew", identity=str(number))) for number in range(MOST_CONNECTIONS)]
        await commands.begun.wait()
        await asyncio.sleep(0.1)
        with pytest.raises(AgentError, match=f"{MOST_CONNECTIONS} commands are under way"):
            await ask(path, "renew")
        commands.go_on.set()
    assert len(commands.done) == len(asked) == MOST_CONNECTIONS


async def test_a_command_is_done_although_its_asker_has_gone(path: Path, commands: Commands) -> None:
    """A Ctrl-C in the terminal does not leave a renewal half done."""
    commands.go_on.clear()
    async with serve(path, commands):
        asking = asyncio.create_task(ask(path, "renew", identity="broker"))
        await commands.begun.wait()
        asking.cancel()
        await asyncio.wait([asking])
        commands.go_on.set()
        await ask(path, "plan")
        await asyncio.sleep(0.05)
    assert commands.done == [("renew", "broker", False)]


async def test_the_file_is_for_the_owner_and_the_group_whatever_the_umask(path: Path, commands: Commands) -> None:
    """0660, and gone at the end."""
    before = os.umask(0o077)
    try:
        async with serve(path, commands):
            found = path.lstat()
            assert stat.S_ISSOCK(found.st_mode)
            assert stat.S_IMODE(found.st_mode) == 0o660
    finally:
        os.umask(before)
    assert not path.exists()


async def test_a_stale_socket_is_replaced(path: Path, commands: Commands) -> None:
    """An agent that was killed has left its file behind."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NobodyListensError):
        await ask(path, "plan")
    async with serve(path, commands):
        assert (await ask(path, "plan"))["lines"]


async def test_a_live_socket_is_another_agents(path: Path, commands: Commands) -> None:
    """It is refused, and the first goes on undisturbed."""
    async with serve(path, commands):
        with pytest.raises(BusyError, match="another agent listens"):
            await AdminServer(path, Gate(None), commands).__aenter__()
        assert (await ask(path, "plan"))["lines"]


async def test_a_socket_too_busy_to_be_asked_is_live(path: Path, commands: Commands) -> None:
    """A full queue of callers is no sign of death."""
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
            with pytest.raises(BusyError):
                await AdminServer(path, Gate(None), commands).__aenter__()
    assert path.exists()


async def test_a_file_that_is_no_socket_is_left_alone(path: Path, commands: Commands) -> None:
    """Whoever wrote a wrong path loses nothing by it."""
    path.write_text("a key, say")
    with pytest.raises(AgentError, match="is no socket"):
        await AdminServer(path, Gate(None), commands).__aenter__()
    assert path.read_text() == "a key, say"


async def test_another_agents_socket_is_not_removed_at_the_end(path: Path, commands: Commands) -> None:
    """Whoever took the path since keeps it."""
    async with serve(path, commands):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    assert path.exists()


@pytest.mark.parametrize("where", ["nowhere/admin.sock", "x" * 120])
async def test_a_path_that_cannot_be_is_told(path: Path, commands: Commands, where: str) -> None:
    """A folder that is missing, and a name longer than a socket may have."""
    with pytest.raises(AgentError, match="cannot open the admin socket") as caught:
        await AdminServer(path.parent / where, Gate(None), commands).__aenter__()
    assert "http.admin_socket" in caught.value.advice


async def test_nobody_listens_where_there_is_nothing(path: Path) -> None:
    """An error of its own: the command line then acts by itself."""
    with pytest.raises(NobodyListensError):
        await ask(path, "plan")
    path.write_text("")
    with pytest.raises(NobodyListensError):
        await ask(path / "below a file", "plan")


async def test_an_agent_that_ends_amid_a_command_is_told(path: Path, commands: Commands) -> None:
    """Who asked knows that it was not done to its end."""
    commands.go_on.clear()
    async with serve(path, commands):
        asking = asyncio.create_task(ask(path, "renew", identity="broker"))
        await commands.begun.wait()
    with pytest.raises(AgentError, match="ended before it had answered `renew`") as caught:
        await asking
    assert not isinstance(caught.value, NobodyListensError)
    assert commands.done == []


async def test_an_answer_has_its_time(path: Path, commands: Commands) -> None:
    """The command line does not hang for ever."""
    commands.go_on.clear()
    async with serve(path, commands):
        with pytest.raises(AgentError, match="did not answer `renew` within"):
            await ask(path, "renew", within=timedelta(seconds=0.1))
        commands.go_on.set()


@pytest.mark.parametrize(
    "answer", [b"", b"{}\n", b"hello\n", b'{"lines": 1}\n', b'{"error": "x"}\n', b"[" * 9999 + b"\n"]
)
async def test_an_answer_that_no_agent_gives_is_refused(path: Path, answer: bytes) -> None:
    """Whatever else may listen there."""

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_unix_server(other, path):
        with pytest.raises(AgentError) as caught:
            await ask(path, "plan")
    assert not isinstance(caught.value, NobodyListensError)


async def as_other(path: Path, user: int, group: int) -> str:
    """Ask as another user, in a process of its own, and return what it printed."""
    arguments = [sys.executable, "-c", ASK_AS, str(path), str(user), str(group)]
    run = await asyncio.to_thread(subprocess.run, arguments, capture_output=True, text=True, check=True, cwd=ROOT)
    return str(run.stdout)


@needs_root
async def test_another_user_does_not_get_past_the_file(path: Path, commands: Commands) -> None:
    """The mode keeps it out, and it is told who may; it must not act by itself instead."""
    async with serve(path, commands):
        printed = await as_other(path, NOBODY, NOBODY)
    assert printed.startswith("AgentError")
    assert "may not be commanded by this user" in printed
    assert commands.done == []


@needs_root
async def test_another_user_does_not_get_past_the_kernels_word(path: Path, commands: Commands) -> None:
    """Even where somebody has opened the file to all."""
    with capture_logs() as logs:
        async with serve(path, commands):
            path.chmod(0o666)
            printed = await as_other(path, NOBODY, NOBODY)
    assert "user 65534 may not command this agent: be root" in printed
    assert commands.done == []
    assert [entry["log_level"] for entry in logs] == ["warning"]


@needs_root
async def test_a_member_of_the_group_commands(path: Path, commands: Commands) -> None:
    """The file is the group's, and the kernel's word is taken for the member."""
    group = next(group for group in grp.getgrall() if group.gr_gid not in (0, NOBODY))
    async with serve(path, commands, group.gr_name):
        assert path.lstat().st_gid == group.gr_gid
        printed = await as_other(path, NOBODY, group.gr_gid)
    assert "broker is renewed" in printed
    assert commands.done == [("renew", "broker", False)]


@needs_root
def test_a_group_that_the_agent_is_no_member_of_cannot_be_given_the_file(path: Path) -> None:
    """Without the right to do so the agent says what would help, and leaves nothing behind."""
    group = next(group for group in grp.getgrall() if group.gr_gid not in (0, NOBODY))
    path.parent.chmod(0o777)
    program = """
import asyncio, os, sys
from pathlib import Path
from agent.errors import AgentError
from agent.host.peer import Gate
from agent.web.admin import AdminServer
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    asyncio.run(AdminServer(Path(sys.argv[1]), Gate(sys.argv[2]), None).__aenter__())
except AgentError as error:
    print(error.diagnosis())
"""
    run = subprocess.run(
        [sys.executable, "-c", program, str(path), group.gr_name], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "SupplementaryGroups" in run.stdout
    assert not path.exists()
