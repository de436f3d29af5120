"""What of a broker's configuration goes against the agent is told, each with what to do about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from agent.core.broker import ConfigValue, Source, read_broker
from agent.core.kafka_spec import BrokerListener, Cluster, KafkaBrokerReload, StoreFile
from agent.core.shadows import shadows, uncovered
from tests.material import Ca, make_key, make_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.core.certificate import Certificate

KEYS = StoreFile("keystore.p12", PurePosixPath("/ssl/keystore.p12"))
TRUST = StoreFile("truststore.p12", PurePosixPath("/ssl/truststore.p12"))
CLUSTER = Cluster("prod", ("kafka1.example.com:9093", "kafka2.example.com:9093"))
MTLS = BrokerListener("MTLS", KEYS, TRUST)
WANTED = KafkaBrokerReload(CLUSTER, (MTLS,))
PREFIX = "listener.name.mtls.ssl."
DELETE = (
    "`kafka-configs --bootstrap-server kafka1.example.com:9093 --entity-type brokers --entity-name 5 "
    "--alter --delete-config listener.name.mtls.ssl."
)


def static(value: str | None) -> ConfigValue:
    """Return what server.properties says."""
    return ConfigValue(value, Source.STATIC, value)


def dynamic(value: str | None, below: str | None = None, *, sensitive: bool = False) -> ConfigValue:
    """Return a dynamic value over what server.properties says."""
    return ConfigValue(value, Source.DYNAMIC, below, sensitive)


UNSET = ConfigValue(None, Source.DEFAULT)

GOOD = {
    "listeners": static("MTLS://:9093,PLAIN://:9092"),
    "advertised.listeners": static("MTLS://kafka1.example.com:9093,PLAIN://kafka1.example.com:9092"),
    "listener.security.protocol.map": static("MTLS:SSL,PLAIN:PLAINTEXT"),
    f"{PREFIX}keystore.location": static("/ssl/keystore.p12"),
    f"{PREFIX}truststore.location": static("/ssl/truststore.p12"),
    "ssl.keystore.location": UNSET,
    "ssl.truststore.location": UNSET,
    "ssl.keystore.key": ConfigValue(None, Source.DEFAULT, sensitive=True),
    f"{PREFIX}keystore.type": static("PKCS12"),
    f"{PREFIX}keystore.password": ConfigValue(None, Source.STATIC, sensitive=True),
}


def told(changes: Mapping[str, ConfigValue], wanted: KafkaBrokerReload = WANTED) -> tuple[str, ...]:
    """Return what is said of broker 5 with changes to a good configuration."""
    values = {**GOOD, **changes}
    return shadows(read_broker(5, values), values, wanted)


def test_good_configuration_is_not_spoken_of() -> None:
    """Static values that name the agent's files, and dynamic ones that say the same, are as they should be."""
    assert told({}) == ()
    assert told({f"{PREFIX}keystore.location": dynamic("/ssl/keystore.p12", "/ssl/keystore.p12")}) == ()
    assert told({f"{PREFIX}keystore.location": dynamic("/ssl/./keystore.p12", "/ssl/keystore.p12")}) == ()


def test_static_location_of_the_whole_broker_will_do() -> None:
    """A listener without a key of its own reads what is set for all."""
    values = {key: value for key, value in GOOD.items() if key != f"{PREFIX}keystore.location"}
    values["ssl.keystore.location"] = static("/ssl/keystore.p12")
    assert shadows(read_broker(5, values), values, WANTED) == ()
    values[f"{PREFIX}keystore.location"] = dynamic("/ssl/keystore.p12")
    assert shadows(read_broker(5, values), values, WANTED) == ()


def test_dynamic_location_of_another_file_is_told() -> None:
    """It goes before server.properties until it is deleted, so how to delete it is said."""
    (what,) = told({f"{PREFIX}keystore.location": dynamic("/old/keystore.p12", "/ssl/keystore.p12")})
    assert what == (
        "listener.name.mtls.ssl.keystore.location is set dynamically to /old/keystore.p12, which is not the agent's "
        f"/ssl/keystore.p12: {DELETE}keystore.location`"
    )


@pytest.mark.parametrize(
    ("location", "says"),
    [
        (dynamic("/ssl/truststore.p12", "/old/truststore.p12"), "names /old/truststore.p12"),
        (dynamic("/ssl/truststore.p12"), "names no file"),
        (static("/old/truststore.p12"), "names /old/truststore.p12"),
        (static("truststore.p12"), "names truststore.p12"),
        (static(""), "names no file"),
        (UNSET, "names no file"),
    ],
)
def test_static_location_of_another_file_is_told(location: ConfigValue, says: str) -> None:
    """A broker that restarts reads server.properties first, so it must name the file too."""
    (what,) = told({f"{PREFIX}truststore.location": location})
    assert what == (
        f"server.properties {says} for listener.name.mtls.ssl.truststore.location, and that is what a restarted broker "
        "reads first: write listener.name.mtls.ssl.truststore.location=/ssl/truststore.p12 there"
    )


