"""AWS Private CA over HTTP: orders that are paid for once, and what the CA's key, end and state make of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.chain import order as ordered
from agent.core.generation import Order
from agent.core.identity import KeyAlgorithm, Usage
from agent.core.issuer_spec import AwsAccess, AwsPcaSpec, InDoubt, NearEnd
from agent.core.proof import Candidate, prove
from agent.errors import IssuerRefusedError, IssuerUnavailableError, OrderLostError, TrustError
from agent.issuers.aws.issuer import AwsPca
from tests.issuers.aws.clients import Clock, issuer_at, kept
from tests.material import Ca, make_request
from tests.servers.proxy import passes, proxy, refuses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.servers.pca import Pca
    from tests.servers.pca_faults import Asked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

FIVE_MINUTES = timedelta(minutes=5)


async def test_what_is_paid_for_stands_on_disk_before_it_is_asked_for(server: Pca) -> None:
    """That it is asked is noted before `IssueCertificate`, the certificate's ARN before the first `GetCertificate`."""
    arn = await server.make_ca()
    pending = kept(server)
    async with issuer_at(server, arn) as issuer:
        issued = await pending.issue(issuer)
        anchors = await issuer.anchors()
    (asked, heard_before), (receipt, heard_then) = pending.noted
    assert (asked.receipt, heard_before) == ("", 0)
    assert asked.asked_at is not None
    assert (receipt.receipt, heard_then) == (server.issued[0].arn, 1)
    leaf, *others = issued.certificates
    candidate = Candidate(pending.pending.request, ordered(leaf, others), pending.pending.public_key, anchors)
    assert prove(candidate, datetime.now(UTC)) == ()
    assert issued.remarks == ()


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [("RSA_2048", "SHA256WITHRSA"), ("EC_prime256v1", "SHA256WITHECDSA"), ("EC_secp384r1", "SHA384WITHECDSA")],
)
@pytest.mark.parametrize("describes", [True, False])
async def test_the_signing_algorithm_follows_the_ca_s_key(
    server: Pca, key: str, algorithm: str, describes: bool
) -> None:
    """Whatever key the host has; and whether or not `DescribeCertificateAuthority` is allowed."""
    arn = await server.make_ca(key)
    asked: list[Asked] = []

    def hear(call: Asked) -> None:
        asked.append(call)

    server.faults.before = hear
    if not describes:
        server.access.deny("acm-pca:DescribeCertificateAuthority")
    async with issuer_at(server, arn) as issuer:
        await kept(server, make_request(key=KeyAlgorithm.RSA_2048)).issue(issuer)
        await kept(server, token="another").issue(issuer)  # noqa: S106 - no secret
        status = issuer.status()
    algorithms = {call.parameters["SigningAlgorithm"] for call in asked if call.operation == "IssueCertificate"}
    assert algorithms == {algorithm}
    assert sum(call.operation == "DescribeCertificateAuthority" for call in asked) == 1
    assert status.trouble == ""


async def test_a_configured_algorithm_is_used(server: Pca) -> None:
    """For who wants SHA-512."""
    arn = await server.make_ca("RSA_2048")
    async with issuer_at(server, arn, signing_algorithm="SHA512WITHRSA") as issuer:
        issued = await kept(server).issue(issuer)
    assert issued.certificates[0].x509.signature_hash_algorithm is not None
    assert issued.certificates[0].x509.signature_hash_algorithm.name == "sha512"


@pytest.mark.parametrize(
    ("usages", "template"),
    [
        ({Usage.CLIENT}, ""),
        ({Usage.SERVER}, ""),
        ({Usage.SERVER, Usage.CLIENT}, "EndEntityCertificate_APIPassthrough/V1"),
        ({Usage.SERVER, Usage.CLIENT}, "EndEntityCertificate_CSRPassthrough/V1"),
        ({Usage.CLIENT}, "BlankEndEntityCertificate_APIPassthrough/V1"),
        ({Usage.SERVER, Usage.CLIENT}, "BlankEndEntityCertificate_CSRPassthrough/V1"),
    ],
)
async def test_templates_give_the_usages_that_were_asked_for(
    server: Pca, usages: Iterable[Usage], template: str
) -> None:
    """By default the one that fits; those that pass call or CSR through say the same there."""
    arn = await server.make_ca()
    request = replace(make_request(subject="CN=a,OU=One,OU=Two,O=MyOrg"), usages=frozenset(usages), template=template)
    pending = kept(server, request)
    async with issuer_at(server, arn) as issuer:
        leaf, *others = (await pending.issue(issuer)).certificates
        anchors = await issuer.anchors()
    candidate = Candidate(request, ordered(leaf, others), pending.pending.public_key, anchors)
    assert prove(candidate, datetime.now(UTC)) == ()
    assert leaf.extended_key_usage is not None
    assert len(leaf.extended_key_usage) == len(request.usages)


