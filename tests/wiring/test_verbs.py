"""The verbs on what may come through the socket, whoever sends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.errors import AgentError
from agent.keystores import pem
from agent.wiring.verbs import Verbs
from tests.daemon.world import World
from tests.material import Ca

if TYPE_CHECKING:
    from agent.core.status import AgentStatus


def no_status() -> AgentStatus:
    """Fail: nobody asks for it."""
    raise AssertionError


@pytest.mark.parametrize("around", ["\ud800", "é", "\x00", "\U0001f600"])
async def test_what_is_no_ascii_is_passed_over_around_certificates_and_is_none_within(around: str) -> None:
    """JSON can spell halves of characters, which no encoding takes."""
    world = World()
    verbs = Verbs(lambda: {"broker": world.keeper}, no_status)
    certificate = pem.encode([Ca.root().certificate]).decode()
    for chain, why in (
        (around, "there is no certificate in PEM in it"),
        (certificate.replace("\nM", f"\nM{around}", 1), "what was brought cannot be read: .* no base64"),
        (f"{around}{certificate}{around}", "no pending key of broker fits: there are none but certificates of CAs"),
    ):
        with pytest.raises(AgentError, match=why):
            await verbs.take_in("broker", chain)
