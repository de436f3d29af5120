"""AWS Private CA: a CSR is ordered, waited for, and paid for once.

Before the call that is paid for stands on disk that it is made (`Order.asked_at`), and the
certificate's ARN before it is first asked for: after a crash, a time-out or a throttle the next
call picks up there. An idempotency token makes a repeated `IssueCertificate` one certificate for
five minutes; after that nobody can tell whether the first one issued.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.generation import Issued, Order
from agent.core.issuer_spec import InDoubt
from agent.core.issuer_status import IssuerStatus
from agent.core.record import IN_DOUBT
from agent.errors import (
    IssuanceError,
    IssuerRefusedError,
    IssuerUnavailableError,
    OrderLostError,
    TrustError,
)
from agent.issuers.answered import others
from agent.issuers.aws.authority import Authority, read_authority, read_chain
from agent.issuers.aws.client import PcaClient
from agent.issuers.aws.failure import ALREADY, UNKNOWN_RECEIPT
from agent.issuers.aws.template import passthrough, template_arn
from agent.issuers.aws.validity import validity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.generation import Pending
    from agent.core.identity import Request
    from agent.core.issuer_spec import AwsPcaSpec
    from agent.core.issuer_status import Examined
    from agent.ports import Note

REMEMBERED = timedelta(minutes=4, seconds=45)
"""How long after a call its token is sure to make a repeated one the same certificate: five minutes, less a margin."""

POLLS = (0.3, 0.5, 1.0, 1.0, 2.0, 2.0, 5.0)
"""Seconds before each look for the certificate; the last again and again. It takes a second or two as a rule."""

NEVER_SENT = frozenset({"throttled", "credentials", "queue", "unreachable", "TLS"})
"""The sorts of failures in which the service has ordered nothing: it was not asked, or said no."""

NO_CERTIFICATE_YET = "InvalidStateException"
"""The error of a CA that is being made, or waits for its certificate to be imported."""

FRESH = timedelta(minutes=5)
"""How long what is known of the CA holds."""

LOOKED_AT_EVERY = timedelta(hours=1)
"""How old what is known of the CA may become."""


class AwsPca:
    """A CA of AWS Private CA; calls of all identities go through one queue."""

    def __init__(self, spec: AwsPcaSpec, clock: Callable[[], datetime]) -> None:
        self._spec = spec
        self._clock = clock
        self._client = PcaClient(spec)
        self._looking = asyncio.Lock()
        self._known: tuple[Authority, datetime] | None = None
        self._describes = True
        self._receipts: dict[str, str] = {}
        self._imported_anew: datetime | None = None
        self._longest = timedelta()
        self._trouble: IssuanceError | None = None
        self._asked_at: datetime | None = None

    @property
    def name(self) -> str:
        """The name that the settings give it."""
        return self._spec.name

    async def issue(self, pending: Pending, *, note: Note, within: timedelta) -> Issued:
        """Order the certificate, unless the order stands already, and wait for it.

        Raise `IssuerUnavailableError` with the order on disk when there is no answer yet.
        """
        end = self._end(within)
        self._longest = max(self._longest, pending.request.lifetime)
        order = pending.order
        receipt = self._receipts.get(pending.token) or order.receipt
        remarks: tuple[str, ...] = ()
        if receipt and not receipt.startswith(f"{self._spec.authority}/"):
            # Another CA stood under this name before.
            remarks = (f"an order at another CA was left behind, and may have been paid for: {receipt}",)
            receipt, order = "", Order()
        if not receipt:
            receipt, more = await self._order(pending, order, note, end)
            remarks = (*remarks, *more)
        try:
            certificates = await self._collect(receipt, end)
        except OrderLostError:
            self._receipts.pop(pending.token, None)
            raise
        except IssuerRefusedError as error:
            if error.reason == UNKNOWN_RECEIPT:
                self._receipts.pop(pending.token, None)
                raise self._unknown(receipt, order) from error
            raise
        self._receipts.pop(pending.token, None)
        return Issued(certificates, self._clock(), (*remarks, *self._remarks(certificates[0], pending.request)))

    async def anchors(self) -> tuple[Certificate, ...]:
        """Return the roots that the CA leads to: one as a rule."""
        try:
            authority = await self.authority(self._end(self._spec.within), fresh=True)
        except IssuanceError as error:
            raise TrustError(error.what, advice=error.advice) from error
        if not authority.anchors:
            raise TrustError(
                f"the chain of {self._spec.authority} holds no self-signed certificate that it leads to",
                advice="import the CA's certificate with its whole chain, or name the root's file in `trust` and"
                " `peer_trust` instead of this issuer",
            )
        return authority.anchors

    async def listed(self) -> tuple[Certificate, ...]:
        """Return the roots of the CA in waiting, where the settings name one, and others in the CA's own chain.

        A CA in waiting that has no certificate yet has no root either.
        """
        end = self._end(self._spec.within)
        try:
            authority = await self.authority(end)
            waiting = await self.waiting(end)
        except IssuanceError as error:
            raise TrustError(error.what, advice=error.advice) from error
        return others((*authority.chain, *(waiting.anchors if waiting else ())), authority.anchors)

    async def waiting(self, end: float) -> Authority | None:
        """Return the CA in waiting; None where there is none, or it has no certificate yet.

        It is none of this CA's trouble when it cannot be asked: raise `IssuanceError`, and the status stays.
        """
        following = self._spec.next_authority
        if not following:
            return None
        try:
            answer = await self._client.call(
                "get_certificate_authority_certificate", end=end, CertificateAuthorityArn=following
            )
        except IssuerRefusedError as error:
            if NO_CERTIFICATE_YET in error.what:
                return None
            raise
        except IssuerUnavailableError as error:
            if error.reason == "in progress":
                return None
            raise
        return read_authority(answer, None)

    async def revoke(self, leaf: Certificate, *, within: timedelta) -> None:
        """Revoke a leaf as superseded; one that is revoked already is well."""
        serial = f"{leaf.serial_number:x}"
        serial = serial.zfill(len(serial) + len(serial) % 2)
        pairs = ":".join(serial[at : at + 2] for at in range(0, len(serial), 2))
        try:
            await self._call(
                "revoke_certificate", self._end(within), CertificateSerial=pairs, RevocationReason="SUPERSEDED"
            )
        except IssuerRefusedError as error:
            if error.reason != ALREADY:
                raise
            self._trouble = None

    async def tend(self) -> timedelta | None:
        """Look at the CA from time to time, also where no source of trust asks for it; nothing is raised.

        Credentials need no tending: the call that needs them refreshes them.
        """
        if self._known is not None and self._clock() - self._known[1] >= LOOKED_AT_EVERY:
            try:
                await self.authority(self._end(self._spec.within), fresh=True)
            except IssuanceError:
                return LOOKED_AT_EVERY / 6  # noted by the call, and told in the status
        return LOOKED_AT_EVERY

    async def examine(self, requests: Sequence[Request]) -> tuple[Examined, ...]:
        """Ask AWS whether credentials, rights, template and CA will do; nothing is issued."""
        from agent.issuers.aws.examine import examine

        return await examine(self, self._client, self._spec, requests, self._clock(), self._end(self._spec.within))

    def status(self) -> IssuerStatus:
        """Return how the CA was when it was last spoken to."""
        authority = self._known[0] if self._known else None
        remarks = []
        if self._imported_anew is not None:
            seen = f"{self._imported_anew:%Y-%m-%d %H:%M:%SZ}"
            remarks.append(f"the CA's certificate or its chain was imported anew, as was seen at {seen}")
        if authority is not None and authority.end < self._clock() + self._longest:
            remarks.append(
                f"the CA ends at {authority.end:%Y-%m-%d %H:%M:%SZ}, before a leaf that is asked for now would:"
                " have it renewed"
            )
        if authority is not None and authority.state not in ("", "ACTIVE"):
            remarks.append(f"the CA is {authority.state}")
        return IssuerStatus(
            name=self._spec.name,
            kind="aws_pca",
            trouble=self._trouble.diagnosis() if self._trouble else "",
            reason=self._trouble.reason if self._trouble else "",
            asked_at=self._asked_at,
            authority=authority.certificate if authority else None,
            remarks=tuple(remarks),
        )

    async def close(self) -> None:
        """Give back the connections."""
        await self._client.close()

    async def authority(self, end: float, *, fresh: bool = False) -> Authority:
        """Return what is known of the CA, asked anew after five minutes or when it is to be fresh."""
        async with self._looking:
            known = self._known
            if known is not None and not fresh and self._clock() - known[1] < FRESH:
                return known[0]
            certificate = await self._call("get_certificate_authority_certificate", end)
            described = await self._described(end)
            with self._noted():
                found = read_authority(certificate, described)
            if known is not None and known[0].chain != found.chain:
                self._imported_anew = self._clock()
            self._known = (found, self._clock())
            return found

    def _unknown(self, receipt: str, order: Order) -> IssuanceError:
        """Return what to do about a certificate that AWS does not know by the name that it gave it."""
        now, number = self._clock(), receipt.rpartition("/")[2]
        if order.asked_at is None or order.asked_at <= now < order.asked_at + REMEMBERED:
            # What was written a moment ago is not found everywhere at once.
            return IssuerUnavailableError(
                f"AWS does not know the certificate {number} yet", advice="it is asked for again", reason="in progress"
            )
        what = f"AWS no longer knows the certificate {number}, which was ordered and may have been paid for"
        if self._spec.in_doubt is InDoubt.ASK:
            return IssuerRefusedError(
                what, advice="see the CA's audit report; `cert-agent renew` orders anew", reason=IN_DOUBT
            )
        return OrderLostError(what, advice="it is ordered anew", reason="order failed")

    # --- ordering --------------------------------------------------------------------------

    async def _order(self, pending: Pending, order: Order, note: Note, end: float) -> tuple[str, tuple[str, ...]]:
        """Have the certificate issued; return its ARN, which is on disk, and what there is to remark."""
        now = self._clock()
        remarks: tuple[str, ...] = ()
        # An order from the future was noted by a wrong clock, and may be any age.
        if order.asked_at is not None and not order.asked_at <= now < order.asked_at + REMEMBERED:
            since = f"{order.asked_at:%Y-%m-%d %H:%M:%SZ}"
            if self._spec.in_doubt is InDoubt.ASK:
                raise IssuerRefusedError(
                    f"nobody can tell whether the order of {since} became a certificate, and it is not ordered anew",
                    advice="see the CA's audit report; `cert-agent renew` orders anew, and so does `in_doubt: reissue`",
                    reason=IN_DOUBT,
                )
            lost = "a certificate may have been issued and paid for that nobody has"
            remarks = (f"the order of {since} had no answer and was placed anew: {lost}",)
            order = Order()
        # A repeated call asks for the very same: its end, too, counts from the first.
        parameters, shortened = await self._parameters(pending, order.asked_at or now, end)
        if order.asked_at is None:
            await note(Order(asked_at=now))
        try:
            answer = await self._call("issue_certificate", end, **parameters)
        except IssuanceError as error:
            if order.asked_at is None and _is_without_effect(error):
                await note(Order())
            raise
        receipt = answer.get("CertificateArn")
        if not isinstance(receipt, str) or not receipt.startswith(f"{self._spec.authority}/certificate/"):
            raise IssuerUnavailableError(
                "AWS took the order and named no certificate of this CA",
                advice="see what answers at the endpoint",
                reason="malformed answer",
            )
        self._receipts[pending.token] = receipt
        await note(Order(asked_at=order.asked_at or now, receipt=receipt))
        return receipt, (*remarks, *shortened)

    async def _parameters(self, pending: Pending, now: datetime, end: float) -> tuple[dict[str, Any], tuple[str, ...]]:
        request, spec = pending.request, self._spec
        authority = await self.authority(end)
        algorithm = spec.signing_algorithm or authority.algorithm
        if not algorithm:
            raise IssuerRefusedError(
                f"the CA's key is of type {authority.certificate.key_type}, for which the agent knows no algorithm",
                advice="write `signing_algorithm`",
                reason="authority",
            )
        wanted = validity(request.lifetime, now, authority.end, spec.near_end, short_lived=authority.short_lived)
        template = template_arn(request, spec.template, spec.partition)
        parameters: dict[str, Any] = {
            "Csr": x509.load_der_x509_csr(pending.csr).public_bytes(Encoding.PEM),
            "SigningAlgorithm": algorithm,
            "TemplateArn": template,
            "Validity": wanted.parameter(),
            "IdempotencyToken": pending.token[:36],
        }
        passed = passthrough(request, template)
        if passed is not None:
            parameters["ApiPassthrough"] = passed
        return parameters, wanted.remarks

    async def _collect(self, receipt: str, end: float) -> tuple[Certificate, ...]:
        """Wait for an ordered certificate; throttles and `in progress` are waited out here, never by a new order."""
        loop = asyncio.get_running_loop()
        for attempt in range(10_000):
            pause = POLLS[min(attempt, len(POLLS) - 1)]
            if loop.time() + pause >= end:
                break
            await asyncio.sleep(pause)
            try:
                answer = await self._call("get_certificate", end, CertificateArn=receipt)
            except IssuerUnavailableError as error:
                if error.reason not in ("in progress", "throttled", "server"):
                    raise
                continue
            with self._noted():
                return read_chain([answer.get("Certificate"), answer.get("CertificateChain")])
        raise IssuerUnavailableError(
            f"AWS has not issued {receipt.rpartition('/')[2]} in the time that there was",
            advice="the order stands, and the certificate is asked for again",
            reason="in progress",
        )

    def _remarks(self, leaf: Certificate, request: Request) -> tuple[str, ...]:
        """Tell what the service made otherwise than it was asked and no proof refutes."""
        short = self._clock() + request.lifetime - leaf.not_after
        if self._known is None or short <= max(timedelta(minutes=1), request.lifetime / 100):
            return ()
        if leaf.not_after >= self._known[0].end - timedelta(minutes=1):
            return ()  # told when it was ordered
        return (f"the leaf ends {short} earlier than was asked for",)

    # --- calls -----------------------------------------------------------------------------

    async def _described(self, end: float) -> dict[str, Any] | None:
        """Ask for state and mode of the CA, unless that right is missing, which only says less."""
        if not self._describes:
            return None
        try:
            return await self._call("describe_certificate_authority", end)
        except IssuerRefusedError as error:
            if error.reason != "access denied":
                raise
            self._describes = False
            self._trouble = None
            return None

    async def _call(self, operation: str, end: float, **parameters: Any) -> dict[str, Any]:
        with self._noted():
            answer = await self._client.call(
                operation, end=end, CertificateAuthorityArn=self._spec.authority, **parameters
            )
        self._trouble = None
        return answer

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Note when AWS was asked, and why that failed; to wait is no failure."""
        self._asked_at = self._clock()
        try:
            yield
        except IssuanceError as error:
            if error.reason not in ("in progress", "queue"):
                self._trouble = error
            raise

    def _end(self, within: timedelta) -> float:
        return asyncio.get_running_loop().time() + min(within, self._spec.within).total_seconds()


def _is_without_effect(error: IssuanceError) -> bool:
    """Whether a failed order is known to have issued nothing: the service said no, or was not asked."""
    return isinstance(error, IssuerRefusedError) or error.reason in NEVER_SENT
