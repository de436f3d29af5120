"""A broker with rights to be had or lacked, and logins of all sorts at it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.credentials import Credentials
from agent.core.kafka_spec import Cluster
from agent.errors import KafkaError
from agent.kafka.admin import admin
from agent.keystores import private_key
from tests.judges.identities import PASSWORD, PEM, PKCS12, Identity, make_identity, make_root
from tests.servers.kafka import Listener, started_broker, stores

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.material import Ca
    from tests.servers.kafka import KafkaNode

SASL_PASSWORD = "plain-and-not-to-be-told-4711"  # noqa: S105 - made up, and looked for in every message
AGENT, SERVANT = "CN=agent,O=MyOrg", "CN=servant,O=MyOrg"
"""Who may do everything, and who may do nothing."""


def credentials_of(identity: Identity) -> Credentials:
    """Return what the agent would show for an identity."""
    return Credentials(private_key.to_der(identity.key), identity.chain, identity.anchors)


async def failure(cluster: Cluster, credentials: Credentials | None, work: str = "nodes", *asked: Any) -> KafkaError:
    """Return the error of one question; nothing in it is a secret, or breaks the line."""
    with pytest.raises(KafkaError) as caught:
        async with admin(cluster, credentials) as client:
            await getattr(client, work)(*asked)
    told = f"{caught.value.diagnosis()} {getattr(caught.value, 'words', '')} {caught.value!r}"
    assert told.isprintable()
    for secret in (SASL_PASSWORD, PASSWORD, "PRIVATE KEY", "of-nobody"):
        assert secret not in told
    assert caught.value.advice
    return caught.value


@dataclass(frozen=True)
class Place:
    """The broker, the CA that it trusts, and the folder for identities."""

    folder: Path
    root: Ca
    node: KafkaNode
    agent: Credentials
    servant: Credentials

    def cluster(self, listener: str = "MTLS", **changes: Any) -> Cluster:
        """Return the settings of a login at a listener."""
        found = Cluster("main", (self.node.address(listener),), within=timedelta(seconds=5))
        return replace(found, **changes)

    def identity(self, name: str, root: Ca | None = None, **request: Any) -> Identity:
        """Make an identity with its files."""
        made = make_identity(self.folder / name, root=root or self.root, **request)
        made.put(PKCS12)
        made.put(PEM)
        return made


@contextmanager
def started_place(folder: Path) -> Iterator[Place]:
    """Start a broker with two mTLS listeners, one with SASL, and an authorizer; end it at the end."""
    root = make_root()
    server = make_identity(folder / "server", root=root, subject="CN=broker,O=MyOrg", dns=("localhost",), ip=())
    server.put(PKCS12)
    lines = stores("PKCS12", server.directory / "keystore.p12", server.directory / "truststore.p12", PASSWORD)
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    sasl = {"plain.sasl.jaas.config": f'{login} user_alice="{SASL_PASSWORD}";', "scram-sha-256.sasl.jaas.config": scram}
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:CN=broker,O=MyOrg;User:{AGENT};User:ANONYMOUS",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
    }
    listeners = [
        Listener("INTERNAL", lines),
        Listener("MTLS", lines),
        Listener("LOGIN", lines | sasl, protocol="SASL_SSL", client_auth=None),
    ]
    clients = [make_identity(folder / name[3:8], root=root, subject=name, dns=(), ip=()) for name in (AGENT, SERVANT)]
    with started_broker(folder, listeners, properties=properties) as node:
        yield Place(folder, root, node, *map(credentials_of, clients))
