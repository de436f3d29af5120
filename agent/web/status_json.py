"""`AgentStatus` as the JSON document of `/status`; docs/status.md tells what each field means."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.issuer_status import IssuerStatus
    from agent.core.record import Tries
    from agent.core.restart import RestartDue
    from agent.core.status import (
        AgentStatus,
        AwaitedStatus,
        BrokerStatus,
        Counts,
        IdentityStatus,
        ListenerStatus,
        PeerStatus,
        RotationStatus,
    )


FEW = 20
"""Identities up to which the document is written for eyes; beyond them it is for programs, and twenty times faster."""


def render(status: AgentStatus) -> bytes:
    """Return the document as UTF-8 text; of few identities it has a value a line."""
    indent = 2 if len(status.identities) <= FEW else None
    return (json.dumps(status_document(status), indent=indent, ensure_ascii=False) + "\n").encode()


def status_document(status: AgentStatus) -> dict[str, Any]:
    """Return the document as JSON values; times are RFC 3339 in UTC, what is not known is null."""
    return {
        "version": status.version,
        "host": status.host,
        "configuration": status.configuration,
        "started_at": rfc3339(status.started_at),
        "now": rfc3339(status.now),
        "turning": status.turning,
        "loop_lag_seconds": round(status.loop_lag_seconds, 3),
        "ready": status.ready,
        "health": str(status.health),
        "issuers": [_issuer(issuer) for issuer in status.issuers],
        "identities": [_identity(identity) for identity in status.identities],
    }


def _issuer(issuer: IssuerStatus) -> dict[str, Any]:
    return {
        "name": issuer.name,
        "kind": issuer.kind,
        "trouble": issuer.trouble,
        "reason": issuer.reason,
        "asked_at": _moment(issuer.asked_at),
        "authority": _anchor(issuer.authority) if issuer.authority else None,
        "login": issuer.login,
        "login_until": _moment(issuer.login_until),
        "remarks": list(issuer.remarks),
    }


def _identity(identity: IdentityStatus) -> dict[str, Any]:
    return {
        "name": identity.name,
        "directory": identity.directory,
        "issuer": identity.issuer,
        "health": str(identity.health),
        "ready": not identity.not_ready,
        "sentence": identity.sentence,
        "not_ready": list(identity.not_ready),
        "concerns": list(identity.concerns),
        "findings": list(identity.findings),
        "generation": identity.generation,
        "settled": identity.settled,
        "leaf": _leaf(identity.leaf) if identity.leaf else None,
        "issued": _leaf(identity.issued) if identity.issued else None,
        "issued_at": _moment(identity.issued_at),
        "renew_at": _moment(identity.renew_at),
        "emergency_at": _moment(identity.emergency_at),
        "wake_at": _moment(identity.wake_at),
        "files": [{"name": file.name, "trouble": file.trouble} for file in identity.files],
        "listeners": [_listener(listener) for listener in identity.listeners],
        "anchors": [_anchor(anchor) for anchor in identity.anchors],
        "tries": {lane: _tries(tries) for lane, tries in sorted(identity.tries.items())},
        "counts": _counts(identity.counts),
        "principal": identity.principal,
        "restart": _restart(identity.restart) if identity.restart else None,
        "broker": _broker(identity.broker) if identity.broker else None,
        "rotation": _rotation(identity.rotation) if identity.rotation else None,
    }


def _restart(due: RestartDue) -> dict[str, Any]:
    return {"by": rfc3339(due.by), "since": rfc3339(due.since), "why": due.why}


def _broker(broker: BrokerStatus) -> dict[str, Any]:
    return {
        "cluster": broker.cluster,
        "role": broker.role,
        "node_id": broker.node_id,
        "opinion": broker.opinion,
        "unknown": broker.unknown,
        "remarks": list(broker.remarks),
        "switch_to_proof_seconds": None if broker.took is None else round(broker.took.total_seconds(), 3),
    }


def _rotation(rotation: RotationStatus) -> dict[str, Any]:
    return {
        "stage": str(rotation.stage),
        "broken": rotation.stage.is_broken,
        "why": rotation.why,
        "since": _moment(rotation.since),
        "leaf_ca": rotation.leaf_ca,
        "target_ca": rotation.target_ca,
        "anchors": [
            {**_anchor(one.anchor), "state": one.state, "sources": list(one.sources), "held": one.held}
            for one in rotation.anchors
        ],
        "peers": [_peer(peer) for peer in rotation.peers],
        "awaited": [_awaited(one) for one in rotation.awaits],
        "paused": rotation.paused,
        "aborted": rotation.aborted,
        "opens_at": _moment(rotation.opens_at),
    }


def _peer(peer: PeerStatus) -> dict[str, Any]:
    return {
        "peer": peer.peer,
        "at": rfc3339(peer.at),
        "verdicts": [{"question": question, "verdict": str(verdict)} for question, verdict in peer.verdicts.items()],
        "why": peer.why,
    }


def _awaited(one: AwaitedStatus) -> dict[str, str]:
    return {"peer": one.peer, "question": one.question, "verdict": str(one.verdict), "why": one.why}


def _leaf(leaf: Certificate) -> dict[str, Any]:
    return {
        **_anchor(leaf),
        "issuer": leaf.issuer.rfc4514_string(),
        "serial_number": f"{leaf.serial_number:x}",
        "sans": {"dns": list(leaf.sans.dns), "ip": list(leaf.sans.ip), "uri": list(leaf.sans.uri)},
        "key": leaf.key_type,
    }


def _anchor(certificate: Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "fingerprint": certificate.fingerprint,
        "not_before": rfc3339(certificate.not_before),
        "not_after": rfc3339(certificate.not_after),
    }


def _listener(listener: ListenerStatus) -> dict[str, Any]:
    return {
        "address": listener.address,
        "looked_at": listener.looked_at,
        "verdict": str(listener.verdict),
        "fingerprint": listener.fingerprint,
        "not_after": _moment(listener.not_after),
        "checked_at": _moment(listener.checked_at),
        "trouble": listener.trouble,
    }


def _tries(tries: Tries) -> dict[str, Any]:
    failure = tries.failure
    return {
        "failures": tries.count,
        "next_at": _moment(tries.next_at),
        "failure": failure
        and {
            "what": failure.what,
            "advice": failure.advice,
            "at": rfc3339(failure.at),
            "refused": failure.refused,
            "reason": failure.reason,
        },
    }


def _counts(counts: Counts) -> dict[str, dict[str, int]]:
    return {one.name: dict(getattr(counts, one.name)) for one in fields(counts)}


def _moment(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None


def rfc3339(moment: datetime) -> str:
    """Return an aware time in UTC, `2026-11-24T12:00:00Z`, with milliseconds where it has a fraction of a second."""
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")
