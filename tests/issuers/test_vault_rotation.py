"""A mount of a real OpenBao from one root to the next: which root is the CA's own at each step, and which is listed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.chain import Path as ChainPath
from agent.core.chain import find_path
from agent.core.issuer_status import Opinion
from agent.errors import TrustError
from agent.keystores import pem
from tests.issuers.pendings import make_pending
from tests.issuers.vault_clients import client, issue
from tests.material import make_request
from tests.servers.openbao import ROLE, openbao

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.issuers.vault import Vault
    from tests.servers.openbao import OpenBao

pytestmark = pytest.mark.slow

POLICY = 'path "roots/*" { capabilities = ["update"] }'


@pytest.fixture
async def bao(tmp_path: Path) -> AsyncIterator[OpenBao]:
    """Start a server whose mount `roots` has one root, `r1`, that signs leaves itself."""
    async with openbao(tmp_path / "bao") as server:
        await server.write("sys/mounts/roots", type="pki", config={"max_lease_ttl": "87600h"})
        await server.write(
            "roots/root/generate/internal", common_name="r1", issuer_name="r1", key_type="ec", ttl="87000h"
        )
        await server.write("roots/roles/kafka", **ROLE)
        server.token_file.write_text(await server.make_token(POLICY))
        yield server


async def follow(bao: OpenBao) -> Certificate:
    """Make the root that is to follow, and return it."""
    made = await bao.write(
        "roots/root/rotate/internal", common_name="r2", issuer_name="r2", key_type="ec", ttl="87000h"
    )
    return read(made["certificate"])


async def cross_sign(bao: OpenBao) -> Certificate:
    """Have the key of `r2` certified by `r1` too, import that, and return it."""
    asked = await bao.write("roots/intermediate/cross-sign", key_ref=await key_of(bao, "r2"), common_name="r2")
    signed = await bao.write(
        "roots/issuer/r1/sign-intermediate", csr=asked["csr"], use_csr_values=True, ttl="43800h", max_path_length=-1
    )
    await bao.write("roots/issuers/import/bundle", pem_bundle=signed["certificate"])
    return read(signed["certificate"])


async def key_of(bao: OpenBao, issuer: str) -> str:
    """Return the id of an issuer's key."""
    data = (await bao.call("GET", f"roots/issuer/{issuer}"))["data"]
    key: str = data["key_id"]
    return key


def read(text: str) -> Certificate:
    """Return the one certificate in a text of PEM."""
    (certificate,) = pem.decode(text.encode())
    return certificate


async def leads_to(vault: Vault, root: Certificate) -> bool:
    """Whether a leaf that is issued now leads to a root."""
    request = make_request(lifetime=timedelta(hours=1))
    leaf, *between = (await issue(vault, make_pending(request))).certificates
    return isinstance(find_path(leaf, between, (root,), datetime.now(UTC), request.usages), ChainPath)


async def test_next_root_is_listed_before_it_signs_and_the_last_one_after(bao: OpenBao) -> None:
    """Its own is the root that the next leaf leads to, and no other; a root that is deleted is listed no more."""
    async with client(bao.spec(mount="roots")) as vault:
        (r1,) = await vault.anchors()
        assert await vault.listed() == ()
        r2 = await follow(bao)
        assert await vault.anchors() == (r1,)
        assert await vault.listed() == (r2,)
        assert await leads_to(vault, r1)
        await bao.write("roots/root/replace", default="r2")
        assert await vault.anchors() == (r2,)
        assert await vault.listed() == (r1,)
        assert await leads_to(vault, r2)
        await bao.call("DELETE", "roots/issuer/r1")
        assert await vault.anchors() == (r2,)
        assert await vault.listed() == ()


async def test_mount_without_a_default_has_no_anchor(bao: OpenBao) -> None:
    """Its chain is an empty answer then, which is no answer; the roots that are left are listed all the same."""
    async with client(bao.spec(mount="roots")) as vault:
        (r1,) = await vault.anchors()
        await follow(bao)
        await bao.write("roots/root/replace", default="r2")
        await bao.call("DELETE", "roots/issuer/r2")
        with pytest.raises(TrustError, match="no self-signed certificate") as caught:
            await vault.anchors()
        assert caught.value.advice
        assert await vault.listed() == (r1,)
        found = {one.what: one.opinion for one in await vault.examine([make_request()])}
        assert found["CA"] is Opinion.BAD


async def test_cross_signed_root_belongs_to_the_one_that_signs(bao: OpenBao) -> None:
    """The chain holds r2, r2 by r1, and r1: of a leaf that r2 signs, r1 is another CA's root."""
    async with client(bao.spec(mount="roots")) as vault:
        (r1,) = await vault.anchors()
        r2 = await follow(bao)
        cross = await cross_sign(bao)
        assert (cross.subject, cross.public_key, cross == r2) == (r2.subject, r2.public_key, False)
        assert await vault.anchors() == (r1,)
        assert await vault.listed() == (r2,)
        await bao.write("roots/root/replace", default="r2")
        async with bao.session.get(f"{bao.address}/v1/roots/ca_chain") as response:
            assert set(pem.decode(await response.read())) == {r2, cross, r1}
        assert await vault.anchors() == (r2,)
        assert await vault.listed() == (r1,)
        assert await leads_to(vault, r2)


async def test_named_issuer_is_the_own_one(bao: OpenBao) -> None:
    """With `issuer_ref` the roots change places: the mount's default is another CA."""
    r2 = await follow(bao)
    await cross_sign(bao)
    async with client(bao.spec(mount="roots")) as vault:
        (r1,) = await vault.anchors()
    async with client(bao.spec(mount="roots", issuer_ref="r2")) as vault:
        assert await vault.anchors() == (r2,)
        assert await vault.listed() == (r1,)
        assert await leads_to(vault, r2)


async def test_root_above_the_next_intermediate_is_listed(bao: OpenBao) -> None:
    """Where another mount holds the roots, the next one's is imported with its intermediate, and seen from then on."""
    made = await bao.write("pki-root/root/rotate/internal", common_name="Next Root", issuer_name="next", key_type="ec")
    following = read(made["certificate"])
    asked = await bao.write("pki/intermediate/generate/internal", common_name="Next Intermediate", key_type="ec")
    signed = await bao.write(
        "pki-root/issuer/next/sign-intermediate", csr=asked["csr"], common_name="Next Intermediate", ttl="700h"
    )
    async with client(bao.spec()) as vault:
        own = await vault.anchors()
        assert await vault.listed() == ()
        bundle = f"{signed['certificate']}\n{made['certificate']}"
        imported = await bao.write("pki/issuers/import/bundle", pem_bundle=bundle)
        assert len(imported["imported_issuers"]) == 2
        assert await vault.anchors() == own
        assert await vault.listed() == (following,)
