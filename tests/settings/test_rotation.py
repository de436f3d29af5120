"""The settings of a CA rotation: who meets an identity, windows, another issuer; what comes out, and every mistake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from agent.core.anchors import Acceptance
from agent.core.configuration import (
    FileAnchors,
    IssuerAnchors,
    ReaderProcess,
    Retirement,
    RotationPolicy,
    SystemAnchors,
)
from agent.core.window import Window, opens_at
from agent.settings import advise
from agent.settings.scalars import Cron
from tests.settings.brokers import BROKER, told, wanted
from tests.settings.host import Host, changed

if TYPE_CHECKING:
    from pathlib import Path

ROTATION = f"{BROKER}.rotation"
WINDOW = {"cron": "0 2 * * 6", "length": "4h"}
CRON: TypeAdapter[str] = TypeAdapter(Cron)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A folder with a configuration."""
    return Host(tmp_path)


# --- what comes out ---------------------------------------------------------------------------


def test_a_rotation_that_nobody_has_said_anything_of(host: Host) -> None:
    """Whom it meets is not known then, which is another thing than nobody; nothing leaves unasked."""
    found = host.load(changed()).identities["broker"]
    assert found.rotation == RotationPolicy(None, (), None, (), timedelta(days=1), Retirement.ASK, None)
    assert (found.windows, found.failover) == ((), None)
    assert host.load(changed((f"{ROTATION}.peers", []))).identities["broker"].rotation.peers == ()


def test_everything_of_a_rotation_arrives(host: Host) -> None:
    """Names of hosts without case, names of listeners as Kafka has them, a path from the configuration's folder."""
    found = wanted(
        host,
        ("clusters.other", {"bootstrap": ["localhost:9193"], "sasl": {
            "mechanism": "PLAIN", "username": "x", "password_file": "password"
        }}),
        (
            ROTATION,
            {
                "peers": ["Orders-1.example.com", "192.0.2.7", "2001:DB8::0:7"],
                "listeners": ["kafka2.example.com:9093", "[::1]:9093"],
                "cluster": "other",
                "cluster_listeners": ["External", "MTLS"],
                "soak": "0s",
                "retire": "automatic",
                "process": {"pid_file": "app.pid"},
            },
        ),
        (f"{BROKER}.failover", "vault"),
    )  # fmt: skip
    rotation = found.rotation
    assert rotation.peers == ("orders-1.example.com", "192.0.2.7", "2001:db8::7")
    assert rotation.listeners == ("kafka2.example.com:9093", "[::1]:9093")
    assert (rotation.cluster and rotation.cluster.name, rotation.of_cluster) == ("other", ("EXTERNAL", "MTLS"))
    assert (rotation.soak, rotation.retire) == (timedelta(0), Retirement.AUTOMATIC)
    assert rotation.process == ReaderProcess(pid_file=host.folder / "app.pid")
    assert found.failover == "vault"


@pytest.mark.parametrize("unit", ["orders.service", "app@one.service", r"dev-a\x2db.scope", "a:b_c.d-e.service"])
def test_the_process_of_a_unit(host: Host, unit: str) -> None:
    """Instances and escaped names are names too (systemd.unit(5))."""
    found = host.load(changed((f"{ROTATION}.process", {"unit": unit}))).identities["broker"]
    assert found.rotation.process == ReaderProcess(unit=unit)


def test_the_cluster_is_that_of_the_broker_that_is_told(host: Host) -> None:
    """Whoever is told of new stores need not be named twice."""
    found = wanted(host, (f"{ROTATION}.cluster_listeners", ["mtls"]))
    assert found.broker
    assert found.rotation.cluster == found.broker.cluster is not None
    assert found.rotation.of_cluster == ("MTLS",)


def test_windows_open_at_the_times_of_their_zone(host: Host) -> None:
    """Two o'clock in Zurich is midnight in UTC in summer; without a zone it is two o'clock in UTC."""
    zurich = WINDOW | {"cron": " 0  2 * * sat ", "timezone": "Europe/Zurich"}
    found = host.load(changed((f"{BROKER}.windows", [zurich, WINDOW]))).identities["broker"].windows
    zone = ZoneInfo("Europe/Zurich")
    assert found == (Window("0 2 * * sat", timedelta(hours=4), zone), Window("0 2 * * 6", timedelta(hours=4), UTC))
    friday = datetime(2026, 7, 3, 12, tzinfo=UTC)
    assert opens_at(found[:1], friday) == datetime(2026, 7, 4, 0, tzinfo=UTC)
    assert opens_at(found[1:], friday) == datetime(2026, 7, 4, 2, tzinfo=UTC)


