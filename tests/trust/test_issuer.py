"""An issuer's anchors: asked for once for all, and not more often than they change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import structlog

from agent.core.anchors import Origin, Sighting
from agent.errors import TrustError
from agent.trust import issuer
from agent.trust.issuer import BACK_OFF, FRESH, IssuerAnchorSource
from tests.material import Ca
from tests.trust.sources import anchors_of

if TYPE_CHECKING:
    from agent.core.certificate import Certificate

ROOT = Ca.root().certificate
OTHER = Ca.root("CN=Other").certificate


@dataclass
class Authority:
    """A CA that is only ever asked for its anchors and for those beside them, and takes its time."""

    name: str = "pki"
    now: float = 0.0
    calls: int = 0
    asked_beside: int = 0
    trouble: str = ""
    answer: tuple[Certificate, ...] = (ROOT, ROOT)
    beside: tuple[Certificate, ...] = ()
    trouble_beside: str = ""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    gate_beside: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Let everyone through."""
        self.gate.set()
        self.gate_beside.set()

    async def anchors(self) -> tuple[Certificate, ...]:
        """Answer once the gate is open."""
        self.calls += 1
        await self.gate.wait()
        if self.trouble:
            raise TrustError(self.trouble, advice="start it")
        return self.answer

    async def listed(self) -> tuple[Certificate, ...]:
        """Answer once the other gate is open."""
        self.asked_beside += 1
        await self.gate_beside.wait()
        if self.trouble_beside:
            raise TrustError(self.trouble_beside, advice="let it through")
        return self.beside

    def source(self) -> IssuerAnchorSource:
        """Return a source on this CA's clock."""
        return IssuerAnchorSource(self, lambda: self.now)


async def test_anchors_are_asked_for_every_five_minutes() -> None:
    """An answer holds for its time, and for no longer."""
    authority = Authority()
    source = authority.source()
    for authority.now in (0.0, FRESH - 1):
        assert await anchors_of(source) == (ROOT,)
    assert (authority.calls, authority.asked_beside) == (1, 1)
    authority.now, authority.answer = FRESH, (Ca.root("CN=New").certificate,)
    assert await anchors_of(source) == authority.answer
    assert (authority.calls, authority.asked_beside) == (2, 2)


async def test_anchors_are_asked_for_before_their_time_where_there_is_reason_to() -> None:
    """A leaf of a CA that nobody knows, or a person who has just changed it; not twice within a moment."""
    authority = Authority()
    source = authority.source()
    await anchors_of(source)
    authority.answer = (OTHER,)
    authority.now = BACK_OFF - 1
    source.forget()
    assert await anchors_of(source) == (ROOT,)
    authority.now = BACK_OFF
    source.forget()
    assert await anchors_of(source) == (OTHER,)
    assert authority.calls == 2


async def test_anchors_are_told_by_where_they_were_seen() -> None:
    """The issuer's own, then what it lists beside; one that is both is its own, and each comes once."""
    authority = Authority(beside=(OTHER, ROOT, OTHER))
    assert await authority.source().sightings() == (
        Sighting(ROOT, "issuer pki", Origin.OWN),
        Sighting(OTHER, "issuer pki", Origin.LISTED),
    )


async def test_anchors_are_asked_for_once_by_many() -> None:
    """A thousand identities that start together make one call."""
    authority = Authority()
    authority.gate.clear()
    source = authority.source()
    callers = [asyncio.create_task(anchors_of(source)) for _ in range(1000)]
    await asyncio.sleep(0)
    authority.gate.set()
    assert set(await asyncio.gather(*callers)) == {(ROOT,)}
    assert authority.calls == 1


async def test_anchors_that_failed_are_asked_for_again_after_a_pause() -> None:
    """A CA that is down is left alone for a while, also with what it lists; who asks meanwhile is told the same."""
    authority = Authority(trouble="the CA is down")
    source = authority.source()
    for authority.now in (0.0, BACK_OFF - 1):
        with pytest.raises(TrustError, match="the CA is down") as caught:
            await source.sightings()
        assert caught.value.advice == "start it"
    assert (authority.calls, authority.asked_beside) == (1, 0)
    authority.now, authority.trouble = BACK_OFF, ""
    assert await anchors_of(source) == (ROOT,)


async def test_anchors_that_cannot_be_had_are_not_the_old_ones() -> None:
    """After its time an answer is no answer: unknown is said as unknown."""
    authority = Authority()
    source = authority.source()
    await source.sightings()
    authority.now, authority.trouble = FRESH, "the CA is down"
    with pytest.raises(TrustError):
        await source.sightings()


async def test_what_is_listed_hides_no_own_anchor_when_it_fails() -> None:
    """It is a courtesy: the own ones are shown alone, it is logged once for each reason, and told again when it is."""
    authority = Authority(beside=(OTHER,), trouble_beside="denied")
    source = authority.source()
    with structlog.testing.capture_logs() as logs:
        for authority.now in (0.0, FRESH, 2 * FRESH):
            assert await source.sightings() == (Sighting(ROOT, "issuer pki", Origin.OWN),)
        assert [(log["log_level"], log["issuer"], log["reason"]) for log in logs] == [
            ("warning", "pki", "denied: let it through")
        ]
        authority.now, authority.trouble_beside = 3 * FRESH, ""
        assert await anchors_of(source) == (ROOT, OTHER)
        assert len(logs) == 1
        authority.now, authority.trouble_beside = 4 * FRESH, "denied"
        assert await anchors_of(source) == (ROOT,)
        assert len(logs) == 2


async def test_what_is_listed_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that hangs holds up nobody who asks for the own anchors."""
    monkeypatch.setattr(issuer, "LISTED_WITHIN", 0.05)
    authority = Authority(beside=(OTHER,))
    authority.gate_beside.clear()
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(5):
            assert await anchors_of(authority.source()) == (ROOT,)
    assert "no answer within 0.05 s" in logs[0]["reason"]


async def test_anchors_are_asked_for_by_the_next_when_one_gives_up() -> None:
    """A caller that is cancelled takes nobody with it."""
    authority = Authority()
    authority.gate.clear()
    source = authority.source()
    first, second = asyncio.create_task(anchors_of(source)), asyncio.create_task(anchors_of(source))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    authority.gate.set()
    assert await second == (ROOT,)
    assert authority.calls == 2
