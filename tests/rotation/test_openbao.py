"""A CA rotation of a broker and a client against a real OpenBao with two roots, and the ways in which it goes wrong."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from agent.core.chain import name_of
from agent.core.rotation import Stage as At
from agent.keystores import pem
from tests.brokers.host import broker_host
from tests.rotation.rotation_host import ALICE, Orders, Stage
from tests.servers.openbao import ROLE, openbao
from tests.wire.listeners import Identity, kafka, listening, make_ca

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.core.status import IdentityStatus, RotationStatus
    from tests.servers.openbao import OpenBao

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BOTH = ("broker", "orders")
CONFIRM = "`cert-agent ca confirm orders`"
MOUNT = "kafka-pki"
POLICY = f'path "{MOUNT}/sign/kafka" {{ capabilities = ["update"] }}'


async def make_roots(bao: OpenBao) -> Certificate:
    """Mount a CA whose root signs the leaves itself, and return that root."""
    await bao.write(f"sys/mounts/{MOUNT}", type="pki", config={"max_lease_ttl": "87600h"})
    made = await bao.write(
        f"{MOUNT}/root/generate/internal", common_name="Kafka Root 1", issuer_name="r1", ttl="87000h"
    )
    await bao.write(f"{MOUNT}/roles/kafka", **ROLE | {"allow_any_name": True, "enforce_hostnames": False})
    bao.token_file.write_text(await bao.make_token(POLICY))
    return read(made["certificate"])


async def follow(bao: OpenBao, number: int) -> Certificate:
    """Make the root that is to follow, and return it."""
    made = await bao.write(
        f"{MOUNT}/root/rotate/internal",
        common_name=f"Kafka Root {number}",
        issuer_name=f"r{number}",
        ttl="87000h",
    )
    return read(made["certificate"])


def read(text: str) -> Certificate:
    """Return the one certificate in a text of PEM."""
    (certificate,) = pem.decode(text.encode())
    return certificate


@pytest.fixture
async def bao(tmp_path: Path) -> AsyncIterator[OpenBao]:
    """Start a server."""
    async with openbao(tmp_path / "bao") as server:
        yield server


@pytest.fixture
async def stage(tmp_path: Path, bao: OpenBao) -> AsyncIterator[Stage]:
    """Return a broker and a client whose certificates are to come from the server; neither has been started."""
    folder = tmp_path / "host"
    folder.mkdir()
    with broker_host(folder, kind="PEM") as host:
        stage = Stage(host, Orders(host))
        host.settings["issuers"] = {
            "vault": {
                "type": "vault",
                "addresses": [bao.address],
                "mount": MOUNT,
                "role": "kafka",
                "auth": {"method": "token", "token_file": str(bao.token_file)},
            }
        }
        stage.want(issuer="vault")
        try:
            yield stage
        finally:
            await stage.close()


def at(status: IdentityStatus) -> RotationStatus:
    """Return where the rotation of an identity stands."""
    assert status.rotation is not None
    return status.rotation


async def test_from_the_first_sight_of_a_root_to_the_last_of_the_old_one(bao: OpenBao, stage: Stage) -> None:
    """Seen, approved, trusted, reissued under, soaked and gone on both hosts; the old root is deleted midway."""
    r1 = await make_roots(bao)
    await stage.up()
    kept = shutil.copytree(stage.orders.directory, stage.host.folder / "kept")  # a leaf of the old CA, for later
    async with stage.watched():
        r2 = await follow(bao, 2)
        for name in BOTH:
            await expect_waiting(stage, name, r1, r2)
        for name in BOTH:
            status = await stage.approve(name, r2)
            assert at(status).stage is At.ANCHOR_ADDED
            assert set(status.anchors) == {r1, r2}
            assert status.leaf is not None
            assert is_of(status, r1)

        await bao.write(f"{MOUNT}/root/replace", default="r2")
        broker, orders = await stage.turn("broker"), await stage.turn("orders")
        assert held(broker, "orders", CONFIRM, "is not shown to trust CN=Kafka Root 2")
        assert at(broker).awaited == ("orders",)
        assert is_of(broker, r1)
        # What it has loaded does not hold the new root, although its files do: its leaf is not even asked for.
        assert held(orders, "the truststores here are not shown to be in use")
        assert is_of(orders, r1)

        await stage.orders.restart()
        assert stage.orders.anchors == {r1, r2}
        orders = await stage.turn("orders")
        assert is_of(orders, r2)
        assert at(orders).stage is At.LEAF_REISSUED
        await bao.call("DELETE", f"{MOUNT}/issuer/r1")
        for name in BOTH:
            status = await stage.turn(name)
            assert set(status.anchors) == {r1, r2}
            assert not status.not_ready
        assert is_of(await stage.turn("broker"), r1)

        broker = await stage.confirm("broker", "orders")
        assert is_of(broker, r2)
        assert broker.settled
        assert at(broker).stage is At.LEAF_REISSUED
        assert held(broker, "orders", CONFIRM, "is not shown to use no leaf of CN=Kafka Root 1")
        assert held(await stage.turn("orders"), "the new leaf here is not shown to be in use")
        await stage.orders.restart()
        await stage.confirm("broker", "orders")
        for name in BOTH:
            _, status = await stage.until(name, lambda one: one.stage is At.STEADY, "the old root has not left")
            assert set(status.anchors) == {r2}
            assert is_of(status, r2)
            assert not status.concerns
        await stage.orders.restart()
        assert stage.orders.anchors == {r2}
    await stage.orders.stop()
    assert stage.looks > 20
    shutil.copyfile(stage.orders.loaded / "ca.pem", kept / "ca.pem")
    assert not stage.refused(stage.orders.loaded)
    assert stage.refused(kept).keys() == {"INTERNAL", "MTLS"}


async def test_what_people_break_holds_the_rotation_and_no_connection(bao: OpenBao, stage: Stage) -> None:
    """An edit by hand, an anchor pulled early, an empty folder, a way back, a peer that is behind or ahead."""
    r1 = await make_roots(bao)
    folder = stage.host.folder / "ca.d"
    folder.mkdir()
    drop(folder, r1)
    stage.want(trust=[{"issuer": "vault"}, {"files": "ca.d"}])
    for name in BOTH:
        stage.rotation(name, soak="1d")
    await stage.up()
    async with stage.watched():
        r2 = await follow(bao, 2)
        await an_edit_is_held_until_it_is_discarded(stage, folder, r1, r2)
        await both_are_reissued(bao, stage, r1, r2)
        await an_anchor_pulled_early_stays(stage, folder, r1, r2)
        await an_empty_folder_takes_nothing_away(stage, folder, r1, r2)
        await both_go_back(stage, r1, r2)
        await a_peer_is_behind_or_ahead(stage)
    await stage.orders.stop()


async def an_edit_is_held_until_it_is_discarded(stage: Stage, folder: Path, r1: Certificate, r2: Certificate) -> None:
    """A person puts a partner's CA in the place of all others; a reload would end every connection."""
    # What the broker itself would refuse is not to be left to it: a listener alone may read what was edited.
    stage.host.settings["identities"]["broker"]["reload"] = [stage.host.reload(within="30s", preflight=False)]
    truststore = stage.host.directory / "truststore"
    edit = pem.encode([make_ca("CN=Partner").certificate])
    truststore.write_bytes(edit)
    drop(folder, r2)
    for _ in range(2):
        status = await stage.turn("broker")
        assert at(status).stage is At.STORE_EDITED
        assert "truststore was edited by hand" in at(status).why
        assert any("`cert-agent renew --discard-edits`" in concern for concern in status.concerns)
        assert truststore.read_bytes() == edit
        assert stage.host.current == 1
        assert status.tries["publishing"].failure is None
    stage.host.settings["identities"]["broker"]["reload"] = [stage.host.reload(within="30s")]
    keeper = stage.keeper("broker")
    await keeper.renew(discard_edits=True)
    status = stage.host.status(keeper)
    assert at(status).stage is At.ANCHOR_ADDED
    assert set(pem.decode(truststore.read_bytes())) == {r1, r2}


