"""A thousand renewals under the eyes of readers that never look away."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e import reader
from tests.stores.shelf import Shelf

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RENEWALS = 1000

NEVER_TORN = ("split", "combined", "pkcs12", "signed")

NAP = "0.003"
"""Seconds between two looks: five readers leave the writer a part of a small machine."""


async def test_readers_of_a_thousand_renewals_find_nothing_torn(quick_folder: Path) -> None:
    """Each in a process of its own: `.current` resolved once, the combined file, PKCS12, and leaf against truststore.

    A fifth opens certificate and key at their own paths, one after the other. Between the two it may
    straddle a switch, as docs/stores.md says; that is counted, and neither file is ever empty or missing.
    A reader that holds a generation for longer than three renewals take is overtaken: here they follow
    one another as fast as the machine can, and no reader of one file may ever be.
    """
    folder = quick_folder / "readers"
    folder.mkdir()
    shelf, stop = Shelf(folder), folder / "stop"
    await shelf.renew()
    readers = {
        kind: subprocess.Popen(  # noqa: ASYNC220 - it is started, and waited for at the end
            [sys.executable, reader.__file__, kind, str(shelf.directory), str(shelf.password), str(stop), NAP],
            stdout=subprocess.PIPE,
        )
        for kind in (*NEVER_TORN, "two_moments")
    }
    try:
        for _ in range(RENEWALS):
            await shelf.renew()
    finally:
        stop.touch()
        results = {kind: json.loads(process.communicate(timeout=30)[0]) for kind, process in readers.items()}
    for kind, result in results.items():
        assert result["count"] == 0, f"{kind}: {result}"
        assert result["leaves"] > RENEWALS / 20, f"{kind} looked too rarely to have seen anything: {result}"
    for kind in NEVER_TORN:
        assert results[kind]["straddles"] == 0
        assert results[kind]["overtaken"] <= (RENEWALS / 100 if kind == "split" else 0), results
