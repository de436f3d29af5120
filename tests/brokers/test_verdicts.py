"""Refusals where brokers differ: keystores in JKS and PEM, Kafka 3.9, and what server.properties allows."""

from __future__ import annotations

import asyncio
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.core.proof import Remedy
from agent.core.reload_rules import ENTRIES, PRINCIPAL, VERDICT
from agent.errors import AgentError
from agent.keystores import jks, pem
from tests.brokers.host import FILES, broker_host
from tests.brokers.kafka_words import expect_verdicts
from tests.brokers.liars import Asked
from tests.brokers.scene import SUBJECT_IN_USE, Scene, as_it_was
from tests.material import make_key
from tests.servers.kafka_jars import OLDEST
from tests.tools import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ALLOWING = {"ssl.allow.dn.changes": "true", "ssl.allow.san.changes": "true"}
ONE_THREAD = {"num.network.threads": "1"}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Have a broker of Kafka 3.9 in use, which reads PEM."""
    with broker_host(tmp_path_factory.mktemp("old"), kind="PEM", version=OLDEST, properties=ONE_THREAD) as host:
        scene = Scene(host)
        scene.up()
        yield scene


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Have a broker in use on a keystore that people have put the CA into, as many guides tell them to."""
    with broker_host(tmp_path_factory.mktemp("adopted"), kind="JKS", properties=ONE_THREAD) as host:
        scene = Scene(host)
        put_stores(scene)
        host.node.start()
        asyncio.run(host.settled(host.keeper()))
        scene.be_patient()
        yield scene


def put_stores(scene: Scene) -> None:
    """Write a keystore with two entries and a truststore where the agent would write its own."""
    host, key, now = scene.host, make_key(), datetime.now(UTC)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    chain, anchors = scene.local.sign(Asked(scene.request, key.public_key())), (scene.local.root.certificate,)
    host.directory.mkdir()
    keystore, root = host.directory / "keystore", host.folder / "root.pem"
    keystore.write_bytes(jks.keystore(key, chain, "kafka", host.password, now=now))
    (host.directory / "truststore").write_bytes(jks.truststore(anchors, host.password, now=now))
    root.write_bytes(pem.encode(anchors))
    where = ["-file", str(root), "-keystore", str(keystore), "-storepass:file", str(host.folder / "password")]
    command = [need("keytool"), "-importcert", "-noprompt", "-alias", "CARoot", "-storetype", "JKS", *where]
    subprocess.run(command, check=True, capture_output=True)
    keystore.chmod(0o400)


@pytest.fixture(scope="module")
def allowing(adopted: Scene) -> Scene:
    """Have a broker that takes other names, and reads a keystore of the agent's own."""
    adopted.host.node.properties |= ALLOWING
    adopted.host.node.restart()
    asyncio.run(renew(adopted))
    return adopted


async def renew(scene: Scene) -> None:
    """Have one entry in place of two: where it compares no names, Kafka does not count them either."""
    keeper = scene.host.keeper()
    await keeper.renew()
    status = scene.host.status(keeper)
    assert status.settled
    assert status.counts.preflights == {"accepted": 1}


# --- Kafka 3.9, PEM ---------------------------------------------------------------------


async def test_kafka_3_9_says_the_same(old: Scene) -> None:
    """What the remedies are told by are its words as well."""
    await expect_verdicts(old)


@pytest.mark.parametrize(
    "files",
    [
        [FILES["PEM"][0] | {"password_file": "password", "encryption": "compatible"}],
        [FILES["PKCS12"][0], {"format": "pem", "certificate": "tls.crt", "key": "tls.key"}],
    ],
    ids=["an encrypted key", "PKCS12"],
)
async def test_store_that_needs_other_lines_in_server_properties_is_refused(
    old: Scene, files: list[dict[str, Any]]
) -> None:
    """Kafka takes no password and no type while it runs: that is told, with the day on which the leaf ends."""
    on_disk, served = old.on_disk, old.served
    with as_it_was(old):
        old.want(files=files)
        keeper = old.host.keeper()
        await keeper.turn()
        status = old.host.status(keeper)
        assert status.counts.refusals == {VERDICT: 2}
        assert all("Failed to load PEM SSL keystore" in finding for finding in status.findings)
        failure = status.tries["publishing"].failure
        assert failure is not None
        assert failure.advice == f"mended by {Remedy.RECONFIGURE}"
        assert status.restart is not None
        assert status.leaf is not None
        assert status.restart.by == status.leaf.not_after
        assert (old.on_disk, old.served) == (on_disk, served)


