"""AWS Private CA's API as the agent uses it: one call at a time in turn, each once and within a deadline."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agent.errors import IssuanceError, IssuerUnavailableError
from agent.issuers.aws.pace import Queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent.core.issuer_spec import AwsPcaSpec

STALE = frozenset({"credentials", "access denied", "TLS"})
"""Sorts of failures after which the credentials are found anew: files, roles and external ids may have been mended,
and so may a file of CAs."""


@dataclass(slots=True)
class _Lease:
    """A client with its connections, and how many calls are using it; a forgotten one is closed by its last."""

    stack: AsyncExitStack
    client: Any
    users: int = 0
    forgotten: bool = False


class PcaClient:
    """A client that is made when it is first used, and made anew when its credentials have failed."""

    def __init__(self, spec: AwsPcaSpec) -> None:
        self._spec = spec
        self._queue = Queue(spec.calls_per_second)
        self._making = asyncio.Lock()
        self._open: _Lease | None = None
        self._confidences: set[str] = set()

    async def call(self, operation: str, *, end: float, **parameters: Any) -> dict[str, Any]:
        """Return what an operation (`issue_certificate`) answers; `end` is on the loop's clock.

        Raise `IssuanceError`. A call that was not begun in time has not been made at all, and says so.
        """
        from agent.issuers.aws.session import told

        try:
            async with asyncio.timeout_at(end):
                await self._queue.turn()
        except TimeoutError:
            raise IssuerUnavailableError(
                "other identities' calls to AWS come first", advice="it is tried again", reason="queue"
            ) from None
        try:
            # What is told of a failure names the CA that was asked.
            asked = replace(self._spec, authority=parameters.get("CertificateAuthorityArn", self._spec.authority))
            with told(asked, self._confidences):
                async with asyncio.timeout_at(end), self._client(asked) as client:
                    answer = await getattr(client, operation)(**parameters)
                    if not isinstance(answer, dict):
                        raise TypeError(type(answer).__name__)
        except IssuanceError as error:
            if error.reason == "throttled":
                self._queue.throttled()
            elif error.reason == "in progress":
                self._queue.granted()
            raise
        self._queue.granted()
        return answer

    async def caller(self, *, end: float) -> str:
        """Return the ARN of who the agent is; raise `IssuanceError`."""
        from agent.issuers.aws.session import client_config, open_session, told

        access = self._spec.access
        with told(self._spec, self._confidences):
            async with asyncio.timeout_at(end):
                session = await open_session(access, self._spec.region, self._confidences)
                async with session.create_client(
                    "sts",
                    region_name=self._spec.region,
                    endpoint_url=access.sts_endpoint or None,
                    verify=str(access.ca_file) if access.ca_file else None,
                    config=client_config(access),
                ) as sts:
                    answer = await sts.get_caller_identity()
                    return str(answer["Arn"])

    async def close(self) -> None:
        """Close every connection that no call uses; one that is used is closed by its call."""
        lease, self._open = self._open, None
        if lease is not None:
            lease.forgotten = True
            if not lease.users:
                await lease.stack.aclose()

    @asynccontextmanager
    async def _client(self, asked: AwsPcaSpec) -> AsyncIterator[Any]:
        """Lend the client, to ask the CA of `asked`; one whose credentials have failed is lent to nobody else."""
        from agent.issuers.aws.session import told

        async with self._making:
            if self._open is None:
                self._open = await self._make()
            lease = self._open
            lease.users += 1
        try:
            with told(asked, self._confidences):
                yield lease.client
        except IssuanceError as error:
            if error.reason in STALE:
                lease.forgotten = True
                self._open = None if self._open is lease else self._open
            raise
        finally:
            lease.users -= 1
            if lease.forgotten and not lease.users:
                await lease.stack.aclose()

    async def _make(self) -> _Lease:
        from agent.issuers.aws.session import client_config, open_session

        access = self._spec.access
        session = await open_session(access, self._spec.region, self._confidences)
        stack = AsyncExitStack()
        client = await stack.enter_async_context(
            session.create_client(
                "acm-pca",
                region_name=self._spec.region,
                endpoint_url=access.endpoint or None,
                verify=str(access.ca_file) if access.ca_file else None,
                config=client_config(access),
            )
        )
        return _Lease(stack, client)
