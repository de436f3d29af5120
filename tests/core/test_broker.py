"""What a broker's configuration means: listeners, what is in force, names that are covered, and which broker it is."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.broker import (
    DEFAULT_ENGINE_FACTORY,
    BrokerFacts,
    ConfigValue,
    ListenerFacts,
    Node,
    Source,
    bound_ports,
    contradiction,
    covers,
    effective,
    matching_nodes,
    read_broker,
)
from agent.core.certificate import Sans
from agent.core.files import ClientAuth
from agent.core.kafka_spec import BrokerListener, KafkaBrokerReload, SecurityProtocol, StoreFile
from agent.core.principal import OWN_BUILDER

COMBINED = {
    "process.roles": "broker,controller",
    "listeners": "internal://kafka1:9091,EXTERNAL://:9092,WEB://[2001:db8::1]:9093,CONTROLLER://kafka1:9094",
    "advertised.listeners": "INTERNAL://kafka1:9091,EXTERNAL://kafka1.example.com:9092,WEB://[2001:db8::1]:9093",
    "listener.security.protocol.map": "internal:SSL, EXTERNAL:SASL_SSL,WEB:PLAINTEXT,CONTROLLER:SSL",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "internal",
}
HOST = "kafka1.example.com"
STORE = StoreFile("keystore.p12", PurePosixPath("/ssl/keystore.p12"))


def values(**lines: str | None) -> dict[str, ConfigValue]:
    """Return a description with these static values; `__` stands for a dot in a key."""
    return {key.replace("__", "."): ConfigValue(value, Source.STATIC, value) for key, value in lines.items()}


def described(lines: dict[str, str]) -> dict[str, ConfigValue]:
    """Return a description with these static values."""
    return {key: ConfigValue(value, Source.STATIC, value) for key, value in lines.items()}


def listener(facts: BrokerFacts, name: str) -> ListenerFacts:
    """Return a listener that must be there."""
    found = facts.listener(name)
    assert found is not None
    return found


def wanted(*listeners: BrokerListener) -> KafkaBrokerReload:
    """Return settings with listeners."""
    return KafkaBrokerReload(None, listeners)


# --- what is in force -----------------------------------------------------------------------


def test_broker_is_read_with_all_its_listeners() -> None:
    """Names are in upper case whatever server.properties writes; an IPv6 address stays in brackets."""
    facts = read_broker(7, described(COMBINED))
    assert (facts.node_id, facts.inter_broker, facts.is_controller, facts.tls_controllers) == (
        7,
        "INTERNAL",
        True,
        True,
    )
    assert [(one.name, one.protocol, one.advertised, one.bound) for one in facts.listeners] == [
        ("INTERNAL", SecurityProtocol.SSL, "kafka1:9091", "kafka1:9091"),
        ("EXTERNAL", SecurityProtocol.SASL_SSL, "kafka1.example.com:9092", ":9092"),
        ("WEB", SecurityProtocol.PLAINTEXT, "[2001:db8::1]:9093", "[2001:db8::1]:9093"),
        ("CONTROLLER", SecurityProtocol.SSL, None, "kafka1:9094"),
    ]


def test_broker_that_shows_nothing_has_defaults_of_kafka() -> None:
    """A key that the broker does not show is what Kafka takes without it."""
    assert read_broker(1, {}) == BrokerFacts(1, ())
    facts = read_broker(1, values(listeners="SSL://kafka1:9092"))
    assert facts == BrokerFacts(1, (ListenerFacts("SSL", SecurityProtocol.SSL, "kafka1:9092", "kafka1:9092"),))
    assert listener(facts, "SSL").network_threads == 3
    assert listener(facts, "SSL").asks_clients is ClientAuth.NONE
    assert listener(facts, "SSL").principal_rules == "DEFAULT"
    assert (facts.allow_dn_changes, facts.allow_san_changes) == (False, False)


@pytest.mark.parametrize(
    ("voters", "found"),
    [
        ("1@kafka1:9094, 22@[2001:db8::1]:9094", (Node(1, "kafka1", 9094), Node(22, "2001:db8::1", 9094))),
        ("1@0.0.0.0:0", (Node(1, "0.0.0.0", 0),)),  # noqa: S104 - what Kafka has for no address yet
        ("kafka1:9094,x@kafka1:9094,1@kafka1,1@:9094,", ()),
        ("", ()),
    ],
)
def test_controllers_are_known_by_the_voters(voters: str, found: tuple[Node, ...]) -> None:
    """Each with its id and where it is; what is none of that is left out."""
    facts = read_broker(7, values(controller__quorum__voters=voters))
    assert facts.voters == found


def test_controllers_may_be_known_by_their_addresses_alone() -> None:
    """A quorum that changes as it runs has no voters in the configuration (KIP-853)."""
    facts = read_broker(
        7,
        values(
            controller__quorum__bootstrap__servers="kafka1:9094, kafka2:9094", controller__listener__names="controller"
        ),
    )
    assert facts.controller_bootstrap == ("kafka1:9094", "kafka2:9094")
    assert facts.controller_listeners == ("CONTROLLER",)


def test_ports_of_the_settings_listeners_are_where_the_broker_is_bound() -> None:
    """It may be advertised at another one; the settings' address tells where the broker does not."""
    listeners = [BrokerListener("SSL", STORE, None, "kafka1:443"), BrokerListener("OTHER", STORE, None)]
    wanted = KafkaBrokerReload(None, tuple(listeners))
    facts = read_broker(1, values(listeners="SSL://:9092"))
    assert bound_ports(facts, wanted) == (9092,)
    assert bound_ports(None, wanted) == (443,)


