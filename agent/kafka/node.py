"""Which broker of a cluster the settings mean, where they give no node id."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from agent.core.broker import contradiction, matching_nodes, read_broker
from agent.errors import KafkaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.core.broker import ConfigValue, Node
    from agent.core.certificate import Sans
    from agent.core.kafka_spec import KafkaBrokerReload

LOOKING_UP = 2.0
"""Seconds for the addresses of one host."""


class Asked(Protocol):
    """The cluster, as a login answers for it."""

    async def nodes(self) -> tuple[Node, ...]:
        """Return the brokers that are up."""

    async def describe(self, node_id: int) -> Mapping[str, ConfigValue]:
        """Return what a broker is configured with."""


async def find_node(client: Asked, wanted: KafkaBrokerReload, sans: Sans) -> int:
    """Return the node id of the settings, else that of the one broker that is found to be meant.

    `sans` are those of the identity. Raise `KafkaError` where none is, or several could be, or the
    one that is found has not the listeners of the settings; and what a question to the cluster raises.
    """
    if wanted.node_id is not None:
        return wanted.node_id
    nodes = await client.nodes()
    found = matching_nodes(
        nodes,
        addresses=[one.address for one in wanted.listeners if one.address is not None],
        here=await _here({node.host for node in nodes}),
        sans=sans,
    )
    if len(found) == 1:
        facts = read_broker(found[0].id, await client.describe(found[0].id))
        doubt = contradiction(facts, wanted)
        if not doubt:
            return found[0].id
        raise _unknown(f"broker {found[0]} is the one that could be meant, but {doubt}")
    if found:
        raise _unknown(f"several brokers could be meant: {_listed(found)}")
    raise _unknown(
        f"none of the brokers that are up can be told to be the one that is meant: {_listed(nodes)}; it is known by "
        "the addresses of its listeners, by a host name that leads to this machine, or by the SANs of the identity"
    )


def _unknown(what: str) -> KafkaError:
    return KafkaError(what, advice="set `node_id` of the broker, as in its server.properties", reason="node id")


def _listed(nodes: Iterable[Node]) -> str:
    return ", ".join(map(str, nodes)) or "none"


async def _here(hosts: Iterable[str]) -> frozenset[str]:
    """Return those of the hosts that lead to this machine."""
    wanted = list(hosts)
    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(_is_here(host)) for host in wanted]
    return frozenset(host for host, answer in zip(wanted, answers, strict=True) if answer.result())


async def _is_here(host: str) -> bool:
    with suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(LOOKING_UP):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        return any(_is_own(family, address) for family, _, _, _, address in found)
    return False


def _is_own(family: int, address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> bool:
    """Whether packets to an address would start from that same address; none is sent."""
    host = str(address[0])
    if ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        return True
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9, *address[2:]))
            own: str = probe.getsockname()[0]
    except OSError:  # there is no way there
        return False
    return own.partition("%")[0] == host.partition("%")[0]
