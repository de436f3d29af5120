"""A configuration as a whole: what comes out, every mistake at once, and the environment over the file."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.command import CommandReload
from agent.core.configuration import (
    FileAnchors,
    IssuerAnchors,
    Listener,
    LogFormat,
    RenewalPolicy,
    SystemAnchors,
)
from agent.core.files import PemFiles, Pkcs12Files, StorePassword
from agent.core.identity import KeyAlgorithm, Usage
from agent.core.issuer_spec import LocalCaSpec, TokenLogin, VaultSpec
from agent.core.secret import Secret
from agent.errors import ConfigurationError, Mistake
from agent.settings import load
from agent.settings.environment import merge
from agent.settings.kafka_parts import ClusterPart, KafkaBrokerPart
from agent.settings.model import Settings
from tests.settings.host import Host, changed

BROKER = "identities.broker"
KEY = "CERT_AGENT__IDENTITIES__BROKER__"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a folder with a configuration."""
    return Host(tmp_path)


def test_load_returns_what_the_file_says(host: Host) -> None:
    """Each value arrives in the core, and paths count from the file's folder."""
    (host.folder / "ca.d").mkdir()
    values = changed(
        ("http.listen", "[::1]:9900"),
        ("http.admin_socket", "run/admin.sock"),
        ("log.format", "json"),
        ("host", "kafka1"),
        ("issuers.vault.addresses", ["https://a:8200/", "https://b:8200"]),
        ("issuers.vault.mount", "/pki/int/"),
        ("issuers.vault.timeout", "5s"),
        ("issuers.vault.ca_file", "token"),
        (f"{BROKER}.sans", {"dns": ["Kafka1.Example.com"], "ip": ["2001:DB8:0::1"], "uri": ["spiffe://e/k"]}),
        (f"{BROKER}.usages", ["client"]),
        (f"{BROKER}.key", {"algorithm": "rsa-3072", "reuse": True}),
        (f"{BROKER}.renew_at", 0.5),
        (f"{BROKER}.trust", [{"issuer": "vault"}, {"files": "ca.d"}, {"system": True}]),
        (f"{BROKER}.peer_trust", [{"files": "ca.d", "password_file": "password"}]),
        (f"{BROKER}.reload", [{"type": "command", "argv": ["/bin/sh", "-c", "true"], "timeout": "3s"}]),
        (f"{BROKER}.prove", [{"address": "localhost:9093", "within": "1m"}]),
    )
    configuration = host.load(values)
    assert configuration.file == host.file
    assert (configuration.http.host, configuration.http.port) == ("::1", 9900)
    assert configuration.http.admin_socket == host.folder / "run/admin.sock"
    assert configuration.log_format is LogFormat.JSON
    assert configuration.issuers == {
        "local": LocalCaSpec("local", host.folder / "ca"),
        "vault": VaultSpec(
            name="vault",
            addresses=("https://a:8200", "https://b:8200"),
            mount="pki/int",
            role="kafka",
            login=TokenLogin(Secret(file=host.folder / "token")),
            ca_file=host.folder / "token",
            within=timedelta(seconds=5),
        ),
    }
    wanted = configuration.identities["broker"]
    assert (wanted.name, wanted.issuer, wanted.host) == ("broker", "local", "kafka1")
    assert wanted.directory == host.folder / "ssl"
    request = wanted.request
    assert request.sans.dns == ("kafka1.example.com",)
    assert request.sans.ip == ("2001:db8::1",)
    assert request.sans.uri == ("spiffe://e/k",)
    assert request.usages == {Usage.CLIENT}
    assert (request.key, wanted.reuse_key) == (KeyAlgorithm.RSA_3072, True)
    assert request.lifetime == timedelta(days=30)
    assert wanted.renewal == RenewalPolicy(at=0.5)
    assert wanted.files == (
        PemFiles(certificate="tls.crt", key="tls.key", truststore="ca.crt"),
        Pkcs12Files(StorePassword(Secret(file=host.folder / "password")), keystore="keystore.p12"),
    )
    assert wanted.trust == (IssuerAnchors("vault"), FileAnchors(host.folder / "ca.d"), SystemAnchors())
    assert wanted.peer_trust == (FileAnchors(host.folder / "ca.d", Secret(host.folder / "password")),)
    assert wanted.reload == (CommandReload(("/bin/sh", "-c", "true"), host.folder, timedelta(seconds=3)),)
    assert wanted.prove == (Listener("localhost:9093", timedelta(minutes=1)),)


