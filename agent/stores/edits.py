"""What truststores hold that a person has edited."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from agent.core.generation import Damage
from agent.errors import MaterialError
from agent.stores import rendering
from agent.stores.atomic import on_disk, read_bounded
from agent.stores.generations import GONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.core.files import Files
    from agent.core.generation import FileDamage, Generation


def read(
    directory: Path, wanted: tuple[Files, ...], generation: Generation, damages: Iterable[FileDamage]
) -> tuple[tuple[str, tuple[Certificate, ...]], ...]:
    """Return each edited truststore of a generation with what it holds, as readers who open its stable path see it.

    One that cannot be read is left out: that is a damage of its own. Raise `StoreError` for a disk that fails.
    """
    edited = {damage.name for damage in damages if damage.damage is Damage.EDITED_TRUSTSTORE}
    edited |= {file.name for file in generation.files if file.edited}
    return tuple(_read(directory, wanted, sorted(edited)))


def _read(
    directory: Path, wanted: tuple[Files, ...], names: Iterable[str]
) -> Iterator[tuple[str, tuple[Certificate, ...]]]:
    for name in names:
        with on_disk("reading a truststore", directory / name), contextlib.suppress(MaterialError, *GONE):
            yield name, rendering.read_anchors(wanted, name, read_bounded(directory / name))
