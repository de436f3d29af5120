"""The metrics of CA rotations and of trust anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.rotation import Stage
from agent.web.gauges import gauge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

    from agent.core.status import IdentityStatus

MOST_ANCHORS = 50
"""Anchors of an identity that have a series of their own: those that end first. A system's bundle holds three times
as many, and none of the others can be the next to end; `cert_agent_truststore_anchors` counts them all."""

LONGEST_SUBJECT = 200
"""Characters of a subject in a label; the fingerprint tells anchors apart."""


def rotation_metrics(identities: Iterable[IdentityStatus]) -> Iterator[Metric]:
    """Yield each family once; an identity that was not looked at yet has no sample of a rotation."""
    identities = tuple(identities)
    yield from _rotations(identities)
    yield _anchors(identities)


def _rotations(identities: Iterable[IdentityStatus]) -> Iterator[Metric]:
    stages = gauge("ca_rotation_stage", "1 for the stage of the CA rotation that the identity is in.", "stage")
    since = gauge("ca_rotation_stage_since_timestamp_seconds", "Since when it is in that stage.")
    waiting = gauge("trust_anchors_waiting", "Anchors that wait for a person's approval.")
    awaited = gauge("ca_rotation_peers_awaited", "Peers that the next step of the rotation waits for.")
    paused = gauge("ca_rotation_paused", "Whether a person has paused what readers use.")
    for identity in identities:
        name, rotation = identity.name, identity.rotation
        if rotation is None:
            continue
        for stage in Stage:
            stages.add_metric((name, str(stage)), rotation.stage is stage)
        if rotation.since is not None:
            since.add_metric((name,), rotation.since.timestamp())
        waiting.add_metric((name,), sum(one.state == "waiting" for one in rotation.anchors))
        awaited.add_metric((name,), len(rotation.awaited))
        paused.add_metric((name,), bool(rotation.paused))
    yield from (stages, since, waiting, awaited, paused)


def _anchors(identities: Iterable[IdentityStatus]) -> Metric:
    ends = gauge(
        "trust_anchor_not_after_timestamp_seconds",
        f"When an anchor in the truststores ends; of each identity the {MOST_ANCHORS} that end first.",
        "fingerprint",
        "subject",
    )
    for identity in identities:
        anchors = {anchor.fingerprint: anchor for anchor in identity.anchors}.values()
        for anchor in sorted(anchors, key=lambda one: (one.not_after, one.fingerprint))[:MOST_ANCHORS]:
            subject = anchor.subject.rfc4514_string()[:LONGEST_SUBJECT]
            ends.add_metric((identity.name, anchor.fingerprint, subject), anchor.not_after.timestamp())
    return ends