def test_listener_is_found_in_any_case_of_letters() -> None:
    """Kafka compares the names of listeners without regard to case."""
    facts = read_broker(1, values(listeners="Internal://kafka1:9092"))
    assert facts.listener("internal") == facts.listener("INTERNAL") == facts.listeners[0]
    assert facts.listener("other") is None


def test_listeners_are_advertised_as_they_are_bound_where_nothing_else_is_said() -> None:
    """Without advertised.listeners those of brokers are; a host that is left out is not known from here."""
    facts = read_broker(
        1,
        values(
            listeners="A://kafka1:1,B://:2,C://kafka1:3,D://kafka1:0",
            advertised__listeners=None,
            controller__listener__names="c",
            listener__security__protocol__map="A:SSL,B:SSL,D:SSL",
        ),
    )
    assert [one.advertised for one in facts.listeners] == ["kafka1:1", None, None, None]
    assert [one.bound for one in facts.listeners] == ["kafka1:1", ":2", "kafka1:3", None]


def test_listener_that_is_not_advertised_has_no_address() -> None:
    """With advertised.listeners, what is not among them is told to nobody."""
    facts = read_broker(1, values(listeners="A://kafka1:1,B://kafka1:2", advertised__listeners="A://:5,C://kafka1:3"))
    assert [one.advertised for one in facts.listeners] == [None, None]


def test_what_is_no_endpoint_is_passed_over() -> None:
    """A word that Kafka itself would not start with is not guessed at."""
    assert [one.name for one in read_broker(1, values(listeners="nonsense, SSL://kafka1:9092,,")).listeners] == ["SSL"]


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ({"inter__broker__listener__name": "inside"}, "INSIDE"),
        ({"inter__broker__listener__name": None, "security__inter__broker__protocol": "SSL"}, "SSL"),
        ({}, "PLAINTEXT"),
    ],
)
def test_inter_broker_listener_is_named_or_that_of_the_protocol(lines: dict[str, str | None], name: str) -> None:
    """Brokers meet at the listener that is named, else at the one that has the protocol's name."""
    assert read_broker(1, values(**lines)).inter_broker == name


@pytest.mark.parametrize(
    ("names", "mapped", "tls"),
    [
        ("CONTROLLER", "A:SSL,controller:SSL", True),
        ("CONTROLLER", "CONTROLLER:SASL_SSL", True),
        ("CONTROLLER", "CONTROLLER:PLAINTEXT", False),
        ("CONTROLLER", "SSL:SSL", False),
        ("SSL", "PLAINTEXT:PLAINTEXT", True),
        ("A,B", "A:PLAINTEXT,B:SSL", True),
        ("", "A:SSL", False),
    ],
)
def test_controllers_speak_tls_as_the_map_says(names: str, mapped: str, tls: bool) -> None:
    """One TLS listener among them is enough; a name that the map does not know is in plain, as Kafka has it."""
    facts = read_broker(
        1, values(controller__listener__names=names, listener__security__protocol__map=mapped, process__roles="broker")
    )
    assert (facts.tls_controllers, facts.is_controller) == (tls, False)


@pytest.mark.parametrize(
    ("protocol", "own", "common", "asks"),
    [
        ("SSL", None, "required", ClientAuth.REQUIRED),
        ("SSL", "requested", "required", ClientAuth.REQUESTED),
        ("SSL", None, None, ClientAuth.NONE),
        ("SSL", "REQUIRED", None, ClientAuth.REQUIRED),
        ("SSL", "of another Kafka", None, ClientAuth.NONE),
        ("SASL_SSL", None, "required", ClientAuth.NONE),
        ("SASL_SSL", "required", "none", ClientAuth.REQUIRED),
        ("PLAINTEXT", None, "required", ClientAuth.NONE),
    ],
)
def test_listener_asks_for_certificates_as_its_own_key_says(
    protocol: str, own: str | None, common: str | None, asks: ClientAuth
) -> None:
    """Its own key goes first; that of the whole broker is not heeded by a listener with SASL."""
    facts = read_broker(
        1,
        values(
            listeners="X://kafka1:1",
            listener__security__protocol__map=f"X:{protocol}",
            ssl__client__auth=common,
            listener__name__x__ssl__client__auth=own,
        ),
    )
    assert listener(facts, "X").asks_clients is asks


