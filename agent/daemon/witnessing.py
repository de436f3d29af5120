"""What the peers of one identity say: asked when the plan says so, and held in memory until it is asked again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.testimony import NOT_ASKED
from agent.errors import MaterialError, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from datetime import datetime

    from structlog.typing import FilteringBoundLogger

    from agent.core.configuration import Wanted
    from agent.core.credentials import Credentials
    from agent.core.situation import Situation
    from agent.daemon.edges import Edges


class Witnessing:
    """The evidence of one identity; a process that has just been started has none, and asks anew."""

    def __init__(self, wanted: Wanted, edges: Edges, log: FilteringBoundLogger) -> None:
        self._wanted = wanted
        self._edges = edges
        self._log = log
        self._said = ""
        self.peers = NOT_ASKED
        self.asked_at: datetime | None = None
        self.reader_started_at: datetime | None = None

    async def look(self) -> None:
        """See when the process was started that reads the files as it starts, where the settings name one."""
        witness = self._edges.witness
        if witness is not None and self._wanted.rotation.process is not None:
            self.reader_started_at = await witness.reader_started_at()

    async def ask(self, situation: Situation) -> None:
        """Ask every peer; what cannot be asked is unknown, and never yes."""
        rotation, witness = situation.rotation, self._edges.witness
        if rotation is None:
            return
        if witness is None:
            self.peers = replace(NOT_ASKED, unknown="nobody here can ask them", staying=rotation.staying)
        else:
            found = await witness.testify(await self._shown(situation), rotation.known, rotation.staying)
            self.peers = replace(found, staying=rotation.staying)
        self.asked_at = self._edges.clock()
        if self.peers.unknown != self._said:
            self._said = self.peers.unknown
            if self._said and rotation.is_moving:
                self._log.warning("who the peers are is not known", why=self._said)

    async def _shown(self, situation: Situation) -> tuple[Credentials, ...]:
        """Return the leaf in use, and one of another CA that is not current yet: whoever takes that trusts its CA."""
        store, current, rotation = self._edges.store, situation.current, situation.rotation
        if current is None or rotation is None:
            return ()
        shown = [await self._loaded(store.credentials(current.number))]
        if rotation.candidate is not None:
            shown.append(await self._loaded(store.candidate()))
        return tuple(one for one in shown if one is not None)

    async def _loaded(self, credentials: Awaitable[Credentials | None]) -> Credentials | None:
        """Return a leaf and its key; None where they cannot be had: the other one is shown all the same."""
        try:
            return await credentials
        except (StoreError, MaterialError) as error:
            self._log.warning("a leaf cannot be shown to the peers", why=error.what, advice=error.advice)
            return None