def test_windows_of_a_configuration_that_is_read_again_are_the_same(host: Host) -> None:
    """Nothing is started anew for a zone that is read once more."""
    values = changed((f"{BROKER}.windows", [WINDOW | {"timezone": "Europe/Zurich"}]))
    assert host.load(values).identities == host.load(values).identities


@pytest.mark.parametrize("accept", [*Acceptance])
def test_whether_anchors_enter_at_once_is_said_for_each_source(host: Host, accept: Acceptance) -> None:
    """An issuer's, a file's and the system's; a source that says nothing has the default of its kind."""
    sources: list[dict[str, Any]] = [{"issuer": "vault"}, {"files": "password"}, {"system": True}]
    for said, meant in ((None, None), (str(accept), accept)):
        written = [source | ({"accept": said} if said else {}) for source in sources]
        assert host.load(changed((f"{BROKER}.trust", written))).identities["broker"].trust == (
            IssuerAnchors("vault", meant),
            FileAnchors(host.folder / "password", None, meant),
            SystemAnchors(meant),
        )


def test_the_environment_sets_what_it_is_about(host: Host) -> None:
    """As it does every other setting."""
    key = "CERT_AGENT__IDENTITIES__BROKER__"
    values = changed((f"{BROKER}.windows", [WINDOW]))
    environment = {
        f"{key}ROTATION__SOAK": "2h",
        f"{key}ROTATION__PEERS": '["orders-1"]',
        f"{key}WINDOWS__0__LENGTH": "1h",
        f"{key}FAILOVER": "vault",
    }
    found = host.load(values, environment).identities["broker"]
    assert (found.rotation.soak, found.rotation.peers) == (timedelta(hours=2), ("orders-1",))
    assert (found.windows[0].length, found.failover) == (timedelta(hours=1), "vault")


# --- mistakes ---------------------------------------------------------------------------------

MISTAKES: list[tuple[str, Any, str, str]] = [
    (ROTATION, None, ROTATION, "write keys below it"),
    (ROTATION, [], ROTATION, "write keys below it"),
    (f"{ROTATION}.peer", [], f"{ROTATION}.peer", "did you mean `peers`?"),
    (f"{ROTATION}.peers", "orders-1", f"{ROTATION}.peers", "write [one, two]"),
    (f"{ROTATION}.peers", ["orders 1"], f"{ROTATION}.peers[0]", "write labels"),
    (f"{ROTATION}.peers", ["*.example.com"], f"{ROTATION}.peers[0]", "has no place here"),
    (f"{ROTATION}.peers", ["a:9093"], f"{ROTATION}.peers[0]", "write labels"),
    (f"{ROTATION}.peers", ["fe80::1%eth0"], f"{ROTATION}.peers[0]", "is an IP address"),
    (f"{ROTATION}.peers", ["a", "b", "A"], f"{ROTATION}.peers[2]", "stands there twice"),
    (f"{ROTATION}.peers", ["2001:db8::1", "2001:DB8::0:1"], f"{ROTATION}.peers[1]", "stands there twice"),
    (f"{ROTATION}.listeners", ["kafka2"], f"{ROTATION}.listeners[0]", "write host:port"),
    (f"{ROTATION}.listeners", ["a:1", "A:1"], f"{ROTATION}.listeners[1]", "stands there twice"),
    (f"{ROTATION}.cluster", "prd", f"{ROTATION}.cluster", "did you mean 'prod'?"),
    (f"{ROTATION}.cluster_listeners", ["M TLS"], f"{ROTATION}.cluster_listeners[0]", "write letters, digits"),
    (f"{ROTATION}.cluster_listeners", ["MTLS", "mtls"], f"{ROTATION}.cluster_listeners[1]", "stands there twice"),
    (f"{ROTATION}.soak", 1, f"{ROTATION}.soak", "has no unit"),
    (f"{ROTATION}.soak", "-1s", f"{ROTATION}.soak", "write a span as 30d"),
    (f"{ROTATION}.soak", "36501d", f"{ROTATION}.soak", "is not between"),
    (f"{ROTATION}.retire", "never", f"{ROTATION}.retire", "write one of automatic, ask"),
    (f"{ROTATION}.process", "a.service", f"{ROTATION}.process", "write keys below it"),
    (f"{ROTATION}.process", {}, f"{ROTATION}.process", "write `pid_file` or `unit`"),
    (f"{ROTATION}.process", {"unit": "a.service", "pid_file": "p"}, f"{ROTATION}.process", "names not one process"),
    (f"{ROTATION}.process", {"unit": "a"}, f"{ROTATION}.process.unit", "write one as orders.service"),
    (f"{ROTATION}.process", {"unit": "a.timer"}, f"{ROTATION}.process.unit", "write one as orders.service"),
    (f"{ROTATION}.process", {"unit": "--no-block.service\n"}, f"{ROTATION}.process.unit", "write one as"),
    (f"{ROTATION}.process", {"pid_file": "~/p"}, f"{ROTATION}.process.pid_file", "write the path whole"),
    (f"{BROKER}.windows", WINDOW, f"{BROKER}.windows", "write [one, two]"),
    (f"{BROKER}.windows", [{"length": "1h"}], f"{BROKER}.windows[0].cron", "is missing"),
    (f"{BROKER}.windows", [{"cron": "0 2 * * 6"}], f"{BROKER}.windows[0].length", "is missing"),
    (f"{BROKER}.windows", [WINDOW | {"length": "0s"}], f"{BROKER}.windows[0].length", "write a span"),
    (f"{BROKER}.windows", [WINDOW | {"cron": 5}], f"{BROKER}.windows[0].cron", "write it in quotes"),
    (f"{BROKER}.windows", [WINDOW | {"cron": ""}], f"{BROKER}.windows[0].cron", "write five fields"),
    (f"{BROKER}.windows", [WINDOW | {"cron": "@weekly"}], f"{BROKER}.windows[0].cron", "write five fields"),
    (f"{BROKER}.windows", [WINDOW | {"cron": "0 0 2 * * 6"}], f"{BROKER}.windows[0].cron", "write five fields"),
    (f"{BROKER}.windows", [WINDOW | {"cron": "0 24 * * *"}], f"{BROKER}.windows[0].cron", "(bad hour)"),
    (f"{BROKER}.windows", [WINDOW | {"cron": "0 2 30 2 *"}], f"{BROKER}.windows[0].cron", "(bad day-of-month)"),
    (f"{BROKER}.windows", [WINDOW | {"cron": "0 2 */31 2 6#5"}], f"{BROKER}.windows[0].cron", "never comes"),
    (f"{BROKER}.windows", [WINDOW | {"cron": f"{'0,' * 200}0 2 * * *"}], f"{BROKER}.windows[0].cron", "write five"),
    (f"{BROKER}.windows", [WINDOW | {"timezone": "Europe/Bern"}], f"{BROKER}.windows[0].timezone", "or UTC"),
    (f"{BROKER}.windows", [WINDOW | {"timezone": "Europe"}], f"{BROKER}.windows[0].timezone", "or UTC"),
    (f"{BROKER}.windows", [WINDOW | {"timezone": "../etc"}], f"{BROKER}.windows[0].timezone", "or UTC"),
    (f"{BROKER}.windows", [WINDOW | {"timezone": ""}], f"{BROKER}.windows[0].timezone", "is empty"),
    (f"{BROKER}.failover", "valt", f"{BROKER}.failover", "did you mean 'vault'?"),
    (f"{BROKER}.failover", "local", f"{BROKER}.failover", "is the identity's issuer itself"),
    (
        f"{BROKER}.trust",
        [{"system": True, "accept": "yes"}],
        f"{BROKER}.trust[0].accept",
        "write one of automatic, ask",
    ),
    (f"{BROKER}.peer_trust", [{"system": True, "accept": "ask"}], f"{BROKER}.peer_trust[0].accept", "leave it out"),
]


