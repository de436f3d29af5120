"""A CA that lies, or something else in its place: nothing is taken that should not be, and nothing costs much.

Either the issuer raises `IssuanceError` with a reason, or the proof finds what is wrong; nothing else is raised.
"""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from agent.core.generation import Order
from agent.errors import IssuanceError, IssuerUnavailableError
from tests.conformance import cas
from tests.conformance.asking import assert_telling, pending_for, refuted
from tests.conformance.bodies import BODIES, SIZE, make_bombs
from tests.conformance.liars import Liar, liar
from tests.conformance.lies import LIES, TEXTS, honest, texts_of
from tests.servers.hostile import Hostile, answers, floods, hostile
from tests.servers.pca import Pca
from tests.servers.pca_faults import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from agent.core.generation import Pending
    from agent.ports import CertificateIssuer
    from tests.conformance.cas import Tested

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

WITHIN = timedelta(seconds=2)
SPARE = timedelta(seconds=2)
"""How much later than it should an answer may come on a busy machine."""

MOST_MEMORY = 30_000_000
"""Bytes that an answer may cost, whatever it is."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=cas.NETWORKED)
async def ca(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tested]:
    """Have one of the CAs run that are asked over a network."""
    async with cas.tested(request.param, tmp_path_factory.mktemp(request.param)) as ca:
        yield ca


@pytest_asyncio.fixture(loop_scope="module")
async def lying(ca: Tested) -> AsyncIterator[Liar]:
    """Have it lie."""
    async with liar(ca) as lying:
        yield lying


@dataclass(frozen=True)
class Imposture:
    """What stands in a CA's place, and an issuer that takes it for the CA."""

    server: Hostile
    issuer: CertificateIssuer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def imposture(ca: Tested) -> AsyncIterator[Imposture]:
    """Have something else stand in its place."""
    await asyncio.to_thread(make_bombs)  # it takes a second, which is not the issuer's
    async with hostile(answers(200)) as server, ca.at(server.address) as issuer:
        yield Imposture(server, issuer)