async def both_are_reissued(bao: OpenBao, stage: Stage, r1: Certificate, r2: Certificate) -> None:
    """The default is flipped, and the person vouches for the client."""
    status = await stage.turn("orders")
    assert set(status.anchors) == {r1, r2}
    await stage.orders.restart()
    await bao.write(f"{MOUNT}/root/replace", default="r2")
    assert is_of(await stage.turn("orders"), r2)
    await stage.orders.restart()
    assert is_of(await stage.confirm("broker", "orders"), r2)


async def an_anchor_pulled_early_stays(stage: Stage, folder: Path, r1: Certificate, r2: Certificate) -> None:
    """The folder alone is trusted, and lacks the CA that the leaves are of."""
    (folder / f"{name_of(r2)}.pem").unlink()
    stage.want(trust=[{"files": "ca.d"}])
    for name in BOTH:
        status = await stage.turn(name)
        assert "CN=Kafka Root 2 is to leave the truststores" in at(status).why
        assert held(status, "the next leaf here is of CN=Kafka Root 2")
        assert set(status.anchors) == {r1, r2}
        assert not status.not_ready
    drop(folder, r2)


async def an_empty_folder_takes_nothing_away(stage: Stage, folder: Path, r1: Certificate, r2: Certificate) -> None:
    """Nothing is left in it, after a moment in which the old root was to leave."""
    (folder / f"{name_of(r1)}.pem").unlink()
    for name in BOTH:
        assert at(await stage.turn(name)).stage is At.LEAF_REISSUED
    (folder / f"{name_of(r2)}.pem").unlink()
    for name in BOTH:
        status = await stage.turn(name)
        assert held(status, "a source of trust is silent", "ca.d")
        assert any("a source of trust cannot be read" in concern for concern in status.concerns)
        assert set(status.anchors) == {r1, r2}
    drop(folder, r1)
    drop(folder, r2)


