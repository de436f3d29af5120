"""A world with a Kafka broker in memory that serves its first generation, and what is asked of it often."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.core.command import CommandReload
from tests.daemon.world import OF_BROKER, World
from tests.material import make_request

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted
    from agent.core.kafka_spec import KafkaBrokerReload
    from agent.core.restart import RestartDue

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SOON = 25 * MINUTE
"""Long enough for a try or two of every lane."""
RESTARTED = CommandReload(("systemctl", "restart", "kafka"), Path("/etc/cert-agent"))
FEWER = replace(OF_BROKER, request=make_request(dns=("kafka1.example.com",)))
MORE = replace(OF_BROKER, request=make_request(dns=("kafka1.example.com", "localhost", "kafka.example.com")))


def of(spec: KafkaBrokerReload) -> Wanted:
    """Return the identity of a broker that is told so."""
    return replace(OF_BROKER, reload=(spec,))


async def a_world(wanted: Wanted = OF_BROKER, **broker: Any) -> World:
    """Return a world whose broker serves the first generation, which is settled."""
    world = World(wanted)
    for name, value in broker.items():
        setattr(world.broker, name, value)
    await world.keeper.turn()
    assert world.broker.start()
    world.now += MINUTE
    await world.keeper.turn()
    assert settled(world)
    assert world.switches == [1]
    return world


def fall_due(world: World) -> None:
    """Let the time pass until the leaf is due."""
    at = world.status.renew_at
    assert at is not None
    world.now = at


def settled(world: World) -> bool:
    """Return whether the current generation is shown to be in use."""
    return world.status.settled


def told(world: World) -> RestartDue | None:
    """Return the restart that is told of now."""
    return world.status.restart


def only(anchor: Certificate) -> Callable[[], Coroutine[Any, Any, tuple[Certificate, ...]]]:
    """Return a source of trust that holds one anchor."""

    async def anchors() -> tuple[Certificate, ...]:
        return (anchor,)

    return anchors
