"""Will credentials, rights, template and CA do? Asked without having anything issued."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.core.identity import KeyAlgorithm
from agent.core.issuer_spec import NearEnd
from agent.core.issuer_status import Examined, Opinion
from agent.errors import IssuanceError, IssuerRefusedError, IssuerUnavailableError
from agent.issuers.aws.template import template_arn
from agent.issuers.aws.validity import SHORT_LIVED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from agent.core.identity import Request
    from agent.core.issuer_spec import AwsPcaSpec
    from agent.issuers.aws.authority import Authority
    from agent.issuers.aws.client import PcaClient
    from agent.issuers.aws.issuer import AwsPca

NO_CSR = b"-----BEGIN CERTIFICATE REQUEST-----\nbm8gcmVxdWVzdA==\n-----END CERTIFICATE REQUEST-----\n"
"""What no service signs: it is refused as malformed by who may issue, and as denied by who may not."""


async def examine(  # noqa: PLR0913, PLR0917 - all that a question can be asked of
    issuer: AwsPca, client: PcaClient, spec: AwsPcaSpec, requests: Sequence[Request], now: datetime, end: float
) -> tuple[Examined, ...]:
    """Return the answers, first things first; what follows from a failure is not asked."""
    found = []
    loop = asyncio.get_running_loop()
    try:
        # A third of the time: a network may lead to the CA and not to STS.
        caller = await client.caller(end=loop.time() + (end - loop.time()) / 3)
        found.append(Examined("credentials", Opinion.GOOD, f"the agent is {caller}"))
    except IssuerUnavailableError as error:
        what = f"STS cannot be asked who the agent is: {error.diagnosis()}"
        found.append(Examined("credentials", Opinion.UNKNOWN, what))
    except IssuanceError as error:
        return (Examined("credentials", Opinion.BAD, error.diagnosis()),)
    try:
        authority = await issuer.authority(end, fresh=True)
    except IssuanceError as error:
        return (*found, Examined("CA", Opinion.BAD, error.diagnosis()))
    found += _of_authority(authority, spec, requests, now)
    found += await _of_waiting(issuer, spec, end)
    for template in sorted({template_arn(request, spec.template, spec.partition) for request in requests}):
        found.append(await _of_right(client, spec, authority, template, end))
    return tuple(found)


def _of_authority(
    authority: Authority, spec: AwsPcaSpec, requests: Iterable[Request], now: datetime
) -> Iterator[Examined]:
    subject = authority.certificate.subject.rfc4514_string()
    if authority.state == "ACTIVE":
        yield Examined("CA", Opinion.GOOD, f"{subject} is active, and ends at {authority.end:%Y-%m-%d}")
    elif authority.state:
        yield Examined("CA", Opinion.BAD, f"{subject} is {authority.state}: enable it, or have it renewed")
    else:
        what = "its state is not known, as acm-pca:DescribeCertificateAuthority is not allowed"
        yield Examined("CA", Opinion.UNKNOWN, f"{subject} ends at {authority.end:%Y-%m-%d}; {what}")
    longest = max((request.lifetime for request in requests), default=None)
    if longest is not None and now + longest > authority.end:
        opinion = Opinion.BAD if spec.near_end is NearEnd.REFUSE else Opinion.DOUBTFUL
        yield Examined("CA's end", opinion, f"it ends at {authority.end:%Y-%m-%d}, before a leaf asked for now would")
    if authority.short_lived and longest is not None and longest > SHORT_LIVED:
        opinion = Opinion.BAD if spec.near_end is NearEnd.REFUSE else Opinion.DOUBTFUL
        yield Examined("CA's mode", opinion, "SHORT_LIVED_CERTIFICATE gives seven days at most: shorten `lifetime`")
    if not authority.anchors:
        what = "the chain holds no self-signed certificate: name the root's file in `trust` and `peer_trust`"
        yield Examined("anchor", Opinion.DOUBTFUL, what)
    algorithm = spec.signing_algorithm or authority.algorithm
    family = "RSA" if authority.certificate.key_type.startswith("rsa") else "EC"
    if family not in algorithm:
        what = f"{algorithm or 'none'} is not of the family of the CA's key, {authority.certificate.key_type}"
        yield Examined("signing algorithm", Opinion.BAD, f"{what}: correct `signing_algorithm`")
    if any(request.key is KeyAlgorithm.ED25519 for request in requests):
        yield Examined("key", Opinion.DOUBTFUL, "AWS names RSA and EC keys only: ask for `ec-p256`")


async def _of_waiting(issuer: AwsPca, spec: AwsPcaSpec, end: float) -> tuple[Examined, ...]:
    """Say of a CA in waiting what its root does not say, which is told beside this."""
    if not spec.next_authority:
        return ()
    try:
        waiting = await issuer.waiting(end)
    except IssuanceError as error:
        return (Examined("CA in waiting", Opinion.DOUBTFUL, error.diagnosis()),)
    if waiting is None:
        what = f"{spec.next_authority} has no certificate yet"
        return (Examined("CA in waiting", Opinion.UNKNOWN, f"{what}: have one imported, and its root is shown"),)
    if not waiting.anchors:
        what = "its chain holds no self-signed certificate: import its certificate with its whole chain"
        return (Examined("CA in waiting", Opinion.DOUBTFUL, what),)
    subject = waiting.certificate.subject.rfc4514_string()
    return (Examined("CA in waiting", Opinion.GOOD, f"{subject} ends at {waiting.end:%Y-%m-%d}"),)


async def _of_right(client: PcaClient, spec: AwsPcaSpec, authority: Authority, template: str, end: float) -> Examined:
    """Order with what is no CSR: the service asks for the right first, and then has nothing to sign."""
    try:
        await client.call(
            "issue_certificate",
            end=end,
            CertificateAuthorityArn=spec.authority,
            Csr=NO_CSR,
            SigningAlgorithm=spec.signing_algorithm or authority.algorithm or "SHA256WITHRSA",
            TemplateArn=template,
            Validity={"Type": "DAYS", "Value": 1},
        )
    except IssuerRefusedError as error:
        if error.reason == "access denied":
            return Examined("right to issue", Opinion.BAD, error.diagnosis())
        if "MalformedCSRException" in error.what:
            return Examined("right to issue", Opinion.GOOD, f"acm-pca:IssueCertificate is allowed with {template}")
        return Examined("right to issue", Opinion.DOUBTFUL, error.diagnosis())
    except IssuanceError as error:
        return Examined("right to issue", Opinion.UNKNOWN, error.diagnosis())
    return Examined("right to issue", Opinion.DOUBTFUL, "the service took an order without a CSR: is it AWS?")