async def test_in_progress_is_waited_out_by_asking_again(server: Pca) -> None:
    """One order, several looks."""
    server.orders.pending = timedelta(seconds=1.5)
    arn = await server.make_ca()
    async with issuer_at(server, arn) as issuer:
        await kept(server).issue(issuer)
    assert server.count("IssueCertificate") == 1
    assert server.count("GetCertificate", "RequestInProgressException") >= 1


async def test_an_order_that_takes_longer_than_a_call_is_taken_up_by_the_next(server: Pca) -> None:
    """By a process that starts anew, too: all that it needs is on disk."""
    server.orders.pending = timedelta(hours=1)
    arn = await server.make_ca()
    pending = kept(server)
    async with issuer_at(server, arn) as issuer:
        with pytest.raises(IssuerUnavailableError, match="has not issued") as caught:
            await pending.issue(issuer, timedelta(seconds=2))
    assert caught.value.reason == "in progress"
    server.advance(timedelta(hours=2))
    async with issuer_at(server, arn) as issuer:
        await pending.issue(issuer)
    assert server.count("IssueCertificate") == 1
    assert len(server.issued) == 1


@pytest.mark.parametrize("how", ["dropped", "5xx", "held"])
async def test_an_answer_that_is_lost_costs_no_second_certificate(server: Pca, how: str) -> None:
    """The service has issued, and nobody heard of it: the repeated call is the same, to the token and the end."""
    arn = await server.make_ca()
    pending = kept(server, make_request(lifetime=timedelta(hours=5)))
    match how:
        case "dropped":
            server.faults.drop("IssueCertificate", times=1, after=True)
        case "5xx":
            server.faults.fail("IssueCertificate", times=1, after=True)
        case _:
            server.faults.hold("IssueCertificate", 3, times=1, after=True)
    async with issuer_at(server, arn) as issuer:
        with pytest.raises(IssuerUnavailableError):
            await pending.issue(issuer, timedelta(seconds=1.5))
    assert len(server.issued) == 1
    assert pending.pending.order.asked_at is not None
    async with issuer_at(server, arn) as issuer:
        issued = await pending.issue(issuer)
    assert len(server.issued) == 1
    assert issued.remarks == ()


async def test_an_answer_lost_for_too_long_is_ordered_anew_and_told(server: Pca) -> None:
    """After five minutes the token means nothing; a certificate may lie at AWS that nobody has."""
    arn = await server.make_ca()
    pending, clock = kept(server), Clock()
    server.faults.drop("IssueCertificate", times=1, after=True)
    async with issuer_at(server, arn, clock) as issuer:
        with pytest.raises(IssuerUnavailableError):
            await pending.issue(issuer)
        clock.offset += FIVE_MINUTES
        server.advance(FIVE_MINUTES + timedelta(seconds=1))
        issued = await pending.issue(issuer)
    assert len(server.issued) == 2
    assert "placed anew" in issued.remarks[0]


async def test_a_person_may_be_asked_instead(server: Pca) -> None:
    """`in_doubt: ask` orders nothing, and says how to go on."""
    arn = await server.make_ca()
    pending, clock = kept(server), Clock()
    server.faults.drop("IssueCertificate", times=1, after=True)
    async with issuer_at(server, arn, clock, in_doubt=InDoubt.ASK) as issuer:
        with pytest.raises(IssuerUnavailableError):
            await pending.issue(issuer)
        clock.offset += FIVE_MINUTES
        with pytest.raises(IssuerRefusedError, match="nobody can tell") as caught:
            await pending.issue(issuer)
    assert caught.value.reason == "in doubt"
    assert "cert-agent renew" in caught.value.advice
    assert len(server.issued) == 1


@pytest.mark.parametrize("minutes", [-600, 600])
async def test_an_order_noted_by_a_wrong_clock_is_in_doubt(server: Pca, minutes: int) -> None:
    """From the future or long ago: its token may mean nothing any more."""
    arn = await server.make_ca()
    pending = kept(server)
    pending.pending = replace(pending.pending, order=Order(asked_at=datetime.now(UTC) + timedelta(minutes=minutes)))
    async with issuer_at(server, arn) as issuer:
        issued = await pending.issue(issuer)
    assert "placed anew" in issued.remarks[0]


