"""Whatever goes wrong in which order while one certificate of AWS Private CA is had: it is paid for once.

Faults of the service, answers that are lost, a disk that holds what was noted and an agent that dies: once
they cease, within the five minutes for which the service knows an order again, there is one certificate.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from agent.errors import IssuerUnavailableError, OrderLostError
from tests.conformance import cas
from tests.conformance.asking import assert_telling, pending_for, refuted
from tests.material import make_request
from tests.servers.pca import Pca

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from agent.core.generation import Issued, Order, Pending
    from agent.ports import CertificateIssuer
    from tests.conformance.cas import Tested

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150), pytest.mark.asyncio(loop_scope="module")]

WITHIN = timedelta(seconds=0.8)
MOST_ATTEMPTS = 5
LONGEST_PAUSE = 50
"""Seconds; five of them are less than the time for which an order is known again."""

REQUEST = make_request(lifetime=timedelta(hours=36))
"""No whole days: the end is asked for as an instant, which a repeated call must not change."""

FAULTS: dict[str, Callable[[Pca, str], object]] = {
    "none": lambda _server, _call: None,
    "drop before": lambda server, call: server.faults.drop(call),
    "drop after": lambda server, call: server.faults.drop(call, after=True),
    "drop once": lambda server, call: server.faults.drop(call, times=1, after=True),
    "throttle": lambda server, call: server.faults.fail(call, "ThrottlingException", 400),
    "throttle once": lambda server, call: server.faults.fail(call, "ThrottlingException", 400, times=1),
    "500 before": lambda server, call: server.faults.fail(call),
    "500 after": lambda server, call: server.faults.fail(call, after=True),
    "503 after": lambda server, call: server.faults.fail(call, "ServiceUnavailable", 503, after=True),
    "late": lambda server, call: server.faults.hold(call, 1.0),
    "late answer": lambda server, call: server.faults.hold(call, 1.0, after=True),
    "in progress": lambda server, _call: setattr(server.orders, "pending", timedelta(minutes=10)),
}
CALLS = ("IssueCertificate", "GetCertificate", "*")

CRASHES = (
    "",
    "before the first note",
    "after the first note",
    "before the second note",
    "after the second note",
    "soon",
)


@dataclass(frozen=True)
class Attempt:
    """One call of `issue` with what goes wrong meanwhile, and the seconds that pass before the next."""

    fault: str = "none"
    call: str = "*"
    crash: str = ""
    pause: int = 10


ATTEMPTS = st.lists(
    st.builds(
        Attempt,
        fault=st.sampled_from(list(FAULTS)),
        call=st.sampled_from(CALLS),
        crash=st.sampled_from(CRASHES),
        pause=st.integers(0, LONGEST_PAUSE),
    ),
    min_size=1,
    max_size=MOST_ATTEMPTS,
)


class CrashError(Exception):
    """The agent dies."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ca(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tested]:
    """Have AWS Private CA's test server run."""
    async with cas.tested("aws_pca", tmp_path_factory.mktemp("aws_pca")) as ca:
        yield ca


class Agent:
    """Asks for one certificate; when it crashes, the next one knows what stands on disk."""

    def __init__(self, ca: Tested, server: Pca) -> None:
        self._ca, self._server = ca, server
        self._stack = AsyncExitStack()
        self._issuer: CertificateIssuer | None = None

    async def attempt(self, pending: Pending, attempt: Attempt) -> Issued | None:
        """Ask while something goes wrong; None when there is no answer yet, and nothing else is raised."""
        FAULTS[attempt.fault](self._server, attempt.call)
        try:
            return await self.ask(pending, WITHIN, attempt.crash)
        except OrderLostError:
            raise  # there is nothing that the service could have lost
        except IssuerUnavailableError as error:
            assert_telling(error, self._ca.secrets)
        except (CrashError, TimeoutError):
            await self.close()
        finally:
            self._server.faults.clear()
            self._server.orders.pending = timedelta()
            self._ca.later(timedelta(seconds=attempt.pause))
        return None

    async def ask(self, pending: Pending, within: timedelta, crash: str = "") -> Issued:
        """Ask, and crash where that is told."""
        if self._issuer is None:
            self._issuer = await self._stack.enter_async_context(self._ca.at(self._server.endpoint))
        when, _, which = crash.removesuffix(" note").partition(" the ")
        at = {"first": 1, "second": 2}.get(which)
        notes = 0

        async def first(_order: Order) -> None:
            nonlocal notes
            notes += 1
            if when == "before" and notes == at:
                raise CrashError

        async def then(_order: Order) -> None:
            if when == "after" and notes == at:
                raise CrashError

        async with asyncio.timeout(0.35 if when == "soon" else None):
            return await self._ca.issue(pending, by=self._issuer, within=within, first=first, then=then)

    async def close(self) -> None:
        """End: what is not on disk is lost."""
        await self._stack.aclose()
        self._issuer = None


@given(ATTEMPTS)
@example([Attempt(crash="before the second note")])  # the receipt is lost
@example([Attempt("drop after", "IssueCertificate", pause=50), Attempt("throttle", "IssueCertificate", "soon", 50)])
@example([Attempt("late", "IssueCertificate", "after the first note", 50)] * 5)
@example([Attempt("in progress", crash="after the second note"), Attempt("500 after"), Attempt("drop after")])
@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
async def test_whatever_goes_wrong_one_certificate_is_issued(ca: Tested, attempts: list[Attempt]) -> None:
    """Once the faults cease the leaf is there, it proves, and the CA has issued no other."""
    server = ca.server
    assert isinstance(server, Pca)
    agent, pending, issued = Agent(ca, server), pending_for(REQUEST), None
    try:
        for attempt in attempts:
            issued = await agent.attempt(pending, attempt)
            if issued is not None:
                break
        issued = issued or await agent.ask(pending, cas.WITHIN)
    finally:
        await agent.close()
    given = [one for one in server.issued if one.token == pending.token[:36]]
    assert [one.certificate.serial_number for one in given] == [issued.certificates[0].serial_number]
    assert refuted(pending, issued, await ca.issuer.anchors(), ca.clock()) == ()
    assert issued.remarks == ()
