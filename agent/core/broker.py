"""What a Kafka broker says of itself in DescribeConfigs (KIP-133, KIP-226)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.files import ClientAuth
from agent.core.kafka_spec import SecurityProtocol, listener_prefix
from agent.core.principal import OWN_BUILDER

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from agent.core.certificate import Sans
    from agent.core.kafka_spec import KafkaBrokerReload

DEFAULT_ENGINE_FACTORY = "org.apache.kafka.common.security.ssl.DefaultSslEngineFactory"
NETWORK_THREADS = 3
"""Kafka's default for `num.network.threads`."""

_ENDPOINT = re.compile(r"(?P<name>[^:/]+)://\[?(?P<host>[^\[\]]*)\]?:(?P<port>-?[0-9]{1,5})")
_VOTER = re.compile(r"(?P<id>[0-9]{1,10})@\[?(?P<host>[^\[\]@]+)\]?:(?P<port>[0-9]{1,5})", re.ASCII)


class Source(StrEnum):
    """Where the value of a key that is in force comes from."""

    DYNAMIC = "dynamic"
    DYNAMIC_DEFAULT = "dynamic for all brokers"
    STATIC = "static"
    DEFAULT = "default"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ConfigValue:
    """One key of a broker: the value in force, None where it has none or the broker does not show it (`sensitive`).

    `static` is what server.properties gives under the same name, None where that is nothing or not shown: a password,
    or a dynamic value between it and a default of Kafka's (no key with a listener's prefix has one).
    """

    value: str | None
    source: Source = Source.UNKNOWN
    static: str | None = None
    sensitive: bool = False

    @property
    def dynamic(self) -> bool:
        """Whether it is a dynamic value of this broker, which goes before server.properties."""
        return self.source is Source.DYNAMIC

    @property
    def is_set(self) -> bool:
        """Whether somebody has set it, be the value shown or not."""
        return self.source in {Source.DYNAMIC, Source.DYNAMIC_DEFAULT, Source.STATIC}


@dataclass(frozen=True, slots=True)
class ListenerFacts:
    """A listener as it is in force, its own keys before those of the whole broker; its name is in upper case.

    `advertised` and `bound` are `host:port` or `[ipv6]:port`, None where that is not known: a host
    that is left out (bound, it is `:port`, and means every address), a port that the system chooses.
    `keystore` and `truststore` are the locations, None where the broker shows no such key.
    `principal_builder` and `engine_factory` are empty where they are Kafka's own.
    """

    name: str
    protocol: SecurityProtocol
    advertised: str | None = None
    bound: str | None = None
    asks_clients: ClientAuth = ClientAuth.NONE
    network_threads: int = NETWORK_THREADS
    keystore: ConfigValue | None = None
    truststore: ConfigValue | None = None
    principal_rules: str = "DEFAULT"
    principal_builder: str = ""
    engine_factory: str = ""

    @property
    def asks(self) -> bool:
        """Whether it asks for client certificates, be they required or not."""
        return self.asks_clients is not ClientAuth.NONE


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """What a broker is configured as; `inter_broker` is the name of the listener that brokers meet at, in upper case.

    `is_controller` means a combined node; `tls_controllers` that the controllers are spoken to over TLS.
    `controller_listeners` are the names of their listeners, in upper case. `voters` are the controllers
    with their ids (`controller.quorum.voters`), `controller_bootstrap` those that are known by their
    addresses alone (`controller.quorum.bootstrap.servers`, KIP-853).
    """

    node_id: int
    listeners: tuple[ListenerFacts, ...]
    inter_broker: str = "PLAINTEXT"
    is_controller: bool = False
    tls_controllers: bool = False
    allow_dn_changes: bool = False
    allow_san_changes: bool = False
    controller_listeners: tuple[str, ...] = ()
    voters: tuple[Node, ...] = ()
    controller_bootstrap: tuple[str, ...] = ()

    def listener(self, name: str) -> ListenerFacts | None:
        """Return the listener of that name, in any case of letters; None where there is none."""
        return next((one for one in self.listeners if one.name.lower() == name.lower()), None)

    def is_inter_broker(self, name: str) -> bool:
        """Return whether brokers meet at the listener of that name, in any case of letters."""
        return self.inter_broker.lower() == name.lower()


