"""The embedded CA: the issuer that needs no server."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ObjectIdentifier

from agent.core.generation import Issued
from agent.core.identity import EXTENDED_KEY_USAGE
from agent.errors import IssuanceError, IssuerRefusedError, IssuerUnavailableError, TrustError
from agent.issuers.authority import BACKDATED, AuthorityFolder
from agent.keystores.signing_request import key_usage, san_extension

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from agent.core.certificate import Certificate
    from agent.core.configuration import LocalCaSpec
    from agent.core.generation import Pending
    from agent.core.identity import Request
    from agent.issuers.authority import Authority, Stamp

LOCK_PATIENCE = timedelta(seconds=5)
"""How long another process may take to make the CA; it takes some milliseconds."""

ANCHORS_WITHIN = timedelta(seconds=10)


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
        self._folder = AuthorityFolder(spec.directory, spec.name)
        self._known: tuple[Stamp, Authority] | None = None

    @property
    def name(self) -> str:
        """The name that the settings give it."""
        return self._spec.name

    async def issue(self, pending: Pending, *, within: timedelta) -> Issued:
        """Sign the CSR's key for what is requested; the answer is leaf and intermediate.

        The leaf begins a minute ago and lasts the whole lifetime from now, or until the CA's own
        end, which is then remarked on.
        """
        try:
            async with asyncio.timeout(within.total_seconds()):
                return await asyncio.to_thread(self._issue, pending, min(within, LOCK_PATIENCE))
        except TimeoutError:
            raise self._too_slow() from None

    async def anchors(self) -> tuple[Certificate, ...]:
        """Return the root."""
        try:
            async with asyncio.timeout(ANCHORS_WITHIN.total_seconds()):
                authority = await asyncio.to_thread(self._authority, self._clock(), LOCK_PATIENCE)
        except TimeoutError:
            error = self._too_slow()
            raise TrustError(error.what, advice=error.advice) from None
        except IssuanceError as error:
            raise TrustError(error.what, advice=error.advice) from error
        return (authority.root,)

    async def close(self) -> None:
        """Nothing is held between calls."""

    def _issue(self, pending: Pending, patience: timedelta) -> Issued:
        public_key = _proven_key(pending.csr)
        now = self._clock()
        authority = self._authority(now, patience)
        end, remarks = _end(now, pending.request.lifetime, authority)
        try:
            leaf = authority.intermediate.sign(_leaf(pending.request, public_key, now, end, authority), public_key)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise IssuerRefusedError(
                f"the local CA cannot put the request into a certificate: {error}",
                advice="correct the identity's subject or SANs",
            ) from error
        return Issued((leaf, authority.intermediate.certificate), self._clock(), remarks)

    def _authority(self, now: datetime, patience: timedelta) -> Authority:
        """Return the CA as it stands on disk, read again only when a file changed."""
        try:
            stamp = self._folder.stamp()
        except OSError:
            stamp = None
        known = self._known
        authority = known[1] if known is not None and known[0] == stamp else self._folder.read()
        if authority is None and self._read_only:
            raise IssuerRefusedError(
                f"there is no local CA in {self._spec.directory} yet",
                advice="it is made when the first certificate is asked for",
            )
        if authority is None or not (self._read_only or authority.lasts(now)):
            # The stamp is of the files before; the next call reads those that were made.
            authority = self._folder.make(now, within=patience)
        self._known = (stamp, authority) if stamp is not None else None
        return authority

    def _too_slow(self) -> IssuerUnavailableError:
        return IssuerUnavailableError(
            f"the disk below {self._spec.directory} did not answer in time", advice="see whether the disk is well"
        )


def _proven_key(csr: bytes) -> CertificatePublicKeyTypes:
    """Return the public key of a CSR whose signature shows that its maker holds the private half."""
    try:
        request = x509.load_der_x509_csr(csr)
        if request.is_signature_valid:
            return request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        why = f"it cannot be read: {error}"
    else:
        why = "its signature is not that of its key"
    raise IssuerRefusedError(f"the local CA refuses the CSR: {why}", advice="have a new key made")


def _end(now: datetime, lifetime: timedelta, authority: Authority) -> tuple[datetime, tuple[str, ...]]:
    """Return when a leaf ends, and what there is to remark on it."""
    last = min(authority.root.not_after, authority.intermediate.certificate.not_after)
    if last <= now:
        raise IssuerRefusedError(
            f"the local CA ended on {last:%Y-%m-%d}",
            advice="move its folder away to have a new one made, which every truststore must learn first",
        )
    # Certificates count whole seconds; a begun one is given in full, so that the lifetime is kept.
    end = (now + lifetime + timedelta(microseconds=999_999)).replace(microsecond=0)
    if end <= last:
        return end, ()
    return last, (f"the leaf ends on {last:%Y-%m-%d} with the local CA itself, before the lifetime asked for",)


def _leaf(
    request: Request, key: CertificatePublicKeyTypes, now: datetime, end: datetime, authority: Authority
) -> x509.CertificateBuilder:
    """Return all of a leaf (RFC 5280, 4.2) but keys, issuer and serial number."""
    begin = max((now - BACKDATED).replace(microsecond=0), authority.intermediate.certificate.not_before)
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(encipherment=isinstance(key, rsa.RSAPublicKey)), critical=True)
    )
    if request.usages:
        oids = [ObjectIdentifier(EXTENDED_KEY_USAGE[usage]) for usage in sorted(request.usages)]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    if request.sans:
        # RFC 5280, 4.2.1.6: with an empty subject the names are all there is.
        builder = builder.add_extension(san_extension(request.sans), critical=not request.subject.rdns)
    return builder