def test_load_fills_in_the_defaults(host: Host) -> None:
    """What is left out is what most brokers want."""
    configuration = host.load(changed())
    assert (configuration.http.host, configuration.http.port) == ("127.0.0.1", 9847)
    assert configuration.http.admin_socket == Path("/run/cert-agent/admin.sock")
    assert configuration.log_format is LogFormat.AUTO
    vault = configuration.issuers["vault"]
    assert isinstance(vault, VaultSpec)
    assert (vault.mount, vault.within) == ("pki", timedelta(seconds=30))
    wanted = configuration.identities["broker"]
    assert wanted.host == "host.example.com"
    assert wanted.request.usages == {Usage.SERVER, Usage.CLIENT}
    assert (wanted.request.key, wanted.reuse_key) == (KeyAlgorithm.EC_P256, False)
    assert wanted.trust == wanted.peer_trust == (IssuerAnchors("local"),)
    assert wanted.renewal == RenewalPolicy()
    assert (wanted.reload, wanted.prove) == ((), ())
    assert isinstance(wanted.files[1], Pkcs12Files)
    assert wanted.files[1].alias == "kafka"


def test_load_takes_a_relative_path_to_the_file(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path on the command line counts from where the operator stands, those in the file from the file."""
    host.load(changed())
    monkeypatch.chdir(host.folder.parent)
    configuration = load(Path(host.folder.name, "cert-agent.yaml"), {}, "host")
    assert configuration.identities["broker"].directory == host.folder / "ssl"


def test_load_tells_every_mistake_at_once(host: Host) -> None:
    """Whatever part a mistake is in, and whatever else is wrong in that part, it is in the one list."""
    broker = changed()["identities"]["broker"]
    values = changed(
        ("colour", 1),
        ("http.listen", "localhost"),
        ("issuers.vault.auth.token_file", "absent"),
        ("issuers.vault.role", ...),
        ("issuers.vault.addresses", ["http://v.example.com"]),
        ("issuers.other", {"type": "acme"}),
        (f"{BROKER}.lifetme", "1d"),
        (f"{BROKER}.lifetime", "5"),
        (f"{BROKER}.subject", "kafka1"),
        (f"{BROKER}.sans.ip", ["10.0.0.256"]),
        (f"{BROKER}.issuer", "locl"),
        (f"{BROKER}.files.0.certifcate", "x"),
        (f"{BROKER}.files.0.owner", "no-such-user"),
        (f"{BROKER}.files.1", {"format": "pkcs12", "keystore": "a/b", "password_file": "absent"}),
        (f"{BROKER}.trust", [{"files": "absent"}, {"isuer": "local"}]),
        (f"{BROKER}.reload", [{"type": "command", "argv": ["no-such"], "timeout": 5}, {"type": "command"}]),
        (f"{BROKER}.prove", [{"adress": "localhost:1"}, {"address": "localhost"}]),
        ("identities.same", {**broker, "subject": "", "sans": {"dns": ["a..b"]}}),
        ("identities.text", "none"),
    )
    assert sorted(mistake.key for mistake in host.mistakes(values)) == sorted(
        [
            "colour",
            "http.listen",
            "issuers.vault.role",
            "issuers.vault.auth.token_file",
            "issuers.vault.addresses[0]",
            "issuers.other.type",
            f"{BROKER}.lifetme",
            f"{BROKER}.lifetime",
            f"{BROKER}.subject",
            f"{BROKER}.sans.ip[0]",
            f"{BROKER}.issuer",
            f"{BROKER}.files[0].certifcate",
            f"{BROKER}.files[0].owner",
            f"{BROKER}.files[1].keystore",
            f"{BROKER}.files[1].password_file",
            f"{BROKER}.trust[0].files",
            f"{BROKER}.trust[1].isuer",
            f"{BROKER}.reload[0].argv[0]",
            f"{BROKER}.reload[0].timeout",
            f"{BROKER}.reload[1].argv",
            f"{BROKER}.prove[0].adress",
            f"{BROKER}.prove[0].address",
            f"{BROKER}.prove[1].address",
            "identities.same.sans.dns[0]",
            "identities.same.directory",
            "identities.text",
        ]
    )


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        # what follows from a mistake that is told already is not told beside it
        ([(f"{BROKER}.subject", ...), (f"{BROKER}.sans", {"ip": ["x"]})], [f"{BROKER}.sans.ip[0]"]),
        ([(f"{BROKER}.files.0.key", ".key")], [f"{BROKER}.files[0].key"]),
        ([(f"{BROKER}.files", [{"format": "pem", "combined": ".x"}])], [f"{BROKER}.files[0].combined"]),
        ([(f"{BROKER}.files", [{"format": "jks"}])], [f"{BROKER}.files[0]"]),
        ([(f"{BROKER}.files.1.password_file", 5)], [f"{BROKER}.files[1].password_file"]),
        ([(f"{BROKER}.trust", [{"issuer": 5}])], [f"{BROKER}.trust[0].issuer"]),
        ([(f"{BROKER}.lifetime", "10s"), (f"{BROKER}.renew_at", "x")], [f"{BROKER}.renew_at"]),
        ([("http.listen", "0.0.0.0:1"), ("http.allowed_hosts", "x")], ["http.allowed_hosts"]),
        ([("issuers.vault.auth.token_file", 5)], ["issuers.vault.auth.token_file"]),
        ([("issuers.local.type", "x")], ["issuers.local.type"]),
    ],
)
def test_load_blames_no_consequence(host: Host, changes: list[tuple[str, Any]], keys: list[str]) -> None:
    """A list of mistakes holds only what the operator must change."""
    assert [mistake.key for mistake in host.mistakes(changed(*changes))] == keys


# --- the environment ------------------------------------------------------------------------


def test_environment_sets_scalars_over_the_file(host: Host) -> None:
    """Every scalar has its variable, whatever the case of the names."""
    environment = {
        "CERT_AGENT__HTTP__LISTEN": "127.0.0.1:9900",
        "CERT_AGENT__HTTP__ALLOWED_HOSTS": '["kafka1"]',
        "cert_agent__log__format": "text",
        "CERT_AGENT__HOST": "from-the-environment",
        "CERT_AGENT__ISSUERS__VAULT__AUTH__TOKEN_FILE": "password",
        f"{KEY}LIFETIME": "12h",
        f"{KEY}KEY__REUSE": "true",
        f"{KEY}RENEW_AT": "0.5",
        f"{KEY}SUBJECT": "CN=x",
        "CERT_AGENT__IDENTITIES__TWO_B__DIRECTORY": "two",
        "CERT_AGENT_CONFIG": "not one of them",
        "UNRELATED": "x",
    }
    broker = changed()["identities"]["broker"]
    values = changed(("identities.Broker", broker), (BROKER, ...), ("identities.two-b", {**broker, "directory": 5}))
    configuration = host.load(values, environment)
    assert configuration.http.port == 9900
    assert configuration.http.allowed_hosts == ("kafka1",)
    assert configuration.log_format is LogFormat.TEXT
    vault = configuration.issuers["vault"]
    assert isinstance(vault, VaultSpec)
    assert vault.login == TokenLogin(Secret(file=host.folder / "password"))
    assert list(configuration.identities) == ["Broker", "two-b"]
    wanted = configuration.identities["Broker"]
    assert wanted.host == "from-the-environment"
    assert wanted.request.lifetime == timedelta(hours=12)
    assert wanted.request.subject.rfc4514_string() == "CN=x"
    assert wanted.request.sans.dns == ("kafka1.example.com",)
    assert (wanted.reuse_key, wanted.renewal) == (True, RenewalPolicy(at=0.5))
    assert configuration.identities["two-b"].directory == host.folder / "two"


@pytest.mark.parametrize(
    ("variable", "value", "advice"),
    [
        ("CERT_AGENT__HTP__LISTEN", "x", "did you mean CERT_AGENT__HTTP__LISTEN?"),
        ("CERT_AGENT__COLOUR", "x", "there are http, log, host, issuers, clusters, identities"),
        ("CERT_AGENT__", "x", "there are http"),
        ("CERT_AGENT__HTTP__LISSEN", "x", "did you mean `listen`?"),
        ("CERT_AGENT__HTTP__LISTEN", "localhost", "write host:port"),
        ("cert_agent__Http__listen", "localhost", "write host:port"),
        ("CERT_AGENT__HTTP", "x", "write a text or a number"),
        ("CERT_AGENT__HTTP", "5", "write keys below it"),
        ("CERT_AGENT__HTTP__ALLOWED_HOSTS", "a,b", "JSON for a list"),
        ("CERT_AGENT__HTTP__ALLOWED_HOSTS", "[1]", "write it in quotes"),
        ("CERT_AGENT__HOST", "\udcff", "UTF-8"),
        ("CERT_AGENT__IDENTITIES__BROKR__LIFETIME", "1d", "did you mean `broker`?"),
        ("CERT_AGENT__ISSUERS__ACME__ROLE", "x", "name one that it has"),
        (f"{KEY}LIFETIME", "90", "write a span"),
        (f"{KEY}LIFETME", "90s", "did you mean `lifetime`?"),
        (f"{KEY}KEY__ALGORITHM", "rsa-1024", "write ec-p256"),
        (f"{KEY}KEY__REUSE", "perhaps", "write true or false"),
        (f"{KEY}ISSUER", "locl", "did you mean 'local'?"),
        (f"{KEY}SANS__IP", '["10.0.0.256"]', "write one as 192.0.2.1"),
        ("CERT_AGENT__ISSUERS__VAULT__AUTH__TOKEN_FILE", "absent", "make the file"),
        ("CERT_AGENT__ISSUERS__VAULT__AUTH__METHOD", "ldap", "write one of token, approle"),
        ("CERT_AGENT__CLUSTERS__PROD__TIMEOUT", "1s", "the file has no `clusters.prod`"),
        (f"{KEY}FILES__1__ALIAS", "Kafka", "lower-case letters"),
        (f"{KEY}FILES__2__ALIAS", "kafka", "the file has no `identities.broker.files.2`"),
        (f"{KEY}FILES__X__ALIAS", "kafka", "the file has no `identities.broker.files.x`"),
        (f"{KEY}RELOAD__0__TYPE", "command", "the file has no `identities.broker.reload.0`"),
    ],
)
def test_environment_that_is_wrong_is_named_by_its_variable(host: Host, variable: str, value: str, advice: str) -> None:
    """Who set it by the environment looks there and not in the file."""
    (told,) = host.mistakes(changed(), {variable: value, "CERT_AGENT__LOG__FORMAT": "json"})
    assert (told.file, told.key) == ("environment", variable)
    assert advice in told.what


def test_variable_that_means_two_identities_is_refused(host: Host) -> None:
    """One of the two would keep what the file says, and nobody would know which."""
    broker = changed()["identities"]["broker"]
    values = changed(("identities.Broker", {**broker, "directory": "other"}))
    (told,) = host.mistakes(values, {f"{KEY}LIFETIME": "12h"})
    assert (told.file, told.key) == ("environment", f"{KEY}LIFETIME")
    assert told.what.startswith("means each of `Broker`, `broker`")


def test_variables_that_differ_by_case_alone_are_refused(host: Host) -> None:
    """Case does not count, so which of them would win is anybody's guess."""
    told = host.mistakes(changed(), {f"{KEY}LIFETIME": "12h", f"{KEY.lower()}lifetime": "13h"})
    assert [mistake.key for mistake in told] == [f"{KEY}LIFETIME", f"{KEY.lower()}lifetime"]
    assert all("unset one of them" in mistake.what for mistake in told)


def test_environment_and_file_are_wrong_in_one_list(host: Host) -> None:
    """A wrong variable hides no mistake in the file."""
    told = host.mistakes(changed((f"{BROKER}.issuer", "x")), {"CERT_AGENT__COLOUR": "x", f"{KEY}LIFETIME": "x"})
    assert {mistake.key for mistake in told} == {"CERT_AGENT__COLOUR", f"{KEY}LIFETIME", f"{BROKER}.issuer"}


def test_environment_sets_what_is_counted(host: Host) -> None:
    """An element of a list has its number, from 0; the others stay, and a list may still be set whole."""
    environment = {f"{KEY}FILES__1__ALIAS": "broker", f"{KEY}PROVE__00__WITHIN": "1m"}
    values = changed((f"{BROKER}.prove", [{"address": "a:1"}, {"address": "b:1"}]))
    wanted = host.load(values, environment).identities["broker"]
    assert wanted.prove == (Listener("a:1", timedelta(minutes=1)), Listener("b:1"))
    assert wanted.files[0] == PemFiles(certificate="tls.crt", key="tls.key", truststore="ca.crt")
    assert isinstance(wanted.files[1], Pkcs12Files)
    assert wanted.files[1].alias == "broker"
    whole = {f"{KEY}PROVE": '[{"address": "c:1"}]'}
    assert host.load(values, whole).identities["broker"].prove == (Listener("c:1"),)


def test_merge_joins_mappings_and_replaces_all_else() -> None:
    """What stands above wins, key by key, and a list is one value unless its elements are counted."""
    below: dict[str, Any] = {"a": {"x": 1, "y": [1, 2]}, "b": 1, "c": {"z": 1}}
    above = {"a": {"y": [3]}, "b": {"w": 1}, "c": 5, "d": 6}
    assert merge(below, above) == {"a": {"x": 1, "y": [3]}, "b": {"w": 1}, "c": 5, "d": 6}
    assert below == {"a": {"x": 1, "y": [1, 2]}, "b": 1, "c": {"z": 1}}
    assert merge({"A-b": {"x": 1}}, {"a_b": {"y": 2}}) == {"A-b": {"x": 1, "y": 2}}
    assert merge({"a": [{"x": 1}, 2]}, {"a": {"0": {"y": 2}}}) == {"a": [{"x": 1, "y": 2}, 2]}
    for other in ({}, {"2": 1}, {"0": 1, "x": 1}, {"-1": 1}, {"\u0661": 1}):
        assert merge({"a": [1, 2]}, {"a": other}) == {"a": other}


# --- whatever is written --------------------------------------------------------------------


def _keys(schema: Any) -> set[str]:
    keys: set[str] = set()
    if isinstance(schema, dict):
        keys |= set(schema.get("properties", {}))
        for below in schema.values():
            keys |= _keys(below)
    return keys


KEYS = sorted(_keys(Settings.model_json_schema()) | {"local", "vault", "broker", "extra", "a\nb", ""})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=5),
    st.dates(),
    st.sampled_from(
        [
            "local",
            "vault",
            "local_ca",
            "token",
            "pem",
            "pkcs12",
            "command",
            "kafka_broker",
            "prod",
            "sasl_ssl",
            "RULE:(",
            "keystore.p12",
            "tls.key",
            "30d",
            "1s",
            "a\0b",
            "\ud800",
            "password",
            "CN=x",
            "https://[",
            "localhost:1",
            "rsa-1024",
            "0440",
            "*",
            "a/b",
            "x" * 5000,
            "~",
            "1" * 5000,
        ]
    ),
)
TREES = st.recursive(
    SCALARS,
    lambda below: st.one_of(
        st.lists(below, max_size=4), st.dictionaries(st.one_of(st.sampled_from(KEYS), SCALARS), below, max_size=6)
    ),
    max_leaves=30,
)


