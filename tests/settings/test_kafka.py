"""The settings of Kafka: clusters, brokers that are told, the principal: what comes out, and what is advised."""

from __future__ import annotations

from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.command import CommandReload
from agent.core.configuration import PrincipalPolicy
from agent.core.kafka_spec import (
    BrokerListener,
    Cluster,
    KafkaBrokerReload,
    LoginFiles,
    NodeRole,
    SaslLogin,
    SecurityProtocol,
    StoreFile,
)
from agent.core.secret import Secret
from agent.settings import advise
from tests.settings.brokers import BROKER, P12, RELOAD, SASL, STORES, told, wanted
from tests.settings.host import PASSWORD, Host, changed

if TYPE_CHECKING:
    from pathlib import Path

KEY = "CERT_AGENT__IDENTITIES__BROKER__"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A folder with a configuration."""
    return Host(tmp_path)


def broker(host: Host, *changes: tuple[str, Any]) -> KafkaBrokerReload:
    """Return what the broker of a changed configuration becomes."""
    found = wanted(host, *changes).broker
    assert found is not None
    return found


def cluster(host: Host, *changes: tuple[str, Any]) -> Cluster:
    """Return what the cluster of a changed configuration becomes."""
    return host.load(told(*changes)).clusters["prod"]


# --- what comes out ---------------------------------------------------------------------------


def test_a_broker_needs_little(host: Host) -> None:
    """A cluster and the listeners; the node, its addresses and what to trust are found elsewhere."""
    ssl = PurePosixPath(host.folder / "ssl")
    assert broker(host) == KafkaBrokerReload(
        cluster=Cluster("prod", ("localhost:9093",)),
        listeners=(
            BrokerListener(
                "MTLS",
                StoreFile("keystore.p12", ssl / "keystore.p12"),
                StoreFile("truststore.p12", ssl / "truststore.p12"),
            ),
        ),
    )


def test_everything_of_a_broker_arrives(host: Host) -> None:
    """Each key of the settings is a field of the value; a listener has the name that Kafka makes of it."""
    secrets = PurePosixPath("/etc/kafka/secrets")
    found = broker(
        host,
        (
            f"{BROKER}.reload",
            [
                {"type": "command", "argv": ["true"]},
                {
                    "type": "kafka_broker",
                    "cluster": "prod",
                    "node_id": 0,
                    "listeners": {
                        "internal": {"keystore": "tls.pem"},
                        "m-TLS_1.x": {
                            "keystore": "/etc/kafka/secrets/keystore.jks",
                            "truststore": "/etc/kafka/secrets/ca.crt",
                            "address": "[::1]:9094",
                        },
                    },
                    "within": "1m",
                    "preflight": False,
                    "restart": {"argv": ["true", "now"], "timeout": "3m"},
                    "pid_file": "kafka.pid",
                },
            ],
        ),
    )
    assert found == KafkaBrokerReload(
        cluster=Cluster("prod", ("localhost:9093",)),
        listeners=(
            BrokerListener("INTERNAL", StoreFile("tls.pem", PurePosixPath(host.folder / "ssl" / "tls.pem")), None),
            BrokerListener(
                "M-TLS_1.X",
                StoreFile("keystore.jks", secrets / "keystore.jks"),
                StoreFile("ca.crt", secrets / "ca.crt"),
                "[::1]:9094",
            ),
        ),
        node_id=0,
        within=timedelta(minutes=1),
        preflight=False,
        restart=CommandReload(("true", "now"), host.folder, timedelta(minutes=3)),
        pid_file=host.folder / "kafka.pid",
    )


def test_a_controller_needs_no_cluster(host: Host) -> None:
    """Nothing is asked of it then; where its listeners are must be written."""
    listeners = {"CONTROLLER": {"keystore": "keystore.p12", "address": "localhost:9095"}}
    changes = (f"{RELOAD}", {"type": "kafka_broker", "role": "controller", "listeners": listeners})
    found = broker(host, changes, (f"{RELOAD}.restart", {"argv": ["true"]}))
    assert (found.role, found.cluster) == (NodeRole.CONTROLLER, None)
    assert found.restart == CommandReload(("true",), host.folder, timedelta(minutes=2))
    assert wanted(host, changes).proven_at == ("CONTROLLER",)
    wanted(host, changes, (f"{BROKER}.usages", ["server"]))


def test_a_controller_whose_cluster_is_named_logs_in_there(host: Host) -> None:
    """Its brokers are asked in a CA rotation, so that what a broker needs for that it needs too."""
    listeners = {"CONTROLLER": {"keystore": "keystore.p12", "address": "localhost:9095"}}
    reload = {"type": "kafka_broker", "role": "controller", "cluster": "prod", "listeners": listeners}
    assert wanted(host, (RELOAD, reload)).rotation.cluster == cluster(host)
    (mistake,) = host.mistakes(told((RELOAD, reload), (f"{BROKER}.usages", ["server"])))
    assert mistake.key == f"{BROKER}.usages"


def test_everything_of_a_cluster_arrives(host: Host) -> None:
    """Relative paths count from the configuration's folder."""
    found = cluster(
        host,
        (
            "clusters.prod",
            {
                "bootstrap": ["kafka1.example.com:9093", "[::1]:9093"],
                "security_protocol": "sasl_ssl",
                "identity": "broker",
                "certificate": "token",
                "key": "password",
                "ca_file": "token",
                "sasl": SASL,
                "verify_host_name": False,
                "timeout": "3s",
            },
        ),
    )
    assert found == Cluster(
        name="prod",
        bootstrap=("kafka1.example.com:9093", "[::1]:9093"),
        protocol=SecurityProtocol.SASL_SSL,
        identity="broker",
        files=LoginFiles(host.folder / "token", host.folder / "password"),
        ca_file=host.folder / "token",
        sasl=SaslLogin("SCRAM-SHA-512", "cert-agent", Secret(host.folder / "password")),
        verify_host_name=False,
        within=timedelta(seconds=3),
    )


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_login_may_come_from_the_environment(host: Host, monkeypatch: pytest.MonkeyPatch, mechanism: str) -> None:
    """The password is in a variable as well as in a file, for each mechanism."""
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    login = {"mechanism": mechanism, "username": "a", "password_environment": "KAFKA_PASSWORD"}
    found = cluster(host, ("clusters.prod.sasl", login))
    assert found.sasl == SaslLogin(mechanism, "a", Secret(environment="KAFKA_PASSWORD"))


