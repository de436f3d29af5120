"""Statuses of an agent as the tests of the web need them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agent.core.evidence import Verdict
from agent.core.issuer_status import IssuerStatus
from agent.core.record import Failure, Tries
from agent.core.restart import RestartDue
from agent.core.rotation import Stage
from agent.core.status import (
    AgentStatus,
    AnchorStatus,
    AwaitedStatus,
    BrokerStatus,
    Counts,
    FileStatus,
    Health,
    IdentityStatus,
    ListenerStatus,
    PeerStatus,
    RotationStatus,
)
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from agent.core.certificate import Certificate


def make_leaf(*, not_after_days: int = 30) -> tuple[Ca, Certificate]:
    """Make a leaf and the CA that signed it."""
    ca = Ca.root()
    return ca, ca.leaf(make_request(lifetime=timedelta(days=not_after_days)), make_key())


def make_identity(name: str = "broker", **changes: Any) -> IdentityStatus:
    """Make the status of an identity that is well, but for the changes."""
    ca, leaf = make_leaf()
    identity = IdentityStatus(
        name=name,
        directory=f"/etc/kafka/{name}",
        issuer="vault",
        health=Health.PASS,
        sentence="nothing is due",
        generation=42,
        settled=True,
        leaf=leaf,
        issued=leaf,
        issued_at=NOW,
        renew_at=NOW + timedelta(days=19),
        emergency_at=NOW + timedelta(days=28),
        wake_at=NOW + timedelta(minutes=1),
        files=(FileStatus("tls.pem"), FileStatus("keystore.p12", "keystore.p12 is missing")),
        listeners=(
            ListenerStatus("localhost:9093", Verdict.PROVEN, leaf.fingerprint, leaf.not_after, NOW),
            ListenerStatus("localhost:9094", Verdict.UNKNOWN, trouble="connection refused"),
        ),
        anchors=(ca.certificate,),
        tries={"issuing": Tries(3, NOW + timedelta(minutes=4), Failure("the CA is away", "start it", NOW))},
        counts=Counts(renewals={"issued": 2}, rollbacks={"refuted": 1}, refusals={"Kafka's SANs": 1}),
        principal="kafka1",
        restart=RestartDue(42, NOW, NOW + timedelta(days=5), "the Raft client lags"),
        broker=BrokerStatus(
            "prod", "broker", 1, "accepted", remarks=("a shadow", "a name"), took=timedelta(seconds=0.75)
        ),
        rotation=make_rotation(),
    )
    return replace(identity, **changes)


OLD, NEW = Ca.root("CN=Old CA"), Ca.root("CN=New CA")
"""Two CAs, the one that is left and the one that is gone to."""


def make_rotation(**changes: Any) -> RotationStatus:
    """Make the status of a CA rotation in which a client that nobody can look at is waited for."""
    rotation = RotationStatus(
        stage=Stage.ANCHOR_ADDED,
        why="the next leaf is of CN=New CA; held: orders-1 is not shown to trust CN=New CA",
        since=NOW - timedelta(days=2),
        leaf_ca="CN=Old CA",
        target_ca="CN=New CA",
        anchors=(
            AnchorStatus(OLD.certificate, "trusted", ("vault",)),
            AnchorStatus(NEW.certificate, "waiting", ("vault", "/etc/kafka/ca.d")),
        ),
        peers=(
            PeerStatus("kafka2.example.com:9093", NOW, {"trusts CN=New CA": Verdict.PROVEN}),
            PeerStatus(
                "orders-1",
                NOW - timedelta(hours=3),
                {"trusts CN=New CA": Verdict.UNKNOWN},
                "nobody here can look at it",
            ),
        ),
        awaits=(AwaitedStatus("orders-1", "trusts CN=New CA", Verdict.UNKNOWN, "nobody here can look at it"),),
        paused="alice, 2026-11-24 11:00:00Z",
        opens_at=NOW + timedelta(hours=6),
    )
    return replace(rotation, **changes)


def make_issuer(**changes: Any) -> IssuerStatus:
    """Make the status of a CA."""
    status = IssuerStatus(
        name="vault",
        kind="vault",
        asked_at=NOW,
        authority=Ca.root().certificate,
        login="as broker, by AppRole",
        login_until=NOW + timedelta(hours=1),
        remarks=("the CA's certificate was imported anew",),
    )
    return replace(status, **changes)


def make_status(*identities: IdentityStatus, turning: bool = True) -> AgentStatus:
    """Make the status of an agent."""
    return AgentStatus(
        version="0.1.0",
        host="kafka1.example.com",
        configuration="/etc/cert-agent/cert-agent.yaml",
        started_at=NOW - timedelta(hours=1),
        now=NOW,
        turning=turning,
        identities=identities,
        issuers=(make_issuer(),),
        loop_lag_seconds=0.0125,
    )


def not_ready(name: str, *why: str) -> IdentityStatus:
    """Make the status of an identity that is not ready."""
    return make_identity(name, health=Health.FAIL, not_ready=why)
