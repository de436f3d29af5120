"""Speak to a running agent through its admin socket."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agent.errors import AgentError

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_COMMAND = timedelta(minutes=20)
"""A renewal waits for the CA, the reload and every proof, each with a deadline of its own."""

LARGEST_ANSWER = 64 * 1024 * 1024
"""Bytes; a thousand identities that trust a whole system bundle stay below it."""


class NobodyListensError(AgentError):
    """No agent runs behind the socket: act without one, under the lock."""


async def ask(path: Path, command: str, *, within: timedelta = LONGEST_COMMAND, **arguments: Any) -> dict[str, Any]:
    """Have a running agent do a command, and return its answer.

    The commands: `renew` (identity, discard_edits), `rollback` (identity, to), `csr` (identity),
    `import` (identity, chain), `ca approve` and the other verbs of a CA rotation (about, by, force),
    `once` and `plan` answer `{"lines": [...]}`; `status` answers
    `{"status": {...}}`, the document of `/status`.

    Raise `NobodyListensError` when no agent runs, and `AgentError` with the agent's own words when
    it did not do it, with ours when it cannot be asked.
    """
    try:
        async with asyncio.timeout(within.total_seconds()):
            answer = await _exchange(path, {"command": command, "arguments": arguments})
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise NobodyListensError(f"no agent listens at {path}", advice="start it, or act without one") from None
    except PermissionError:
        raise AgentError(
            f"the agent at {path} may not be commanded by this user",
            advice="be root, the agent's user, or a member of http.admin_group",
        ) from None
    except TimeoutError:
        raise AgentError(
            f"the agent did not answer `{command}` within {within}", advice="see its log; it may still be at it"
        ) from None
    except OSError as error:
        raise AgentError(
            f"the agent at {path} cannot be asked: {error.strerror or error}", advice="see its log"
        ) from error
    return _read(answer, command)


async def _exchange(path: Path, request: dict[str, Any]) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        answer = bytearray()
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            await writer.drain()
            while len(answer) <= LARGEST_ANSWER and (chunk := await reader.read(64 * 1024)):
                answer += chunk
        except ConnectionError:
            # An end like any other, as when an agent turns somebody away unheard: `_read` asks whether all has come.
            pass
        return bytes(answer)
    finally:
        # Nothing is left to be written: there is no close to wait for.
        writer.transport.abort()


def _read(answer: bytes, command: str) -> dict[str, Any]:
    if not answer.endswith(b"\n"):
        raise AgentError(f"the agent ended before it had answered `{command}`", advice="see its log, and ask again")
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        document = None
    match document:
        case {"error": {"what": str(what), "advice": str(advice)}}:
            raise AgentError(what, advice=advice)
        case {"lines": [*_]} | {"status": {}}:
            return {**document}
        case _:
            raise AgentError("the answer is none that an agent gives", advice="see what listens at the socket")