@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException", "InvalidStateException"])
async def test_a_no_takes_the_order_back(server: Pca, code: str) -> None:
    """Nothing was issued, so nothing is in doubt later."""
    arn = await server.make_ca()
    pending = kept(server)
    server.faults.fail("IssueCertificate", code, 400, times=1)
    async with issuer_at(server, arn) as issuer:
        with pytest.raises((IssuerUnavailableError, IssuerRefusedError)):
            await pending.issue(issuer)
        assert pending.pending.order == Order()
        await pending.issue(issuer)
    assert len(server.issued) == 1


async def test_no_connection_is_no_doubt(server: Pca) -> None:
    """What was never sent has issued nothing, for however long AWS is away."""
    arn = await server.make_ca()
    pending, clock = kept(server), Clock()
    async with proxy(server.endpoint, passes) as front:
        access = AwsAccess(sts_endpoint=server.endpoint, endpoint=front.address)
        issuer = AwsPca(AwsPcaSpec("pca", arn, access, in_doubt=InDoubt.ASK), clock)
        try:
            await issuer.anchors()
            front.then(refuses)
            await front.cut()
            with pytest.raises(IssuerUnavailableError) as caught:
                await pending.issue(issuer)
            assert caught.value.reason == "unreachable"
            assert pending.pending.order == Order()
            front.then(passes)
            clock.offset += timedelta(hours=1)
            await pending.issue(issuer)
        finally:
            await issuer.close()
    assert len(server.issued) == 1


async def test_a_throttled_look_is_waited_out(server: Pca) -> None:
    """`GetCertificate` is tried again within the call; the order stands."""
    arn = await server.make_ca()
    server.faults.fail("GetCertificate", "ThrottlingException", 400, times=2)
    async with issuer_at(server, arn) as issuer:
        await kept(server).issue(issuer)
    assert server.count("IssueCertificate") == 1
    assert server.count("GetCertificate") == 3


async def test_an_order_that_the_service_fails_is_lost(server: Pca) -> None:
    """It is for the daemon to make another key and token."""
    server.orders.failing = 1
    arn = await server.make_ca()
    async with issuer_at(server, arn) as issuer:
        with pytest.raises(OrderLostError):
            await kept(server).issue(issuer)
        await kept(server, token="fresh").issue(issuer)  # noqa: S106 - no secret


async def test_a_receipt_of_another_ca_is_not_asked_for(server: Pca) -> None:
    """Under the name of the issuer stands another CA than when the order was placed."""
    first, second = await server.make_ca(), await server.make_ca(common_name="Second")
    pending = kept(server)
    async with issuer_at(server, first) as issuer:
        await pending.issue(issuer)
    async with issuer_at(server, second) as issuer:
        issued = await pending.issue(issuer)
    assert "Second" in issued.certificates[0].issuer.rfc4514_string()


async def test_a_ca_that_ends_sooner_shortens_the_leaf_and_it_is_told(server: Pca) -> None:
    """The child may not outlive it."""
    arn = await server.make_ca(lifetime=timedelta(days=10))
    async with issuer_at(server, arn) as issuer:
        issued = await kept(server).issue(issuer)
    assert len(issued.remarks) == 1
    assert "the leaf is shortened: 30 days are wanted" in issued.remarks[0]
    assert issued.certificates[0].not_after < datetime.now(UTC) + timedelta(days=10)


async def test_a_ca_that_ends_sooner_may_be_refused(server: Pca) -> None:
    """By setting; nothing is ordered."""
    arn = await server.make_ca(lifetime=timedelta(days=10))
    async with issuer_at(server, arn, near_end=NearEnd.REFUSE) as issuer:
        with pytest.raises(IssuerRefusedError, match="no leaf is asked for"):
            await kept(server).issue(issuer)
    assert server.count("IssueCertificate") == 0


async def test_a_short_lived_ca_gives_a_week(server: Pca) -> None:
    """Its mode is asked for once."""
    arn = await server.make_ca(usage_mode="SHORT_LIVED_CERTIFICATE")
    async with issuer_at(server, arn) as issuer:
        issued = await kept(server).issue(issuer)
    assert "seven days" in issued.remarks[0]


