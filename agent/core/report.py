"""Tell how an identity is, from its last observation: ready or why not, and what a person should look at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.core.evidence import Verdict
from agent.core.generation import Damage
from agent.core.principal_guard import principal_of
from agent.core.record import Lane
from agent.core.restart import RestartDue
from agent.core.rotation_report import concerns as of_rotation
from agent.core.rotation_report import restart_due, rotation_status
from agent.core.schedule import emergency_instant, renewal_instant
from agent.core.situation import Situation
from agent.core.status import BrokerStatus, FileStatus, Health, IdentityStatus, ListenerStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta

    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted
    from agent.core.generation import Generation
    from agent.core.judgement import Judgement, Look
    from agent.core.observed import Observed
    from agent.core.plan import Plan
    from agent.core.record import Failure, Tries
    from agent.core.status import Counts


def report(  # noqa: PLR0913 - what is told of an identity comes from these, and nothing else does
    observed: Observed,
    wanted: Wanted,
    plan: Plan,
    now: datetime,
    *,
    findings: Sequence[str] = (),
    counts: Counts,
    broker: BrokerReport | None = None,
) -> IdentityStatus:
    """Return the status of one identity at `now`; `broker` is what is known of the Kafka node that is told."""
    situation = Situation(observed, wanted, now)
    current = situation.current
    not_ready = tuple(_not_ready(situation))
    restart = _restart(situation, broker, findings)
    concerns = (*_concerns(situation, findings), *_of_broker(broker, restart))
    tries = _lanes(situation)
    return IdentityStatus(
        name=wanted.name,
        directory=str(wanted.directory),
        issuer=wanted.issuer,
        health=Health.FAIL if not_ready else Health.WARN if concerns else Health.PASS,
        sentence=plan.sentence,
        not_ready=not_ready,
        concerns=concerns,
        findings=tuple(findings),
        generation=current.number if current else None,
        settled=_settled(situation),
        leaf=current.leaf if current else None,
        issued=_issued(situation),
        issued_at=current.issued_at if current else None,
        renew_at=renewal_instant(current.leaf, current.issued_at, wanted.renewal, wanted.seed) if current else None,
        emergency_at=emergency_instant(current.leaf, current.issued_at) if current else None,
        wake_at=plan.wake_at,
        files=_files(situation),
        listeners=_listeners(situation),
        anchors=current.anchors if current else (),
        tries=tries,
        counts=counts,
        principal=principal_of(wanted, observed.facts, current.leaf) if current else None,
        restart=restart or restart_due(situation),
        broker=_broker(situation, broker),
        rotation=rotation_status(situation),
    )


@dataclass(frozen=True, slots=True)
class BrokerReport:
    """What the daemon knows of a broker and the observation does not show.

    `judgement` is the last one, `look` the last look, `took` how long the last proof came after its switch.
    """

    judgement: Judgement | None = None
    look: Look | None = None
    took: timedelta | None = None


def _broker(situation: Situation, report: BrokerReport | None) -> BrokerStatus | None:
    spec, facts = situation.wanted.broker, situation.observed.facts
    if spec is None:
        return None
    judgement = report.judgement if report else None
    return BrokerStatus(
        cluster=spec.cluster.name if spec.cluster else "",
        role=str(spec.role),
        node_id=facts.node_id if facts else spec.node_id,
        opinion=str(judgement.opinion) if judgement else "",
        unknown=judgement.unknown if judgement else "",
        remarks=_remarks(report),
        took=report.took if report else None,
    )


def _remarks(report: BrokerReport | None) -> tuple[str, ...]:
    if report is None:
        return ()
    source = report.look or report.judgement
    return source.remarks if source else ()


def _restart(situation: Situation, report: BrokerReport | None, findings: Sequence[str]) -> RestartDue | None:
    """Return what a restart is due for; a generation that is held back until then is due when the leaf in use ends."""
    due, current = situation.restart_due, situation.current
    judgement = report.judgement if report else None
    if due is not None or current is None or judgement is None or not judgement.waits_for_restart:
        return due
    found = tuple(map(str, judgement.findings))
    if found != tuple(findings):
        return None  # what was asked about then is no longer what is held back
    why = f"a new generation waits for it: {'; '.join(found)}"
    return RestartDue(current.number, situation.now, current.leaf.not_after, why)


def _of_broker(report: BrokerReport | None, restart: RestartDue | None) -> Iterator[str]:
    if restart is not None:
        yield f"the broker is to be restarted by {restart.by.isoformat()}: {restart.why}"
    for remark in _remarks(report):
        yield f"of the broker: {remark}"


def unseen(wanted: Wanted) -> IdentityStatus:
    """Return the status of an identity before the first look at it."""
    why = "not looked at yet"
    return IdentityStatus(
        name=wanted.name,
        directory=str(wanted.directory),
        issuer=wanted.issuer,
        health=Health.FAIL,
        sentence=why,
        not_ready=(why,),
    )


def blinded(status: IdentityStatus, failure: Failure) -> IdentityStatus:
    """Return the last status of an identity whose directory cannot be read now."""
    why = f"the disk cannot be read: {failure.what}" + (f" ({failure.advice})" if failure.advice else "")
    return replace(status, health=Health.FAIL, sentence=why, not_ready=(why, *status.not_ready))


def _not_ready(situation: Situation) -> Iterator[str]:
    """Name what keeps the identity from being ready: valid, paired, whole, served, not past its deadline."""
    current = situation.current
    if current is None:
        yield situation.observed.disk.trouble or "there is no certificate yet"
        return
    yield from _out_of_date(situation, current)
    if not situation.key_is_whole:
        yield "the private key is lost or does not match the leaf"
    for damage in situation.observed.disk.damages:
        if damage.damage is not Damage.EDITED_TRUSTSTORE:
            yield str(damage)
    if situation.reload_is_open and situation.record.settling.count:
        yield f"the readers could not be told of generation {current.number}"
    for listener in _listeners(situation):
        if listener.verdict is Verdict.REFUTED:
            yield f"{listener.address} does not use what is on disk: {listener.trouble}"
        elif listener.verdict is Verdict.UNKNOWN:
            yield f"{listener.address} is not shown to serve the leaf: {listener.trouble or 'not looked at yet'}"


def _out_of_date(situation: Situation, current: Generation) -> Iterator[str]:
    leaf, now = current.leaf, situation.now
    if leaf.not_after <= now:
        yield f"the leaf expired at {leaf.not_after.isoformat()}"
    elif leaf.not_before > now:
        yield f"the leaf is valid from {leaf.not_before.isoformat()} only"
    elif situation.urgent:
        yield f"the leaf should have been renewed long ago; it expires at {leaf.not_after.isoformat()}"


def _concerns(situation: Situation, findings: Sequence[str]) -> Iterator[str]:
    """Name what a person should look at although readers may be well served."""
    for lane, tries in _lanes(situation).items():
        if tries.failure is not None:
            advice = f" ({tries.failure.advice})" if tries.failure.advice else ""
            yield f"{lane} failed {tries.count} times in a row: {tries.failure.what}{advice}"
    if situation.current is not None:
        for remark in situation.current.remarks:
            yield f"the CA remarked when it issued the leaf: {remark}"
    for finding in findings:
        yield f"a candidate was refuted: {finding}"
    if situation.record.refuted is not None:
        yield f"generation {situation.record.refuted} was refuted by a listener and rolled back from"
    if situation.held:
        yield "a person rolled back to this leaf: it is not renewed before its last twentieth, or `cert-agent renew`"
    for name in situation.edited_truststores:
        yield f"{name} was edited by hand and is held as it is; `cert-agent renew --discard-edits` takes it back"
    yield from of_rotation(situation)
    if situation.observed.trust.trouble:
        yield f"a source of trust cannot be read: {situation.observed.trust.trouble}"
    if situation.observed.peer_trust.trouble:
        yield f"what the peers trust cannot be read: {situation.observed.peer_trust.trouble}"


def _lanes(situation: Situation) -> dict[str, Tries]:
    return {str(lane): situation.record.tries(lane) for lane in Lane}


def _settled(situation: Situation) -> bool:
    current, wanted = situation.current, situation.wanted
    if current is None:
        return False
    return situation.record.settled == current.number or not (wanted.reload or wanted.proven_at)


def _issued(situation: Situation) -> Certificate | None:
    """Return the newest leaf in hand: one that waits to be switched to, else the current one."""
    pending = situation.pending_answer
    if pending is not None and pending.issued is not None:
        return pending.issued.certificates[0]
    generation = situation.refuted_candidate or situation.current
    return generation.leaf if generation else None


def _files(situation: Situation) -> tuple[FileStatus, ...]:
    troubles = {damage.name: str(damage) for damage in situation.observed.disk.damages}
    return tuple(FileStatus(name, troubles.get(name, "")) for name in situation.wanted.names)


def _listeners(situation: Situation) -> tuple[ListenerStatus, ...]:
    current, served = situation.current, situation.observed.served
    statuses = []
    for listener in situation.wanted.proven_at:
        look = served.get(listener)
        if look is None or current is None:
            statuses.append(ListenerStatus(listener, Verdict.UNKNOWN))
            continue
        verdict, why = situation.verdicts[listener]
        statuses.append(
            ListenerStatus(listener, verdict, look.fingerprint, look.not_after, look.at, why, look.address or listener)
        )
    return tuple(statuses)
