"""Every mistake that an operator can make about Kafka, told with its place and with what to write instead."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.settings.brokers import BROKER, RELOAD, SASL, STORES, TOLD, told, wanted
from tests.settings.host import PASSWORD, Host

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A folder with a configuration."""
    return Host(tmp_path)


MISTAKES: list[tuple[str, Any, str, str]] = [
    # clusters
    ("clusters", [], "clusters", "write at least one"),
    ("clusters.a/b", {}, "clusters.a/b", "write letters"),
    ("clusters.other", None, "clusters.other", "write keys below it"),
    ("clusters.other", {}, "clusters.other.bootstrap", "is missing"),
    ("clusters.prod.bootstrap", [], "clusters.prod.bootstrap", "write at least one"),
    ("clusters.prod.bootstrap", "a:1", "clusters.prod.bootstrap", "write [one, two]"),
    ("clusters.prod.bootstrap", ["ssl://a:1"], "clusters.prod.bootstrap[0]", "write host:port"),
    ("clusters.prod.bootstrap", [f"me:{PASSWORD}@a:1"], "clusters.prod.bootstrap[0]", "holds a user or password"),
    ("clusters.prod.bootstrp", [], "clusters.prod.bootstrp", "did you mean `bootstrap`?"),
    ("clusters.prod.security_protocol", "tls", "clusters.prod.security_protocol", "write one of ssl, sasl_ssl"),
    ("clusters.prod.security_protocol", 5, "clusters.prod.security_protocol", "write one of SSL, SASL_SSL"),
    ("clusters.prod.security_protocol", "sasl_ssl", "clusters.prod.sasl", "is missing, and sasl_ssl is a login"),
    ("clusters.prod.identity", "brokr", "clusters.prod.identity", "did you mean 'broker'?"),
    ("clusters.prod.identity", "client", "clusters.prod.identity", "there are broker"),
    ("clusters.prod.certificate", "token", "clusters.prod.key", "come together"),
    ("clusters.prod.key", "token", "clusters.prod.certificate", "come together"),
    ("clusters.prod.ca_file", "absent", "clusters.prod.ca_file", "write the path of one"),
    ("clusters.prod.timeout", 10, "clusters.prod.timeout", "write a span"),
    ("clusters.prod.verify_host_name", "perhaps", "clusters.prod.verify_host_name", "write true or false"),
    ("clusters.prod.sasl", PASSWORD, "clusters.prod.sasl", "write keys below it"),
    ("clusters.prod.sasl", SASL | {"mechanism": "GSSAPI"}, "clusters.prod.sasl.mechanism", "write one of PLAIN"),
    ("clusters.prod.sasl", SASL | {"username": ""}, "clusters.prod.sasl.username", "is empty"),
    ("clusters.prod.sasl", SASL | {"password_file": "absent"}, "clusters.prod.sasl.password_file", "make the file"),
    ("clusters.prod.sasl", SASL | {"password_environment": "X"}, "clusters.prod.sasl", "not one place"),
    ("clusters.prod.sasl", SASL | {"password": PASSWORD}, "clusters.prod.sasl.password", "did you mean"),
    # the principal
    (f"{BROKER}.principal", "DEFAULT", f"{BROKER}.principal", "write keys below it"),
    (f"{BROKER}.principal.rule", "DEFAULT", f"{BROKER}.principal.rule", "did you mean `rules`?"),
    (f"{BROKER}.principal.rules", "", f"{BROKER}.principal.rules", "is empty"),
    (f"{BROKER}.principal.rules", " ,", f"{BROKER}.principal.rules", "write DEFAULT"),
    (f"{BROKER}.principal.rules", "RULE:^CN=(.*$/$1/", f"{BROKER}.principal.rules", "Unclosed group"),
    (f"{BROKER}.principal.rules", ["DEFAULT"], f"{BROKER}.principal.rules", "write it in quotes"),
    (f"{BROKER}.principal.rules", "RULE:CN=(.*)", f"{BROKER}.principal.rules", "Invalid rule"),
    (f"{BROKER}.principal.rules", "RULE:" + "x" * 5000, f"{BROKER}.principal.rules", "write RULE:pattern"),
    # brokers
    (f"{RELOAD}.cluster", ..., f"{TOLD}.cluster", "write the name of one of `clusters`"),
    (f"{RELOAD}.cluster", "prd", f"{TOLD}.cluster", "did you mean 'prod'?"),
    (f"{RELOAD}.cluster", "staging", f"{TOLD}.cluster", "there are prod"),
    ("clusters", {}, f"{TOLD}.cluster", "write it below `clusters`"),
    ("clusters", ..., f"{TOLD}.cluster", "write it below `clusters`"),
    (f"{RELOAD}.node_id", -1, f"{TOLD}.node_id", "write 0 or more"),
    (f"{RELOAD}.node_id", 2**31, f"{TOLD}.node_id", "write 2147483647 or less"),
    (f"{RELOAD}.node_id", "one", f"{TOLD}.node_id", "write one as 1"),
    (f"{RELOAD}.node_id", 1.5, f"{TOLD}.node_id", "write one as 1"),
    (f"{RELOAD}.node_id", [1], f"{TOLD}.node_id", "write one as 1"),
    (f"{RELOAD}.role", "leader", f"{TOLD}.role", "write one of broker, controller"),
    (f"{RELOAD}.within", "5", f"{TOLD}.within", "write a span"),
    (f"{RELOAD}.preflight", "maybe", f"{TOLD}.preflight", "write true or false"),
    (f"{RELOAD}.restart", ["true"], f"{TOLD}.restart", "write keys below it"),
    (f"{RELOAD}.restart", {}, f"{TOLD}.restart.argv", "is missing"),
    (f"{RELOAD}.restart", {"argv": []}, f"{TOLD}.restart.argv", "write at least one"),
    (f"{RELOAD}.restart", {"argv": ["no-such"]}, f"{TOLD}.restart.argv[0]", "write its path"),
    (f"{RELOAD}.argv", ["true"], f"{TOLD}.argv", "no key that is known here"),
    (f"{RELOAD}.pid_file", "~/kafka.pid", f"{TOLD}.pid_file", "write the path whole"),
    (f"{RELOAD}.listenrs", {}, f"{TOLD}.listenrs", "did you mean `listeners`?"),
    (f"{BROKER}.reload.1", told()["identities"]["broker"]["reload"][0], f"{BROKER}.reload[1]", "one at most"),
    # listeners
    (f"{RELOAD}.listeners", ..., f"{TOLD}.listeners", "is missing"),
    (f"{RELOAD}.listeners", {}, f"{TOLD}.listeners", "write at least one"),
    (f"{RELOAD}.listeners", ["MTLS"], f"{TOLD}.listeners", "write keys below it"),
    (f"{RELOAD}.listeners", {"M TLS": STORES}, f"{TOLD}.listeners.M TLS", "write letters, digits"),
    (f"{RELOAD}.listeners", {"": STORES}, f"{TOLD}.listeners.", "write letters, digits"),
    (f"{RELOAD}.listeners", {"mtls:": STORES}, f"{TOLD}.listeners.mtls:", "write letters, digits"),
    (f"{RELOAD}.listeners", {1: STORES}, f"{TOLD}.listeners[1]", "in quotes"),
    (f"{RELOAD}.listeners", {"A": STORES, "a": STORES}, f"{TOLD}.listeners.a", "is A once more"),
    (f"{RELOAD}.listeners.MTLS", None, f"{TOLD}.listeners.MTLS", "write keys below it"),
    (f"{RELOAD}.listeners.MTLS", {}, f"{TOLD}.listeners.MTLS", "write `keystore` or `truststore`"),
    (f"{RELOAD}.listeners.MTLS.keystor", "x", f"{TOLD}.listeners.MTLS.keystor", "did you mean `keystore`?"),
    (f"{RELOAD}.listeners.MTLS.address", "a", f"{TOLD}.listeners.MTLS.address", "write host:port"),
    (f"{RELOAD}.listeners.MTLS.keystore", 5, f"{TOLD}.listeners.MTLS.keystore", "is no path"),
    (f"{RELOAD}.listeners.MTLS.keystore", "", f"{TOLD}.listeners.MTLS.keystore", "write a path"),
    (f"{RELOAD}.listeners.MTLS.keystore", "keystor.p12", f"{TOLD}.listeners.MTLS.keystore", "mean 'keystore.p12'?"),
    (f"{RELOAD}.listeners.MTLS.keystore", "x", f"{TOLD}.listeners.MTLS.keystore", "name a keystore among them"),
    (f"{RELOAD}.listeners.MTLS.keystore", "/etc/x", f"{TOLD}.listeners.MTLS.keystore", "there is no 'x' among"),
    (f"{RELOAD}.listeners.MTLS.keystore", "/", f"{TOLD}.listeners.MTLS.keystore", "among `files`"),
    (f"{RELOAD}.listeners.MTLS.keystore", "..", f"{TOLD}.listeners.MTLS.keystore", "among `files`"),
    (f"{RELOAD}.listeners.MTLS.keystore", "ssl/keystore.p12", f"{TOLD}.listeners.MTLS.keystore", "half a path"),
    (
        f"{RELOAD}.listeners.MTLS.keystore",
        "/etc/kafka/ssl/.current/keystore.p12",
        f"{TOLD}.listeners.MTLS.keystore",
        "without .current",
    ),
    (f"{RELOAD}.listeners.MTLS.keystore", "tls.crt", f"{TOLD}.listeners.MTLS.keystore", "name a `combined` one"),
    (f"{RELOAD}.listeners.MTLS.keystore", "/x/tls.key", f"{TOLD}.listeners.MTLS.keystore", "name a `combined` one"),
    (f"{RELOAD}.listeners.MTLS.keystore", "ca.crt", f"{TOLD}.listeners.MTLS.keystore", "is no keystore"),
    (f"{RELOAD}.listeners.MTLS.keystore", "truststore.jks", f"{TOLD}.listeners.MTLS.keystore", "is no keystore"),
    (f"{RELOAD}.listeners.MTLS.keystore", "client.properties", f"{TOLD}.listeners.MTLS.keystore", "is no keystore"),
    (f"{RELOAD}.listeners.MTLS.truststore", "tls.pem", f"{TOLD}.listeners.MTLS.truststore", "is no truststore"),
    (f"{RELOAD}.listeners.MTLS.truststore", "tls.crt", f"{TOLD}.listeners.MTLS.truststore", "is no truststore"),
    (f"{RELOAD}.listeners.MTLS.truststore", "keystore.p12", f"{TOLD}.listeners.MTLS.truststore", "is no truststore"),
    # what only the whole can tell
    (f"{BROKER}.usages", ["server"], f"{BROKER}.usages", "logs in at prod without the usage `client`"),
]


