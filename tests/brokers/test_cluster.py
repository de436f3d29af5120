"""Three brokers that meet each other over mTLS, each with an identity and a reload of its own."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from agent.settings import load
from agent.wiring.adapters import Adapters
from agent.wiring.clock import utc_now
from tests.servers.kafka import KafkaCluster, Listener, made_nodes, stores
from tests.servers.load import librdkafka_load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.core.configuration import Configuration

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

NUMBERS = (1, 2, 3)
LISTENERS = ("INTERNAL", "MTLS")


class Hosts:
    """The hosts of a cluster on one machine: a folder, the settings of three identities, and three nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "password").write_text(secrets.token_hex(12))
        self.nodes = made_nodes(
            folder / "kafka",
            lambda number: [Listener(name, self._lines(number)) for name in LISTENERS],
            len(NUMBERS),
            properties={"default.replication.factor": "3", "min.insync.replicas": "2"},
        )
        self.cluster = KafkaCluster(self.nodes)

    def _lines(self, number: int) -> dict[str, str]:
        directory = self.folder / f"ssl{number}"
        return stores("PEM", directory / "keystore", directory / "truststore")

    def settings(self) -> dict[str, Any]:
        """Return the settings of one agent for all of them."""
        return {
            "http": {"listen": "127.0.0.1:9847", "admin_socket": None},
            "issuers": {"local": {"type": "local_ca", "directory": "ca"}},
            "clusters": {"three": {"bootstrap": [node.address("MTLS") for node in self.nodes], "timeout": "20s"}},
            "identities": {f"kafka{number}": self._identity(number) for number in NUMBERS},
        }

    def _identity(self, number: int) -> dict[str, Any]:
        reads = {"keystore": "keystore", "truststore": "truststore"}
        return {
            "directory": f"ssl{number}",
            "issuer": "local",
            "subject": f"CN=kafka{number},O=MyOrg",
            "sans": {"dns": ["localhost", f"kafka{number}.example.com"]},
            "lifetime": "30d",
            "files": [{"format": "pem", "combined": "keystore", "truststore": "truststore"}],
            "reload": [
                {
                    "type": "kafka_broker",
                    "cluster": "three",
                    "node_id": number,
                    "listeners": {
                        "INTERNAL": reads,
                        "MTLS": reads | {"address": self.nodes[number - 1].address("MTLS")},
                    },
                    "within": "40s",
                }
            ],
        }

    def configuration(self, number: int | None = None) -> Configuration:
        """Read the settings of all, or those of one host, which does not know its node id."""
        settings = self.settings()
        if number is not None:
            name = f"kafka{number}"
            settings["identities"] = {name: settings["identities"][name]}
            del settings["identities"][name]["reload"][0]["node_id"]
        file = self.folder / "cert-agent.yaml"
        file.write_text(yaml.safe_dump(settings))
        return load(file, {}, "kafka")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Return hosts whose nodes have not been started; they are killed at the end."""
    hosts = Hosts(tmp_path)
    try:
        yield hosts
    finally:
        hosts.cluster.kill()


async def test_each_broker_of_a_cluster_is_found_asked_told_and_proven(hosts: Hosts) -> None:
    """Whichever broker answers, it is the right one that is told; they go on meeting each other, and no send fails."""
    configuration = hosts.configuration()
    adapters = Adapters(configuration, utc_now)
    keepers = {name: adapters.keeper(wanted) for name, wanted in configuration.identities.items()}
    await asyncio.gather(*(keeper.turn() for keeper in keepers.values()))
    await asyncio.to_thread(hosts.cluster.start)
    pem = str(hosts.folder / "ssl1" / "keystore")
    settings = {
        "bootstrap.servers": hosts.cluster.bootstrap("MTLS"),
        "security.protocol": "ssl",
        "ssl.ca.location": str(hosts.folder / "ssl1" / "truststore"),
        "ssl.certificate.location": pem,
        "ssl.key.location": pem,
    }
    with librdkafka_load(hosts.folder / "load", settings, "topic", rate=50, remake=5) as records:
        await asyncio.to_thread(records.wait_until_flowing)
        for _ in range(2):
            for number, keeper in zip(NUMBERS, keepers.values(), strict=True):
                await keeper.renew()
                status = keeper.status(utc_now())
                assert status.settled
                assert status.broker is not None
                assert status.broker.node_id == number
                assert status.broker.opinion == "accepted"
                assert status.principal == f"CN=kafka{number},O=MyOrg"
        # A host that does not know its node id tells its broker from the others by the address of a listener.
        alone = hosts.configuration(2)
        keeper = Adapters(alone, utc_now).keeper(alone.identities["kafka2"])
        await keeper.renew()
        found = keeper.status(utc_now()).broker
        assert found is not None
        assert found.node_id == 2
        report = await asyncio.to_thread(records.stop)
    assert report.whole, report
    for node in hosts.nodes:
        assert "metadata publishing fault" not in node.log
