"""The broker is started once for each worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kafka.place import Place, started_place

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Start the broker."""
    with started_place(tmp_path_factory.mktemp("kafka")) as started:
        yield started
