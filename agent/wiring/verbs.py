"""What an operator can have done to the identities, beside a running agent or in its place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.errors import AgentError, MaterialError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


def in_lines(plan: Plan) -> tuple[str, ...]:
    """Return a plan as lines: what is next, and what comes after it."""
    if plan.action is None and len(plan.steps) <= 1:
        return (plan.sentence,)
    later = [f"  {step.due:%Y-%m-%d %H:%M:%SZ}  {step.why}" for step in sorted(plan.steps, key=lambda step: step.due)]
    return (plan.sentence, *later[1:])
