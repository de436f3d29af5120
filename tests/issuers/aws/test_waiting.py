"""AWS Private CA with a second CA in waiting: its root is listed before anything is issued under it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.certificate import Certificate
from agent.core.issuer_status import Opinion
from agent.errors import TrustError
from tests.issuers.aws.clients import Clock, issuer_at, kept
from tests.material import Ca, make_request

if TYPE_CHECKING:
    from tests.servers.pca import Pca

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

READS = "acm-pca:GetCertificateAuthorityCertificate"


def root_of(server: Pca, arn: str) -> Certificate:
    """Return the root above a CA."""
    return Certificate.from_der(server.authority(arn).chain[-1].public_bytes(Encoding.DER))


async def two(server: Pca) -> tuple[str, str]:
    """Make a CA, and one below another root."""
    above = await server.make_ca(subordinate=False, common_name="Next Root")
    return await server.make_ca(), await server.make_ca(above=above, common_name="Next")


async def test_the_root_of_the_next_ca_is_listed_and_never_its_own(server: Pca) -> None:
    """Leaves are of the first until the settings name the second as the CA; then it is the other way round."""
    first, second = await two(server)
    old, new = root_of(server, first), root_of(server, second)
    async with issuer_at(server, first, next_authority=second) as issuer:
        assert await issuer.anchors() == (old,)
        assert await issuer.listed() == (new,)
        leaf = (await kept(server).issue(issuer)).certificates[0]
    assert leaf.issuer.rfc4514_string() == "CN=Test Subordinate,O=MyOrg"
    async with issuer_at(server, second, next_authority=first) as issuer:
        assert await issuer.anchors() == (new,)
        assert await issuer.listed() == (old,)


async def test_what_is_not_waiting_is_not_asked_for(server: Pca) -> None:
    """Without a second ARN nothing is listed, and a CA of which all is known is not asked again."""
    first, _ = await two(server)
    async with issuer_at(server, first) as issuer:
        await issuer.anchors()
        calls = len(server.calls)
        assert await issuer.listed() == ()
    assert len(server.calls) == calls


async def test_a_next_ca_below_the_same_root_shows_no_other(server: Pca) -> None:
    """What is its own is not listed."""
    first = await server.make_ca()
    second = await server.make_ca(common_name="Second")
    async with issuer_at(server, first, next_authority=second) as issuer:
        assert await issuer.listed() == ()


@pytest.mark.parametrize("state", ["CREATING", "PENDING_CERTIFICATE"])
async def test_a_next_ca_without_a_certificate_is_waited_for(server: Pca, state: str) -> None:
    """It is no trouble; once its certificate is imported its root is listed, and the examination tells both."""
    first, second = await two(server)
    server.set_state(second, state)
    async with issuer_at(server, first, next_authority=second) as issuer:
        assert await issuer.listed() == ()
        assert issuer.status().trouble == ""
        found = {one.what: one for one in await issuer.examine([make_request()])}
        assert found["CA in waiting"].opinion is Opinion.UNKNOWN
        assert "no certificate yet" in found["CA in waiting"].sentence
        server.set_state(second, "ACTIVE")
        assert await issuer.listed() == (root_of(server, second),)
        found = {one.what: one for one in await issuer.examine([make_request()])}
        assert found["CA in waiting"].opinion is Opinion.GOOD
        assert "CN=Next" in found["CA in waiting"].sentence


async def test_a_next_ca_that_may_not_be_read_is_told_by_its_own_name(server: Pca) -> None:
    """The right that is missing, and on which CA; leaves, own anchors and status do not suffer."""
    first, second = await two(server)
    server.access.deny(READS, resource=second)
    async with issuer_at(server, first, next_authority=second) as issuer:
        with pytest.raises(TrustError, match="AccessDeniedException") as caught:
            await issuer.listed()
        assert f"{READS} on {second}" in caught.value.advice
        assert first not in caught.value.advice
        assert await issuer.anchors() == (root_of(server, first),)
        assert (await kept(server).issue(issuer)).certificates
        assert issuer.status().trouble == ""
        found = {one.what: one for one in await issuer.examine([make_request()])}
        assert found["CA in waiting"].opinion is Opinion.DOUBTFUL
        assert {one.opinion for what, one in found.items() if what != "CA in waiting"} == {Opinion.GOOD}
        server.access.allow(READS, resource=second)
        assert await issuer.listed() == (root_of(server, second),)


async def test_a_next_ca_that_is_none_is_told_by_its_setting(server: Pca) -> None:
    """A mistyped ARN is for a person, and names the key that holds it."""
    first, second = await two(server)
    async with issuer_at(server, first, next_authority=f"{second[:-4]}0000") as issuer:
        with pytest.raises(TrustError, match="ResourceNotFoundException") as caught:
            await issuer.listed()
    assert "`next_certificate_authority_arn`" in caught.value.advice


async def test_a_chain_with_another_root_lists_it(server: Pca) -> None:
    """A stranger among what was imported is no anchor of the CA's own."""
    arn, stranger = await server.make_ca(), Ca.root("CN=Stranger").certificate
    text = stranger.x509.public_bytes(Encoding.PEM).decode()
    server.faults.lies["GetCertificateAuthorityCertificate"] = lambda answer: (
        answer | {"CertificateChain": f"{text}{answer['CertificateChain']}"}
    )
    async with issuer_at(server, arn) as issuer:
        assert await issuer.anchors() == (root_of(server, arn),)
        assert await issuer.listed() == (stranger,)


async def test_an_answer_that_is_none_is_told_in_time(server: Pca) -> None:
    """Garbage and silence are reasons, within the limit of the settings."""
    first, second = await two(server)
    clock = Clock()
    async with issuer_at(server, first, clock, next_authority=second, within=timedelta(seconds=1)) as issuer:
        await issuer.anchors()
        server.faults.lies["GetCertificateAuthorityCertificate"] = lambda answer: answer | {"Certificate": "garbage"}
        with pytest.raises(TrustError, match="AWS answered with"):
            await issuer.listed()
        server.faults.lies.clear()
        server.faults.hold("GetCertificateAuthorityCertificate", 3, times=1)
        async with asyncio.timeout(2):
            with pytest.raises(TrustError):
                await issuer.listed()
        server.faults.clear()
        assert await issuer.listed() == (root_of(server, second),)
        assert issuer.status().trouble == ""