# --- another number of entries ----------------------------------------------------------


async def test_keystore_with_another_number_of_entries_is_refused(adopted: Scene) -> None:
    """What was taken over has the CA beside the key, and what the agent writes has not; the date of both is told."""
    host, on_disk, served = adopted.host, adopted.on_disk, adopted.served
    with as_it_was(adopted):
        keeper = host.keeper()
        with pytest.raises(AgentError, match="entries do not match, existing store contains 2 entries, new store"):
            await keeper.renew()
        status = host.status(keeper)
        assert status.counts.refusals == {ENTRIES: 2, VERDICT: 2}
        assert f"{ENTRIES}: listener MTLS: the keystore in use has 2 entries, and the new one 1" in status.findings
        assert status.restart is not None
        assert status.leaf is not None
        assert status.restart.by == status.leaf.not_after
        assert (adopted.on_disk, adopted.served) == (on_disk, served)


# --- what server.properties allows --------------------------------------------------------


async def test_other_subject_that_kafka_takes_is_stopped_by_our_own_rule(allowing: Scene) -> None:
    """With `ssl.allow.dn.changes` nobody but the agent looks at the principal."""
    on_disk = allowing.on_disk
    with as_it_was(allowing):
        allowing.want(subject="CN=kafka9,O=MyOrg")
        keeper = allowing.host.keeper()
        await keeper.turn()
        status = allowing.host.status(keeper)
        assert status.counts.refusals == {PRINCIPAL: 2}
        assert f"the principal changes from User:{SUBJECT_IN_USE} to User:CN=kafka9,O=MyOrg" in status.findings[0]
        assert allowing.on_disk == on_disk


@pytest.mark.parametrize("what", ["password", "type"])
async def test_jks_that_the_broker_cannot_open_is_refused(allowing: Scene, what: str) -> None:
    """Whatever server.properties allows, a store is opened by its password, and as JKS or PKCS12."""
    on_disk = allowing.on_disk
    with as_it_was(allowing):
        if what == "password":
            (allowing.host.folder / "password").write_text("another one")
        else:
            allowing.want(files=FILES["PEM"])
        keeper = allowing.host.keeper()
        await keeper.turn()
        status = allowing.host.status(keeper)
        assert status.counts.refusals == {VERDICT: 2}
        assert all("keystore of type JKS" in finding for finding in status.findings)
        assert allowing.on_disk == on_disk


async def test_store_type_that_java_reads_all_the_same_is_taken(allowing: Scene) -> None:
    """Java opens PKCS12 where it is told JKS: the broker says so, and serves it."""
    host = allowing.host
    allowing.want(files=FILES["PKCS12"])
    keeper = host.keeper()
    status = await host.settled(keeper)
    assert status.counts.publications == {"files": 1}
    assert status.counts.preflights == {"accepted": 1}
    host.settings["identities"]["broker"]["files"] = FILES["JKS"]
    await host.settled(host.keeper())


async def test_other_subject_and_fewer_sans_go_in_where_they_are_allowed(allowing: Scene) -> None:
    """They are proven as any, and that clients will not find the name that they are sent to is told."""
    host = allowing.host
    allowing.want(subject="CN=kafka9,O=MyOrg", sans={"dns": ["kafka1.example.com"]}, principal={"allow_change": True})
    host.settings["clusters"]["test"]["verify_host_name"] = False
    keeper = host.keeper()
    status = await host.settled(keeper)
    assert status.counts.preflights == {"accepted": 1}
    assert status.counts.refusals == {}
    assert status.principal == "CN=kafka9,O=MyOrg"
    assert status.leaf is not None
    assert set(allowing.served.values()) == {status.leaf.fingerprint}
    host.skew += timedelta(minutes=6)
    await keeper.turn()
    status = host.status(keeper)
    assert status.broker is not None
    assert len(status.broker.remarks) == 2
    for remark, name in zip(status.broker.remarks, ("INTERNAL", "MTLS"), strict=True):
        assert f"the listener {name} is advertised as {host.node.address(name)}, which no SAN of" in remark
        assert f"of the broker: {remark}" in status.concerns