@pytest.mark.parametrize("write", [str.lower, str.upper])
@pytest.mark.parametrize("protocol", SecurityProtocol)
def test_a_protocol_is_taken_in_either_case(host: Host, protocol: SecurityProtocol, write: Any) -> None:
    """As Kafka writes it, or as the other settings are written."""
    sasl = [("clusters.prod.sasl", SASL)] if protocol.is_sasl else []
    assert cluster(host, ("clusters.prod.security_protocol", write(protocol)), *sasl).protocol is protocol


def test_a_login_by_password_is_one_over_tls(host: Host) -> None:
    """Where nothing is said of the protocol."""
    assert cluster(host).protocol is SecurityProtocol.SSL
    assert cluster(host, ("clusters.prod.sasl", SASL)).protocol is SecurityProtocol.SASL_SSL


def test_a_cluster_that_nobody_uses_is_no_mistake(host: Host) -> None:
    """Nor is it one to have none at all."""
    values = changed(("clusters.prod", {"bootstrap": ["a:1"]}))
    assert list(host.load(values).clusters) == ["prod"]
    assert host.load(changed(("clusters", {}))).clusters == {}
    assert host.load(changed()).clusters == {}


def test_a_principal_is_kept_unless_told_otherwise(host: Host) -> None:
    """By the rules of the broker, or by those that are written."""
    assert wanted(host).principal == PrincipalPolicy()
    rules = "RULE:^CN=(.*?),.*$/$1/L,DEFAULT"
    found = wanted(host, (f"{BROKER}.principal", {"rules": rules, "allow_change": True}))
    assert found.principal == PrincipalPolicy(rules, may_change=True)