@pytest.mark.parametrize(
    ("own", "common", "threads"), [("8", "5", 8), (None, "5", 5), (None, None, 3), ("many", None, 3), (" 4 ", None, 4)]
)
def test_network_threads_are_those_of_the_listener(own: str | None, common: str | None, threads: int) -> None:
    """A listener may have a number of its own, else the broker's, else Kafka's default."""
    facts = read_broker(
        1,
        values(listeners="X://kafka1:1", num__network__threads=common, listener__name__x__num__network__threads=own),
    )
    assert listener(facts, "X").network_threads == threads


def test_what_makes_principals_is_that_of_the_listener() -> None:
    """Rules, builder and engine may be set for one listener; Kafka's own classes are no others."""
    lines = {
        "listeners": "A://kafka1:1,B://kafka1:2",
        "ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
        "listener.name.a.ssl.principal.mapping.rules": "RULE:.*/x/,DEFAULT",
        "principal.builder.class": OWN_BUILDER,
        "listener.name.b.principal.builder.class": "com.example.Builder",
        "ssl.engine.factory.class": DEFAULT_ENGINE_FACTORY,
        "listener.name.b.ssl.engine.factory.class": "com.example.Factory",
    }
    first, second = read_broker(1, described(lines)).listeners
    assert (first.principal_rules, first.principal_builder, first.engine_factory) == ("RULE:.*/x/,DEFAULT", "", "")
    assert second.principal_rules == "RULE:^CN=(.*)$/$1/"
    assert (second.principal_builder, second.engine_factory) == ("com.example.Builder", "com.example.Factory")


@pytest.mark.parametrize(("text", "allowed"), [("true", True), ("TRUE", True), ("false", False), (None, False)])
def test_changes_are_allowed_only_where_the_broker_says_so(text: str | None, allowed: bool) -> None:
    """KIP-978: both are false unless they are set."""
    assert read_broker(1, values(ssl__allow__dn__changes=text)).allow_dn_changes is allowed
    assert read_broker(1, values(ssl__allow__san__changes=text)).allow_san_changes is allowed


def test_location_is_that_in_force_with_what_a_restart_would_read() -> None:
    """A dynamic value is in force; what server.properties says is looked for under the listener's name first."""
    key, prefix = "ssl.keystore.location", "listener.name.x."
    common = ConfigValue("/common", Source.STATIC, "/common")
    dynamic = ConfigValue("/dynamic", Source.DYNAMIC, None)
    both = ConfigValue("/dynamic", Source.DYNAMIC, "/own")
    assert effective({}, prefix, key) is None
    assert effective({key: common}, prefix, key) == common
    assert effective({prefix + key: dynamic}, prefix, key) == dynamic
    assert effective({prefix + key: both, key: common}, prefix, key) == both
    assert effective({prefix + key: dynamic, key: common}, prefix, key) == ConfigValue(
        "/dynamic", Source.DYNAMIC, "/common"
    )
    facts = read_broker(1, values(listeners="X://kafka1:1") | {prefix + key: dynamic, key: common})
    assert listener(facts, "X").keystore == ConfigValue("/dynamic", Source.DYNAMIC, "/common")
    assert listener(facts, "X").truststore is None


def test_value_tells_who_set_it() -> None:
    """Kafka's defaults, and what comes from nobody knows where, are set by nobody."""
    assert [source for source in Source if ConfigValue("x", source).is_set] == [
        Source.DYNAMIC,
        Source.DYNAMIC_DEFAULT,
        Source.STATIC,
    ]
    assert [source for source in Source if ConfigValue("x", source).dynamic] == [Source.DYNAMIC]


NAMES = st.text("ABCXYZ0_-", min_size=1, max_size=8)
HOSTS = st.text("abcxyz0.-", min_size=1, max_size=12) | st.sampled_from(["::1", "2001:db8::1"])


@given(st.dictionaries(NAMES, st.tuples(HOSTS, st.integers(1, 65535)), max_size=4))
def test_every_endpoint_is_read_as_it_was_written(endpoints: dict[str, tuple[str, int]]) -> None:
    """Whatever the hosts and ports are, each listener keeps its own."""
    bracketed = {
        name: f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for name, (host, port) in endpoints.items()
    }
    facts = read_broker(1, values(listeners=",".join(f"{name}://{at}" for name, at in bracketed.items())))
    assert {one.name: one.bound for one in facts.listeners} == bracketed


