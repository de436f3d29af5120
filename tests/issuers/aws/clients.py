"""An issuer of AWS Private CA at the test server, and a pending order as a store would keep it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from agent.core.generation import Order, Pending
from agent.core.issuer_spec import AwsAccess, AwsPcaSpec
from agent.issuers.aws.issuer import AwsPca
from agent.keystores import private_key, signing_request
from tests.material import make_key, make_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent.core.generation import Issued
    from agent.core.identity import Request
    from tests.servers.pca import Pca

WITHIN = timedelta(seconds=20)


class Clock:
    """The time, moved by what a test says."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def __call__(self) -> datetime:
        """Return the time of this host."""
        return datetime.now(UTC) + self.offset


@dataclass
class Kept:
    """A pending key on a disk that keeps what is noted, and when: by how many calls the server had heard."""

    server: Pca
    pending: Pending
    noted: list[tuple[Order, int]] = field(default_factory=list)

    async def note(self, order: Order) -> None:
        """Keep an order."""
        issued = self.server.count("IssueCertificate") + self.server.count("GetCertificate")
        self.noted.append((order, issued))
        self.pending = replace(self.pending, order=order)

    async def issue(self, issuer: AwsPca, within: timedelta = WITHIN) -> Issued:
        """Have it issued, as the daemon does: with what is on disk."""
        return await issuer.issue(self.pending, note=self.note, within=within)


def kept(server: Pca, request: Request | None = None, token: str = "0123456789abcdef") -> Kept:  # noqa: S107 - no secret
    """Return a new pending key."""
    request = request or make_request()
    key = make_key(request.key)
    pending = Pending(
        request=request,
        issuer="pca",
        token=token,
        made_at=datetime.now(UTC),
        public_key=private_key.public_der(key),
        csr=signing_request.make(key, request),
    )
    return Kept(server, pending)


@asynccontextmanager
async def issuer_at(
    server: Pca, authority: str, clock: Clock | None = None, *, access: AwsAccess | None = None, **changes: Any
) -> AsyncIterator[AwsPca]:
    """Open an issuer at the test server."""
    at = replace(access or AwsAccess(), endpoint=server.endpoint, sts_endpoint=server.endpoint)
    values: dict[str, Any] = {"name": "pca", "authority": authority, "access": at, "calls_per_second": 100.0}
    spec = AwsPcaSpec(**(values | changes))
    issuer = AwsPca(spec, clock or Clock())
    try:
        yield issuer
    finally:
        await issuer.close()
