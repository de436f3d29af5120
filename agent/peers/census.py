"""Who the peers of an identity are, as the brokers of a cluster say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from agent.core.broker import BrokerFacts, read_broker
from agent.core.kafka_spec import NodeRole
from agent.errors import KafkaDeniedError, KafkaError
from agent.kafka.node import find_node
from agent.net.words import escaped
from agent.peers.targets import Member, Target, members, named, of_broker, of_controllers, of_metadata, of_own

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from agent.core.broker import Node
    from agent.core.certificate import Sans
    from agent.core.configuration import Wanted
    from agent.core.kafka_spec import Cluster, KafkaBrokerReload
    from agent.kafka.node import Asked

AT_ONCE = 16
"""Brokers that are asked at the same time."""

Answers: TypeAlias = "Mapping[int, BrokerFacts | KafkaError]"
"""What each broker is configured as, or why it could not be asked, by its id."""


@dataclass(frozen=True, slots=True)
class Census:
    """Who the peers are.

    `of_nodes` are the listeners to look at by the node that they belong to, `others` those of no node
    that is known; `own` are those of our own node. `members` are the nodes whose process matters, and
    `own_id` tells ours among them, None with `own_doubt` where that is not known; `own_facts` are what it
    is configured as. `unknown` says why nobody can tell who the peers are.
    """

    of_nodes: Mapping[int, tuple[Target, ...]] = field(default_factory=dict)
    others: tuple[Target, ...] = ()
    own: tuple[Target, ...] = ()
    members: tuple[Member, ...] = ()
    own_id: int | None = None
    own_facts: BrokerFacts | None = None
    own_doubt: str = ""
    unknown: str = ""


async def take(client: Asked, cluster: Cluster, wanted: Wanted, until: float) -> Census:
    """Ask a cluster for its brokers, and each broker how it is configured, until a time of the loop's clock.

    Without the right to DescribeConfigs a client is left with what the metadata names: one endpoint a
    broker, which is where it would go itself. A broker that does not answer is a peer of which nothing
    is known. Raise `KafkaError` where the cluster does not say who its brokers are, `TimeoutError` where
    it does not in time.
    """
    async with asyncio.timeout_at(until):
        nodes = await client.nodes()
    if not nodes:
        return Census(unknown=f"the Kafka cluster {escaped(cluster.name)} names no broker")
    spec, only = wanted.broker, frozenset(name.upper() for name in wanted.rotation.of_cluster)
    if spec is None and not only and cluster.protocol.is_tls:
        return Census(_by_node(nodes, of_metadata(nodes)))
    answers = await _describe(client, nodes, until)
    denied = next((one for one in answers.values() if isinstance(one, KafkaDeniedError)), None)
    if denied is not None:
        if spec is None and cluster.protocol.is_tls:
            why = f"beside it no listener of the broker is known: {denied.diagnosis()}"
            return Census(_by_node(nodes, of_metadata(nodes, why)))
        return Census(own=of_own(None, None, spec) if spec else (), unknown=denied.diagnosis())
    facts = [one for one in answers.values() if isinstance(one, BrokerFacts)]
    missing = _missing(only, facts)
    if spec is None:
        return Census({node.id: _targets(node, answers[node.id], only) for node in nodes}, unknown=missing)
    own_id, doubt = await _own(client, spec, wanted.request.sans, facts, until)
    controllers = of_controllers(facts, own_id, only)
    of_nodes = {node.id: _targets(node, answers[node.id], only) for node in nodes if node.id != own_id}
    own_facts = next((one for one in facts if one.node_id == own_id), None)
    found = members(nodes, facts)
    if found and own_id is not None and own_id not in {one.id for one in found}:
        found += (Member(own_id, f"node {own_id}"),)
    if any(one.tls_controllers for one in facts) and not any(one.voters or one.controller_bootstrap for one in facts):
        missing = missing or "the brokers speak TLS to controllers, and do not say who those are"
    return Census(
        of_nodes, controllers, of_own(own_id, own_facts, spec), found, own_id, own_facts, doubt, unknown=missing
    )


async def _describe(client: Asked, nodes: Sequence[Node], until: float) -> Answers:
    free = asyncio.Semaphore(AT_ONCE)

    async def ask(node: Node) -> BrokerFacts | KafkaError:
        try:
            async with asyncio.timeout_at(until), free:
                return read_broker(node.id, await client.describe(node.id))
        except KafkaError as error:
            return error
        except TimeoutError:
            return KafkaError(f"broker {node.id} has not told in time how it is configured", reason="unavailable")

    async with asyncio.TaskGroup() as group:
        tasks = {node.id: group.create_task(ask(node)) for node in nodes}
    return {number: task.result() for number, task in tasks.items()}


async def _own(
    client: Asked, spec: KafkaBrokerReload, sans: Sans, all_facts: Sequence[BrokerFacts], until: float
) -> tuple[int | None, str]:
    """Return the id of our own node; where it is not known why not, and each node counts as another's."""
    if spec.role is NodeRole.CONTROLLER and spec.node_id is None:
        addresses = {one.address for one in spec.listeners}
        found = {voter.id for facts in all_facts for voter in facts.voters if voter.address in addresses}
        return (found.pop(), "") if len(found) == 1 else (None, "its settings do not give its node id")
    try:
        async with asyncio.timeout_at(until):
            return await find_node(client, spec, sans), ""
    except KafkaError as error:
        return None, error.diagnosis()
    except TimeoutError:
        return None, "the cluster has not answered in time"


def _targets(node: Node, answer: BrokerFacts | KafkaError, only: Collection[str]) -> tuple[Target, ...]:
    if isinstance(answer, KafkaError):
        return (Target(named(node.address, node.id), None, trouble=answer.diagnosis()),)
    return of_broker(node, answer, only)


def _by_node(nodes: Sequence[Node], targets: Sequence[Target]) -> dict[int, tuple[Target, ...]]:
    return {node.id: (target,) for node, target in zip(nodes, targets, strict=True)}


def _missing(only: Collection[str], all_facts: Sequence[BrokerFacts]) -> str:
    """Return what is wrong with the names of listeners in the settings: one that is nowhere would vouch for nothing."""
    known = {one.name for facts in all_facts for one in facts.listeners if one.protocol.is_tls}
    known |= {name for facts in all_facts if facts.tls_controllers for name in facts.controller_listeners}
    missing = ", ".join(sorted(set(only) - known))
    return f"no broker has a TLS listener of the name {escaped(missing)}" if missing else ""