@pytest.mark.parametrize(
    ("path", "value", "key", "advice"), MISTAKES, ids=[f"{path}={str(value)[:40]}" for path, value, _, _ in MISTAKES]
)
def test_a_mistake_is_told_once_where_it_stands(host: Host, path: str, value: object, key: str, advice: str) -> None:
    """One line names the file, the key and the remedy, and no line blames what is right or what follows."""
    mistakes = host.mistakes(told((path, value)))
    assert [(mistake.file, mistake.key) for mistake in mistakes] == [(str(host.file), key)]
    assert advice in mistakes[0].what


TWO: list[tuple[list[tuple[str, Any]], str, str]] = [
    (
        [("security_protocol", "ssl"), ("sasl", SASL)],
        "clusters.prod.security_protocol",
        "is ssl, and `sasl` stands beside it: write sasl_ssl",
    ),
    ([("security_protocol", "PLAINTEXT"), ("sasl", SASL)], "clusters.prod.security_protocol", "write sasl_plaintext"),
    ([("security_protocol", "plaintext"), ("identity", "broker")], "clusters.prod.identity", "is for TLS"),
    ([("security_protocol", "plaintext"), ("ca_file", "token")], "clusters.prod.ca_file", "is for TLS"),
    ([("certificate", "token"), ("key", "absent")], "clusters.prod.key", "write the path of one"),
    ([("certificate", "absent"), ("key", "token")], "clusters.prod.certificate", "write the path of one"),
    ([("certificate", 5), ("key", "token")], "clusters.prod.certificate", "is no path"),
    ([("security_protocol", "sasl_ssl"), ("sasl", 5)], "clusters.prod.sasl", "write keys below it"),
    (
        [("security_protocol", "sasl_plaintext"), ("sasl", SASL | {"mechanism": "PLAIN"}), ("bootstrap", ["kafka1:1"])],
        "clusters.prod.security_protocol",
        "would send the password in the clear: write sasl_ssl",
    ),
]