async def both_go_back(stage: Stage, r1: Certificate, r2: Certificate) -> None:
    """The leaves of before are kept, and come back by the same proofs: the client first, and the broker by a word."""
    assert is_of(await stage.turn("orders"), r2)
    keeper = stage.keeper("orders")
    await keeper.turn()
    await keeper.abort(by=ALICE)
    assert is_of(stage.host.status(keeper), r1)
    await stage.orders.restart()
    keeper = stage.keeper("broker")
    await keeper.turn()
    await keeper.abort(by=ALICE)
    status = stage.host.status(keeper)
    assert is_of(status, r2)
    assert held(status, "orders", CONFIRM, "is not shown to trust CN=Kafka Root 1")
    status = await stage.confirm("broker", "orders")
    assert is_of(status, r1)
    assert status.settled
    assert set(status.anchors) == {r1, r2}


async def a_peer_is_behind_or_ahead(stage: Stage) -> None:
    """A listener that the client meets does not trust its leaf; another serves one of a CA that nobody here knows."""
    other = make_ca("CN=Elsewhere")
    identity = Identity.of(other)
    behind = kafka(identity.context(trusted=other))
    ahead = kafka(identity.context())
    for way, expected, words in (
        (behind, At.LEAF_UNTRUSTED, "does not trust the leaf in use"),
        (ahead, At.PEER_AHEAD, "uses a leaf of CN=Elsewhere, which no truststore here holds"),
    ):
        with listening(way) as listener:
            stage.rotation("orders", listeners=[listener.address])
            status = await stage.turn("orders")
        assert at(status).stage is expected
        assert f"{listener.address} {words}" in at(status).why
        assert any("the CA rotation is broken" in concern for concern in status.concerns)
    stage.rotation("orders", listeners=[])
    assert not at(await stage.turn("orders")).stage.is_broken


def drop(folder: Path, anchor: Certificate) -> None:
    """Put an anchor into a folder as a configuration tool does."""
    (folder / f"{name_of(anchor)}.pem").write_bytes(pem.encode([anchor]))


async def expect_waiting(stage: Stage, name: str, own: Certificate, other: Certificate) -> None:
    """Another root than the own one is told of with its fingerprint, and has entered nothing."""
    status = await stage.turn(name)
    assert any(other.fingerprint in concern for concern in status.concerns)
    assert at(status).stage is At.STEADY
    assert set(status.anchors) == {own}


def held(status: IdentityStatus, *words: str) -> bool:
    """Return whether the rotation is held with these words; fail with those that it is held with."""
    why = at(status).why.partition("held: ")[2]
    assert all(one in why for one in words), at(status)
    return True


def is_of(status: IdentityStatus, root: Certificate) -> bool:
    """Return whether the current leaf is of a CA."""
    return status.leaf is not None and status.leaf.issuer == root.subject