@pytest.mark.parametrize(
    ("path", "value", "key", "advice"), MISTAKES, ids=[f"{path}={str(value)[:40]}" for path, value, _, _ in MISTAKES]
)
def test_a_mistake_is_told_once_where_it_stands(host: Host, path: str, value: object, key: str, advice: str) -> None:
    """One line names the file, the key and the remedy, and no line blames what is right or what follows."""
    mistakes = host.mistakes(told((path, value)))
    assert [(mistake.file, mistake.key) for mistake in mistakes] == [(str(host.file), key)]
    assert advice in mistakes[0].what


def test_what_comes_once_in_decades_comes(host: Host) -> None:
    """A February with five Wednesdays is rare, and no mistake; one whose days never come is."""
    rare = WINDOW | {"cron": "0 2 * 2 3#5"}
    (window,) = host.load(changed((f"{BROKER}.windows", [rare]))).identities["broker"].windows
    assert window.opens(datetime(2026, 11, 24, tzinfo=UTC)) == datetime(2040, 2, 29, 2, tzinfo=UTC)
    (mistake,) = host.mistakes(changed((f"{BROKER}.windows", [WINDOW | {"cron": "0 2 31 4 0#6"}])))
    assert "(bad day-of-week)" in mistake.what


def test_names_of_a_cluster_s_listeners_need_a_cluster(host: Host) -> None:
    """Of a host that tells no broker nobody knows which is meant; a cluster that is wrong is told alone."""
    no_broker = [(f"{BROKER}.reload", []), (f"{ROTATION}.cluster_listeners", ["MTLS"])]
    (mistake,) = host.mistakes(told(*no_broker))
    assert mistake.key == f"{ROTATION}.cluster_listeners"
    assert "write `cluster` beside it" in mistake.what
    (mistake,) = host.mistakes(told(*no_broker, (f"{ROTATION}.cluster", 5)))
    assert mistake.key == f"{ROTATION}.cluster"
    (mistake,) = host.mistakes(told(*no_broker, (f"{ROTATION}.cluster", "prod"), ("clusters.prod.bootstrap", 5)))
    assert mistake.key == "clusters.prod.bootstrap"


