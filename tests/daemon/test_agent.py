"""The agent over its keepers: the heart, the clock, what comes and goes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.configuration import RenewalPolicy
from agent.core.status import Health
from agent.daemon import keeper as keeping
from agent.daemon.agent import About, Agent
from agent.errors import AgentError
from tests.daemon.world import WANTED, World

if TYPE_CHECKING:
    from collections.abc import Callable

BEAT = timedelta(milliseconds=10)


class Manager:
    """A service manager that counts what it is told."""

    def __init__(self) -> None:
        self.alives = 0

    def ready(self, sentence: str) -> None:
        """Not told by the agent itself."""

    def alive(self) -> None:
        """Count it."""
        self.alives += 1

    def stopping(self) -> None:
        """Not told by the agent itself."""


class Run:
    """An agent that runs over one world, or several."""

    def __init__(self, *worlds: World) -> None:
        self.worlds = worlds
        self.manager = Manager()
        self.agent = Agent(About("0", "kafka1", "x.yaml"), lambda: worlds[0].now, self.manager, BEAT)
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.agent.run([world.keeper for world in worlds], self.stop))

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(5):
            while not holds():  # noqa: ASYNC110 - what is waited for sets no event
                await asyncio.sleep(0.005)

    async def end(self) -> None:
        """Stop it and wait."""
        self.stop.set()
        async with asyncio.timeout(5):
            await self.task


def named(name: str) -> World:
    """Return a world whose identity has that name."""
    return World(replace(WANTED, name=name))


async def test_every_identity_is_kept_and_the_heart_beats() -> None:
    """Both are issued, the manager is told that all turn, and the end is an end of all tasks."""
    run = Run(named("a"), named("b"))
    await run.until(lambda: run.agent.status().ready)
    await run.until(lambda: run.manager.alives > 3)
    status = run.agent.status()
    assert [one.name for one in status.identities] == ["a", "b"]
    assert status.health is Health.PASS
    assert status.loop_lag_seconds < 1
    before = len(asyncio.all_tasks())
    await run.end()
    assert len(asyncio.all_tasks()) == before - 4
    assert not run.agent.status().turning


async def test_before_the_first_look_nothing_is_ready() -> None:
    """An agent that has seen nothing yet says so."""
    world = World()
    agent = Agent(About("0", "kafka1", "x.yaml"), lambda: world.now, Manager())
    assert not agent.status().ready
    assert world.status.not_ready == ("not looked at yet",)
    assert world.status.health == "fail"
    with pytest.raises(RuntimeError):
        agent.add(world.keeper)


async def test_a_clock_that_jumps_wakes_every_keeper() -> None:
    """A host that slept past its renewal renews at the next beat of the heart."""
    world = World()
    run = Run(world)
    await run.until(lambda: run.agent.status().ready)
    world.now += timedelta(days=25)
    await run.until(lambda: world.ca.calls == 2)
    await run.end()


async def test_an_identity_comes_and_goes() -> None:
    """One that is dropped is left alone, another keeper takes its name over."""
    first, second = named("a"), named("b")
    run = Run(first)
    await run.until(lambda: run.agent.status().ready)
    run.agent.add(second.keeper)
    await run.until(lambda: second.ca.calls == 1 and run.agent.status().ready)
    await run.agent.drop("a")
    assert list(run.agent.keepers) == ["b"]
    with pytest.raises(AgentError, match="configured anew"):
        await first.keeper.turn()
    run.agent.add(first.restart())
    await run.until(lambda: run.agent.status().ready)
    assert first.ca.calls == 1
    await run.end()
    run.agent.add(named("late").keeper)
    assert "late" not in run.agent.keepers


async def test_one_that_hangs_holds_up_no_other_and_stops_the_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn without an end is no life sign; the others are kept all the same."""
    monkeypatch.setattr(keeping, "LONGEST_TURN", timedelta(milliseconds=30))
    hangs, good = named("a"), named("b")

    async def hang(*_: object, **__: object) -> object:
        await asyncio.Event().wait()
        raise AssertionError

    hangs.store.read = hang  # type: ignore[method-assign, assignment]
    run = Run(hangs, good)
    await run.until(lambda: good.ca.calls == 1)
    await run.until(lambda: not run.agent.status().turning)
    told = run.manager.alives
    await asyncio.sleep(0.05)
    assert run.manager.alives == told
    assert run.agent.status().health is Health.FAIL
    await run.end()


async def test_a_bug_in_a_keeper_ends_the_agent_loudly() -> None:
    """What nobody foresaw is raised; the service manager starts it again."""
    world = World()

    async def bug() -> object:
        raise RuntimeError("nobody foresaw this")

    world.store.read = bug  # type: ignore[method-assign, assignment]
    run = Run(world)
    with pytest.raises(BaseExceptionGroup) as caught:
        await run.task
    assert caught.group_contains(RuntimeError, match="nobody foresaw this")


async def test_a_rule_that_contradicts_another_is_a_bug() -> None:
    """Thirty actions without an end of the turn are raised, not repeated for ever."""
    world = World(replace(WANTED, renewal=RenewalPolicy(at=0.5)))

    async def forget(_number: int) -> None:
        """Switch to nothing."""

    world.store.switch = forget  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError, match="actions and still"):
        await world.keeper.turn()


async def test_keepers_may_be_woken_one_and_all() -> None:
    """A wake is a look now."""
    world = World()
    run = Run(world)
    await run.until(lambda: run.agent.status().ready)
    looks = world.listener.looks
    world.listener.serves = None
    world.now += timedelta(minutes=6)
    run.agent.wake()
    await run.until(lambda: world.listener.looks > looks)
    await run.end()
