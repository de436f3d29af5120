"""One node of a Kafka cluster: the login there, what is known of it, and handshakes with its listeners."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.broker import bound_ports, read_broker
from agent.core.evidence import Served
from agent.core.kafka_spec import NodeRole
from agent.core.shadows import shadows, uncovered
from agent.errors import KafkaDeniedError, MaterialError, StoreError
from agent.kafka.node import find_node
from agent.net.processes import started_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from agent.core.broker import BrokerFacts, ConfigValue, ListenerFacts
    from agent.core.configuration import Wanted
    from agent.core.credentials import Credentials
    from agent.core.generation import Generation
    from agent.core.kafka_spec import BrokerListener, Cluster, KafkaBrokerReload
    from agent.kafka.admin import Admin
    from agent.ports import Reloader, Store, Visitor


@dataclass(frozen=True, slots=True)
class Tools:
    """What a broker's reader needs beside the settings.

    `store` is the identity's own, `login_store` that of the identity whose certificate the agent
    shows. `restart` runs the restart command, None where none is configured.
    """

    store: Store
    login_store: Store
    visitor: Visitor
    clock: Callable[[], datetime]
    restart: Reloader | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a listener is to be proven in a row, and how long that may take."""

    times: int
    within: timedelta


class KafkaNode:
    """The node that an identity's stores are for; `facts` are how it was configured when it was last asked."""

    def __init__(self, wanted: Wanted, spec: KafkaBrokerReload, tools: Tools) -> None:
        self._wanted = wanted
        self._spec = spec
        self._tools = tools
        self._values: Mapping[str, ConfigValue] = {}
        self._denied = ""
        self.facts: BrokerFacts | None = None

    @property
    def cluster(self) -> Cluster | None:
        """Where the node is asked and told; None for one that nobody asks, a controller alone."""
        return None if self._spec.role is NodeRole.CONTROLLER else self._spec.cluster

    async def credentials(
        self, cluster: Cluster, current: Generation | None, candidate: Generation
    ) -> Credentials | None:
        """Return what the agent shows the cluster, read anew: the current leaf, the candidate where that is no use.

        None where the cluster is not spoken to over TLS. Raise `MaterialError` where there is nothing to show.
        """
        if not cluster.protocol.is_tls:
            return None
        try:
            if self._tools.login_store is not self._tools.store:
                return await self._of_another(cluster)
            if current is not None and current.leaf.not_after > self._tools.clock():
                # A leaf whose key is lost opens no door, as little as one that has ended.
                with suppress(StoreError):
                    return await self._tools.store.credentials(current.number)
            return await self._tools.store.credentials(candidate.number)
        except StoreError as error:
            raise MaterialError(error.what, advice=error.advice) from error

    async def _of_another(self, cluster: Cluster) -> Credentials:
        disk = await self._tools.login_store.read()
        if disk.current is None:
            raise MaterialError(
                f"the identity {cluster.identity}, which the agent logs in with, has no certificate yet",
                advice="it is tried again once that has one",
            )
        return await self._tools.login_store.credentials(disk.current.number)

    async def number(self, client: Admin) -> int:
        """Return the node id; raise `KafkaError` when it cannot be told which node is meant."""
        if self.facts is not None:
            return self.facts.node_id
        return await find_node(client, self._spec, self._wanted.request.sans)

    async def learn(self, client: Admin) -> None:
        """Read how the node is configured; without the right to, what is not known is told and nothing assumed."""
        number = await find_node(client, self._spec, self._wanted.request.sans)
        try:
            self._values = await client.describe(number)
        except KafkaDeniedError as error:
            self._denied = error.diagnosis()
            return
        self._denied = ""
        self.facts = read_broker(number, self._values)

    def remarks(self, generation: Generation) -> tuple[str, ...]:
        """Return what a person should know of the node: what goes against the settings, and what it does not show."""
        denied = (self._denied,) if self._denied else ()
        if self.facts is None:
            return denied
        told = shadows(self.facts, self._values, self._spec)
        return (*told, *uncovered(self.facts, generation.leaf, self._spec), *denied)

    def known(self, listener: BrokerListener) -> ListenerFacts | None:
        """Return how a listener is configured, where that is known."""
        return self.facts.listener(listener.name) if self.facts else None

    async def visit(
        self,
        listener: BrokerListener,
        proven: Callable[[Served], bool],
        patience: Patience,
        shown: Credentials | None,
        trouble: str = "",
    ) -> Served:
        """Shake hands with a listener; `trouble` is why the node could not be asked where it is."""
        known = self.known(listener)
        address = listener.address or (known.advertised if known else None)
        if address is None:
            reason = trouble or self._denied or "the broker does not say where it is advertised"
            why = f"where it is to be looked at is not known: {reason}"
            return Served(listener.name, self._tools.clock(), None, trouble=why)
        return await self._tools.visitor.visit(
            listener.name, address, proven=proven, times=patience.times, within=patience.within, shown=shown
        )

    def started_at(self) -> datetime | None:
        """Return when the node's process was started; it blocks.

        It is the one of the pid file, else whoever listens on the port of a listener; None where
        neither can be seen from here.
        """
        return started_of(self._spec.pid_file, bound_ports(self.facts, self._spec))


def paths(listener: BrokerListener, folder: str | None) -> dict[str, str]:
    """Return the keys that point a listener at its stores: those in a folder, else the paths that never change."""
    return {
        f"{listener.config_prefix}ssl.{kind}.location": str(store.staged(folder) if folder else store.path)
        for kind, store in (("keystore", listener.keystore), ("truststore", listener.truststore))
        if store is not None
    }