@pytest.mark.parametrize(("changes", "key", "advice"), TWO, ids=[advice for _, _, advice in TWO])
def test_what_goes_together_is_told_where_it_does_not(
    host: Host, changes: list[tuple[str, Any]], key: str, advice: str
) -> None:
    """A protocol and its login, a certificate and its key."""
    (mistake,) = host.mistakes(told(*((f"clusters.prod.{name}", value) for name, value in changes)))
    assert mistake.key == key
    assert advice in mistake.what


def test_a_password_in_the_clear_may_stay_on_the_host(host: Host) -> None:
    """As a token of Vault may; and SCRAM never sends it."""
    plain = SASL | {"mechanism": "PLAIN"}
    protocol = ("clusters.prod.security_protocol", "sasl_plaintext")
    bootstrap = ("clusters.prod.bootstrap", ["localhost:1", "127.0.0.1:1", "[::1]:1"])
    wanted(host, protocol, ("clusters.prod.sasl", plain), bootstrap)
    wanted(host, protocol, ("clusters.prod.sasl", SASL), ("clusters.prod.bootstrap", ["kafka1:1"]))


def test_a_controller_s_listener_is_found_by_its_address(host: Host) -> None:
    """Nobody else tells it."""
    (mistake,) = host.mistakes(told((f"{RELOAD}.role", "controller")))
    assert mistake.key == f"{TOLD}.listeners.MTLS.address"
    assert "no controller tells where it listens" in mistake.what


