"""One source, and two identities that differ in what has its anchors enter truststores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.anchors import Acceptance, Origin, Sighting
from agent.errors import TrustError
from agent.keystores import pem
from agent.trust.accepting import AcceptingSource
from agent.trust.files import FileAnchorSource
from tests.material import Ca

if TYPE_CHECKING:
    from pathlib import Path

ROOT = Ca.root().certificate


async def test_each_sighting_says_what_the_settings_say(tmp_path: Path) -> None:
    """Anchor, place and kind of source are those of the source itself, which goes on saying nothing."""
    path = tmp_path / "ca.pem"
    path.write_bytes(pem.encode([ROOT]))
    source = FileAnchorSource(path)
    for accept in Acceptance:
        assert await AcceptingSource(source, accept).sightings() == (Sighting(ROOT, str(path), Origin.FILE, accept),)
    assert await source.sightings() == (Sighting(ROOT, str(path), Origin.FILE),)


async def test_what_cannot_be_read_is_told_all_the_same(tmp_path: Path) -> None:
    """An empty folder is no empty answer."""
    with pytest.raises(TrustError, match="holds no file named"):
        await AcceptingSource(FileAnchorSource(tmp_path), Acceptance.ASK).sightings()
