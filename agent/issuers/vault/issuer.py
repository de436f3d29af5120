"""The issuer that the daemon asks: a PKI mount, and a login to ask it with."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.generation import Issued
from agent.core.issuer_spec import TokenLogin
from agent.core.issuer_status import IssuerStatus
from agent.errors import IssuanceError, IssuerRefusedError, TrustError
from agent.issuers.answered import others, roots
from agent.issuers.vault import paths, request
from agent.issuers.vault.advice import refused
from agent.issuers.vault.answer import nothing
from agent.issuers.vault.aws_iam import find_credentials
from agent.issuers.vault.certificates import chain_of_issuer, chain_of_mount, signed
from agent.issuers.vault.cluster import Call, Cluster, RefusedError
from agent.issuers.vault.gate import Errand, Gate
from agent.issuers.vault.given import GivenToken
from agent.issuers.vault.listing import Listing
from agent.issuers.vault.login import Login
from agent.issuers.vault.made import MadeToken
from agent.issuers.vault.pace import refusals
from agent.issuers.vault.remarks import remarks
from agent.issuers.vault.token import Clocks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from agent.core.certificate import Certificate
    from agent.core.generation import Pending
    from agent.core.identity import Request
    from agent.core.issuer_spec import AwsAccess, VaultSpec
    from agent.core.issuer_status import Examined
    from agent.issuers.vault.aws_iam import Credentials
    from agent.issuers.vault.certificates import Signed
    from agent.issuers.vault.cluster import Told
    from agent.issuers.vault.gate import Holder
    from agent.net.session import Answer
    from agent.ports import Note

T = TypeVar("T")

GIVEN_BACK_WITHIN = timedelta(seconds=5)
"""How long the end of the process may wait for logins to be revoked."""


class Vault:
    """A PKI mount of Vault or OpenBao, with one login for all that is asked of it.

    `credentials` finds the AWS key of an `AwsLogin`; `monotonic` is the clock of spans, in seconds.
    """

    def __init__(
        self,
        spec: VaultSpec,
        clock: Callable[[], datetime],
        *,
        credentials: Callable[[AwsAccess], Awaitable[Credentials]] = find_credentials,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec = spec
        self._clock = clock
        self._cluster = Cluster(spec, clock)
        self._listing = Listing(spec, self._cluster)
        clocks, refused_at = Clocks(clock, monotonic), refusals()
        self._login = Login(spec.login, self._cluster, clocks, credentials)
        self._holder: Holder
        if isinstance(spec.login, TokenLogin) and not spec.login.wrapped:
            self._holder = GivenToken(spec.login.token, self._cluster, clocks)
        else:
            self._holder = MadeToken(spec.login, self._login, self._cluster, clocks, refused_at)
        # A right for each: a policy that lacks one says nothing of the others.
        self._signs, self._revokes, self._signs_cas = (
            Gate(self._cluster, self._holder, clocks, refused_at) for _ in range(3)
        )
        self._trouble: IssuanceError | None = None
        self._asked_at: datetime | None = None
        self._authority: Certificate | None = None
        self._longest = timedelta()

    @property
    def name(self) -> str:
        """The name that the settings give it."""
        return self._spec.name

    async def issue(
        self,
        pending: Pending,
        *,
        note: Note,  # noqa: ARG002 - a call that is lost costs nothing and is made again: there is no order to note
        within: timedelta,
    ) -> Issued:
        """Have the CSR signed; what the CA made otherwise than it was asked becomes remarks.

        Whether the answer is what was asked for is for the proof to say.
        """
        body = request.of_host(pending, self._spec.signing)
        self._longest = max(self._longest, pending.request.lifetime)
        asked_at = self._clock()
        told = await self._sign(self._signs, paths.sign(self._spec), body, within)
        found = told.value
        self._authority = found.issuer or self._authority
        return Issued(found.certificates, self._clock(), remarks(self._spec, pending.request, found, asked_at))

    async def sign_ca(
        self, csr_pem: str, *, lifetime: timedelta, path_length: int | None = 0, within: timedelta | None = None
    ) -> tuple[Certificate, tuple[Certificate, ...]]:
        """Have a subordinate CA's CSR signed; return its certificate, and the chain above it as it came.

        The subject is the CSR's. A CSR that does not ask for a CA is refused: no host becomes one.
        """
        body = request.of_ca(csr_pem, lifetime=lifetime, path_length=path_length)
        told = await self._sign(self._signs_cas, paths.sign_ca(self._spec), body, within or self._spec.within)
        certificate, *chain = told.value.certificates
        return certificate, tuple(chain)

    async def anchors(self) -> tuple[Certificate, ...]:
        """Return the roots that the CA leads to: the mount's default issuer, or that of `issuer_ref`.

        A mount that holds an intermediate alone has no anchor of its own: clients on OpenSSL do
        not accept an intermediate as one.
        """
        told = await self._chain(self._cluster.end())
        anchors = roots(told.value)
        if not anchors:
            raise TrustError(
                f"the CA chain of mount {self._spec.mount!r} of Vault at {told.address} holds no self-signed"
                " certificate that the CA leads to",
                advice=(
                    "import the root's certificate into the mount's chain,"
                    " or name its file in `trust` and `peer_trust` instead of this issuer"
                ),
            )
        return anchors

    async def listed(self) -> tuple[Certificate, ...]:
        """Return the other roots of the mount: in its list of issuers, or in the CA's chain.

        A root that is to follow stands in the list alone until it is the default.
        """
        end = self._cluster.end()
        chain = (await self._chain(end)).value
        return others((*chain, *await self._listing.certificates(end)), roots(chain))

    async def revoke(self, leaf: Certificate, *, within: timedelta) -> None:
        """Have a leaf revoked; one that is revoked or has expired already is well.

        Vault is given the certificate itself, for a role with `no_store` leaves it nothing to find by
        a number; one that is too old to know that is given the number.
        """
        end = self._cluster.end(within)
        path = paths.revoke(self._spec)

        async def ask(body: Mapping[str, Any]) -> None:
            await self._pass(
                self._revokes,
                Errand(lambda token: Call("POST", path, body, token), lambda answer, _: nothing(answer), judge),
                end,
            )

        def judge(refusal: RefusedError) -> IssuerRefusedError:
            return refused(self._spec, path, refusal)

        try:
            await ask({"certificate": leaf.x509.public_bytes(Encoding.PEM).decode()})
        except IssuerRefusedError as error:
            if "serial number must be provided" not in error.what:
                raise
            await ask({"serial_number": _serial(leaf)})

    async def tend(self) -> timedelta | None:
        """Renew the login, or make it again, when that is due; return when it is. Nothing is raised."""
        return await self._holder.tend()

    async def examine(self, requests: Sequence[Request]) -> tuple[Examined, ...]:
        """Ask whether addresses, login, rights, role and CA will do; nothing is issued, no wrapping used up."""
        from agent.issuers.vault.examine import Examination

        async def chain(end: float) -> tuple[Certificate, ...]:
            return (await self._chain(end)).value

        examination = Examination(self._spec, self._cluster, self._holder, self._login, chain)
        return await examination.run(requests, self._clock(), self._cluster.end())

    def status(self) -> IssuerStatus:
        """Return how Vault was when it was last spoken to, and the login."""
        trouble, token = self._trouble or self._holder.trouble, self._holder.current
        return IssuerStatus(
            name=self.name,
            kind="vault",
            trouble=trouble.diagnosis() if trouble else "",
            reason=trouble.reason if trouble else "",
            asked_at=self._asked_at,
            authority=self._authority,
            login=token.whom if token else "",
            login_until=token.until if token else None,
            remarks=(*self._holder.remarks, *self._remarks()),
        )

    async def close(self) -> None:
        """Revoke the login that the agent made, and give back the connections."""
        await self._holder.close(asyncio.get_running_loop().time() + GIVEN_BACK_WITHIN.total_seconds())
        await self._cluster.close()

    # --- calls -----------------------------------------------------------------------------

    async def _sign(self, gate: Gate, path: str, body: Mapping[str, Any], within: timedelta) -> Told[Signed]:
        def read(answer: Answer, token: str) -> Signed:
            return signed(answer, secrets=(token,))

        def judge(refusal: RefusedError) -> IssuerRefusedError:
            return refused(self._spec, path, refusal)

        return await self._pass(
            gate, Errand(lambda token: Call("POST", path, body, token), read, judge), self._cluster.end(within)
        )

    async def _pass(self, gate: Gate, errand: Errand[T], end: float) -> Told[T]:
        with self._noted():
            return await gate.ask(errand, end)

    async def _chain(self, end: float) -> Told[tuple[Certificate, ...]]:
        """Return the certificates of the CA's chain, the CA first; raise `TrustError`."""
        read = chain_of_issuer if self._spec.issuer_ref else chain_of_mount
        try:
            with self._noted():
                try:
                    told = await self._cluster.ask(Call("GET", paths.chain(self._spec)), read, end)
                except RefusedError as refusal:
                    raise IssuerRefusedError(
                        f"Vault at {refusal.address} does not give the CA chain of mount {self._spec.mount!r}:"
                        f" {refusal.said}",
                        advice="see that a PKI engine with a CA is mounted there",
                    ) from refusal
        except IssuanceError as error:
            raise TrustError(error.what, advice=error.advice) from error
        self._authority = next(iter(told.value), self._authority)
        return told

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Note when Vault was asked and how that ended."""
        self._asked_at = self._clock()
        try:
            yield
        except IssuanceError as error:
            self._trouble = error
            raise
        self._trouble = None

    def _remarks(self) -> tuple[str, ...]:
        authority = self._authority
        if authority is None or authority.not_after >= self._clock() + self._longest:
            return ()
        remark = (
            f"the CA {authority.subject.rfc4514_string()} ends at {authority.not_after:%Y-%m-%d %H:%MZ},"
            " before a leaf that is asked for now would: have it renewed"
        )
        return (remark,)


def _serial(leaf: Certificate) -> str:
    """Return a serial number as Vault writes it: pairs of hexadecimal digits."""
    number = leaf.serial_number
    return ":".join(f"{byte:02x}" for byte in number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big"))