# --- which names are covered ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "covered"),
    [
        ("kafka1.example.com", True),
        ("KAFKA1.example.com.", True),
        ("a.wild.example.com", True),
        ("a.b.wild.example.com", False),
        ("wild.example.com", False),
        ("x.com", False),
        ("kafka2.example.com", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("[2001:db8::1]", True),
        ("2001:0db8::0001", True),
        ("2001:db8::2", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_sans_cover_a_host_as_clients_compare_them(host: str, covered: bool) -> None:
    """Names go by RFC 6125 with a wildcard for one whole label, addresses by their value."""
    sans = Sans.of(
        dns=("kafka1.example.com", "*.wild.example.com", "*.com", "192.0.2.2"), ip=("192.0.2.1", "2001:db8::1")
    )
    assert covers(sans, host) is covered


# --- which broker it is ---------------------------------------------------------------------

ONE, TWO, THREE = (Node(number, f"kafka{number}.example.com", 9092) for number in (1, 2, 3))
LOCAL = Node(4, "localhost", 9092)
SIX = Node(6, "2001:db8::6", 9092)


@pytest.mark.parametrize(
    ("nodes", "addresses", "here", "sans", "found"),
    [
        ((ONE, TWO, THREE), ["KAFKA2.example.com.:9092"], {ONE.host}, Sans.of(dns=(THREE.host,)), (TWO,)),
        ((ONE, TWO, SIX), ["[2001:DB8::6]:9092"], {}, Sans(), (SIX,)),
        ((ONE, TWO), ["kafka2.example.com:9093"], {ONE.host}, Sans.of(dns=(TWO.host,)), (ONE,)),
        ((ONE, TWO), [], {ONE.host, TWO.host}, Sans.of(dns=(TWO.host,)), (ONE, TWO)),
        ((ONE, TWO), [], {}, Sans.of(dns=(TWO.host, "other")), (TWO,)),
        ((ONE, SIX), [], {}, Sans.of(ip=("2001:db8::6",)), (SIX,)),
        # A certificate that all share tells nothing, and nor does the only broker that is up.
        ((ONE, TWO), [], {}, Sans.of(dns=(ONE.host, TWO.host)), ()),
        ((TWO,), [], {}, Sans.of(dns=(ONE.host, TWO.host)), ()),
        ((TWO,), [], {}, Sans(), ()),
        ((ONE, TWO), [], {}, Sans(), ()),
        ((LOCAL,), [], {"localhost"}, Sans(), (LOCAL,)),
        ((), ["kafka1.example.com:9092"], {"localhost"}, Sans.of(dns=(ONE.host,)), ()),
    ],
)
def test_broker_is_known_by_what_tells_it_apart(
    nodes: tuple[Node, ...], addresses: list[str], here: set[str], sans: Sans, found: tuple[Node, ...]
) -> None:
    """Its address goes before this machine's names, and these before the SANs; none is guessed."""
    assert matching_nodes(nodes, addresses=addresses, here=here, sans=sans) == found


@given(st.lists(st.sampled_from([ONE, TWO, THREE]), unique=True), st.sets(st.sampled_from([1, 2, 3])))
def test_shared_names_never_choose_the_only_broker_that_is_up(nodes: list[Node], shared: set[int]) -> None:
    """With SANs alone, a broker is chosen only while another is seen that they do not name."""
    sans = Sans.of(dns=tuple(f"kafka{number}.example.com" for number in shared))
    found = matching_nodes(nodes, addresses=(), here=(), sans=sans)
    assert set(found) <= {node for node in nodes if node.id in shared}
    if found:
        assert set(found) != set(nodes)


def test_node_is_told_with_its_address() -> None:
    """An IPv6 address stands in brackets."""
    assert [str(ONE), str(SIX)] == ["1 at kafka1.example.com:9092", "6 at [2001:db8::6]:9092"]


@pytest.mark.parametrize(
    ("name", "address", "doubt"),
    [
        ("A", None, ""),
        ("A", "elsewhere:1", ""),
        ("A", "elsewhere:11", ""),
        ("A", "elsewhere:2", "its listener A is not at elsewhere:2"),
        ("B", "elsewhere:7", ""),
        ("C", None, "it has no listener C"),
    ],
)
def test_broker_without_the_listeners_of_the_settings_is_another(name: str, address: str | None, doubt: str) -> None:
    """The port of an address is that which is bound or advertised; where neither is known nothing speaks against it."""
    facts = read_broker(1, values(listeners="A://:1,B://:0", advertised__listeners="A://kafka1:11"))
    assert contradiction(facts, wanted(BrokerListener(name, STORE, None, address))) == doubt
