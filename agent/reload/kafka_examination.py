"""Will a broker take renewals? Its login, its rights, and whether it reads the agent's folders; nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.generation import generation_folder
from agent.core.issuer_status import Examined, Opinion
from agent.errors import KafkaDeniedError, KafkaError, KafkaRefusedError, MaterialError
from agent.kafka.admin import admin
from agent.kafka.failures import core_of
from agent.reload.kafka_node import paths

if TYPE_CHECKING:
    from agent.core.generation import Generation
    from agent.core.kafka_spec import Cluster, KafkaBrokerReload
    from agent.kafka.admin import Admin
    from agent.reload.kafka_node import KafkaNode


async def examine(
    node: KafkaNode, cluster: Cluster, spec: KafkaBrokerReload, current: Generation | None
) -> tuple[Examined, ...]:
    """Return what was found, a question each.

    Whether the broker reads what is staged shows in its verdict on the current generation by the name
    of its folder: it holds what the broker has loaded, and differs in the path alone.
    """
    if current is None and cluster.protocol.is_tls:
        why = "there is no certificate yet that the agent could show"
        return (Examined("login", Opinion.UNKNOWN, why),)
    try:
        shown = None if current is None else await node.credentials(cluster, current, current)
        async with admin(cluster, shown) as client:
            await node.learn(client)
            found = [_known(node, cluster)]
            found += [await _verdict(client, node, spec, current)] if current and spec.preflight else []
    except (KafkaError, MaterialError) as error:
        return (Examined("login", Opinion.BAD, error.diagnosis()),)
    if current is not None:
        found += [Examined("remark", Opinion.DOUBTFUL, remark) for remark in node.remarks(current)]
    return tuple(found)


def _known(node: KafkaNode, cluster: Cluster) -> Examined:
    if node.facts is None:
        return Examined("configuration", Opinion.DOUBTFUL, "the broker does not show how it is configured")
    names = ", ".join(listener.name for listener in node.facts.listeners)
    return Examined("configuration", Opinion.GOOD, f"node {node.facts.node_id} of {cluster.name} has {names}")


async def _verdict(client: Admin, node: KafkaNode, spec: KafkaBrokerReload, current: Generation) -> Examined:
    number, folder = await node.number(client), generation_folder(current.number)
    try:
        for listener in spec.listeners:
            await client.alter(number, paths(listener, folder), validate_only=True)
    except KafkaRefusedError as error:
        return Examined(
            "verdict", Opinion.BAD, f"listener {listener.name} would not take {folder}: {core_of(error.words)}"
        )
    except KafkaDeniedError as error:
        return Examined("verdict", Opinion.BAD, error.diagnosis())
    return Examined("verdict", Opinion.GOOD, f"the broker reads {folder}, and would take what is there")