def test_an_identity_that_only_serves_may_log_in_by_other_means(host: Host) -> None:
    """With a password, or with a certificate that the agent has for it."""
    server = (f"{BROKER}.usages", ["server"])
    wanted(host, server, ("clusters.prod.sasl", SASL))
    wanted(host, server, ("clusters.prod.certificate", "token"), ("clusters.prod.key", "token"))
    client = told()["identities"]["broker"] | {"directory": "client", "usages": ["client"], "reload": []}
    wanted(host, server, ("identities.client", client), ("clusters.prod.identity", "client"))


def test_a_ca_file_stands_in_for_a_truststore(host: Host) -> None:
    """An identity without one is no mistake then; nor where there is no TLS to verify."""
    alone = (f"{BROKER}.files", [{key: value for key, value in P12.items() if key != "truststore"}])
    reads = (f"{RELOAD}.listeners.MTLS", {"keystore": "keystore.p12"})
    wanted(host, alone, reads, ("clusters.prod.ca_file", "token"))
    wanted(host, alone, reads, ("clusters.prod.security_protocol", "plaintext"))
    (mistake,) = host.mistakes(told(alone, reads))
    assert mistake.key == "clusters.prod.ca_file"
    assert "'broker' has no truststore to take in its place: write it" in mistake.what


def test_two_identities_may_serve_one_broker(host: Host) -> None:
    """Each a listener of its own, or one the keystore and one the truststore; and two brokers have two numbers."""
    other = told()["identities"]["broker"] | {"directory": "other"}
    reload = {"type": "kafka_broker", "cluster": "prod"}
    for listeners in ({"OTHER": STORES}, {"MTLS": {"truststore": "truststore.p12"}}):
        values = told(
            ("identities.other", other | {"reload": [reload | {"listeners": listeners}]}),
            (f"{RELOAD}.listeners.MTLS", {"keystore": "keystore.p12"}),
        )
        assert len(host.load(values).identities) == 2
    second = other | {"reload": [reload | {"listeners": {"MTLS": STORES}, "node_id": 2}]}
    host.load(told(("identities.other", second), (f"{RELOAD}.node_id", 1)))


def test_two_identities_are_not_read_by_one_listener(host: Host) -> None:
    """Whichever way its name is written."""
    reload = {"type": "kafka_broker", "cluster": "prod", "listeners": {"mtls": {"keystore": "keystore.p12"}}}
    other = told()["identities"]["broker"] | {"directory": "other", "reload": [reload]}
    (mistake,) = host.mistakes(told(("identities.other", other)))
    assert mistake.key == "identities.other.reload[0].listeners.mtls.keystore"
    assert "is the keystore of 'broker' already" in mistake.what


NAMES = st.text("abcXYZ019_-.", min_size=1, max_size=8)
FOLDERS = st.lists(NAMES.filter(lambda name: name[0] != "."), max_size=3)


@pytest.mark.slow
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.sets(NAMES, min_size=1, max_size=4), folder=FOLDERS)
def test_names_and_paths_come_out_as_kafka_has_them(host: Host, names: set[str], folder: list[str]) -> None:
    """Names that differ by case are one; a staged file is beside the one that it is to replace, where the broker is."""
    inside = PurePosixPath("/", *folder)
    values = told((f"{RELOAD}.listeners", {name: {"keystore": str(inside / "keystore.p12")} for name in names}))
    upper = {name.upper() for name in names}
    if len(upper) < len(names):
        mistakes = host.mistakes(values)
        assert len(mistakes) == len(names) - len(upper)
        assert all("since Kafka ignores case" in one.what for one in mistakes)
        return
    found = host.load(values).identities["broker"].broker
    assert found is not None
    assert {one.name for one in found.listeners} == upper
    for one in found.listeners:
        assert one.keystore is not None
        assert one.keystore.path == inside / "keystore.p12"
        assert one.keystore.staged(".generations/000042") == inside / ".generations/000042/keystore.p12"
        assert one.config_prefix == f"listener.name.{one.name.lower()}."