@contextmanager
def bounded() -> Iterator[None]:
    """Assert that what happens meanwhile takes little memory, that of the test's own server included, and time."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    assert loop.time() - start < (WITHIN + SPARE).total_seconds()


async def outcome(ca: Tested, by: CertificateIssuer, pending: Pending, lying: Liar) -> set[str]:
    """Return the reason of the error, or the checks that refute what was issued."""
    try:
        issued = await ca.issue(pending, by=by, within=cas.WITHIN)
    except IssuanceError as error:
        assert_telling(error, ca.secrets)
        return {error.reason}
    return {finding.check for finding in refuted(pending, issued, lying.pki.anchors)}


# --- Certificates that are not what was asked for -------------------------------------------


async def test_an_honest_answer_proves(ca: Tested, lying: Liar) -> None:
    """So the lies below are found for what they are."""
    pending = pending_for()
    lying.say(*texts_of(honest(lying.pki, pending)))
    assert await lying.issuer.anchors() == lying.pki.anchors
    assert await outcome(ca, lying.issuer, pending, lying) == set()


@pytest.mark.parametrize("name", LIES)
async def test_a_lie_is_found(ca: Tested, lying: Liar, name: str) -> None:
    """The check that is there for it refutes the answer."""
    lie, check = LIES[name]
    pending = pending_for()
    lying.say(*texts_of(lie(lying.pki, pending)))
    assert check in await outcome(ca, lying.issuer, pending, lying)


@pytest.mark.parametrize("name", TEXTS)
async def test_what_is_no_certificate_is_not_taken_for_one(ca: Tested, lying: Liar, name: str) -> None:
    """The error names its reason, or the proof has something against what was read."""
    make, expected = TEXTS[name]
    pending = pending_for()
    lying.say(*make(lying.pki, pending, *texts_of(honest(lying.pki, pending))))
    with bounded():
        assert expected in await outcome(ca, lying.issuer, pending, lying)


# --- What is no CA --------------------------------------------------------------------------


@pytest.mark.parametrize("name", BODIES)
async def test_something_else_in_its_place_is_unavailable(ca: Tested, imposture: Imposture, name: str) -> None:
    """Whatever it sends, in bounded time and memory there is an error that can be shown."""
    await meet(ca, imposture, name, pending_for())


@pytest.mark.parametrize("ca", ["aws_pca"], indirect=True)
@pytest.mark.parametrize("name", BODIES)
async def test_an_order_that_stands_is_not_looked_for_in_it(ca: Tested, imposture: Imposture, name: str) -> None:
    """An issuer that keeps orders meets it, too, when it looks for what was ordered."""
    order = Order(asked_at=datetime.now(UTC), receipt=f"{ca.authority}/certificate/{'0' * 32}")
    await meet(ca, imposture, name, replace(pending_for(), order=order))


async def meet(ca: Tested, imposture: Imposture, name: str, pending: Pending) -> None:
    """Assert that asking ends with one of the errors that the table has."""
    behaviour, reasons = BODIES[name]
    imposture.server.then(behaviour)
    with bounded(), pytest.raises(IssuanceError) as caught:
        await ca.issue(pending, by=imposture.issuer, within=WITHIN)
    assert caught.value.reason in reasons
    assert_telling(caught.value, ca.secrets)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_leads_nowhere_else(ca: Tested, imposture: Imposture, status: int) -> None:
    """Neither what is asked nor what it is signed with goes to an address that nobody configured."""
    async with hostile(answers(200, {})) as elsewhere:
        imposture.server.then(answers(status, Location=f"{elsewhere.address}/v1/"))
        with pytest.raises(IssuanceError) as caught:
            await ca.issue(pending_for(), by=imposture.issuer, within=WITHIN)
        assert_telling(caught.value, ca.secrets)
        assert elsewhere.heard == []


async def test_a_flood_is_not_read_to_its_end(ca: Tested, imposture: Imposture) -> None:
    """The sender gets rid of what fits into the buffers of two sockets, and of no more."""
    sent: list[int] = []
    imposture.server.then(floods(sent, SIZE))
    with pytest.raises(IssuanceError):
        await ca.issue(pending_for(), by=imposture.issuer, within=WITHIN)
    assert 0 < sent[-1] < SIZE / 2


# --- An answer to an order that names no certificate ------------------------------------------

RECEIPTS: dict[str, bytes] = {
    "none": b"{}",
    "null": b'{"CertificateArn": null}',
    "a number": b'{"CertificateArn": 5}',
    "empty": b'{"CertificateArn": ""}',
    "of another CA": b'{"CertificateArn": "arn:aws:acm-pca:eu-west-1:1:certificate-authority/x/certificate/y"}',
    "no object": b"[]",
    "no JSON": b"<html>",
    "nothing": b"",
}


@pytest.mark.parametrize("ca", ["aws_pca"], indirect=True)
@pytest.mark.parametrize("name", RECEIPTS)
async def test_an_order_without_a_receipt_is_one_certificate_all_the_same(ca: Tested, name: str) -> None:
    """The order was taken, its answer names nothing: asked again, it is the same certificate."""
    assert isinstance(ca.server, Pca)
    ca.server.faults.after = lambda asked, reply: (
        Reply(200, RECEIPTS[name]) if asked.operation == "IssueCertificate" else reply
    )
    pending, before = pending_for(), await ca.count()
    try:
        with pytest.raises(IssuerUnavailableError) as caught:
            await ca.issue(pending, within=WITHIN)
    finally:
        ca.server.faults.clear()
    assert_telling(caught.value, ca.secrets)
    issued = await ca.issue(pending)
    assert refuted(pending, issued, await ca.issuer.anchors()) == ()
    assert await ca.count() == before + 1
