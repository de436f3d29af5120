"""What is to be looked at for an identity, from what the brokers of a cluster say of themselves; values alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.net.words import escaped

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from agent.core.broker import BrokerFacts, ListenerFacts, Node
    from agent.core.kafka_spec import KafkaBrokerReload

_NOWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - what a voter is given that has no address yet (KIP-595)


@dataclass(frozen=True, slots=True)
class Target:
    """A peer that is looked at: its name for people, where it is, and what its configuration says of it.

    `address` None: where it is nobody knows, and `trouble` says why. `asks` and `is_inter_broker` are as in
    `PeerLook`. `as_client` says that our identity is a client of it and no more, be it a broker's or not;
    `passing` that its name is one for want of a better, while its broker does not say more.
    """

    peer: str
    address: str | None
    asks: bool | None = None
    is_inter_broker: bool = False
    as_client: bool = False
    trouble: str = ""
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """A node of a cluster by its name for people; `id` None for a controller that is known by its address alone."""

    id: int | None
    peer: str


def named(address: str, node_id: int, listener: str = "") -> str:
    """Return a listener's name for people: where it is, and whose."""
    return escaped(f"{address} (node {node_id}{' ' if listener else ''}{listener})")


def of_settings(address: str) -> Target:
    """Return a listener that the settings name: the identity is its client."""
    return Target(escaped(address), address, as_client=True)


def of_metadata(nodes: Iterable[Node], why: str = "") -> tuple[Target, ...]:
    """Return the endpoints that the cluster's metadata names, which are what a client meets.

    `why` says why no more of the brokers is known.
    """
    return tuple(Target(named(node.address, node.id), node.address, trouble=why, passing=bool(why)) for node in nodes)


def of_broker(node: Node, facts: BrokerFacts, only: Collection[str]) -> tuple[Target, ...]:
    """Return the TLS listeners that a broker advertises, or those of the names in `only`; its controllers' are none."""
    return tuple(
        _of_listener(node, facts, listener)
        for listener in facts.listeners
        if listener.protocol.is_tls
        and listener.name not in facts.controller_listeners
        and (not only or listener.name in only)
    )


def of_own(node_id: int | None, facts: BrokerFacts | None, spec: KafkaBrokerReload) -> tuple[Target, ...]:
    """Return our own node's listeners that read a truststore of the identity, and whose address is known."""
    found = []
    for one in spec.listeners:
        listener = facts.listener(one.name) if facts else None
        address = one.address or (listener.advertised if listener else None)
        if one.truststore is None or address is None:
            continue
        is_inter_broker = facts is not None and (
            facts.is_inter_broker(one.name) or one.name.upper() in facts.controller_listeners
        )
        peer = escaped(f"{address} ({one.name})") if node_id is None else named(address, node_id, one.name)
        found.append(Target(peer, address, listener.asks if listener else None, is_inter_broker))
    return tuple(found)


def of_controllers(all_facts: Sequence[BrokerFacts], own: int | None, only: Collection[str]) -> tuple[Target, ...]:
    """Return the TLS listeners of the controllers but our own; those of the names in `only`, where it names any."""
    speakers = [facts for facts in all_facts if facts.tls_controllers]
    names = {name for facts in speakers for name in facts.controller_listeners}
    if only and not names & set(only):
        return ()
    found: dict[str, Target] = {}
    for facts in speakers:
        name = next(iter(facts.controller_listeners), "")
        for voter in facts.voters:
            if voter.id != own:
                asks = next((_asks(one, name) for one in all_facts if one.node_id == voter.id), None)
                found.setdefault(voter.address, _of_voter(voter, name, asks))
        combined = _by_controller_port(all_facts)
        for address in facts.controller_bootstrap:
            node_id = combined.get(address)
            if node_id is None or node_id != own:
                peer = named(address, node_id, name) if node_id is not None else escaped(f"{address} ({name})")
                found.setdefault(address, Target(peer, address, is_inter_broker=True))
    return tuple(found.values())


def members(nodes: Iterable[Node], all_facts: Sequence[BrokerFacts]) -> tuple[Member, ...]:
    """Return the nodes whose Raft clients keep the stores of their start, where any speaks TLS to the controllers."""
    if not any(facts.tls_controllers for facts in all_facts):
        return ()
    ids = {node.id for node in nodes} | {voter.id for facts in all_facts for voter in facts.voters}
    known = {voter.address for facts in all_facts for voter in facts.voters} | set(_by_controller_port(all_facts))
    alone = {address for facts in all_facts for address in facts.controller_bootstrap} - known
    return (
        *(Member(number, f"node {number}") for number in sorted(ids)),
        *(Member(None, escaped(f"controller {address}")) for address in sorted(alone)),
    )


def each_once(targets: Iterable[Target]) -> tuple[Target, ...]:
    """Return targets without a second one at the same address, or of the same name; the first tells more."""
    found: dict[str, Target] = {}
    for one in targets:
        key = one.address or one.peer
        before = found.get(key, one)
        as_client = before.as_client or (one.as_client and not before.is_inter_broker)
        found[key] = replace(before, as_client=as_client)
    return tuple({one.peer: one for one in reversed(found.values())}.values())[::-1]


def _of_listener(node: Node, facts: BrokerFacts, listener: ListenerFacts) -> Target:
    address = listener.advertised or _by_metadata(node, facts, listener)
    target = Target(
        named(address or node.host, node.id, listener.name),
        address,
        listener.asks,
        facts.is_inter_broker(listener.name),
    )
    return target if address else replace(target, trouble="the broker does not say where the listener is advertised")


def _by_metadata(node: Node, facts: BrokerFacts, listener: ListenerFacts) -> str | None:
    """Return where a listener is that leaves its host to the broker, as the one does that the metadata names."""
    left_out = {one.bound for one in facts.listeners if one.advertised is None and (one.bound or "").startswith(":")}
    if listener.bound not in left_out or f":{node.port}" not in left_out:
        return None
    return replace(node, port=int(str(listener.bound).removeprefix(":"))).address


def _of_voter(voter: Node, name: str, asks: bool | None) -> Target:
    target = Target(named(voter.address, voter.id, name), voter.address, asks, is_inter_broker=True)
    if voter.port and voter.host not in _NOWHERE:
        return target
    return replace(target, address=None, trouble="the voters of the quorum do not tell where the controller is")


def _asks(facts: BrokerFacts, name: str) -> bool | None:
    listener = facts.listener(name)
    return None if listener is None else listener.asks


def _by_controller_port(all_facts: Iterable[BrokerFacts]) -> Mapping[str, int]:
    """Return the combined nodes by where their controllers' listeners are to be found, as far as brokers say it."""
    found: dict[str, int] = {}
    for facts in all_facts:
        hosts = {(one.advertised or "").rpartition(":")[0] for one in facts.listeners} - {""}
        for name in facts.controller_listeners:
            listener = facts.listener(name)
            if facts.is_controller and listener is not None:
                addresses = {listener.advertised, listener.bound}
                port = (listener.bound or "").rpartition(":")[2]
                addresses |= {f"{host}:{port}" for host in hosts if port}
                found |= {at: facts.node_id for at in addresses if at and not at.startswith(":")}
    return found
