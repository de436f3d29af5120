"""`AgentStatus` as Prometheus metrics, made when they are scraped; docs/status.md lists them.

Timestamps and not ages, base units, and labels of which the configuration bounds the values, or we do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# A fifteenth of a second to import: this module itself is imported at the first scrape.
from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from agent.core.evidence import Verdict
from agent.core.generation import Cause
from agent.core.judgement import Opinion
from agent.core.record import Lane
from agent.core.reload_rules import CHECKS_OF_A_BROKER
from agent.core.status import Counts, Health
from agent.web.gauges import gauge
from agent.web.rotation_metrics import rotation_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from prometheus_client.core import Metric

    from agent.core.issuer_status import IssuerStatus
    from agent.core.status import AgentStatus, IdentityStatus

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

COUNTERS: tuple[tuple[str, str, tuple[str, ...], Callable[[Counts], Mapping[str, int]], str], ...] = (
    (
        "renewals",
        "result",
        ("issued", "unavailable", "refused", "refuted"),
        lambda counts: counts.renewals,
        "Leaves asked for; a refuted one was issued and then failed the proof before the switch.",
    ),
    (
        "publications",
        "cause",
        tuple(map(str, Cause)),
        lambda counts: counts.publications,
        "Generations switched to, by what they changed.",
    ),
    (
        "preflights",
        "result",
        tuple(map(str, Opinion)),
        lambda counts: counts.preflights,
        "Generations that a broker was asked about before a switch, by what came of it.",
    ),
    (
        "refusals",
        "check",
        CHECKS_OF_A_BROKER,
        lambda counts: counts.refusals,
        "Generations that were not switched to, by the check that they failed: Kafka's rules, or the broker's word.",
    ),
    (
        "reloads",
        "result",
        ("succeeded", "failed"),
        lambda counts: counts.reloads,
        "Times that the readers were told of a generation.",
    ),
    (
        "restarts",
        "result",
        ("succeeded", "failed"),
        lambda counts: counts.restarts,
        "Runs of the restart command.",
    ),
    (
        "proofs",
        "result",
        tuple(map(str, Verdict)),
        lambda counts: counts.proofs,
        "Handshakes with listeners, by what they came to.",
    ),
    (
        "rollbacks",
        "reason",
        ("refuted", "by hand"),
        lambda counts: counts.rollbacks,
        "Returns to an earlier generation.",
    ),
    (
        "revocations",
        "result",
        ("succeeded", "failed"),
        lambda counts: counts.revocations,
        "Leaves that the CA was asked to revoke after a proven renewal had replaced them.",
    ),
    (
        "issuer_errors",
        "reason",
        ("access denied", "network", "throttled", "time-out", "unavailable"),
        lambda counts: counts.issuer_errors,
        "Calls to the CA that failed, by what is the matter; /status has the advice.",
    ),
)
"""Name, label, the values that stand at 0 from the start, where they are counted, help."""


def render(status: AgentStatus) -> bytes:
    """Return the metrics in Prometheus' text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(StatusCollector(status))
    return generate_latest(registry)


