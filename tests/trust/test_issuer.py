"""An issuer's anchors: asked for once for all, and not more often than they change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from agent.errors import TrustError
from agent.trust.issuer import BACK_OFF, FRESH, IssuerAnchorSource
from tests.material import Ca

if TYPE_CHECKING:
    from agent.core.certificate import Certificate

ROOT = Ca.root().certificate


@dataclass
class Authority:
    """A CA that is only ever asked for its anchors, and takes its time."""

    now: float = 0.0
    calls: int = 0
    trouble: str = ""
    answer: tuple[Certificate, ...] = (ROOT, ROOT)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Let everyone through."""
        self.gate.set()

    async def anchors(self) -> tuple[Certificate, ...]:
        """Answer once the gate is open."""
        self.calls += 1
        await self.gate.wait()
        if self.trouble:
            raise TrustError(self.trouble, advice="start it")
        return self.answer

    def source(self) -> IssuerAnchorSource:
        """Return a source on this CA's clock."""
        return IssuerAnchorSource(self, lambda: self.now)


async def test_anchors_are_asked_for_every_five_minutes() -> None:
    """An answer holds for its time, and for no longer."""
    authority = Authority()
    source = authority.source()
    for authority.now in (0.0, FRESH - 1):
        assert await source.anchors() == (ROOT,)
    assert authority.calls == 1
    authority.now, authority.answer = FRESH, (Ca.root("CN=New").certificate,)
    assert await source.anchors() == authority.answer
    assert authority.calls == 2


async def test_anchors_are_asked_for_once_by_many() -> None:
    """A thousand identities that start together make one call."""
    authority = Authority()
    authority.gate.clear()
    source = authority.source()
    callers = [asyncio.create_task(source.anchors()) for _ in range(1000)]
    await asyncio.sleep(0)
    authority.gate.set()
    assert set(await asyncio.gather(*callers)) == {(ROOT,)}
    assert authority.calls == 1


async def test_anchors_that_failed_are_asked_for_again_after_a_pause() -> None:
    """A CA that is down is left alone for a while; who asks meanwhile is told the same."""
    authority = Authority(trouble="the CA is down")
    source = authority.source()
    for authority.now in (0.0, BACK_OFF - 1):
        with pytest.raises(TrustError, match="the CA is down") as caught:
            await source.anchors()
        assert caught.value.advice == "start it"
    assert authority.calls == 1
    authority.now, authority.trouble = BACK_OFF, ""
    assert await source.anchors() == (ROOT,)


async def test_anchors_that_cannot_be_had_are_not_the_old_ones() -> None:
    """After its time an answer is no answer: unknown is said as unknown."""
    authority = Authority()
    source = authority.source()
    await source.anchors()
    authority.now, authority.trouble = FRESH, "the CA is down"
    with pytest.raises(TrustError):
        await source.anchors()


async def test_anchors_are_asked_for_by_the_next_when_one_gives_up() -> None:
    """A caller that is cancelled takes nobody with it."""
    authority = Authority()
    authority.gate.clear()
    source = authority.source()
    first, second = asyncio.create_task(source.anchors()), asyncio.create_task(source.anchors())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    authority.gate.set()
    assert await second == (ROOT,)
    assert authority.calls == 2
