"""What has the anchors of a source enter truststores: each identity may say otherwise of one and the same source."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.anchors import Acceptance, Sighting
    from agent.ports import AnchorSource


class AcceptingSource:
    """Shows what another source shows, each with what has it enter truststores; the other is shared, and asked once."""

    def __init__(self, source: AnchorSource, accept: Acceptance) -> None:
        self._source = source
        self._accept = accept

    @property
    def silent(self) -> str:
        """Why the other may have shown less than there is."""
        return self._source.silent

    def forget(self) -> None:
        """Have the other forget."""
        self._source.forget()

    async def sightings(self) -> tuple[Sighting, ...]:
        """Return the other's anchors; raise `TrustError` as it does."""
        return tuple(replace(sighting, accept=self._accept) for sighting in await self._source.sightings())
