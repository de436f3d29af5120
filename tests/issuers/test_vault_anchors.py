"""The roots of a PKI mount: which are the CA's own, which it holds beside them, and lists that are none."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.issuer_spec import TokenLogin
from agent.core.secret import Secret
from agent.errors import TrustError
from agent.issuers.vault import Vault
from agent.keystores import pem
from tests.issuers.vault_clients import spec
from tests.material import Ca
from tests.servers.hostile import Signing, answers, drips, floods, hangs, hostile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.servers.hostile import Behaviour, Heard


@pytest.fixture
async def make_vault(tmp_path: Path) -> AsyncIterator[Callable[..., Vault]]:
    """Return a maker of clients, which are closed after the test; their token is not asked for here."""
    made: list[Vault] = []

    def make(*addresses: str, **changes: Any) -> Vault:
        login = TokenLogin(Secret(file=tmp_path / "token"))
        made.append(Vault(spec(login, *addresses, **changes), lambda: datetime.now(UTC)))
        return made[-1]

    yield make
    for vault in made:
        await vault.close()


R1, R2 = Ca.root("CN=r1"), Ca.root("CN=r2")
CROSS = R1.intermediate("CN=r2", key=R2.key)
"""The new root as the old one has signed it: an intermediate, though of an anchor's name and key."""
BELOW = R2.intermediate()
RENEWED = Ca.root("CN=r2", key=R2.key)
TWIN = Ca.root("CN=r2")


@pytest.mark.parametrize(
    ("chain", "own", "listed"),
    [
        ((R2, CROSS, R1), (R2,), (R1,)),
        ((R1, CROSS, R2), (R1,), (R2,)),
        ((BELOW, CROSS, R1, R2), (R2,), (R1,)),
        ((BELOW, R2, RENEWED), (R2, RENEWED), ()),
        ((RENEWED, R2), (RENEWED,), (R2,)),
        ((CROSS, R1, R2), (R1,), (R2,)),
        ((BELOW, CROSS, R1), (R1,), ()),
        ((R2, TWIN), (R2,), (TWIN,)),
        ((BELOW, TWIN, R2), (R2,), (TWIN,)),
    ],
    ids=[
        "the root itself, cross-signed too",
        "the old root, whose cross-signed one is not gone yet",
        "below the new root, by the shorter way",
        "below a root that was renewed with its key",
        "a renewed root",
        "cross-signed alone",
        "the new root is not there",
        "another of the same name",
        "another of the name that signed",
    ],
)
async def test_own_are_the_roots_that_the_first_of_the_chain_leads_to(
    make_vault: Callable[..., Vault], chain: tuple[Ca, ...], own: tuple[Ca, ...], listed: tuple[Ca, ...]
) -> None:
    """During a rotation the new root stands there twice, self-signed and signed by the old one, and so does the old."""
    async with hostile(chain_and_list(Signing(chain[0], tuple(one.certificate for one in chain[1:])))) as server:
        vault = make_vault(server.address)
        assert await vault.anchors() == tuple(one.certificate for one in own)
        assert await vault.listed() == tuple(one.certificate for one in listed)


def chain_and_list(chain: Behaviour, listing: Behaviour | None = None, issuer: Behaviour | None = None) -> Behaviour:
    """Answer the chain, the list of issuers (by default as a server that is too old for it), and each issuer."""

    async def behave(request: Heard, writer: asyncio.StreamWriter) -> None:
        if request.path == "/v1/pki/issuers?list=true":
            answer = listing or answers(405, {"errors": ["1 error occurred: unsupported operation"]})
        elif request.path.startswith("/v1/pki/issuer/"):
            answer = issuer or answers(500, {"errors": ["unable to find PKI issuer for reference: x"]})
        else:
            answer = chain
        await answer(request, writer)

    return behave


def list_of(*ids: object) -> Behaviour:
    """Answer a list of issuers."""
    return answers(200, {"data": {"keys": list(ids), "key_info": {}}})