@pytest.mark.slow
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(
                [f"{BROKER}.{key}" for key in changed()["identities"]["broker"]]
                + [f"{BROKER}.files.0.{key}" for key in KEYS if key and "\n" not in key]
                + [f"{BROKER}.{key}" for key in ("key", "renew_at", "renew_before", "trust", "reload", "prove")]
                + ["http", "log", "host", "issuers", "identities", BROKER, "issuers.vault", "issuers.local"]
                + [f"issuers.vault.{key}" for key in ("addresses", "auth", "role", "mount", "ca_file", "timeout")]
                + [
                    "clusters",
                    "clusters.prod",
                    f"{BROKER}.principal",
                    f"{BROKER}.reload.0",
                    f"{BROKER}.reload.0.listeners",
                ]
                + [f"clusters.prod.{key}" for key in ClusterPart.model_fields]
                + [f"{BROKER}.reload.0.{key}" for key in KafkaBrokerPart.model_fields]
            ),
            TREES,
        ),
        min_size=1,
        max_size=3,
    ),
    environment=st.dictionaries(
        st.sampled_from(KEYS).map(lambda key: f"{KEY}{key.upper()}"), st.text(max_size=10), max_size=1
    ),
)
def test_load_raises_nothing_but_its_own_error(
    host: Host, changes: list[tuple[str, Any]], environment: dict[str, str]
) -> None:
    """Whatever YAML can say, an operator reads a list of mistakes and no traceback."""
    reload = {"type": "kafka_broker", "cluster": "prod", "listeners": {"MTLS": {"keystore": "keystore.p12"}}}
    values = changed(("clusters.prod", {"bootstrap": ["a:1"]}), (f"{BROKER}.reload", [reload]))
    for change in changes:
        with contextlib.suppress(TypeError, KeyError, IndexError, AttributeError, ValueError):
            _put(values, *change)
    host.file.write_text(yaml.dump(values), encoding="utf-8", errors="surrogatepass")
    mistakes: tuple[Mistake, ...] | None = None
    try:
        load(host.file, environment, "host")
    except ConfigurationError as error:
        mistakes = error.mistakes
    assert mistakes is None or mistakes
    assert all(str(mistake).isprintable() for mistake in mistakes or ())


def _put(values: Any, path: str, value: Any) -> None:
    *above, last = path.split(".")
    for key in above:
        values = values[int(key)] if isinstance(values, list) else values[key]
    values[last] = value
