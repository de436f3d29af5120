"""The verbs without a running agent: the keepers of one configuration, under the same locks."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from agent.core.status import AgentStatus
from agent.daemon.agent import issuers
from agent.wiring.adapters import Adapters
from agent.wiring.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from agent.core.configuration import Configuration
    from agent.daemon.agent import About


@asynccontextmanager
async def standalone(
    configuration: Configuration, about: About, clock: Callable[[], datetime], *, read_only: bool
) -> AsyncIterator[Verbs]:
    """Offer the verbs; those that act take the locks first, those that read create and change nothing.

    Raise `BusyError` when another process holds a directory.
    """
    adapters = Adapters(configuration, clock, read_only=read_only)
    identities = configuration.identities
    keepers = {name: adapters.keeper(wanted) for name, wanted in identities.items()}
    started_at = clock()

    def status() -> AgentStatus:
        now = clock()
        return AgentStatus(
            version=about.version,
            host=about.host,
            configuration=about.configuration,
            started_at=started_at,
            now=now,
            turning=False,
            identities=tuple(keepers[name].status(now) for name in sorted(keepers)),
            issuers=issuers(keepers.values()),
        )

    verbs = Verbs(lambda: keepers, status)
    try:
        if read_only:
            yield verbs
            return
        from agent.wiring.locks import Locks

        locks = Locks()
        await locks.take(wanted.directory for wanted in identities.values())
        try:
            yield verbs
        finally:
            locks.release()
    finally:
        await adapters.close()
