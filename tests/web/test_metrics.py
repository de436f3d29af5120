"""The metrics, as Prometheus reads them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.core.evidence import Verdict
from agent.core.rotation import Stage
from agent.core.status import Health, ListenerStatus
from agent.web.metrics import render
from tests.material import NOW, Ca
from tests.tools import need
from tests.web.statuses import make_identity, make_leaf, make_rotation, make_status, not_ready

if TYPE_CHECKING:
    from agent.core.status import AgentStatus

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "status.md"


def scrape(status: AgentStatus) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample by its name and labels."""
    families = text_string_to_metric_families(render(status).decode())
    samples = [sample for family in families for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples), "a series comes twice"
    return found


def value(status: AgentStatus, name: str, **labels: str) -> float | None:
    """Return one sample's value; None when there is no such series."""
    return scrape(status).get((f"cert_agent_{name}", frozenset(labels.items())))


def test_metrics_tell_issued_disk_and_served_apart() -> None:
    """A leaf that waits for its switch, the one on disk and the one that is served are three gauges."""
    (_, served), (_, disk), (_, issued) = (make_leaf(not_after_days=days) for days in (10, 20, 30))
    listener = ListenerStatus("localhost:9093", Verdict.REFUTED, served.fingerprint, served.not_after, NOW)
    status = make_status(make_identity(leaf=disk, issued=issued, listeners=(listener,)))
    name = "{}_certificate_not_after_timestamp_seconds"
    assert value(status, name.format("issued"), identity="broker") == issued.not_after.timestamp()
    assert value(status, name.format("disk"), identity="broker") == disk.not_after.timestamp()
    served_labels = {"identity": "broker", "address": "localhost:9093"}
    assert value(status, name.format("served"), **served_labels) == served.not_after.timestamp()
    assert value(status, "listener_verdict", verdict="refuted", **served_labels) == 1
    assert value(status, "listener_verdict", verdict="proven", **served_labels) == 0


def test_metrics_have_no_series_for_what_is_not_known() -> None:
    """A zero would be an alarm of 1970."""
    bare = make_identity(leaf=None, issued=None, issued_at=None, renew_at=None, generation=None, anchors=())
    names = {name for name, _ in scrape(make_status(bare))}
    assert not {name for name in names if "_certificate_not_" in name and "served" not in name}
    assert "cert_agent_renewal_due_timestamp_seconds" not in names
    assert "cert_agent_generation_number" not in names
    assert "cert_agent_truststore_earliest_not_after_timestamp_seconds" not in names


@pytest.mark.parametrize(
    ("name", "labels", "wanted"),
    [
        ("generation_number", {}, 42),
        ("generation_settled", {}, 1),
        ("renewal_due_timestamp_seconds", {}, (NOW + timedelta(days=19)).timestamp()),
        ("damaged_files", {}, 1),
        ("truststore_anchors", {}, 1),
        ("truststore_earliest_not_after_timestamp_seconds", {}, (NOW + timedelta(days=3650)).timestamp()),
        ("consecutive_failures", {"lane": "issuing"}, 3),
        ("consecutive_failures", {"lane": "settling"}, 0),
        ("next_try_timestamp_seconds", {"lane": "issuing"}, (NOW + timedelta(minutes=4)).timestamp()),
        ("renewals_total", {"result": "issued"}, 2),
        ("renewals_total", {"result": "refuted"}, 0),
        ("rollbacks_total", {"reason": "refuted"}, 1),
        ("publications_total", {"cause": "leaf"}, 0),
        ("reloads_total", {"result": "failed"}, 0),
        ("proofs_total", {"result": "unknown"}, 0),
        ("preflights_total", {"result": "refused"}, 0),
        ("refusals_total", {"check": "Kafka's SANs"}, 1),
        ("refusals_total", {"check": "principal"}, 0),
        ("restarts_total", {"result": "failed"}, 0),
        ("restart_due_timestamp_seconds", {}, (NOW + timedelta(days=5)).timestamp()),
        ("switch_to_proof_seconds", {}, 0.75),
        ("broker_remarks", {}, 2),
        ("ca_rotation_stage", {"stage": "anchor added"}, 1),
        ("ca_rotation_stage_since_timestamp_seconds", {}, (NOW - timedelta(days=2)).timestamp()),
        ("ca_rotation_peers_awaited", {}, 1),
        ("ca_rotation_paused", {}, 1),
        ("trust_anchors_waiting", {}, 1),
    ],
)
def test_metrics_of_an_identity(name: str, labels: dict[str, str], wanted: float) -> None:
    """Each number of the status is a series; what may be counted stands at 0 before it happens."""
    assert value(make_status(make_identity()), name, identity="broker", **labels) == wanted


