"""The network between the agent and a CA fails: in time there is an error, and afterwards one certificate.

A fault meets the call that has a certificate signed or ordered, or the one that fetches what was ordered.
"""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from agent.errors import IssuerUnavailableError
from tests.conformance import cas
from tests.conformance.asking import assert_telling, pending_for, refuted
from tests.material import make_request
from tests.servers.pca import Pca
from tests.servers.proxy import Drips, Halves, Link, Proxy, Way, hangs, passes, proxy, refuses, resets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent.core.generation import Order, Pending
    from agent.ports import CertificateIssuer, Note
    from tests.conformance.cas import Tested

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

REQUEST = make_request(lifetime=timedelta(hours=36))
"""No whole days: of AWS Private CA the end is asked for as an instant, which a repeated call must not change."""

WITHIN = timedelta(seconds=1.5)
SPARE = timedelta(seconds=2)
"""How much later than it should an error may come on a busy machine."""

MANY = 40
"""More calls than any client has connections."""

ANY: frozenset[str] = frozenset()

BROKEN = frozenset({"network", "malformed answer"})
"""The connection was there, and the call may have reached the CA."""

AWS = pytest.mark.parametrize("ca", ["aws_pca"], indirect=True)

FAULTS: dict[str, tuple[Way, frozenset[str]]] = {
    "nobody listens": (refuses, frozenset({"network", "unreachable"})),
    "nobody answers": (hangs, frozenset({"time-out"})),
    "reset after the request": (resets, BROKEN),
    "closed after the request": (Halves(0), BROKEN),
    "half a head": (Halves(20), BROKEN),
    "half an answer": (Halves(), BROKEN),
    "half an answer and a reset": (Halves(reset=True), BROKEN),
    "a byte a second": (Drips(), frozenset({"time-out"})),
}
"""What the network does, and the reasons that there may be."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=cas.NETWORKED)
async def ca(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tested]:
    """Have one of the CAs run that are asked over a network."""
    async with cas.tested(request.param, tmp_path_factory.mktemp(request.param)) as ca:
        yield ca


@dataclass(frozen=True)
class Line:
    """A CA behind a proxy, and an issuer that has asked it once already."""

    ca: Tested
    proxy: Proxy
    issuer: CertificateIssuer

    async def turn(self, way: Way) -> None:
        """Have new connections go this way, and end those that there are."""
        self.proxy.then(way)
        await self.proxy.cut()

    async def fail(self, pending: Pending, reasons: frozenset[str] = ANY, *, then: Note | None = None) -> None:
        """Assert that asking is told to be unavailable, in time and in words that can be shown."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(IssuerUnavailableError) as caught:
            await self.ca.issue(pending, by=self.issuer, within=WITHIN, then=then)
        assert loop.time() - start <= (WITHIN + SPARE).total_seconds()
        assert not reasons or caught.value.reason in reasons
        assert_telling(caught.value, self.ca.secrets)

    async def succeed(self, pending: Pending, *, restarted: bool = False) -> None:
        """Assert that asking a minute later gives a leaf that proves, be it an agent that knows but what is on disk."""
        self.ca.later(timedelta(minutes=1))
        if restarted:
            async with self.ca.at(self.proxy.address) as another:
                issued = await self.ca.issue(pending, by=another)
        else:
            issued = await self.ca.issue(pending, by=self.issuer)
        assert refuted(pending, issued, await self.ca.issuer.anchors(), self.ca.clock()) == ()


@pytest_asyncio.fixture(loop_scope="module")
async def line(ca: Tested) -> AsyncIterator[Line]:
    """Have a proxy before the CA."""
    async with proxy(ca.address) as before, ca.at(before.address) as issuer:
        await issuer.anchors()
        yield Line(ca, before, issuer)
    gc.collect()  # what was not closed is told of here, and not at the cost of another test


@pytest.mark.parametrize("restarted", [False, True], ids=["same agent", "restarted agent"])
@pytest.mark.parametrize("name", FAULTS)
async def test_asking_fails_in_time_and_succeeds_afterwards(ca: Tested, line: Line, name: str, restarted: bool) -> None:
    """Asked again for the same, the CA gives a leaf; where certificates are paid for there is one."""
    way, reasons = FAULTS[name]
    pending, before = pending_for(REQUEST), await ca.count()
    await line.turn(way)
    await line.fail(pending, reasons)
    await line.turn(passes)
    await line.succeed(pending, restarted=restarted)
    if ca.authority:
        assert await ca.count() == before + 1


@AWS
@pytest.mark.parametrize("name", FAULTS)
async def test_an_order_that_may_have_arrived_stands_on_disk(ca: Tested, line: Line, name: str) -> None:
    """It is taken back only where nothing can have come of it: whether it is in doubt is asked of the disk later."""
    way, _ = FAULTS[name]
    pending = pending_for(REQUEST)
    await line.turn(way)
    await line.fail(pending)
    assert (ca.orders[pending.token].asked_at is None) == (way is refuses)


@AWS
@pytest.mark.parametrize("restarted", [False, True], ids=["same agent", "restarted agent"])
@pytest.mark.parametrize("name", FAULTS)
async def test_fetching_fails_in_time_and_succeeds_afterwards(
    ca: Tested, line: Line, name: str, restarted: bool
) -> None:
    """What was ordered and is known by its receipt is fetched later, and not ordered again."""
    assert isinstance(ca.server, Pca)
    way, reasons = FAULTS[name]

    async def then(order: Order) -> None:
        if order.receipt:
            await line.turn(way)

    pending, before = pending_for(REQUEST), await ca.count()
    orders = ca.server.count("IssueCertificate")
    await line.fail(pending, reasons, then=then)
    assert ca.orders[pending.token].receipt
    await line.turn(passes)
    await line.succeed(pending, restarted=restarted)
    assert await ca.count() == before + 1
    assert ca.server.count("IssueCertificate") == orders + 1


@AWS
@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_that_lasts_is_one_certificate_in_the_end(ca: Tested, line: Line, name: str) -> None:
    """Three calls fail alike, the fourth succeeds."""
    way, reasons = FAULTS[name]
    pending, before = pending_for(REQUEST), await ca.count()
    await line.turn(way)
    for _ in range(3):
        await line.fail(pending, reasons)
    await line.turn(passes)
    await line.succeed(pending)
    assert await ca.count() == before + 1


async def stalls(link: Link) -> None:
    """Give the client all of the answer but its last byte, and leave it waiting."""
    await Halves(0)(link)
    await link.deliver(bytes(link.answer[:-1]))
    await asyncio.Event().wait()


async def test_answers_that_stall_take_nobody_s_place(line: Line) -> None:
    """More calls than there are connections give up in the midst of an answer; the next one is served at once."""
    await line.turn(stalls)
    await asyncio.gather(*(line.fail(pending_for(REQUEST)) for _ in range(MANY)))
    line.proxy.then(passes)
    await line.succeed(pending_for(REQUEST))