@pytest.mark.parametrize("state", ["DISABLED", "EXPIRED", "DELETED"])
async def test_a_ca_that_cannot_issue_is_told_with_advice(server: Pca, state: str) -> None:
    """In the error, and in the status as long as it lasts."""
    arn = await server.make_ca()
    async with issuer_at(server, arn) as issuer:
        await issuer.anchors()
        server.set_state(arn, state)
        with pytest.raises(IssuerRefusedError) as caught:
            await kept(server).issue(issuer)
        assert caught.value.reason == "authority"
        assert "enable it" in caught.value.advice
        assert issuer.status().reason == "authority"


async def test_a_ca_certificate_that_was_imported_anew_is_seen(server: Pca) -> None:
    """Anchors are asked for every few minutes; the change is a remark."""
    arn = await server.make_ca()
    async with issuer_at(server, arn) as issuer:
        first = await issuer.anchors()
        before = issuer.status().authority
        assert issuer.status().remarks == ()
        await server.reimport(arn)
        assert await issuer.anchors() == first
        status = issuer.status()
    assert status.authority != before
    assert "imported anew" in status.remarks[0]


async def test_a_right_that_is_missing_is_asked_for_once(server: Pca) -> None:
    """A refusal every five minutes would fill CloudTrail, and tell nothing new."""
    server.access.deny("acm-pca:DescribeCertificateAuthority")
    arn = await server.make_ca()
    async with issuer_at(server, arn) as issuer:
        for _ in range(3):
            await issuer.anchors()
        assert issuer.status().trouble == ""
    assert server.count("DescribeCertificateAuthority") == 1


async def test_a_root_that_ends_before_its_subordinate_bounds_the_leaf(server: Pca) -> None:
    """No chain is any good past the end of its first certificate to end."""
    arn = await server.make_ca()
    early = Ca.root("CN=Early", not_after=datetime.now(UTC) + timedelta(days=5))
    async with issuer_at(server, arn) as issuer:
        server.faults.lies["GetCertificateAuthorityCertificate"] = lambda answer: (
            answer | {"CertificateChain": early.certificate.x509.public_bytes(Encoding.PEM).decode()}
        )
        issued = await kept(server).issue(issuer)
    assert issued.certificates[0].not_after < datetime.now(UTC) + timedelta(days=5)
    assert "the leaf is shortened" in issued.remarks[0]


async def test_a_chain_without_a_root_has_no_anchor(server: Pca) -> None:
    """The advice names both ways out."""
    arn = await server.make_ca()
    server.faults.lies["GetCertificateAuthorityCertificate"] = lambda answer: answer | {"CertificateChain": None}
    async with issuer_at(server, arn) as issuer:
        with pytest.raises(TrustError, match="no self-signed certificate") as caught:
            await issuer.anchors()
    assert "peer_trust" in caught.value.advice


async def test_revoking_twice_is_well(server: Pca) -> None:
    """What is revoked already needs nothing more."""
    arn = await server.make_ca()
    async with issuer_at(server, arn) as issuer:
        leaf = (await kept(server).issue(issuer)).certificates[0]
        await issuer.revoke(leaf, within=timedelta(seconds=10))
        await issuer.revoke(leaf, within=timedelta(seconds=10))
        server.access.deny("acm-pca:RevokeCertificate")
        with pytest.raises(IssuerRefusedError, match="RevokeCertificate"):
            await issuer.revoke(leaf, within=timedelta(seconds=10))
    assert server.count("RevokeCertificate", "OK") == 1


@pytest.mark.timeout(300)
async def test_two_hundred_identities_are_served_by_a_ca_that_gives_five_calls_a_second(server: Pca) -> None:
    """All get their certificate, each once, and a tenth of the calls is throttled at most."""
    arn = await server.make_ca()
    server.faults.throttle(5, burst=5)
    pendings = [kept(server, token=f"identity-{number}") for number in range(200)]

    async def keep(number: int) -> None:
        for tries in range(60):
            try:
                await pendings[number].issue(issuer, timedelta(seconds=60))
            except IssuerUnavailableError:
                await asyncio.sleep(min(2**tries, 60) * (0.5 + number / 200))
            else:
                return
        raise AssertionError(number)

    async with issuer_at(server, arn, calls_per_second=AwsPcaSpec("", "").calls_per_second) as issuer:
        await asyncio.gather(*(keep(number) for number in range(200)))
    assert len(server.issued) == 200
    assert len({issued.token for issued in server.issued}) == 200
    assert server.throttled <= len(server.calls) / 10
