"""The embedded CA: the issuer that needs no server."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from agent.core.generation import Issued
from agent.core.issuer_status import Examined, IssuerStatus, Opinion
from agent.errors import IssuanceError, IssuerRefusedError, IssuerUnavailableError, TrustError
from agent.issuers.local.examination import examine
from agent.issuers.local.folder import AuthorityFolder
from agent.issuers.local.leaf import make_leaf, proven_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.generation import Pending
    from agent.core.identity import Request
    from agent.core.issuer_spec import LocalCaSpec
    from agent.issuers.local.authority import Authority
    from agent.issuers.local.folder import Stamp
    from agent.ports import Note

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

LOCK_PATIENCE = timedelta(seconds=15)
"""How long another process may take to make the CA: some milliseconds, but for RSA keys of 4096 bits."""

ANSWER_WITHIN = timedelta(seconds=30)
"""How long a question may take that comes with no time of its own."""


class LocalCa:
    """A CA of this host's own: a root and an intermediate below a folder, made on first use.

    It signs what the request asks for, not what the CSR claims; from the CSR comes the public key
    alone, once its signature has shown that the host holds the private half. With `read_only` no
    CA is made: asked for its anchors, it says that there are none yet.
    """

    def __init__(self, spec: LocalCaSpec, clock: Callable[[], datetime], *, read_only: bool = False) -> None:
        self._spec = spec
        self._clock = clock
        self._read_only = read_only
        self._folder = AuthorityFolder(spec.directory, spec.name, spec.key)
        self._known: tuple[Stamp, Authority] | None = None
        self._authority: Authority | None = None
        self._asked_at: datetime | None = None
        self._failure: IssuanceError | None = None
        self._overdue = ""

    @property
    def name(self) -> str:
        """The name that the settings give it."""
        return self._spec.name

    async def issue(
        self,
        pending: Pending,
        *,
        note: Note,  # noqa: ARG002 - of the port: nothing is paid for here, so there is no order to put on disk
        within: timedelta,
    ) -> Issued:
        """Sign the CSR's key for what is requested; the answer is leaf and intermediate.

        The leaf begins a minute ago and lasts the whole lifetime from now, or until the CA's own
        end, which is then remarked on.
        """
        return await self._call(within, self._issue, pending, min(within, LOCK_PATIENCE))

    async def anchors(self) -> tuple[Certificate, ...]:
        """Return the root that signs the intermediate now."""
        with _of_trust():
            return ((await self._call(ANSWER_WITHIN, self._current, self._clock(), LOCK_PATIENCE)).root,)

    async def listed(self) -> tuple[Certificate, ...]:
        """Return the root that is to follow, and those before the current one that have not ended.

        A CA that is still to be made, and not by this one (`read_only`), has none.
        """
        now = self._clock()
        with _of_trust():
            return await self._call(ANSWER_WITHIN, self._others, now, LOCK_PATIENCE)

    async def revoke(self, leaf: Certificate, *, within: timedelta) -> None:  # noqa: ARG002 - of the port
        """Refuse: nobody would hear of it."""
        raise IssuerRefusedError(
            f"the local CA {self.name} keeps no revocation list: the leaf {leaf.serial_number:x} lives until it ends",
            advice="let leaves live for days, or replace the CA with `cert-agent local-ca rotate` and then `retire`",
        )

    async def tend(self) -> timedelta | None:
        """There is no login."""
        return None

    async def examine(self, requests: Sequence[Request]) -> tuple[Examined, ...]:
        """Ask whether folder, keys and ends will do for what is wanted; nothing is made."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
                return await asyncio.to_thread(examine, self._spec, self._folder, requests, self._clock())
        except TimeoutError:
            return (Examined("folder", Opinion.BAD, self._too_slow().diagnosis()),)

    def status(self) -> IssuerStatus:
        """Return how the CA was when it was last asked."""
        authority, failure = self._authority, self._failure
        return IssuerStatus(
            name=self.name,
            kind="local_ca",
            trouble=failure.diagnosis() if failure else "",
            reason=failure.reason if failure else "",
            asked_at=self._asked_at,
            authority=authority.intermediate.certificate if authority else None,
            remarks=self._remarks(authority) if authority else (),
        )

    async def close(self) -> None:
        """Nothing is held between calls."""

    async def _call(
        self,
        within: timedelta,
        work: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Have blocking work done in a thread, and note how it went."""
        self._asked_at = self._clock()
        try:
            try:
                async with asyncio.timeout(within.total_seconds()):
                    result = await asyncio.to_thread(work, *args, **kwargs)
            except TimeoutError:
                raise self._too_slow() from None
        except IssuanceError as error:
            self._failure = error
            raise
        self._failure = None
        return result

    def _issue(self, pending: Pending, patience: timedelta) -> Issued:
        public_key = proven_key(pending.csr)
        now = self._clock()
        authority = self._current(now, patience)
        leaf, remarks = make_leaf(pending.request, public_key, authority, now)
        return Issued((leaf, authority.intermediate.certificate), self._clock(), remarks)

    def _current(self, now: datetime, patience: timedelta) -> Authority:
        """Return the CA as it stands on disk, made where there is none and anew where it will not last."""
        authority = self._on_disk()
        self._overdue = ""
        if authority is None and self._read_only:
            raise self._folder.none_yet()
        if authority is None or (not self._read_only and authority.due(now) is not None):
            # The stamp is of the files before; the next call reads those that were made.
            self._known = None
            try:
                authority = self._folder.make(now, within=patience)
            except IssuerUnavailableError as error:
                if authority is None or authority.ends() <= now:
                    raise
                # A fifth of a life is left to put the folder right; leaves are issued meanwhile.
                self._overdue = error.diagnosis()
        self._authority = authority
        return authority

    def _others(self, now: datetime, patience: timedelta) -> tuple[Certificate, ...]:
        if self._read_only and self._on_disk() is None:
            return ()
        return self._current(now, patience).others(now)

    def _on_disk(self) -> Authority | None:
        """Return what stands on disk, read again only when a file changed."""
        try:
            stamp = self._folder.stamp()
        except OSError:
            return self._folder.read()
        if self._known is not None and self._known[0] == stamp:
            return self._known[1]
        if not self._read_only:
            self._folder.tighten()
        authority = self._folder.read()
        self._known = (stamp, authority) if authority is not None else None
        return authority

    def _remarks(self, authority: Authority) -> tuple[str, ...]:
        now, remarks = self._clock(), []
        retired = authority.still_trusted(now)
        if retired:
            last = max(root.not_after for root in retired)
            remarks.append(
                f"{len(retired)} retired {'root is' if len(retired) == 1 else 'roots are'} still trusted, until "
                f"{last:%Y-%m-%d} or `cert-agent local-ca retire`"
            )
        if authority.successor is not None:
            fingerprint = authority.successor.fingerprint[:16]
            remarks.append(
                f"the root ends on {authority.root.not_after:%Y-%m-%d}; its successor {fingerprint} is trusted already"
            )
        if self._overdue:
            remarks.append(f"a CA certificate is due to be made anew: {self._overdue}")
        return tuple(remarks)

    def _too_slow(self) -> IssuerUnavailableError:
        return IssuerUnavailableError(
            f"the disk below {self._spec.directory} did not answer in time",
            advice="see whether the disk is well",
            reason="time-out",
        )


@contextmanager
def _of_trust() -> Iterator[None]:
    """Turn a failure of the CA into one of a source of trust."""
    try:
        yield
    except IssuanceError as error:
        raise TrustError(error.what, advice=error.advice) from error
