"""The witness at listeners on real sockets, with the visitor that the agent has."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.anchors import ca_id
from agent.core.configuration import RotationPolicy
from agent.core.evidence import Verdict
from agent.wire.visit import Visitor
from tests.peers.cluster import Scene, by_name
from tests.wire.listeners import NOW, TLS12, TLS13, Identity, kafka, listening, make_ca, read_to_end

if TYPE_CHECKING:
    import ssl

    from agent.core.testimony import Testimony
    from tests.wire.listeners import Call, Way

pytestmark = pytest.mark.slow

OLD_CA, NEW_CA, NAMESAKE = make_ca("CN=Old"), make_ca("CN=New"), make_ca("CN=New")
OLD_ID, NEW_ID, NAMESAKE_ID = (ca_id(ca.certificate) for ca in (OLD_CA, NEW_CA, NAMESAKE))
SERVED, CURRENT, CANDIDATE = Identity.of(OLD_CA), Identity.of(OLD_CA), Identity.of(NEW_CA)
PROVEN, REFUTED = Verdict.PROVEN, Verdict.REFUTED


async def _told(way: Way, within: timedelta = timedelta(seconds=20)) -> Testimony:
    """Return what is told of a listener that is led like this."""
    with listening(way) as listener:
        scene = Scene(RotationPolicy(peers=(), listeners=(listener.address,)))
        witness = scene.witness()
        witness._tools = replace(witness._tools, visitor=Visitor(lambda: NOW), clock=lambda: NOW, within=within)
        shown = (CURRENT.credentials, CANDIDATE.credentials)
        known = [ca.certificate for ca in (OLD_CA, NEW_CA, NAMESAKE)]
        return by_name(await witness.testify(shown, known))[listener.address]


@pytest.mark.parametrize("version", [TLS12, TLS13])
async def test_canary_is_taken_or_refused(version: ssl.TLSVersion) -> None:
    """A leaf that is not current yet shows who trusts its CA, and not its namesake; the one that is served is known."""
    for trusted, verdicts in (
        (NEW_CA, {OLD_ID: REFUTED, NEW_ID: PROVEN}),
        (NAMESAKE, {OLD_ID: REFUTED, NEW_ID: REFUTED}),
    ):
        told = await _told(kafka(SERVED.context(version, trusted=trusted)))
        assert (told.trusts, told.uses, told.meets) == (verdicts, frozenset({OLD_ID}), True)


async def test_listener_that_asks_for_nothing_blocks_nothing() -> None:
    """No leaf is shown to it."""
    told = await _told(kafka(SERVED.context()))
    assert (told.meets, told.trusts, told.uses) == (False, {}, frozenset({OLD_ID}))


async def test_listener_that_hangs_is_unknown_in_time() -> None:
    """It takes the connection and never says a word."""

    def hang(call: Call) -> None:
        read_to_end(call.plain)

    told = await _told(hang, timedelta(seconds=1))
    assert (told.trusts, told.uses, told.meets) == ({}, None, True)
    assert "no TLS handshake within" in told.why


async def test_listener_that_serves_a_chain_is_of_its_root() -> None:
    """What comes behind the leaf leads on to the anchor."""
    below = OLD_CA.intermediate(not_before=NOW - timedelta(hours=2), not_after=NOW + timedelta(days=9))
    told = await _told(kafka(Identity.of(OLD_CA, below).context()))
    assert told.uses == frozenset({OLD_ID})