def test_another_identity_s_login_is_told_at_the_cluster(host: Host) -> None:
    """Whether a broker is told there or not."""
    client = told()["identities"]["broker"] | {"directory": "client", "usages": ["server"], "reload": []}
    for reload in ([told()["identities"]["broker"]["reload"][0]], []):
        values = told(("identities.client", client), ("clusters.prod.identity", "client"), (f"{BROKER}.reload", reload))
        (mistake,) = host.mistakes(values)
        assert mistake.key == "clusters.prod.identity"
        assert "'client' logs in at prod without the usage `client`: add it, or write" in mistake.what


@pytest.mark.parametrize(
    "changes",
    [
        [("clusters.prod.bootstrap", 5)],
        [("clusters.prod", 5)],
        [(f"{BROKER}.files.0.password_file", 5), (f"{RELOAD}.listeners.MTLS.keystore", "x.p12")],
        [(f"{BROKER}.directory", "")],
        [("clusters.prod.sasl", SASL | {"mechanism": 5})],
        [(f"{BROKER}.lifetime", 5), ("clusters.prod.identity", "broker")],
        [(f"{RELOAD}.role", 5), (f"{RELOAD}.cluster", ...)],
        [(f"{RELOAD}.cluster", 5)],
        [(f"{RELOAD}.listeners.MTLS", {"keystore": 5})],
        [(f"{BROKER}.usages", ["serve"])],
    ],
)
def test_what_follows_from_a_mistake_is_not_told(host: Host, changes: list[tuple[str, Any]]) -> None:
    """A list of mistakes holds only what the operator must change."""
    assert len(host.mistakes(told(*changes))) == 1


def test_every_mistake_is_told_at_once(host: Host) -> None:
    """Whatever part it is in; one that is wrong hides none beside or below it."""
    values = told(
        ("clusters.prod.bootstrap", ["a"]),
        ("clusters.prod.ca_file", "absent"),
        ("clusters.other", {"bootstrap": ["a:1"], "sasl": {"mechanism": "x", "password_file": "absent"}}),
        (f"{BROKER}.principal", {"rules": 5, "x": 1}),
        (f"{RELOAD}.node_id", "x"),
        (f"{RELOAD}.cluster", "x"),
        (f"{RELOAD}.restart", {"argv": ["no-such"], "timeout": 5}),
        (
            f"{RELOAD}.listeners",
            {"A": {"keystore": "x", "truststore": 5}, "a": STORES, "B": {"x": 1}, "C": 5, "D E": {}, 1: {"x": 1}},
        ),
    )
    assert sorted(mistake.key for mistake in host.mistakes(values)) == sorted(
        [
            "clusters.prod.bootstrap[0]",
            "clusters.prod.ca_file",
            "clusters.other.sasl.mechanism",
            "clusters.other.sasl.username",
            "clusters.other.sasl.password_file",
            f"{BROKER}.principal.rules",
            f"{BROKER}.principal.x",
            f"{TOLD}.node_id",
            f"{TOLD}.cluster",
            f"{TOLD}.restart.argv[0]",
            f"{TOLD}.restart.timeout",
            f"{TOLD}.listeners.A.keystore",
            f"{TOLD}.listeners.A.truststore",
            f"{TOLD}.listeners.a",
            f"{TOLD}.listeners.B",
            f"{TOLD}.listeners.B.x",
            f"{TOLD}.listeners.C",
            f"{TOLD}.listeners.D E",
            f"{TOLD}.listeners[1]",
            f"{TOLD}.listeners[1].x",
        ]
    )


@pytest.mark.parametrize("absent", ["confluent_kafka", "OpenSSL"])
def test_an_extra_that_is_not_installed_is_told(host: Host, monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    """Where a cluster is asked, and nowhere else; a controller without one is not asked anything."""
    monkeypatch.setitem(sys.modules, absent, None)
    (mistake,) = host.mistakes(told())
    assert mistake.key == f"{TOLD}.type"
    assert mistake.what == f"needs {absent}, not installed here: install kafka-cert-agent[kafka]"
    host.load(told((f"{BROKER}.reload", [])))
    controller = [(f"{RELOAD}.role", "controller"), (f"{RELOAD}.listeners.MTLS.address", "a:1")]
    host.load(told(*controller, (f"{RELOAD}.cluster", ...)))
    (mistake,) = host.mistakes(told(*controller))
    assert mistake.key == f"{TOLD}.cluster"
    (mistake,) = host.mistakes(told((f"{BROKER}.reload", []), (f"{BROKER}.rotation.cluster", "prod")))
    assert mistake.key == f"{BROKER}.rotation.cluster"


def test_reading_the_settings_loads_no_client(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is there is looked up; who only checks settings pays for nothing."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("confluent_kafka", "OpenSSL")]:
        monkeypatch.delitem(sys.modules, name)
    wanted(host)
    assert not {"confluent_kafka", "OpenSSL"} & set(sys.modules)