@dataclass(frozen=True, slots=True)
class Node:
    """A broker as the cluster names it, one endpoint: that of the listener that was asked; or a controller."""

    id: int
    host: str
    port: int

    @property
    def address(self) -> str:
        """Where it is, as `host:port` or `[ipv6]:port`."""
        return _joined(self.host, self.port)

    def __str__(self) -> str:
        """Return the id and where it is advertised, for a list of them."""
        return f"{self.id} at {self.address}"


# --- what the values mean -------------------------------------------------------------------


def read_broker(node_id: int, values: Mapping[str, ConfigValue]) -> BrokerFacts:
    """Return the facts of a broker; what a key is when the broker does not show it is Kafka's default."""
    protocols = _protocols(_text(values, "listener.security.protocol.map"))
    controllers = _words(_text(values, "controller.listener.names"))
    bound = _endpoints(_text(values, "listeners"))
    given = _endpoints(_text(values, "advertised.listeners"))
    of_controllers = {name.upper() for name in controllers}
    advertised = given or {name: at for name, at in bound.items() if name not in of_controllers}
    return BrokerFacts(
        node_id,
        tuple(
            _listener(values, name, _protocol(protocols, name), advertised=_known(advertised.get(name)), bound=at)
            for name, at in bound.items()
        ),
        inter_broker=(
            _text(values, "inter.broker.listener.name") or _text(values, "security.inter.broker.protocol", "PLAINTEXT")
        ).upper(),
        is_controller="controller" in _words(_text(values, "process.roles")),
        tls_controllers=any(_protocol(protocols, name.upper()).is_tls for name in controllers),
        allow_dn_changes=_is_true(values, "ssl.allow.dn.changes"),
        allow_san_changes=_is_true(values, "ssl.allow.san.changes"),
        controller_listeners=tuple(name.upper() for name in controllers),
        voters=_voters(_text(values, "controller.quorum.voters")),
        controller_bootstrap=_words(_text(values, "controller.quorum.bootstrap.servers")),
    )


def _listener(
    values: Mapping[str, ConfigValue],
    name: str,
    protocol: SecurityProtocol,
    *,
    advertised: str | None,
    bound: str | None,
) -> ListenerFacts:
    prefix = listener_prefix(name)
    # A listener with SASL asks for certificates only where its own key says so.
    client_auth = values if protocol is SecurityProtocol.SSL else {}
    asks = _text(values, prefix + "ssl.client.auth") or _text(client_auth, "ssl.client.auth", "none")
    threads = _effective_text(values, prefix, "num.network.threads")
    return ListenerFacts(
        name,
        protocol,
        advertised=advertised,
        bound=bound,
        asks_clients=ClientAuth(asks.lower()) if asks.lower() in set(ClientAuth) else ClientAuth.NONE,
        network_threads=int(threads) if re.fullmatch(r"[0-9]{1,6}", threads, re.ASCII) else NETWORK_THREADS,
        keystore=effective(values, prefix, "ssl.keystore.location"),
        truststore=effective(values, prefix, "ssl.truststore.location"),
        principal_rules=_effective_text(values, prefix, "ssl.principal.mapping.rules") or "DEFAULT",
        principal_builder=_other_than(OWN_BUILDER, _effective_text(values, prefix, "principal.builder.class")),
        engine_factory=_other_than(DEFAULT_ENGINE_FACTORY, _effective_text(values, prefix, "ssl.engine.factory.class")),
    )


def effective(values: Mapping[str, ConfigValue], prefix: str, key: str) -> ConfigValue | None:
    """Return what a key is for the listener of that prefix: its own, else the whole broker's; None: not shown.

    What server.properties says is looked up in the same order.
    """
    own, common = values.get(prefix + key), values.get(key)
    if own is None:
        return common
    return replace(own, static=common.static) if own.static is None and common is not None else own


def _text(values: Mapping[str, ConfigValue], key: str, default: str = "") -> str:
    found = values.get(key)
    return (found.value or default).strip() if found else default


def _effective_text(values: Mapping[str, ConfigValue], prefix: str, key: str) -> str:
    return _text(values, prefix + key) or _text(values, key)


def _is_true(values: Mapping[str, ConfigValue], key: str) -> bool:
    return _text(values, key).lower() == "true"


def _other_than(default: str, name: str) -> str:
    return "" if name == default else name


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in (piece.strip() for piece in text.split(",")) if word)