class StatusCollector:
    """Makes the metric families of one status."""

    def __init__(self, status: AgentStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield each family once, with a sample an identity."""
        identities = self._status.identities
        yield from _agent(self._status)
        yield from _states(identities)
        yield from _moments(identities)
        yield from _listeners(identities)
        yield from _brokers(identities)
        yield from rotation_metrics(identities)
        yield from _failures(identities)
        yield from _counters(identities)
        yield from _issuers(self._status.issuers)


def _agent(status: AgentStatus) -> Iterator[Metric]:
    info = InfoMetricFamily("cert_agent_build", "The version that runs.")
    info.add_metric((), {"version": status.version})
    yield info
    yield GaugeMetricFamily(
        "cert_agent_start_time_seconds", "When the agent started.", value=status.started_at.timestamp()
    )
    yield GaugeMetricFamily(
        "cert_agent_loop_turning", "Whether the loop turns and its tasks are whole.", value=status.turning
    )
    yield GaugeMetricFamily(
        "cert_agent_loop_lag_seconds", "How late the last heartbeat of the loop came.", value=status.loop_lag_seconds
    )


def _states(identities: Iterable[IdentityStatus]) -> Iterator[Metric]:
    ready = gauge("identity_ready", "Whether the store is valid, paired, served and not past its deadline.")
    health = gauge("identity_health", "1 for the health that the identity has.", "health")
    number = gauge("generation_number", "The current generation.")
    settled = gauge("generation_settled", "Whether the current generation is told to its readers and proven.")
    damaged = gauge("damaged_files", "Files that are not as their manifest has them.")
    refuted = gauge("refuted_findings", "What the last proof before a switch refuted.")
    anchors = gauge("truststore_anchors", "Anchors in the truststores.")
    for identity in identities:
        name = identity.name
        ready.add_metric((name,), not identity.not_ready)
        for state in Health:
            health.add_metric((name, str(state)), identity.health is state)
        if identity.generation is not None:
            number.add_metric((name,), identity.generation)
            settled.add_metric((name,), identity.settled)
        damaged.add_metric((name,), sum(bool(file.trouble) for file in identity.files))
        refuted.add_metric((name,), len(identity.findings))
        anchors.add_metric((name,), len(identity.anchors))
    yield from (ready, health, number, settled, damaged, refuted, anchors)


MOMENTS: tuple[tuple[str, str, Callable[[IdentityStatus], datetime | None]], ...] = (
    (
        "issued_certificate_not_after",
        "When the newest leaf that a CA gave ends.",
        lambda identity: identity.issued.not_after if identity.issued else None,
    ),
    (
        "disk_certificate_not_after",
        "When the leaf of the current generation ends.",
        lambda identity: identity.leaf.not_after if identity.leaf else None,
    ),
    (
        "disk_certificate_not_before",
        "When the leaf of the current generation begins.",
        lambda identity: identity.leaf.not_before if identity.leaf else None,
    ),
    (
        "disk_certificate_issued",
        "When the CA gave the leaf of the current generation.",
        lambda identity: identity.issued_at,
    ),
    ("renewal_due", "When the leaf of the current generation is to be renewed.", lambda identity: identity.renew_at),
    (
        "emergency_due",
        "When the last twentieth of the lifetime begins, in which nothing holds a renewal back.",
        lambda identity: identity.emergency_at,
    ),
    (
        "restart_due",
        "When the broker must have been restarted, since Kafka takes something only as it starts; none: nothing waits.",
        lambda identity: identity.restart.by if identity.restart else None,
    ),
    ("next_look", "When the agent looks at the identity next.", lambda identity: identity.wake_at),
    (
        "truststore_earliest_not_after",
        "When the first of the anchors in the truststores ends.",
        lambda identity: min((anchor.not_after for anchor in identity.anchors), default=None),
    ),
)
"""Name without its unit, help, where the moment stands; one that is not known has no sample."""


def _moments(identities: Iterable[IdentityStatus]) -> Iterator[Metric]:
    for name, about, moment_of in MOMENTS:
        family = gauge(f"{name}_timestamp_seconds", about)
        for identity in identities:
            moment = moment_of(identity)
            if moment is not None:
                family.add_metric((identity.name,), moment.timestamp())
        yield family


def _listeners(identities: Iterable[IdentityStatus]) -> Iterator[Metric]:
    not_after = gauge("served_certificate_not_after_timestamp_seconds", "When the leaf served ends.", "address")
    checked = gauge("listener_checked_timestamp_seconds", "When the listener was last looked at.", "address")
    verdicts = gauge("listener_verdict", "1 for what the last look came to.", "address", "verdict")
    for identity in identities:
        for listener in identity.listeners:
            labels = (identity.name, listener.address)
            if listener.not_after is not None:
                not_after.add_metric(labels, listener.not_after.timestamp())
            if listener.checked_at is not None:
                checked.add_metric(labels, listener.checked_at.timestamp())
            for verdict in Verdict:
                verdicts.add_metric((*labels, str(verdict)), listener.verdict is verdict)
    yield from (not_after, checked, verdicts)


def _brokers(identities: Iterable[IdentityStatus]) -> Iterator[Metric]:
    remarks = gauge("broker_remarks", "What a person should know of the broker; /status has the words.")
    took = gauge("switch_to_proof_seconds", "How long after the last switch the last listener was proven.")
    for identity in identities:
        if identity.broker is not None:
            remarks.add_metric((identity.name,), len(identity.broker.remarks))
            if identity.broker.took is not None:
                took.add_metric((identity.name,), identity.broker.took.total_seconds())
    yield from (remarks, took)


def _failures(identities: Iterable[IdentityStatus]) -> Iterator[Metric]:
    failures = gauge("consecutive_failures", "Tries in a row that failed.", "lane")
    next_try = gauge("next_try_timestamp_seconds", "When a lane that failed is tried again.", "lane")
    for identity in identities:
        for lane in Lane:
            tries = identity.tries.get(lane)
            failures.add_metric((identity.name, str(lane)), tries.count if tries else 0)
            if tries and tries.next_at is not None:
                next_try.add_metric((identity.name, str(lane)), tries.next_at.timestamp())
    yield from (failures, next_try)


def _issuers(issuers: Iterable[IssuerStatus]) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        "cert_agent_issuer_up", "Whether the last call to the CA was answered as it should be.", labels=("issuer",)
    )
    ends = GaugeMetricFamily(
        "cert_agent_issuer_ca_not_after_timestamp_seconds", "When the CA's own certificate ends.", labels=("issuer",)
    )
    login = GaugeMetricFamily(
        "cert_agent_issuer_login_until_timestamp_seconds",
        "When the agent's login at the CA ends, unless it is renewed.",
        labels=("issuer",),
    )
    remarks = GaugeMetricFamily(
        "cert_agent_issuer_remarks", "What a person should know of the CA; /status has the words.", labels=("issuer",)
    )
    for issuer in issuers:
        if issuer.asked_at is not None:
            up.add_metric((issuer.name,), not issuer.trouble)
        if issuer.authority is not None:
            ends.add_metric((issuer.name,), issuer.authority.not_after.timestamp())
        if issuer.login_until is not None:
            login.add_metric((issuer.name,), issuer.login_until.timestamp())
        remarks.add_metric((issuer.name,), len(issuer.remarks))
    yield from (up, ends, login, remarks)


def _counters(identities: Iterable[IdentityStatus]) -> Iterator[Metric]:
    for name, label, values, counted, about in COUNTERS:
        family = CounterMetricFamily(f"cert_agent_{name}", about, labels=("identity", label))
        for identity in identities:
            # A series that appears with its first event hides that event from rate().
            for value, count in {**dict.fromkeys(values, 0), **counted(identity.counts)}.items():
                family.add_metric((identity.name, value), count)
        yield family