def test_a_client_whose_cluster_is_asked_can_log_in_there(host: Host) -> None:
    """With its own certificate, where the cluster names no other; that is told before a rotation needs it."""
    client = [(f"{BROKER}.reload", []), (f"{ROTATION}.cluster", "prod")]
    rotation = wanted(host, *client).rotation
    assert rotation.cluster
    assert rotation.cluster.name == "prod"
    (mistake,) = host.mistakes(told(*client, (f"{BROKER}.usages", ["server"])))
    assert mistake.key == f"{BROKER}.usages"
    assert "logs in at prod without the usage `client`" in mistake.what


def test_every_mistake_is_told_at_once(host: Host) -> None:
    """One that is wrong hides none beside or below it."""
    windows = [{"cron": "x", "length": "0s", "timezone": "x"}, 5, {"length": "1h", "span": 1}]
    rotation = {"peers": ["a", "a b"], "soak": "x", "process": {"unit": "x"}, "cluster_listeners": ["a", "a"], "x": 1}
    values = told((ROTATION, rotation), (f"{BROKER}.windows", windows), (f"{BROKER}.failover", "x"))
    assert sorted(mistake.key for mistake in host.mistakes(values)) == sorted(
        [
            f"{ROTATION}.peers[1]",
            f"{ROTATION}.soak",
            f"{ROTATION}.process.unit",
            f"{ROTATION}.cluster_listeners[1]",
            f"{ROTATION}.x",
            f"{BROKER}.windows[0].cron",
            f"{BROKER}.windows[0].length",
            f"{BROKER}.windows[0].timezone",
            f"{BROKER}.windows[1]",
            f"{BROKER}.windows[2].cron",
            f"{BROKER}.windows[2].span",
            f"{BROKER}.failover",
        ]
    )


FIELD = st.lists(
    st.sampled_from(
        ["*", "0", "1", "5", "29", "31", "7", "L", "LW", "#", "2", "/", "-", ",", "MON", "FEB", "\u0661", "²"]
    ),
    min_size=1,
    max_size=5,
).map("".join)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FIELD, min_size=5, max_size=5).map(" ".join))
def test_an_expression_is_refused_or_opens_in_both_directions(cron: str) -> None:
    """Whatever is written, a window that is taken has an opening before and after any moment."""
    try:
        window = Window(CRON.validate_python(cron), timedelta(hours=1))
    except ValidationError:
        return
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert window.opened(now) <= now < window.opens(now)


# --- what could be better -----------------------------------------------------------------------


ADVISED = ("new CA", "fails over", "soak")


def advice(host: Host, *changes: tuple[str, Any]) -> list[str]:
    """Return what is advised about a rotation."""
    return [one for one in advise(host.load(changed(*changes))) if any(word in one for word in ADVISED)]


def test_it_is_advised_to_say_who_the_peers_are(host: Host) -> None:
    """Where truststores are kept; an identity without one takes part in nothing that could shut anybody out."""
    (one,) = advice(host)
    assert one.startswith("identities.broker: ")
    assert "write `rotation.peers`" in one
    assert advice(host, (f"{ROTATION}.peers", [])) == []
    assert advice(host, (f"{ROTATION}.peers", ["orders-1"])) == []
    assert advice(host, (f"{BROKER}.files.0.truststore", ...)) == []


def test_it_is_advised_to_say_that_peers_trust_the_other_issuer(host: Host) -> None:
    """Its leaf would never be proven; what a file holds nobody knows beforehand."""
    said: list[tuple[str, Any]] = [(f"{ROTATION}.peers", []), (f"{BROKER}.failover", "vault")]
    (one,) = advice(host, *said)
    assert "add it to `peer_trust`" in one
    both = [{"issuer": "local"}, {"issuer": "vault"}]
    assert advice(host, *said, (f"{BROKER}.peer_trust", both)) == []
    assert advice(host, *said, (f"{BROKER}.peer_trust", [{"files": "password"}])) == []


def test_it_is_advised_to_let_an_old_anchor_soak(host: Host) -> None:
    """A host that is about to go back must have been heard of."""
    (one,) = advice(host, (f"{ROTATION}.peers", []), (f"{ROTATION}.soak", "59m"))
    assert "a soak of less than an hour" in one
    assert advice(host, (f"{ROTATION}.peers", []), (f"{ROTATION}.soak", "1h")) == []