def test_metrics_of_the_agent() -> None:
    """Version, start, and whether the loop turns."""
    status = make_status()
    assert value(status, "build_info", version="0.1.0") == 1
    assert value(status, "start_time_seconds") == status.started_at.timestamp()
    assert value(status, "loop_turning") == 1
    assert value(replace(status, turning=False), "loop_turning") == 0
    assert value(status, "loop_lag_seconds") == 0.0125


def test_metrics_of_readiness_and_health() -> None:
    """An identity has one health, and the others are 0."""
    status = make_status(make_identity("broker"), not_ready("client", "expired"))
    assert value(status, "identity_ready", identity="broker") == 1
    assert value(status, "identity_ready", identity="client") == 0
    healths = {state: value(status, "identity_health", identity="client", health=state) for state in Health}
    assert healths == {Health.PASS: 0, Health.WARN: 0, Health.FAIL: 1}


def test_metrics_of_a_rotation_have_every_stage() -> None:
    """It is in one, and the others are 0, so that an alert sees one begin and end."""
    for stage in Stage:
        status = make_status(make_identity(rotation=make_rotation(stage=stage)))
        stages = {one: value(status, "ca_rotation_stage", identity="broker", stage=one) for one in Stage}
        assert stages == {one: one is stage for one in Stage}


def test_metrics_of_a_rotation_that_waits_for_nobody() -> None:
    """Counts stand at 0; what nobody has looked at yet has no series; since when is left out while it is not known."""
    at_rest = make_rotation(stage=Stage.STEADY, since=None, anchors=(), peers=(), awaits=(), paused="")
    status = make_status(make_identity(rotation=at_rest), make_identity("unseen", rotation=None))
    for name in ("ca_rotation_peers_awaited", "ca_rotation_paused", "trust_anchors_waiting"):
        assert value(status, name, identity="broker") == 0
    names = {(name, dict(labels).get("identity")) for name, labels in scrape(status)}
    assert ("cert_agent_ca_rotation_stage_since_timestamp_seconds", "broker") not in names
    assert not {name for name, identity in names if identity == "unseen" and ("rotation" in name or "wait" in name)}


def test_metrics_of_anchors_are_those_that_end_first() -> None:
    """A system's bundle does not fill Prometheus, and whichever ends next is among them; none is counted twice."""
    cas = [Ca.root(f"CN=CA {number}", not_after=NOW + timedelta(days=number)).certificate for number in range(1, 60)]
    status = make_status(make_identity(anchors=(*reversed(cas), cas[0])))
    name = "cert_agent_trust_anchor_not_after_timestamp_seconds"
    found = {dict(labels)["subject"]: ends for (one, labels), ends in scrape(status).items() if one == name}
    assert found == {f"CN=CA {number}": (NOW + timedelta(days=number)).timestamp() for number in range(1, 51)}
    assert value(status, "truststore_anchors", identity="broker") == 60


def test_metrics_of_anchors_tell_two_of_one_name_apart() -> None:
    """By fingerprint; a name that is long is cut."""
    long = "CN=" + "x" * 60 + ",OU=" + "y" * 60 + ",O=" + "z" * 60 + ",L=" + "w" * 60
    cas = [Ca.root(long).certificate for _ in range(2)]
    status = make_status(make_identity(anchors=tuple(cas)))
    name = "cert_agent_trust_anchor_not_after_timestamp_seconds"
    found = [dict(labels) for one, labels in scrape(status) if one == name]
    assert {one["fingerprint"] for one in found} == {ca.fingerprint for ca in cas}
    assert {one["subject"] for one in found} == {cas[0].subject.rfc4514_string()[:200]}


def test_metrics_count_the_findings_of_a_refuted_candidate() -> None:
    """What is refuted before a switch is seen as a number, and no text of it becomes a label."""
    status = make_status(make_identity(findings=("the leaf is a CA", "the chain reaches no anchor")))
    assert value(status, "refuted_findings", identity="broker") == 2
    assert b"reaches no anchor" not in render(status)


def test_every_metric_is_documented_and_every_documented_metric_exists() -> None:
    """docs/status.md lists the metrics, no fewer and no others."""
    tabled = re.findall(r"^\| `(cert_agent_[a-z_]+)`", DOCUMENTATION.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for name, _ in scrape(make_status(make_identity()))} == set(tabled)


def test_metrics_satisfy_promtool() -> None:
    """Prometheus' own linter finds the text well formed and the names as they should be."""
    odd = not_ready('odd "name"\\\n', "expired")
    status = make_status(make_identity("broker"), replace(odd, anchors=(Ca.root('CN=a\\"b\\0ac').certificate,)))
    checked = subprocess.run(
        [need("promtool"), "check", "metrics"], input=render(status), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
