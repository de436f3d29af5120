"""The agent: the keepers of all identities, and the heart that watches over them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from agent.core.status import AgentStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from agent.core.issuer_status import IssuerStatus
    from agent.daemon.keeper import Keeper
    from agent.ports import Notifier

HEARTBEAT = timedelta(seconds=30)
"""The longest time between two looks at the clock and at the agent's own tasks."""

JUMP = timedelta(seconds=2)
"""How far the wall clock may drift from the steady one within a heartbeat before all keepers look anew."""


@dataclass(frozen=True, slots=True)
class About:
    """What an agent is called: its version, the host it keeps, and the file that configures it."""

    version: str
    host: str
    configuration: str


def issuers(keepers: Iterable[Keeper]) -> tuple[IssuerStatus, ...]:
    """Return how each CA of some keepers is, once, by name."""
    found = {status.name: status for keeper in keepers for status in keeper.issuers}
    return tuple(found[name] for name in sorted(found))


class Agent:
    """Runs a keeper an identity, each its own task; one that waits or fails holds up no other."""

    def __init__(
        self, about: About, clock: Callable[[], datetime], notifier: Notifier, heartbeat: timedelta = HEARTBEAT
    ) -> None:
        self._about = about
        self._clock = clock
        self._notifier = notifier
        self._heartbeat = heartbeat
        self._log = structlog.get_logger()
        self._keepers: dict[str, Keeper] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._started_at = clock()
        self._lag = 0.0
        self._stopping = False

    @property
    def keepers(self) -> Mapping[str, Keeper]:
        """The keepers by the names of their identities."""
        return self._keepers

    async def run(self, keepers: Iterable[Keeper], stop: asyncio.Event) -> None:
        """Keep until `stop` is set; what a keeper raises is a bug, ends all and is raised."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for keeper in keepers:
                self.add(keeper)
            heart = group.create_task(self._beat(), name="heartbeat")
            await stop.wait()
            self._stopping, self._group = True, None
            heart.cancel()
            for task in self._tasks.values():
                task.cancel()

    def add(self, keeper: Keeper) -> None:
        """Start to keep one more identity; an agent that is stopping takes none on."""
        if self._stopping:
            return
        if self._group is None:
            raise RuntimeError("an agent that does not run keeps nothing")
        name = keeper.wanted.name
        self._keepers[name] = keeper
        self._tasks[name] = self._group.create_task(keeper.keep(), name=f"keeper of {name}")

    async def drop(self, name: str) -> None:
        """Keep an identity no longer; its files stay as they are."""
        keeper, task = self._keepers.pop(name), self._tasks.pop(name)
        task.cancel()
        await asyncio.wait([task])
        await keeper.step_down()

    def wake(self) -> None:
        """Have every identity looked at now."""
        for keeper in self._keepers.values():
            keeper.wake()

    def status(self) -> AgentStatus:
        """Return how the agent and its identities are, from their last looks."""
        now = self._clock()
        return AgentStatus(
            version=self._about.version,
            host=self._about.host,
            configuration=self._about.configuration,
            started_at=self._started_at,
            now=now,
            turning=self._group is not None and not self._trouble(),
            identities=tuple(self._keepers[name].status(now) for name in sorted(self._keepers)),
            issuers=issuers(self._keepers.values()),
            loop_lag_seconds=self._lag,
        )

    def _trouble(self) -> tuple[str, ...]:
        """Name the keepers that no longer turn."""
        ended = [name for name, task in self._tasks.items() if task.done()]
        stuck = [name for name, keeper in self._keepers.items() if keeper.is_stuck()]
        return (*(f"the keeper of {name} has ended" for name in ended), *(f"that of {name} hangs" for name in stuck))

    async def _beat(self) -> None:
        """Feed the watchdog after a look at the own tasks; notice a clock that jumped or a host that slept.

        The steady clock stands still while the host sleeps, and the wall clock does not: the
        difference between the two shows either.
        """
        loop = asyncio.get_running_loop()
        while True:
            trouble = self._trouble()
            if trouble:
                self._log.critical("the agent no longer turns", trouble="; ".join(trouble))
            else:
                self._notifier.alive()
            steady, wall = loop.time(), self._clock()
            await asyncio.sleep(self._heartbeat.total_seconds())
            passed = timedelta(seconds=loop.time() - steady)
            self._lag = max(0.0, (passed - self._heartbeat).total_seconds())
            jump = self._clock() - wall - passed
            if abs(jump) > JUMP:
                self._log.warning("the clock jumped, or the host slept", seconds=round(jump.total_seconds(), 1))
                self.wake()