# --- the environment --------------------------------------------------------------------------


def test_environment_sets_scalars_of_clusters_and_brokers(host: Host) -> None:
    """A broker is counted among what is told; names of clusters and listeners are told apart as the file has them."""
    environment = {
        "CERT_AGENT__CLUSTERS__PROD_EU__TIMEOUT": "3s",
        "CERT_AGENT__CLUSTERS__PROD_EU__BOOTSTRAP": '["a:1", "b:1"]',
        "CERT_AGENT__CLUSTERS__PROD_EU__SASL__USERNAME": "0815",
        "CERT_AGENT__CLUSTERS__PROD_EU__VERIFY_HOST_NAME": "false",
        f"{KEY}PRINCIPAL__RULES": "DEFAULT",
        f"{KEY}PRINCIPAL__ALLOW_CHANGE": "true",
        f"{KEY}RELOAD__0__NODE_ID": "7",
        f"{KEY}RELOAD__0__PREFLIGHT": "false",
        f"{KEY}RELOAD__0__RESTART__TIMEOUT": "5m",
        f"{KEY}RELOAD__0__LISTENERS__M_TLS__ADDRESS": "a:9094",
    }
    login = {"bootstrap": ["x:1"], "sasl": SASL}
    found = host.load(
        told(
            ("clusters", {"Prod-EU": login}),
            (f"{RELOAD}.cluster", "Prod-EU"),
            (f"{RELOAD}.restart", {"argv": ["true"]}),
            (f"{RELOAD}.listeners", {"M-Tls": {"keystore": "keystore.p12"}, "OTHER": STORES}),
        ),
        environment,
    )
    told_to = found.identities["broker"].broker
    assert told_to is not None
    assert told_to.cluster == found.clusters["Prod-EU"]
    assert told_to.cluster == Cluster(
        "Prod-EU",
        ("a:1", "b:1"),
        SecurityProtocol.SASL_SSL,
        sasl=SaslLogin("SCRAM-SHA-512", "0815", Secret(host.folder / "password")),
        verify_host_name=False,
        within=timedelta(seconds=3),
    )
    assert found.identities["broker"].principal == PrincipalPolicy("DEFAULT", may_change=True)
    assert (told_to.node_id, told_to.preflight) == (7, False)
    assert told_to.restart == CommandReload(("true",), host.folder, timedelta(minutes=5))
    assert [(one.name, one.address) for one in told_to.listeners] == [("M-TLS", "a:9094"), ("OTHER", None)]


@pytest.mark.parametrize(
    ("variable", "value", "advice"),
    [
        ("CERT_AGENT__CLUSTERS__PRD__TIMEOUT", "1s", "did you mean `prod`?"),
        ("CERT_AGENT__CLUSTERS__PROD__TIMEOUT", "1", "write a span"),
        ("CERT_AGENT__CLUSTERS__PROD__SECURITY_PROTOCOL", "tls", "write one of ssl"),
        ("CERT_AGENT__CLUSTERS__PROD__IDENTITY", "brokr", "did you mean 'broker'?"),
        (f"{KEY}RELOAD__0__CLUSTER", "prd", "did you mean 'prod'?"),
        (f"{KEY}RELOAD__0__NODE_ID", "x", "write one as 1"),
        (f"{KEY}RELOAD__0__TYPE", "kafka", "write one of command, kafka_broker"),
        (f"{KEY}RELOAD__1__NODE_ID", "1", "the file has no `identities.broker.reload.1`"),
        (f"{KEY}RELOAD__0__LISTENERS__MTLS__KEYSTORE", "tls.crt", "name a `combined` one"),
        (f"{KEY}PRINCIPAL__RULES", "RULE:x", "Invalid rule"),
    ],
)
def test_environment_that_is_wrong_is_named_by_its_variable(host: Host, variable: str, value: str, advice: str) -> None:
    """Who set it by the environment looks there and not in the file."""
    (mistake,) = host.mistakes(told(), {variable: value})
    assert (mistake.file, mistake.key) == ("environment", variable)
    assert advice in mistake.what


