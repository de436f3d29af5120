"""What an operator can have done to the identities, beside a running agent or in its place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.core.instruction import RotationVerb
from agent.errors import AgentError, MaterialError, NotConcernedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from agent.core.instruction import Instruction
    from agent.core.plan import Plan
    from agent.core.status import AgentStatus
    from agent.daemon.keeper import Keeper

AT_A_TIME = 16
"""Identities that are acted on side by side."""


class Verbs:
    """The verbs, on keepers that may change under them when the configuration is read anew."""

    def __init__(self, keepers: Callable[[], Mapping[str, Keeper]], status: Callable[[], AgentStatus]) -> None:
        self._keepers = keepers
        self.status = status

    async def once(self) -> tuple[str, ...]:
        """Do what is due now for every identity; return a sentence for each."""
        places = asyncio.Semaphore(AT_A_TIME)

        async def turn(keeper: Keeper) -> str:
            async with places:
                try:
                    plan = await keeper.turn()
                except AgentError as error:
                    return f"{keeper.wanted.name}: {error.diagnosis()}"
                keeper.wake()
                return f"{keeper.wanted.name}: {plan.sentence}"

        async with asyncio.TaskGroup() as group:
            turns = [group.create_task(turn(keeper)) for _, keeper in sorted(self._keepers().items())]
        return tuple(turned.result() for turned in turns)

    async def plan(self) -> tuple[str, ...]:
        """Tell what would be done for every identity, and change nothing."""
        lines: list[str] = []
        for name, keeper in sorted(self._keepers().items()):
            lines += [f"{name}: {line}" for line in in_lines(await keeper.look())]
        return tuple(lines)

    async def renew(self, identity: str | None, *, discard_edits: bool) -> tuple[str, ...]:
        """Have a new leaf issued now; raise `AgentError` when it is not in use at the end."""
        return (await self._one(identity).renew(discard_edits=discard_edits),)

    async def roll_back(self, identity: str | None, to: int | None) -> tuple[str, ...]:
        """Go back to the generation before, or the one named; raise `AgentError` when there is none to go to."""
        return (await self._one(identity).roll_back(to),)

    async def csr(self, identity: str | None) -> tuple[str, ...]:
        """Return the CSR that a person is to have signed, in PEM (RFC 7468), a line each."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        csr = x509.load_der_x509_csr(await self._one(identity).csr())
        return tuple(csr.public_bytes(Encoding.PEM).decode().splitlines())

    async def take_in(self, identity: str | None, chain: str) -> tuple[str, ...]:
        """Take in the leaf and chain in PEM that a person brings; raise `AgentError` when it is not in use then."""
        from agent.keystores import pem

        keeper = self._one(identity)
        try:
            # Of what is no ASCII, the command line makes question marks too.
            certificates = pem.decode(chain.encode("ascii", "replace"))
        except MaterialError as error:
            raise MaterialError(f"what was brought cannot be read: {error.what}", advice=error.advice) from error
        return (await keeper.take_in(certificates),)

    async def ca(self, said: Instruction) -> tuple[str, ...]:
        """Do what a person says of a CA rotation; raise `AgentError` when it is not done.

        What is about an anchor or a peer goes to every identity: those that know nothing of it do nothing.
        """
        about, by = said.about or "", said.by
        match said.verb:
            case RotationVerb.APPROVE:
                return await self._every(lambda keeper: keeper.approve(about, by=by))
            case RotationVerb.RETIRE:
                return await self._every(lambda keeper: keeper.retire(about, by=by, force=said.force))
            case RotationVerb.CONFIRM:
                return await self._every(lambda keeper: keeper.confirm(about, by=by))
            case RotationVerb.ABORT:
                return (await self._one(said.about).abort(by=by),)
            case RotationVerb.PAUSE:
                return (await self._one(said.about).pause(by=by),)
            case RotationVerb.RESUME:
                return (await self._one(said.about).resume(by=by),)

    async def _every(self, work: Callable[[Keeper], Awaitable[str]]) -> tuple[str, ...]:
        places = asyncio.Semaphore(AT_A_TIME)

        async def done(keeper: Keeper) -> str | AgentError:
            async with places:
                try:
                    return await work(keeper)
                except AgentError as error:
                    return error

        keepers = [keeper for _, keeper in sorted(self._keepers().items())]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(done(keeper)) for keeper in keepers]
        return _together([task.result() for task in tasks])

    def _one(self, identity: str | None) -> Keeper:
        keepers = self._keepers()
        names = ", ".join(sorted(keepers))
        if identity is None and len(keepers) == 1:
            return next(iter(keepers.values()))
        if identity is None:
            raise AgentError("there are several identities", advice=f"name one of them: {names}")
        if identity not in keepers:
            raise AgentError(f"there is no identity named {identity}", advice=f"there is {names or 'none'}")
        return keepers[identity]


def _together(results: Sequence[str | AgentError]) -> tuple[str, ...]:
    """Return the sentences of what was done, unless something failed, or nobody knew what it was about."""
    sentences = tuple(result for result in results if isinstance(result, str))
    errors = [result for result in results if isinstance(result, AgentError)]
    failed = [error for error in errors if not isinstance(error, NotConcernedError)]
    if not failed and (sentences or not errors):
        return sentences
    if not failed or (len(failed) == 1 and not sentences):
        raise (failed or errors)[0]
    what = "; ".join(error.what for error in failed)
    if sentences:
        what = f"not all is done: {what}; what is done: {'; '.join(sentences)}"
    raise AgentError(what, advice=failed[0].advice)


def in_lines(plan: Plan) -> tuple[str, ...]:
    """Return a plan as lines: what is next, and what comes after it."""
    if plan.action is None and len(plan.steps) <= 1:
        return (plan.sentence,)
    later = [f"  {step.due:%Y-%m-%d %H:%M:%SZ}  {step.why}" for step in sorted(plan.steps, key=lambda step: step.due)]
    return (plan.sentence, *later[1:])
