"""Looks at the peers of an identity: the listeners of a cluster and those of the settings, side by side."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeAlias

from agent.core.broker import bound_ports
from agent.core.peer_look import PeerLook, as_testimony, confirm, ends_of, may_be_shown
from agent.core.testimony import Peers, Testimony
from agent.errors import KafkaError, MaterialError, StoreError
from agent.kafka.admin import admin
from agent.net.processes import CGROUP, oldest_of, started_of
from agent.net.threads import in_thread
from agent.net.words import escaped
from agent.peers.census import Census, take
from agent.peers.targets import each_once, of_own, of_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from pathlib import Path

    from agent.core.anchors import CaId
    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted
    from agent.core.credentials import Credentials
    from agent.core.evidence import Served
    from agent.core.generation import Disk
    from agent.core.kafka_spec import Cluster
    from agent.kafka.node import Asked
    from agent.peers.targets import Member, Target
    from agent.ports import Visitor

    Shown: TypeAlias = tuple[tuple[CaId, frozenset[CaId]] | None, Credentials | None]
    """A leaf that is shown, and what its chain leads to (`ends_of`)."""

    Login: TypeAlias = Callable[[Cluster, Credentials | None], AbstractAsyncContextManager[Asked]]
    """Logs in at a cluster, and out at the end; raises `KafkaError` or `MaterialError`."""

WITHIN = timedelta(seconds=60)
"""How long all peers together are looked at; what is not reached by then is unknown."""

ASKING = timedelta(seconds=25)
"""How long the brokers are asked who they are, which leaves time for the looks."""

VISIT = timedelta(seconds=5)
"""How long one listener may take with one leaf."""

LEFT_OVER = timedelta(milliseconds=100)
"""What a visit leaves of the time, so that it says itself what it has seen."""

AT_ONCE = 16
"""Listeners that are looked at at the same time."""

NO_VISITOR = "pyOpenSSL is not installed: pip install 'kafka-cert-agent[kafka]'"

NOTHING: Sequence[Shown] = ((None, None),)
"""What is shown where there is no leaf to show."""

NOBODY_HAS_SAID = (
    "its settings do not say which hosts meet it beside the listeners that can be looked at: "
    "write `rotation: {peers: [...]}`, [] where there are none"
)


class LoginStore(Protocol):
    """Where the certificate is that the agent shows a cluster: what a witness needs of a `Store`."""

    async def read(self) -> Disk:
        """Read what is there."""

    async def credentials(self, number: int) -> Credentials:
        """Return the key and the chain of a generation."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a witness needs beside the settings.

    `login_store` is that of the identity whose certificate the agent shows the cluster. `visitor` is
    None where what it takes is not installed. `login` logs in at a cluster; `cgroup` is where the kernel
    shows control groups.
    """

    login_store: LoginStore
    visitor: Visitor | None
    clock: Callable[[], datetime]
    login: Login = admin
    cgroup: Path = CGROUP
    within: timedelta = WITHIN


class PeerWitness:
    """The witness of one identity.

    It remembers the brokers that a cluster has named: one that is down is named no more, and comes back
    with the stores that it had.
    """

    def __init__(self, wanted: Wanted, tools: Tools) -> None:
        self._wanted = wanted
        self._policy = wanted.rotation
        self._tools = tools
        self._met: dict[int, tuple[Target, ...]] = {}
        self._members: dict[str, Member] = {}

    @property
    def _cluster(self) -> Cluster | None:
        return self._policy.cluster or (self._wanted.broker.cluster if self._wanted.broker else None)

    async def testify(
        self,
        shown: Sequence[Credentials],
        anchors: Sequence[Certificate],
        staying: frozenset[CaId] = frozenset(),
    ) -> Peers:
        """Ask every peer that can be asked; nothing is raised.

        `shown` are offered to each listener that asks for a certificate, one after the other; one that
        nobody would take of a client is not. `anchors` are all that are known. A host that nobody here can
        look at, and a listener that is not reached in time, is a peer of which nothing is known.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self._tools.within.total_seconds()
        at = self._tools.clock()
        census = await self._asked(loop.time() + min(ASKING, self._tools.within / 2).total_seconds())
        targets = each_once((*self._remembered(census), *census.others, *map(of_settings, self._policy.listeners)))
        proven = () if self._wanted.broker is not None else self._wanted.prove
        own_targets = each_once((*census.own, *(of_settings(listener.address) for listener in proven)))
        fit = [(ends_of(one.chain, anchors), one) for one in shown if may_be_shown(one.leaf, at)]
        free = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(self._look(target, fit, free, end)) for target in targets]
            own = [group.create_task(self._look(target, fit, free, end)) for target in own_targets]
        told = await in_thread(self._told, targets, [look.result() for look in looks], anchors, staying)
        told_own = await in_thread(self._told, own_targets, [look.result() for look in own], anchors, staying)
        names = {one.peer for one in told}
        nodes = await self._nodes(census, at)
        hosts = [escaped(host) for host in dict.fromkeys(self._policy.peers or ()) if escaped(host) not in names]
        vouched = [Testimony(host, at, why=f"nobody here can look at it: {confirm(host)}") for host in hosts]
        unknown = (census.unknown, NOBODY_HAS_SAID if self._policy.peers is None else "")
        return Peers((*told, *nodes, *vouched), own=told_own, unknown="; ".join(one for one in unknown if one))

    async def reader_started_at(self) -> datetime | None:
        """Return when the process was started that the settings name, the oldest one of a unit."""
        process = self._policy.process
        if process is None:
            return None
        if process.pid_file is not None:
            return await in_thread(started_of, process.pid_file, ())
        return await in_thread(oldest_of, process.unit or "", root=self._tools.cgroup)

    # --- who they are ----------------------------------------------------------------------

    async def _asked(self, until: float) -> Census:
        """Ask the cluster who the peers are, until a time of the loop's clock."""
        cluster, spec = self._cluster, self._wanted.broker
        if cluster is None:
            if spec is None:
                return Census()
            return Census(
                own=of_own(spec.node_id, None, spec),
                unknown="its settings name no cluster that says which brokers there are: "
                "write `rotation: {cluster: ...}`",
            )
        try:
            async with asyncio.timeout_at(until):
                credentials = await self._credentials(cluster)
            # Whoever logs out does so in a time of its own.
            async with self._tools.login(cluster, credentials) as client:
                return await take(client, cluster, self._wanted, until)
        except (KafkaError, MaterialError, StoreError) as error:
            unknown = error.diagnosis()
        except TimeoutError:
            unknown = f"the Kafka cluster {escaped(cluster.name)} has not answered in time"
        return Census(own=of_own(spec.node_id, None, spec) if spec else (), unknown=unknown)

    async def _credentials(self, cluster: Cluster) -> Credentials | None:
        """Return what the agent shows the cluster: the current leaf of the identity that it logs in with."""
        if not cluster.protocol.is_tls:
            return None
        current = (await self._tools.login_store.read()).current
        if current is not None:
            return await self._tools.login_store.credentials(current.number)
        if cluster.files is not None or cluster.sasl is not None:
            return None
        identity = cluster.identity or self._wanted.name
        raise MaterialError(
            f"the identity {identity}, which the agent logs in with, has no certificate yet",
            advice="it is tried again once that has one",
        )

    def _remembered(self, census: Census) -> tuple[Target, ...]:
        """Return the listeners of all nodes that were ever named, and note those that are named now."""
        gone = {number: met for number, met in self._met.items() if number not in census.of_nodes}
        gone.pop(-1 if census.own_id is None else census.own_id, None)
        self._met |= census.of_nodes
        trouble = "" if census.unknown else "its cluster names it no more"
        lost = (replace(target, trouble=target.trouble or trouble) for met in gone.values() for target in met)
        return (*(target for targets in census.of_nodes.values() for target in targets), *lost)

    async def _nodes(self, census: Census, at: datetime) -> list[Testimony]:
        """Return what is known of the processes of the nodes: of our own when it was started, of others nothing."""
        found = []
        self._members |= {member.peer: member for member in census.members}
        for member in self._members.values():
            is_own = member.id is not None and member.id == census.own_id
            started_at = await self._own_started_at(census) if is_own else None
            why = "" if started_at else _of_node(member, census, is_own=is_own)
            look = PeerLook(member.peer, at, trouble=why, is_node=True, started_at=started_at)
            found.append(as_testimony(look, (), at, is_broker=True))
        return found

    async def _own_started_at(self, census: Census) -> datetime | None:
        if self._policy.process is not None:
            return await self.reader_started_at()
        spec = self._wanted.broker
        if spec is None:
            return None
        return await in_thread(started_of, spec.pid_file, bound_ports(census.own_facts, spec))

    # --- what they show ----------------------------------------------------------------------

    async def _look(
        self,
        target: Target,
        shown: Sequence[Shown],
        free: asyncio.Semaphore,
        end: float,
    ) -> PeerLook:
        """Look at one listener, with each leaf that is shown, until a time of the loop's clock."""
        visitor, trouble = self._tools.visitor, target.trouble
        looks: list[tuple[str | None, Served]] = []
        at = self._tools.clock()
        if target.address is not None and visitor is not None:
            try:
                async with asyncio.timeout_at(end), free:
                    at = self._tools.clock()
                    for ends, credentials in shown or NOTHING:
                        served = await self._visit(visitor, target, target.address, credentials, end)
                        looks.append((ends[0] if ends else None, served))
                        if served.fingerprint is None or served.acceptable is None:
                            break  # nobody is there, or nobody asks: another leaf would tell no more
            except TimeoutError:
                trouble = trouble or f"it was not reached within {self._tools.within.total_seconds():g} s"
        elif target.address is not None:
            trouble = trouble or NO_VISITOR
        return PeerLook(
            target.peer,
            at,
            target.asks,
            target.is_inter_broker,
            tuple(looks),
            escaped(trouble),
            ends=dict(ends for ends, _ in shown if ends is not None and len(ends[1]) > 1),
            passing=target.passing,
        )

    @staticmethod
    async def _visit(
        visitor: Visitor, target: Target, address: str, credentials: Credentials | None, end: float
    ) -> Served:
        left = timedelta(seconds=end - asyncio.get_running_loop().time()) - LEFT_OVER
        if left <= timedelta(0):
            raise TimeoutError
        return await visitor.visit(
            target.peer, address, proven=lambda _: True, times=1, within=min(VISIT, left), shown=credentials
        )

    def _told(
        self,
        targets: Sequence[Target],
        looks: Sequence[PeerLook],
        anchors: Sequence[Certificate],
        staying: frozenset[CaId],
    ) -> tuple[Testimony, ...]:
        is_broker, now = self._wanted.broker is not None, self._tools.clock()
        return tuple(
            as_testimony(look, anchors, now, is_broker=is_broker and not target.as_client, staying=staying)
            for target, look in zip(targets, looks, strict=True)
        )


def _of_node(member: Member, census: Census, *, is_own: bool) -> str:
    """Return why it is not known when the process of a node was started."""
    if is_own:
        return "when its process was started cannot be seen from here: name its pid file or its unit in the settings"
    doubt = f", and which node is this host's own is not known ({census.own_doubt})" if census.own_doubt else ""
    return f"only its own host can tell when its process was started{doubt}: {confirm(member.peer)}"
