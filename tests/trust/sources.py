"""What sources of trust anchors show, without where."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.certificate import Certificate
    from agent.ports import AnchorSource


async def anchors_of(source: AnchorSource) -> tuple[Certificate, ...]:
    """Return the anchors alone, in their order."""
    return tuple(sighting.anchor for sighting in await source.sightings())
