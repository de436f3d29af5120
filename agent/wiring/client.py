"""The verbs of the command line: through the socket of a running agent, or in its place.

Each returns whether all is well, which becomes the exit code.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent.errors import AgentError
from agent.web.admin_client import NobodyListensError, ask
from agent.web.arguments import OF_A_ROTATION
from agent.wiring.clock import utc_now
from agent.wiring.rotation_report import rotation_in_a_line, rotation_in_words
from agent.wiring.standalone import standalone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from agent.core.configuration import Configuration
    from agent.core.instruction import Instruction
    from agent.daemon.agent import About
    from agent.wiring.verbs import Verbs


class Desk:
    """Has verbs done for one configuration, and says what came of them, a line at a time."""

    def __init__(self, configuration: Configuration, about: About, say: Callable[[str], None]) -> None:
        self._configuration = configuration
        self._about = about
        self._say = say

    async def once(self) -> bool:
        """Do what is due now; well is when every identity is ready afterwards."""
        try:
            self._tell((await self._ask("once"))["lines"])
            document = (await self._ask("status"))["status"]
        except NobodyListensError:
            async with standalone(self._configuration, self._about, utc_now, read_only=False) as verbs:
                self._tell(await verbs.once())
                document = self._document(verbs)
        return self._tell_why_not(document)

    async def renew(self, identity: str | None, *, discard_edits: bool) -> bool:
        """Have a new leaf issued, proven and in use; raise `AgentError` when it is not."""
        return await self._act(
            lambda verbs: verbs.renew(identity, discard_edits=discard_edits),
            "renew",
            identity=identity,
            discard_edits=discard_edits,
        )

    async def roll_back(self, identity: str | None, to: int | None) -> bool:
        """Go back to an earlier generation; raise `AgentError` when there is none to go to."""
        return await self._act(lambda verbs: verbs.roll_back(identity, to), "rollback", identity=identity, to=to)

    async def csr(self, identity: str | None) -> bool:
        """Print the CSR that a person is to have signed, in PEM and nothing else."""
        return await self._act(lambda verbs: verbs.csr(identity), "csr", identity=identity)

    async def take_in(self, identity: str | None, chain: str) -> bool:
        """Take in the leaf and chain in PEM that a person brings; raise `AgentError` when it is not in use then."""
        return await self._act(lambda verbs: verbs.take_in(identity, chain), "import", identity=identity, chain=chain)

    async def ca(self, said: Instruction) -> bool:
        """Do what a person says of a CA rotation; raise `AgentError` when it is not done."""
        return await self._act(
            lambda verbs: verbs.ca(said), f"{OF_A_ROTATION}{said.verb}", about=said.about, by=said.by, force=said.force
        )

    async def ca_status(self, identity: str | None, *, as_json: bool) -> bool:
        """Tell where each CA rotation stands, or that of one identity; well is when none is in a broken state."""
        document = await self._status_document(quiet=as_json)
        found = [one for one in document["identities"] if identity in (None, one["name"])]
        if not found:
            names = ", ".join(one["name"] for one in document["identities"])
            raise AgentError(f"there is no identity named {identity}", advice=f"there is {names or 'none'}")
        if as_json:
            rotations = [{"name": one["name"], "rotation": one.get("rotation")} for one in found]
            self._say(json.dumps({"now": document["now"], "identities": rotations}, indent=2))
        else:
            for one in found:
                self._tell(rotation_in_words(one, document["now"]))
        return not any(one["rotation"]["broken"] for one in found if one.get("rotation"))

    async def plan(self) -> bool:
        """Tell what would be done, and change nothing."""
        try:
            self._tell((await self._ask("plan"))["lines"])
        except NobodyListensError:
            async with standalone(self._configuration, self._about, utc_now, read_only=True) as verbs:
                self._tell(await verbs.plan())
        return True

    async def status(self, *, as_json: bool) -> bool:
        """Tell how every identity is; well is when all are ready."""
        document = await self._status_document(quiet=as_json)
        if as_json:
            self._say(json.dumps(document, indent=2))
            return not any(one["not_ready"] for one in document["identities"])
        for one in document["identities"]:
            self._tell(in_words(one))
        for one in document["issuers"]:
            self._tell(issuer_in_words(one))
        return self._tell_why_not(document)

    async def _status_document(self, *, quiet: bool) -> dict[str, Any]:
        """Return the status document of the running agent, or of a look in its place, told unless `quiet`."""
        try:
            document: dict[str, Any] = (await self._ask("status"))["status"]
        except NobodyListensError:
            async with standalone(self._configuration, self._about, utc_now, read_only=True) as verbs:
                await verbs.plan()
                document = self._document(verbs)
            if not quiet:
                self._say("no agent runs; this is what the disk tells")
        return document

    async def _act(self, work: Callable[[Verbs], Awaitable[tuple[str, ...]]], command: str, **arguments: Any) -> bool:
        try:
            self._tell((await self._ask(command, **arguments))["lines"])
        except NobodyListensError:
            async with standalone(self._configuration, self._about, utc_now, read_only=False) as verbs:
                self._tell(await work(verbs))
        return True

    async def _ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        path = self._configuration.http.admin_socket
        if path is None:
            raise NobodyListensError("no admin socket is configured")
        return await ask(path, command, **arguments)

    @staticmethod
    def _document(verbs: Verbs) -> dict[str, Any]:
        from agent.web.status_json import status_document

        return status_document(verbs.status())

    def _tell(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._say(line)

    def _tell_why_not(self, document: dict[str, Any]) -> bool:
        ready = True
        for one in document["identities"]:
            for why in one["not_ready"]:
                ready = False
                self._say(f"{one['name']}: not ready: {why}")
        return ready


def issuer_in_words(issuer: dict[str, Any]) -> list[str]:
    """Return one CA of the status document as lines for a person; nothing while all is well."""
    lines = [f"  {remark}" for remark in issuer["remarks"]]
    if issuer["trouble"]:
        lines.insert(0, f"  {issuer['trouble']}")
    return [f"{issuer['name']}: the CA ({issuer['kind']})", *lines] if lines else []


def in_words(identity: dict[str, Any]) -> list[str]:
    """Return one identity of the status document as lines for a person."""
    leaf, generation = identity["leaf"], identity["generation"]
    concerns = [f"  look at this: {concern}" for concern in identity["concerns"]]
    if leaf is None:
        return [f"{identity['name']}: no certificate; {identity['sentence']}", *concerns]
    lines = [
        f"{identity['name']}: generation {generation}, {leaf['subject']}, valid until {leaf['not_after']}",
        f"  in {identity['directory']}, from {identity['issuer']}, renewal at {identity['renew_at']}",
        f"  next: {identity['sentence']}",
    ]
    lines += [f"  {one['address']}: {one['verdict']}" for one in identity["listeners"]]
    lines += rotation_in_a_line(identity)
    return lines + concerns
