"""Brokers that are down, slow, restarted, deaf or forbidding: never a wrong "done", and it settles once all is well."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.evidence import Verdict
from agent.errors import AgentError
from agent.reload.kafka_broker import KafkaBroker
from tests.brokers.host import FILES, PATIENCE, BrokerHost, broker_host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.core.generation import Generation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

FAULT = "Error updating node with new configuration"
"""What Kafka logs of a store that it throws away, and nobody but its log is told."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[BrokerHost]:
    """Return a host whose broker has not been started."""
    with broker_host(tmp_path) as host:
        yield host


async def test_renewal_meets_a_broker_that_is_down_and_settles_when_it_is_back(host: BrokerHost) -> None:
    """Nobody was asked and nothing is claimed; the broker starts with the new leaf."""
    keeper = await host.up()
    await asyncio.to_thread(host.node.stop)
    with pytest.raises(AgentError, match="not shown to be in use"):
        await keeper.renew()
    status = host.status(keeper)
    assert not status.settled
    assert status.broker is not None
    assert status.broker.opinion == "unknown"
    assert {listener.verdict for listener in status.listeners} == {Verdict.UNKNOWN}
    await asyncio.to_thread(host.node.start)
    status = await host.settled(keeper)
    assert status.generation == 2
    assert {listener.verdict for listener in status.listeners} == {Verdict.PROVEN}


async def test_renewal_meets_a_broker_that_answers_nothing_and_settles_when_it_does(host: BrokerHost) -> None:
    """A process that stands still takes connections and says nothing: no verdict, no proof, no end of the agent."""
    host.settings["clusters"]["test"]["timeout"] = "2s"
    host.settings["identities"]["broker"]["reload"] = [host.reload(within="8s")]
    keeper = await host.up()
    host.node.pause()
    with pytest.raises(AgentError, match="not shown to be in use"):
        await keeper.renew()
    status = host.status(keeper)
    assert not status.settled
    assert status.broker is not None
    assert status.broker.opinion == "unknown"
    host.node.resume()
    assert (await host.settled(keeper)).generation == 2


async def test_renewals_settle_though_the_broker_is_restarted_in_the_middle(host: BrokerHost) -> None:
    """Whatever the broker has read when it dies, it comes up, and what is proven then is what it serves."""
    keeper = await host.up()
    for after in (0.2, 0.7, 1.2):
        renewal = asyncio.create_task(keeper.renew())
        await asyncio.sleep(after)
        await asyncio.to_thread(host.node.kill)
        await asyncio.to_thread(host.node.start)
        await asyncio.wait([renewal])
        status = await host.settled(keeper)
        assert {listener.fingerprint for listener in status.listeners} == {status.leaf and status.leaf.fingerprint}


async def test_login_that_the_broker_refuses_is_never_a_done(host: BrokerHost) -> None:
    """A leaf of a CA that the broker does not know can neither ask nor tell; the right one settles what was left."""
    keeper = await host.up()
    host.settings["issuers"]["strange"] = {"type": "local_ca", "directory": "strange"}
    host.settings["identities"]["stranger"] = host.identity(directory="strange-ssl", issuer="strange", reload=[])
    host.settings["clusters"]["test"] |= {
        "identity": "stranger",
        "timeout": "3s",
        "ca_file": str(host.directory / "ca.pem"),
    }
    await host.keeper("stranger").turn()
    refused = host.keeper()
    with pytest.raises(AgentError, match="not shown to be in use"):
        await refused.renew()
    status = host.status(refused)
    assert not status.settled
    assert status.broker is not None
    assert status.broker.opinion == "unknown"
    assert "certificate" in status.broker.unknown
    del host.settings["clusters"]["test"]["identity"]
    keeper = host.keeper()
    assert (await host.settled(keeper)).generation == status.generation