def issuer_of(certificate: object) -> Behaviour:
    """Answer one issuer."""
    return answers(200, {"data": {"certificate": certificate, "ca_chain": [], "issuer_id": "x"}})


def text_of(ca: Ca) -> str:
    """Return a CA's certificate in PEM."""
    return pem.encode([ca.certificate]).decode()


async def test_issuers_are_read_once_and_without_a_token(make_vault: Callable[..., Vault]) -> None:
    """What an id stands for never changes: each look is a call for the chain and one for the list."""
    ids = [list_of("a-1", "b-2", "a-1"), list_of("a-1", "b-2", "c-3"), list_of("c-3")]
    told = {"a-1": R1, "b-2": CROSS, "c-3": Ca.root("CN=r3")}

    async def issuer(request: Heard, writer: asyncio.StreamWriter) -> None:
        await issuer_of(text_of(told[request.path.split("/")[-2]]))(request, writer)

    async def listing(request: Heard, writer: asyncio.StreamWriter) -> None:
        await ids.pop(0)(request, writer)

    async with hostile(chain_and_list(Signing(R2), listing, issuer)) as server:
        vault = make_vault(server.address)
        assert await vault.listed() == (R1.certificate,)
        assert await vault.listed() == (R1.certificate, told["c-3"].certificate)
        assert await vault.listed() == (told["c-3"].certificate,)
    asked = [heard.path for heard in server.heard]
    assert sorted(path for path in asked if "/issuer/" in path) == [f"/v1/pki/issuer/{one}/json" for one in told]
    assert not any("x-vault-token" in heard.headers for heard in server.heard)


@pytest.mark.parametrize(
    "listing",
    [
        answers(404, {"errors": []}),
        answers(405, {"errors": ["1 error occurred: unsupported operation"]}),
        answers(400, {"errors": ["missing client token"]}),
        list_of(),
        list_of("gone-since"),
    ],
)
async def test_server_without_a_list_lists_nothing(make_vault: Callable[..., Vault], listing: Behaviour) -> None:
    """A mount of old has one CA; one that was deleted between two calls is not there."""
    async with hostile(chain_and_list(Signing(R2), listing)) as server:
        assert await make_vault(server.address).listed() == ()


@pytest.mark.parametrize(
    ("listing", "issuer", "why"),
    [
        (answers(403, {"errors": ["permission denied"]}), None, "permission denied"),
        (answers(503, {"errors": ["Vault is sealed"]}), None, "Vault is sealed"),
        (answers(200, b"garbage"), None, "no JSON"),
        (answers(200, {"data": {"keys": "all"}}), None, "a list of issuers that is none"),
        (list_of(1, None), None, "a list of issuers that is none"),
        (list_of("../../sys/health?"), None, "a list of issuers that is none"),
        (list_of(*map(str, range(101))), None, "101 issuers, more than 100"),
        (floods([]), None, "larger than"),
        (hangs, None, "no answer within"),
        (drips(), None, "no answer within"),
        (list_of("a"), answers(403, {"errors": ["permission denied"]}), "permission denied"),
        (list_of("a"), answers(200, {"data": {}}), "no certificate"),
        (list_of("a"), issuer_of(["x"]), "no list of certificates"),
        (list_of("a"), issuer_of("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "cannot be read"),
        (list_of("a"), floods([]), "larger than"),
        (list_of("a"), hangs, "no answer within"),
    ],
)
async def test_list_that_cannot_be_had_is_told_in_time(
    make_vault: Callable[..., Vault], listing: Behaviour, issuer: Behaviour | None, why: str
) -> None:
    """Garbage, a flood, silence: a reason and advice, within the limit of the settings; the CA has no trouble."""
    async with hostile(chain_and_list(Signing(R2), listing, issuer)) as server:
        vault = make_vault(server.address, within=timedelta(seconds=0.5))
        async with asyncio.timeout(2):
            with pytest.raises(TrustError, match=why) as caught:
                await vault.listed()
        assert caught.value.advice
        assert await vault.anchors() == (R2.certificate,)
        assert vault.status().trouble == ""