def _protocols(text: str) -> dict[str, str]:
    """Return what `listener.security.protocol.map` says of each name, in upper case as Kafka compares them."""
    pairs = (word.rpartition(":") for word in _words(text))
    return {name.strip().upper(): protocol.strip().upper() for name, _, protocol in pairs}


def _protocol(protocols: Mapping[str, str], name: str) -> SecurityProtocol:
    """Return a listener's protocol: by the map, else by its own name; what is in neither is a controllers' in plain."""
    known = protocols.get(name, name)
    return SecurityProtocol(known) if known in set(SecurityProtocol) else SecurityProtocol.PLAINTEXT


def _known(address: str | None) -> str | None:
    """Return an address that can be connected to; a host that is left out is the broker's own idea of its name."""
    return None if address is None or address.startswith(":") else address


def _endpoints(text: str) -> dict[str, str | None]:
    """Return each listener with its `host:port`, None where the port is left to the system."""
    found: dict[str, str | None] = {}
    for word in _words(text):
        matched = _ENDPOINT.fullmatch(word)
        if matched:
            host, port = matched["host"], int(matched["port"])
            found[matched["name"].upper()] = _joined(host, port) if port > 0 else None
    return found


def _voters(text: str) -> tuple[Node, ...]:
    found = (_VOTER.fullmatch(word) for word in _words(text))
    return tuple(Node(int(one["id"]), one["host"], int(one["port"])) for one in found if one)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# --- which one it is ------------------------------------------------------------------------


def covers(sans: Sans, host: str) -> bool:
    """Return whether a client that looks for `host` finds it in the SANs (RFC 6125, 6.4; RFC 2818, 3.1 for addresses).

    A wildcard stands for the whole leftmost label of a name with two more. Common names are not looked at.
    """
    address = _address(host)
    if address is not None:
        return address in sans.ip
    name = host.lower().removesuffix(".")
    _, _, parent = name.partition(".")
    return name in sans.dns or ("." in parent and f"*.{parent}" in sans.dns)


def _address(host: str) -> str | None:
    """Return an IP address in its shortest form, None for what is none."""
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def matching_nodes(
    nodes: Sequence[Node], *, addresses: Collection[str], here: Collection[str], sans: Sans
) -> tuple[Node, ...]:
    """Return the brokers that the settings may mean where they give no node id; it is known only if that is one.

    Asked in turn, and the first question that any broker answers decides: is it advertised at one of
    `addresses` (those that the settings give its listeners), under a name that is this machine's (`here`), or
    under a SAN of the identity while others are not. A cluster names only the brokers that are up, so
    the last one that is left is no proof, and a SAN counts only where it tells brokers apart.
    """
    given = {_normal_address(address) for address in addresses}
    by_address = tuple(node for node in nodes if _normal_address(_joined(node.host, node.port)) in given)
    if by_address:
        return by_address
    by_host = tuple(node for node in nodes if node.host in here)
    if by_host:
        return by_host
    by_name = tuple(node for node in nodes if _normal_host(node.host) in {*sans.dns, *sans.ip})
    return by_name if len(by_name) < len(nodes) else ()


def _normal_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"{_normal_host(host)} {port}"


def _normal_host(host: str) -> str:
    return _address(host) or host.lower().removesuffix(".")


def contradiction(facts: BrokerFacts, wanted: KafkaBrokerReload) -> str:
    """Return why this cannot be the broker that the settings mean, as a phrase; empty where nothing speaks against it.

    Each listener of the settings must be there, at the port of its address where one is given.
    """
    for one in wanted.listeners:
        listener = facts.listener(one.name)
        if listener is None:
            return f"it has no listener {one.name}"
        known = {at.rpartition(":")[2] for at in (listener.advertised, listener.bound) if at is not None}
        if one.address is not None and known and one.address.rpartition(":")[2] not in known:
            return f"its listener {one.name} is not at {one.address}"
    return ""


def bound_ports(facts: BrokerFacts | None, wanted: KafkaBrokerReload) -> tuple[int, ...]:
    """Return the ports that the listeners of the settings listen on, as the broker says where it is known to."""
    known = [(facts.listener(one.name) if facts else None, one) for one in wanted.listeners]
    addresses = ((listener.bound if listener else None) or one.address for listener, one in known)
    return tuple(int(address.rpartition(":")[2]) for address in addresses if address is not None)
