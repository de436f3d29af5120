"""A broker and a client from one CA of AWS Private CA to another, by an agent that is killed all along."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.certificate import Certificate
from agent.errors import AgentError
from agent.web.admin_client import ask
from tests.brokers.host import PATIENCE, broker_host
from tests.e2e.host import Host
from tests.rotation.rotation_host import ALICE, Orders, Stage
from tests.servers.pca import Pca, pca

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.e2e.host import Running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

BOTH = ("broker", "orders")
HELD = ("trusted", "leaving")
"""What is said of an anchor that is in the truststores."""
ENDS_WITHIN = 240.0
"""Seconds for the whole rotation."""

MOST_TOLD = 100
"""Lines of the log that are told where it has not ended."""

DELAYS = (0.0, 0.03, 0.1, 0.3)
"""Seconds from the word of a step to the kill, by turns: before it is begun, in the middle of it, and after."""


DIGITS = " 0123456789"
EVERY_STEP = {
    "write the truststores with the new anchors",
    "tell the readers",
    "look at what the listeners serve",
    "settle generation",
    "ask the CA for a leaf",
    "ask the peers",
    "prove the issued leaf and switch to it",
}
"""What the agent does in a rotation, in the words of its log; each is met by a kill at least once."""


@dataclass
class Agent:
    """The agent of both identities, which is killed as often as it says that it takes a step that is new."""

    host: Host
    environment: dict[str, str]
    steps: set[tuple[str, str]] = field(default_factory=set)
    kills: int = 0
    running: Running | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _read: int = 0

    async def again(self) -> None:
        """Kill it and start it on the settings of now."""
        async with self._turn:
            await self._kill()
            self.running = await self.host.start(**self.environment)

    async def kill(self) -> None:
        """Kill it; one that is being started is waited for."""
        async with self._turn:
            await self._kill()

    async def _kill(self) -> None:
        """Kill it; one that has ended by itself fails the test with its log."""
        if self.running is not None:
            process = self.running.process
            assert process.returncode is None, self.host.log()[-MOST_TOLD:]
            process.kill()
            await process.wait()
            self.running = None

    async def status(self) -> dict[str, dict[str, Any]]:
        """Return the status of each identity by its name; nothing while nobody answers."""
        with suppress(AgentError):
            status = await self.running.status() if self.running is not None else None
            return {one["name"]: one for one in status["identities"]} if status else {}
        return {}

    async def ask(self, command: str, **arguments: Any) -> None:
        """Give a command; one that a kill cuts off is given again by whoever still wants it."""
        with suppress(AgentError):
            await ask(self.host.folder / "admin.sock", command, **arguments)

    def is_news(self) -> bool:
        """Whether it has said since the last call that it takes a step that is new."""
        before = len(self.steps)
        with (self.host.folder / "agent.log").open("rb") as log:
            log.seek(self._read)
            told, _, _ = log.read().rpartition(b"\n")
        self._read += len(told)
        for line in told.splitlines():
            if b" now: " in line:
                event = json.loads(line)
                self.steps.add((event["identity"], event["event"]))
        return len(self.steps) > before

    async def be_killed(self) -> None:
        """Kill it and start it again at each new step, until cancelled."""
        while True:
            if self.is_news():
                await asyncio.sleep(DELAYS[self.kills % len(DELAYS)])
                # Who is cancelled meanwhile leaves no agent behind that nobody knows of.
                await asyncio.shield(self.again())
                self.kills += 1
            await asyncio.sleep(0.02)


@pytest.fixture
async def server() -> AsyncIterator[Pca]:
    """Run a server."""
    async with pca() as running:
        yield running


async def test_an_agent_that_is_killed_at_every_step_comes_from_one_ca_to_the_other(
    server: Pca, tmp_path: Path
) -> None:
    """Under load, with each leaf ordered once; every look of the client at the listeners ends well."""
    first = await server.make_ca(subordinate=False, common_name="Kafka Root 1")
    await asyncio.sleep(1.1)  # certificates tell their age in seconds
    second = await server.make_ca(subordinate=False, common_name="Kafka Root 2")
    old, new = (
        Certificate.from_der(server.authority(arn).chain[0].public_bytes(Encoding.DER)) for arn in (first, second)
    )
    with broker_host(tmp_path, kind="PEM") as broker:
        orders = Orders(broker)
        stage = Stage(broker, orders)
        issuer = {
            "type": "aws_pca",
            "certificate_authority_arn": first,
            "endpoint": server.endpoint,
            "sts_endpoint": server.endpoint,
        }
        stage.want(issuer="pca", trust=[{"issuer": "pca", "accept": "automatic"}])
        host = Host(tmp_path)
        http = host.settings["http"]
        host.settings = broker.settings | {"http": http, "issuers": {"pca": issuer}}
        agent = Agent(host, server.environment())
        try:
            await up(agent, stage)
            issuer["next_certificate_authority_arn"] = second
            await agent.again()
            agent.is_news()
            agent.steps.clear()
            async with stage.watched() as watch:
                tasks = [asyncio.create_task(work) for work in (agent.be_killed(), operate(agent, orders, issuer, new))]
                done, _ = await asyncio.wait({watch, *tasks}, timeout=ENDS_WITHIN, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
                assert done, f"it has not ended: {agent.host.log()[-MOST_TOLD:]}"
                for task in done:
                    await task
            await orders.stop()
        finally:
            await stage.close()
            await agent.kill()
    assert Counter(issued.certificate.issuer for issued in server.issued) == {old.subject: 2, new.subject: 2}
    assert {what.partition(" now: ")[0].rstrip(DIGITS) for _, what in agent.steps} >= EVERY_STEP
    assert agent.kills >= len(EVERY_STEP)
    assert stage.looks > agent.kills


async def up(agent: Agent, stage: Stage) -> None:
    """Have both in use, with records flowing."""
    await agent.again()
    directories = (stage.host.directory, stage.orders.directory)
    async with asyncio.timeout(PATIENCE):
        while not all((directory / ".current").is_symlink() for directory in directories):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
    await asyncio.to_thread(stage.host.node.start)
    assert agent.running is not None
    await agent.running.until_ready()
    await stage.orders.start()


async def operate(agent: Agent, orders: Orders, issuer: dict[str, Any], new: Certificate) -> None:
    """Do what is a person's to do until both are on the new CA alone: swap CAs, restart the client, vouch for it.

    The person does nothing for the client before the broker's identity asks for it.
    """
    swapped = False
    while True:
        await asyncio.sleep(0.3)
        found = {name: one["rotation"] for name, one in (await agent.status()).items() if one["rotation"]}
        if found.keys() != set(BOTH):
            continue
        held = {
            name: {one["fingerprint"] for one in of["anchors"] if one["state"] in HELD} for name, of in found.items()
        }
        if all(of["stage"] == "steady" and held[name] == {new.fingerprint} for name, of in found.items()):
            return
        if not swapped and all(new.fingerprint in anchors for anchors in held.values()):
            issuer["next_certificate_authority_arn"], issuer["certificate_authority_arn"] = (
                issuer["certificate_authority_arn"],
                issuer["next_certificate_authority_arn"],
            )
            swapped = True
            await agent.again()
        elif "orders" not in {one["peer"] for one in found["broker"]["awaited"]}:
            await asyncio.sleep(0.1)
        elif orders.is_behind:
            await orders.restart()
        else:
            why = found["broker"]["why"]
            trusts = "is not shown to trust" in why and new in orders.anchors
            if trusts or ("is not shown to use no leaf" in why and orders.leaf.issuer == new.subject):
                await agent.ask("ca confirm", about="orders", by=ALICE, force=False)