# --- what could be better -----------------------------------------------------------------------


def advice(host: Host, *changes: tuple[str, Any]) -> list[str]:
    """Return what is advised for a broker on PKCS12, met by nobody unseen; not what is said of the embedded CA."""
    values = told((f"{BROKER}.files", [P12]), (f"{BROKER}.rotation.peers", []), *changes)
    return [one for one in advise(host.load(values)) if "embedded CA" not in one]


@pytest.fixture
def guarded(host: Host) -> Host:
    """The folder, with secrets that nobody else may read."""
    for name in ("password", "token"):
        (host.folder / name).chmod(0o400)
    return host


def test_a_broker_is_proven_without_prove(guarded: Host) -> None:
    """Its listeners are what is proven: neither `prove` nor another `reload` is missed, and revoking has its proof."""
    assert advice(guarded) == []
    assert advice(guarded, (f"{BROKER}.prove", [{"address": "localhost:9094"}])) == []
    revoking = [("issuers.vault.revoke", True), (f"{BROKER}.issuer", "vault")]
    assert advice(guarded, *revoking) == []
    assert any("nothing is ever revoked" in one for one in advice(guarded, *revoking, (f"{BROKER}.reload", [])))


ADVICE: list[tuple[list[tuple[str, Any]], str]] = [
    (
        [(f"{BROKER}.usages", ["client"])],
        "identities.broker: a listener is to be proven, and clients refuse it a leaf without the usage `server`",
    ),
    (
        [(f"{BROKER}.principal.rules", r"RULE:^CN=(\p{L}+).*$/$1/,DEFAULT")],
        r"identities.broker: the pattern of RULE:^CN=(\p{L}+).*$/$1 has \p: whether another subject keeps",
    ),
    ([(f"{RELOAD}.preflight", False)], "identities.broker: with `preflight: false` a store that Kafka refuses"),
    ([(f"{RELOAD}.listeners.MTLS.truststore", ...)], "identities.broker: MTLS reads no truststore of this identity"),
    ([(f"{RELOAD}.listeners.MTLS.keystore", ...)], "identities.broker: MTLS reads no keystore of this identity"),
    ([("clusters.prod.verify_host_name", False)], "clusters.prod: with `verify_host_name: false` any host"),
    ([("clusters.prod.security_protocol", "plaintext")], "clusters.prod: with plaintext nobody can tell who answers"),
]


@pytest.mark.parametrize(("changes", "sentence"), ADVICE, ids=[sentence for _, sentence in ADVICE])
def test_what_works_and_could_be_better_is_told(guarded: Host, changes: list[tuple[str, Any]], sentence: str) -> None:
    """One sentence for each, with its place."""
    (one,) = advice(guarded, *changes)
    assert one.startswith(sentence)


def test_what_a_listener_could_not_read_is_told_for_sure(guarded: Host) -> None:
    """Kafka is known to read the file then; where nobody names it, the sentence begins with an if."""
    pem = {"format": "pem", "combined": "tls.pem", "truststore": "ca.crt", "password_file": "password"}
    files = (f"{BROKER}.files", [P12, pem])
    (one,) = advice(guarded, files)
    assert one.startswith("identities.broker: if Kafka's Java side")
    (one,) = advice(guarded, files, (f"{RELOAD}.listeners.MTLS.keystore", "/secrets/tls.pem"))
    assert one.startswith("identities.broker: Kafka on Java 17 reads no key in PEM that is encrypted with PBES2")


def test_a_secret_of_a_cluster_that_everybody_may_read_is_told(guarded: Host) -> None:
    """The password of a login, and the key of a certificate."""
    (guarded.folder / "password").chmod(0o404)
    (guarded.folder / "token").chmod(0o404)
    files = (("clusters.prod.certificate", "password"), ("clusters.prod.key", "token"))
    found = advice(guarded, ("clusters.prod.sasl", SASL), *files)
    for name in ("password", "token"):
        what = f"the mode of {guarded.folder / name} is 0404, which keeps nobody on this host from it; make it 0400"
        assert f"clusters.prod: {what}" in found
