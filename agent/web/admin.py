"""The admin socket: the commands that act, for those whom the kernel vouches for.

A request and its answer are a JSON object a line each; a connection carries one of each. A request
names a `command` and its `arguments`; an answer is `lines`, `status`, or an `error` with what
happened and what to do.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from typing import TYPE_CHECKING, Any, Protocol, Self

import structlog

from agent.core.instruction import instruction
from agent.errors import AgentError, BusyError
from agent.web.arguments import OF_A_ROTATION, expect_none, take
from agent.web.status_json import status_document

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from agent.core.instruction import Instruction
    from agent.core.status import AgentStatus

LARGEST_REQUEST = 256 * 1024
"""Bytes of a request, its line end included: a chain has 95 kB of ASCII at most, each of them two in JSON at most."""

ASK_WITHIN = 5.0
"""Seconds in which a request must be there as a whole."""

TAKE_WITHIN = 30.0
"""Seconds in which an answer must be taken."""

MOST_CONNECTIONS = 16

OWN_AND_GROUP = 0o660


class AdminHandler(Protocol):
    """What has a command done; a method raises `AgentError` when it was not."""

    async def renew(self, identity: str | None, *, discard_edits: bool) -> tuple[str, ...]:
        """Have a new leaf issued; return a sentence for each thing done."""

    async def roll_back(self, identity: str | None, to: int | None) -> tuple[str, ...]:
        """Go back to the generation before, or the one numbered; return a sentence for each thing done."""

    async def csr(self, identity: str | None) -> tuple[str, ...]:
        """Return the lines of the CSR that a person is to have signed, in PEM."""

    async def take_in(self, identity: str | None, chain: str) -> tuple[str, ...]:
        """Take in what a person had signed, in PEM; return a sentence for each thing done."""

    async def ca(self, said: Instruction) -> tuple[str, ...]:
        """Do what a person says of a CA rotation; return a sentence for each thing done."""

    async def once(self) -> tuple[str, ...]:
        """Do what is due now; return a sentence for each identity."""

    async def plan(self) -> tuple[str, ...]:
        """Tell what would be done."""

    def status(self) -> AgentStatus:
        """Tell how the agent is."""


class Asker(Protocol):
    """Who gave a command."""

    @property
    def pid(self) -> int:
        """The process."""

    @property
    def uid(self) -> int:
        """The user."""


class Gate(Protocol):
    """Who may command the agent."""

    @property
    def group_id(self) -> int | None:
        """The group that the socket's file is given; None leaves the agent's own."""

    def admit(self, connection: Any, /) -> Asker:
        """Return who connected; raise `AgentError` when they may not command the agent."""


class AdminServer:
    """Listens at `path` while it is entered; `gate` says who may command, `handler` has it done."""

    def __init__(self, path: Path, gate: Gate, handler: AdminHandler) -> None:
        self._path = path
        self._gate = gate
        self._handler = handler
        self._log = structlog.get_logger()
        self._serving: set[asyncio.Task[Any]] = set()
        self._listening: asyncio.Server | None = None
        self._file: tuple[int, int] | None = None

    async def __aenter__(self) -> Self:
        """Listen; raise `BusyError` when another agent does, `AgentError` when the socket cannot be made."""
        try:
            listener = self._bind()
        except OSError as error:
            raise AgentError(
                f"cannot open the admin socket {self._path}: {error.strerror or error}",
                advice="make its folder, writable for the agent's user, or set another as http.admin_socket",
            ) from error
        self._listening = await asyncio.start_unix_server(self._serve, sock=listener, limit=LARGEST_REQUEST)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no longer, remove the socket, and end the commands under way."""
        if self._listening is None:
            return
        self._listening.close()
        self._remove()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
        await self._listening.wait_closed()

    def _bind(self) -> socket.socket:
        """Bind, with the mode on the file from its first moment; nobody can connect before it is listened at."""
        if _identity_of(self._path) is not None:
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise AgentError(
                    f"{self._path} is no socket, and is left as it is", advice="set another as http.admin_socket"
                )
            if _is_live(self._path):
                raise BusyError(
                    f"another agent listens at {self._path}", advice="stop it, or set another as http.admin_socket"
                )
            # Left behind by an agent that was killed.
            self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Linux takes the mode of the file from the socket, less the umask, which belongs to all threads.
            os.fchmod(listener.fileno(), OWN_AND_GROUP)
            listener.bind(str(self._path))
            self._file = _identity_of(self._path)
            self._path.chmod(OWN_AND_GROUP)
            self._give_to_group()
        except BaseException:
            listener.close()
            self._remove()
            raise
        return listener

    def _remove(self) -> None:
        """Remove the socket's file, unless it is another agent's by now."""
        if self._file is not None and self._file == _identity_of(self._path):
            self._path.unlink(missing_ok=True)

    def _give_to_group(self) -> None:
        if self._gate.group_id is None:
            return
        try:
            os.chown(self._path, -1, self._gate.group_id)
        except PermissionError as error:
            raise AgentError(
                f"cannot give the admin socket {self._path} to group {self._gate.group_id}: {error.strerror}",
                advice="make the agent's user a member of http.admin_group (in a unit: SupplementaryGroups=)",
            ) from error

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._serving.add(task)
        try:
            answer = await self._answer(reader, writer.get_extra_info("socket"))
            async with asyncio.timeout(TAKE_WITHIN):
                writer.write(answer)
                writer.close()
                await writer.wait_closed()
        except ConnectionError:
            # The command is done, whether anybody waits for the answer or not.
            self._log.info("nobody waited for the answer to a command")
        except TimeoutError:
            writer.transport.abort()
            self._log.info("nobody took the answer to a command")
        except BaseException:
            writer.transport.abort()
            raise
        finally:
            self._serving.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, connection: Any) -> bytes:
        try:
            asker = self._gate.admit(connection)
            self._expect_room()
            command, arguments = await _read(reader)
            self._log.info("a command came", command=command, user=asker.uid, process=asker.pid)
            answer = await self._do(command, arguments)
        except AgentError as error:
            self._log.warning("a command was not done", reason=error.what)
            answer = _error(error)
        except Exception:  # noqa: BLE001 - a bug in one command is told loudly, and ends no renewal
            self._log.exception("a command met a bug")
            answer = _error(AgentError("the agent met a bug", advice="see its log, and report it"))
        return await asyncio.to_thread(_line, answer)

    def _expect_room(self) -> None:
        if len(self._serving) > MOST_CONNECTIONS:
            raise AgentError(f"{MOST_CONNECTIONS} commands are under way", advice="wait for one to end")

    async def _do(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        match command:
            case "renew":
                identity = take(arguments, "identity", str)
                discard_edits = take(arguments, "discard_edits", bool) or False
                expect_none(arguments)
                return {"lines": await self._handler.renew(identity, discard_edits=discard_edits)}
            case "rollback":
                identity, to = take(arguments, "identity", str), take(arguments, "to", int)
                expect_none(arguments)
                return {"lines": await self._handler.roll_back(identity, to)}
            case "csr":
                identity = take(arguments, "identity", str)
                expect_none(arguments)
                return {"lines": await self._handler.csr(identity)}
            case "import":
                identity, chain = take(arguments, "identity", str), take(arguments, "chain", str)
                expect_none(arguments)
                return {"lines": await self._handler.take_in(identity, chain or "")}
            case _ if command.startswith(OF_A_ROTATION):
                said = _instruction(command.removeprefix(OF_A_ROTATION), arguments)
                return {"lines": await self._handler.ca(said)}
            case "once":
                expect_none(arguments)
                return {"lines": await self._handler.once()}
            case "plan":
                expect_none(arguments)
                return {"lines": await self._handler.plan()}
            case "status":
                expect_none(arguments)
                return {"status": status_document(self._handler.status())}
            case _:
                raise AgentError("the agent does not know this command", advice="run the agent's own version of it")


async def _read(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    try:
        async with asyncio.timeout(ASK_WITHIN):
            line = await reader.readline()
        document = json.loads(line)
    except TimeoutError:
        raise AgentError(f"no command came within {ASK_WITHIN:.0f} seconds", advice="ask again") from None
    except (ValueError, RecursionError):
        document = None
    match document:
        case {"command": str(command), "arguments": {} as arguments}:
            return command, dict(arguments)
        case _:
            raise AgentError(
                f"a command is one line of JSON of at most {LARGEST_REQUEST} bytes", advice="use cert-agent to ask"
            )


def _instruction(verb: str, arguments: dict[str, Any]) -> Instruction:
    about, by = take(arguments, "about", str), take(arguments, "by", str)
    force = take(arguments, "force", bool) or False
    expect_none(arguments)
    try:
        return instruction(verb, about, by or "", force=force)
    except ValueError as error:
        raise AgentError(str(error), advice="use cert-agent to ask") from error


def _error(error: AgentError) -> dict[str, Any]:
    return {"error": {"what": error.what, "advice": error.advice}}


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def _identity_of(path: Path) -> tuple[int, int] | None:
    """Return what tells one file from another that took its path; None when there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _is_live(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        try:
            caller.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            # Somebody listens and is busy.
            return True
        return True