def test_dynamic_location_without_a_value_is_told() -> None:
    """A value that is not shown is no path of the agent's."""
    (what,) = told({f"{PREFIX}keystore.location": dynamic(None, "/ssl/keystore.p12")})
    assert "is set dynamically to nothing, which is not the agent's" in what


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("keystore.type", dynamic("PEM"), " (PEM)"),
        ("truststore.type", dynamic("JKS", "PKCS12"), " (JKS)"),
        ("keystore.password", dynamic(None, sensitive=True), ""),
        ("key.password", dynamic(None, sensitive=True), ""),
        ("truststore.password", dynamic("not to be told", sensitive=True), ""),
    ],
)
def test_dynamic_type_and_password_are_told(key: str, value: ConfigValue, shown: str) -> None:
    """What opens a store belongs into server.properties; of a password only that it is set is known."""
    (what,) = told({PREFIX + key: value})
    kind = "truststore" if key.startswith("truststore") else "keystore"
    assert what == (
        f"{PREFIX}{key} is set dynamically{shown}, so server.properties alone does not open the {kind}: "
        f"write it there, then {DELETE}{key}`"
    )


def test_store_inline_in_the_configuration_is_told() -> None:
    """Kafka reads no file where a key or a certificate stands in the configuration itself."""
    secret = dynamic(None, sensitive=True)
    (what,) = told({f"{PREFIX}keystore.key": secret})
    assert what == (f"{PREFIX}keystore.key holds the keystore itself, so no file is read: {DELETE}keystore.key`")
    (what,) = told({f"{PREFIX}keystore.certificate.chain": secret})
    assert what.startswith(f"{PREFIX}keystore.certificate.chain holds the keystore itself")
    (what,) = told({"ssl.truststore.certificates": ConfigValue(None, Source.STATIC, sensitive=True)})
    assert what == (
        f"{PREFIX}truststore.certificates holds the truststore itself, so no file is read: write "
        f"{PREFIX}truststore.location=/ssl/truststore.p12 into server.properties in its place, and restart the broker"
    )


def test_nothing_is_said_of_what_is_not_shown_or_not_the_agents() -> None:
    """A location that is not shown is not known; a store that is another's is nobody's business here."""
    values = {key: value for key, value in GOOD.items() if "location" not in key}
    assert shadows(read_broker(5, values), values, WANTED) == ()
    keys_only = replace(WANTED, listeners=(BrokerListener("MTLS", KEYS, None),))
    assert told({f"{PREFIX}truststore.location": static("/another")}, keys_only) == ()


def test_listener_that_the_broker_lacks_is_told() -> None:
    """The names that it has are listed, for the right one is often near."""
    other = replace(WANTED, listeners=(BrokerListener("MLTS", KEYS, None),))
    assert told({}, other) == (
        "the broker has no listener MLTS (it has MTLS, PLAIN): correct `listeners` in the settings",
    )
    assert shadows(read_broker(5, {}), {}, other) == (
        "the broker has no listener MLTS (it has none): correct `listeners` in the settings",
    )


def test_listener_without_tls_is_told() -> None:
    """There is nothing that it could read, and nothing else is said of it."""
    (what,) = told({}, replace(WANTED, listeners=(BrokerListener("PLAIN", KEYS, TRUST),)))
    assert what.startswith("the listener PLAIN speaks PLAINTEXT, not TLS: take it out of `listeners`")


def test_engine_of_its_own_is_told() -> None:
    """Kafka's rules are those of Kafka's own engine."""
    (what,) = told({"ssl.engine.factory.class": static("com.example.Factory")})
    assert what.startswith("the listener MTLS has a TLS engine of its own (com.example.Factory)")


def test_command_names_no_address_where_the_settings_have_none() -> None:
    """A controller may name no cluster; the operator fills in where it is asked."""
    (what,) = told({f"{PREFIX}keystore.type": dynamic("PEM")}, replace(WANTED, cluster=None))
    assert "--bootstrap-server HOST:PORT --entity-type" in what


def test_foreign_values_cannot_command_a_terminal() -> None:
    """What the broker says is repeated without control characters and not without end."""
    (what,) = told({f"{PREFIX}keystore.location": dynamic("/\x1b[2J" + "x" * 1000, "/ssl/keystore.p12")})
    assert what.isprintable()
    assert len(what) < 700


# --- advertised names -----------------------------------------------------------------------


def leaf(*dns: str) -> Certificate:
    """Return a leaf with these names."""
    return Ca.root().leaf(make_request(dns=dns, ip=()), make_key())


def test_advertised_name_without_a_san_is_told() -> None:
    """A client that verifies the host name would refuse the leaf at that listener."""
    facts = read_broker(5, GOOD)
    assert uncovered(facts, leaf("kafka1.example.com"), WANTED) == ()
    assert uncovered(facts, leaf("*.example.com"), WANTED) == ()
    (what,) = uncovered(facts, leaf("kafka2.example.com"), WANTED)
    assert what == (
        "the listener MTLS is advertised as kafka1.example.com:9093, which no SAN of "
        "CN=kafka1.example.com,OU=Brokers,O=MyOrg covers, so that clients who verify host names refuse it: "
        "add the name to the SANs of the identity, or advertise one of them"
    )


def test_nothing_is_said_of_names_that_are_not_known_or_not_served() -> None:
    """A listener that is missing, has no known address, or another's keystore, is passed over."""
    facts = read_broker(5, GOOD | {"advertised.listeners": static("MTLS://:9093")})
    assert uncovered(facts, leaf("kafka2.example.com"), WANTED) == ()
    for one in (BrokerListener("MTLS", None, TRUST), BrokerListener("OTHER", KEYS, TRUST)):
        assert uncovered(read_broker(5, GOOD), leaf("x.example.com"), replace(WANTED, listeners=(one,))) == ()
