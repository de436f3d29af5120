"""What a broker is configured with that goes against what the agent manages for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.broker import covers, effective
from agent.core.chain import harmless, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.core.broker import BrokerFacts, ConfigValue
    from agent.core.certificate import Certificate
    from agent.core.kafka_spec import KafkaBrokerReload, StoreFile

_INLINE = {"keystore": ("keystore.key", "keystore.certificate.chain"), "truststore": ("truststore.certificates",)}


def shadows(facts: BrokerFacts, values: Mapping[str, ConfigValue], wanted: KafkaBrokerReload) -> tuple[str, ...]:
    """Return what the broker is configured with that goes against what the agent manages, each with what to do."""
    found: list[str] = []
    delete = (
        f"kafka-configs --bootstrap-server {wanted.cluster.bootstrap[0] if wanted.cluster else 'HOST:PORT'} "
        f"--entity-type brokers --entity-name {facts.node_id} --alter --delete-config"
    )
    for one in wanted.listeners:
        listener = facts.listener(one.name)
        if listener is None:
            names = ", ".join(harmless(known.name) for known in facts.listeners) or "none"
            found.append(f"the broker has no listener {one.name} (it has {names}): correct `listeners` in the settings")
            continue
        if not listener.protocol.is_tls:
            found.append(
                f"the listener {one.name} speaks {listener.protocol}, not TLS: take it out of `listeners` in the "
                "settings, or give it TLS in server.properties and restart the broker"
            )
            continue
        if listener.engine_factory:
            found.append(
                f"the listener {one.name} has a TLS engine of its own ({harmless(listener.engine_factory)}): Kafka's "
                "rules are not known to hold for it, and only its handshakes tell; "
                "take ssl.engine.factory.class out of server.properties for Kafka's own"
            )
        for kind, store in (("keystore", one.keystore), ("truststore", one.truststore)):
            if store is not None:
                found += _of_store(values, one.config_prefix, kind, store, delete)
    return tuple(found)


def _of_store(
    values: Mapping[str, ConfigValue], prefix: str, kind: str, store: StoreFile, delete: str
) -> Iterator[str]:
    yield from _of_location(values, prefix, f"ssl.{kind}.location", store, delete)
    own = (f"ssl.{kind}.type", f"ssl.{kind}.password", *(("ssl.key.password",) if kind == "keystore" else ()))
    for key in own:
        found = values.get(prefix + key)
        if found is not None and found.dynamic:
            told = "" if found.sensitive or found.value is None else f" ({harmless(found.value)})"
            yield (
                f"{prefix}{key} is set dynamically{told}, so server.properties alone does not open the {kind}: "
                f"write it there, then `{delete} {prefix}{key}`"
            )
    for key in _INLINE[kind]:
        inline = effective(values, prefix, f"ssl.{key}")
        if inline is None or not inline.is_set:
            continue
        yield f"{prefix}ssl.{key} holds the {kind} itself, so no file is read: " + (
            f"`{delete} {prefix}ssl.{key}`"
            if inline.dynamic
            else f"write {prefix}ssl.{kind}.location={store.path} into server.properties in its place, "
            "and restart the broker"
        )


def _of_location(
    values: Mapping[str, ConfigValue], prefix: str, key: str, store: StoreFile, delete: str
) -> Iterator[str]:
    location = effective(values, prefix, key)
    if location is None:
        return
    if location.dynamic and not _is_path(location.value, store):
        yield (
            f"{prefix}{key} is set dynamically to {harmless(location.value or 'nothing')}, which is not the agent's "
            f"{store.path}: `{delete} {prefix}{key}`"
        )
    if not _is_path(location.static, store):
        says = f"names {harmless(location.static)}" if location.static else "names no file"
        yield (
            f"server.properties {says} for {prefix}{key}, and that is what a restarted broker reads first: "
            f"write {prefix}{key}={store.path} there"
        )


def _is_path(value: str | None, store: StoreFile) -> bool:
    # Joined to an absolute path, whatever stands before it is left: /ssl/./keystore.p12 is the same file.
    return value is not None and value.startswith("/") and store.path / value == store.path


def uncovered(facts: BrokerFacts, leaf: Certificate, wanted: KafkaBrokerReload) -> tuple[str, ...]:
    """Return which listeners of the leaf are advertised under a name that no SAN of it covers, and what to do.

    Of a listener whose advertised name is not known nothing is said.
    """
    found = []
    for one in wanted.listeners:
        listener = facts.listener(one.name)
        if one.keystore is None or listener is None or listener.advertised is None:
            continue
        host = listener.advertised.rpartition(":")[0]
        if not covers(leaf.sans, host):
            found.append(
                f"the listener {one.name} is advertised as {harmless(listener.advertised)}, which no SAN of "
                f"{name_of(leaf)} covers, so that clients who verify host names refuse it: "
                "add the name to the SANs of the identity, or advertise one of them"
            )
    return tuple(found)