async def test_store_that_kafka_drops_in_silence_is_found_rolled_back_and_told(
    host: BrokerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker meets junk as it reads the path anew, answers success and keeps its leaf: only the handshakes tell."""
    host.settings["identities"]["broker"]["reload"] = [host.reload(preflight=False, within="8s")]
    keeper = await host.up()
    before = host.status(keeper)
    tell = KafkaBroker.reload

    async def tell_while_it_is_junk(broker: KafkaBroker, generation: Generation) -> None:
        monkeypatch.setattr(KafkaBroker, "reload", tell)
        store = host.directory / ".generations" / f"{generation.number:06d}" / "keystore"
        content, times = store.read_bytes(), store.stat()
        store.chmod(0o600)
        store.write_bytes(b"junk")
        await tell(broker, generation)
        async with asyncio.timeout(PATIENCE):
            while FAULT not in host.node.log:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.05)
        store.write_bytes(content)
        store.chmod(0o400)
        os.utime(store, ns=(times.st_atime_ns, times.st_mtime_ns))

    monkeypatch.setattr(KafkaBroker, "reload", tell_while_it_is_junk)
    with pytest.raises(AgentError, match="rolled back"):
        await keeper.renew()
    status = host.status(keeper)
    assert status.counts.reloads["succeeded"] == 3
    assert status.counts.rollbacks == {"refuted": 1}
    assert status.generation == before.generation
    assert status.leaf == before.leaf
    assert status.settled
    assert {listener.verdict for listener in status.listeners} == {Verdict.PROVEN}
    assert any("rolled back" in concern for concern in status.concerns)


async def test_expired_leaf_between_brokers_waits_for_a_restart_and_is_never_done(host: BrokerHost) -> None:
    """Kafka lets an expired leaf shake hands with nothing: the new one is on disk, and a restart brings it in."""
    host.settings["identities"]["broker"] |= {"lifetime": "45s", "renew_before": "2s"}
    keeper = await host.up()
    leaf = host.status(keeper).leaf
    assert leaf is not None
    await asyncio.sleep(max(0.0, (leaf.not_after - host.clock()).total_seconds()) + 0.5)
    host.settings["identities"]["broker"] |= {"lifetime": "30d"}
    del host.settings["identities"]["broker"]["renew_before"]
    host.settings["identities"]["broker"]["reload"] = [host.reload(within="5s")]
    keeper = host.keeper()
    await keeper.turn()
    status = host.status(keeper)
    assert status.generation == 2
    assert not status.settled
    assert status.restart is not None
    assert status.restart.by <= leaf.not_after
    assert any("INTERNAL" in why for why in status.not_ready)
    assert host.current == 2
    await asyncio.to_thread(host.node.restart)
    status = await host.settled(keeper)
    assert status.generation == 2
    assert status.restart is None


async def test_restart_command_brings_in_what_kafka_cannot_reload(host: BrokerHost) -> None:
    """A keystore without a SAN that is in use is refused while it runs; the command is run once, and it serves it."""
    keeper = await host.up()
    script = host.restart_script()
    host.settings["identities"]["broker"]["sans"] = {"dns": ["localhost"]}
    host.settings["identities"]["broker"]["reload"] = [host.reload(restart={"argv": script})]
    keeper = host.keeper()
    async with host.restarts_when_asked():
        await keeper.turn()
        status = await host.settled(keeper)
    assert status.generation == 2
    assert status.counts.restarts == {"succeeded": 1}
    assert status.restart is None
    assert status.leaf is not None
    assert status.leaf.sans.dns == ("localhost",)


async def test_stopped_broker_refuses_nothing_and_starts_with_what_it_would_have_refused(host: BrokerHost) -> None:
    """How a SAN is taken back by hand: stop it, have the agent switch, start it."""
    keeper = await host.up()
    host.settings["identities"]["broker"]["sans"] = {"dns": ["localhost"]}
    told = host.reload()
    for name, listener in told["listeners"].items():
        listener["address"] = host.node.address(name)
    host.settings["identities"]["broker"]["reload"] = [told]
    keeper = host.keeper()
    await keeper.turn()
    assert host.status(keeper).generation == 1
    held = host.status(keeper).restart
    assert held is not None
    assert "SAN" in held.why
    await asyncio.to_thread(host.node.stop)
    with pytest.raises(AgentError, match="not shown to be in use"):
        await keeper.renew()
    assert host.current == 2
    await asyncio.to_thread(host.node.start)
    status = await host.settled(keeper)
    assert status.generation == 2
    assert status.restart is None


async def test_raft_client_behind_a_tls_controller_listener_is_due_a_restart(tmp_path: Path) -> None:
    """The listeners are proven and it is no "done" for the controllers: the date is the end of what they still use."""
    with broker_host(tmp_path, tls_controller=True) as host:
        keeper = await host.up()
        before = host.status(keeper)
        assert before.restart is None
        await keeper.renew()
        status = host.status(keeper)
        assert status.settled
        assert status.restart is not None
        assert before.leaf is not None
        assert status.restart.by == before.leaf.not_after
        assert "Raft" in status.restart.why
        # It outlives the agent, and a second renewal moves no date.
        keeper = host.keeper()
        await keeper.renew()
        again = host.status(keeper).restart
        assert again is not None
        assert again.by == before.leaf.not_after
        await asyncio.to_thread(host.node.restart)
        host.skew = timedelta(minutes=6)
        await keeper.turn()
        assert host.status(keeper).restart is None


async def test_controller_alone_is_due_a_restart_and_settled_by_it(tmp_path: Path) -> None:
    """Nothing is asked of it: it reads its stores as it starts, and until then its listener refutes nothing."""
    with broker_host(tmp_path, tls_controller=True) as host:
        address = host.as_controller_alone()
        told = host.reload(role="controller", within="5s")
        del told["cluster"]
        told["listeners"] = {"CONTROLLER": {"keystore": "keystore", "truststore": "truststore", "address": address}}
        host.settings["identities"]["broker"]["reload"] = [told]
        del host.settings["clusters"]
        keeper = await host.up()
        first = host.status(keeper)
        with pytest.raises(AgentError, match="not shown to be in use"):
            await keeper.renew()
        status = host.status(keeper)
        assert status.generation == 2
        assert not status.settled
        assert not status.counts.rollbacks
        assert status.restart is not None
        assert first.leaf is not None
        assert status.restart.by == first.leaf.not_after
        await asyncio.to_thread(host.node.restart)
        status = await host.settled(keeper)
        assert status.generation == 2
        assert status.restart is None


async def test_another_type_waits_for_a_person_while_nobody_has_validated_it(host: BrokerHost) -> None:
    """A broker that hangs says nothing, and would not start with PEM where its server.properties say PKCS12."""
    host.settings["clusters"]["test"]["timeout"] = "2s"
    keeper = await host.up()
    host.settings["identities"]["broker"]["files"] = FILES["PEM"]
    host.settings["identities"]["broker"]["reload"] = [host.reload(within="5s")]
    keeper = host.keeper()
    host.node.pause()
    await keeper.turn()
    status = host.status(keeper)
    assert status.generation == 1
    assert any("another password or type" in finding for finding in status.findings)
    assert status.restart is not None
    host.node.resume()
    await asyncio.to_thread(host.node.stop)
    # The way of docs/kafka-brokers.md: stop it, change both, have the agent switch, start it.
    host.node.properties |= host.as_lines("PEM")
    with pytest.raises(AgentError, match="not shown to be in use"):
        await keeper.renew()
    assert host.current > 1
    await asyncio.to_thread(host.node.start)
    status = await host.settled(keeper)
    assert status.restart is None
