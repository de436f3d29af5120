"""Health and readiness of each identity, from the last observation."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from agent.core.certificate import Certificate
    from agent.core.evidence import Verdict
    from agent.core.issuer_status import IssuerStatus
    from agent.core.record import Tries
    from agent.core.restart import RestartDue
    from agent.core.rotation import Stage


class Health(StrEnum):
    """As in health+json: `pass` and `warn` are well enough to serve, `fail` is not."""

    PASS = "pass"  # noqa: S105 - a state of health, no password
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class ListenerStatus:
    """What a listener was last seen to serve, and whether that is the current leaf.

    `address` is its `host:port`, or its name where it is a broker's that the settings know by name;
    `looked_at` is where the handshake was, empty while there was none.
    """

    address: str
    verdict: Verdict
    fingerprint: str | None = None
    not_after: datetime | None = None
    checked_at: datetime | None = None
    trouble: str = ""
    looked_at: str = ""


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """The Kafka node that is told of an identity's stores.

    `cluster` is empty for a controller that nobody asks; `node_id` is None while it is not known.
    `opinion` is what it said of the generation that it was asked about last, empty before that, and
    `unknown` why it said nothing. `took` is how long the last proof came after its switch.
    """

    cluster: str
    role: str
    node_id: int | None = None
    opinion: str = ""
    unknown: str = ""
    remarks: tuple[str, ...] = ()
    took: timedelta | None = None


@dataclass(frozen=True, slots=True)
class AnchorStatus:
    """A trust anchor that is known: where it was seen, and what becomes of it.

    `state` is `trusted` (in the truststores), `entering`, `waiting` (for a person's approval), `leaving`,
    or `gone` (seen, and let go by a person). `held` says why it does not leave yet.
    """

    anchor: Certificate
    state: str
    sources: tuple[str, ...] = ()
    held: str = ""


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A peer and what it was last known to do: of each question that matters now, the verdict.

    `verdicts` are keyed by the question in words, as `trusts CN=New CA`.
    """

    peer: str
    at: datetime
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True, slots=True)
class AwaitedStatus:
    """An answer of a peer that the next step waits for: the question in words, and what is known so far.

    `verdict` is never `proven`. A person's word answers what is unknown, and goes against nothing that is refuted.
    """

    peer: str
    question: str
    verdict: Verdict
    why: str = ""


@dataclass(frozen=True, slots=True)
class RotationStatus:
    """Where an identity stands in a CA rotation, and what it waits for; `why` is one sentence.

    `awaits` are the answers that a step waits for. `paused` and `aborted` say who did that and when,
    empty where nobody did. `opens_at` is when the next maintenance window opens, None while
    changes may be made.
    """

    stage: Stage
    why: str
    since: datetime | None = None
    leaf_ca: str = ""
    target_ca: str = ""
    anchors: tuple[AnchorStatus, ...] = ()
    peers: tuple[PeerStatus, ...] = ()
    awaits: tuple[AwaitedStatus, ...] = ()
    paused: str = ""
    aborted: str = ""
    opens_at: datetime | None = None

    @property
    def awaited(self) -> tuple[str, ...]:
        """The peers that a step waits for, each once."""
        return tuple(dict.fromkeys(one.peer for one in self.awaits))


@dataclass(frozen=True, slots=True)
class FileStatus:
    """A file that readers open; `trouble` is empty when it is as its manifest has it."""

    name: str
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """What has happened to one identity since the agent started.

    The keys: `renewals` by result (`issued`, `unavailable`, `refused`, `refuted`), `publications`
    by cause, `preflights` by the broker's opinion, `refusals` by the check that a generation failed there,
    `reloads`, `restarts` and `proofs` by result, `rollbacks` by reason, `revocations` by result,
    `issuer_errors` by their sort.
    """

    renewals: Mapping[str, int] = field(default_factory=dict)
    publications: Mapping[str, int] = field(default_factory=dict)
    preflights: Mapping[str, int] = field(default_factory=dict)
    refusals: Mapping[str, int] = field(default_factory=dict)
    reloads: Mapping[str, int] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    proofs: Mapping[str, int] = field(default_factory=dict)
    rollbacks: Mapping[str, int] = field(default_factory=dict)
    revocations: Mapping[str, int] = field(default_factory=dict)
    issuer_errors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IdentityStatus:
    """All that can be told of one identity; nothing in it is secret.

    `not_ready` says why the identity is not ready, a sentence each; it is ready when there is
    none. `concerns` are what a person should look at although it is ready. `findings` are what
    the last proof before a switch refuted. `leaf` is that of the current generation, `issued` the
    newest that a CA gave, switched to or not; `renew_at` is the renewal instant of `leaf`, `wake_at`
    the agent's next look at the identity. `principal` is what Kafka makes of the leaf's subject, by
    the rules that are known; `restart` what only a restart of the broker brings into use.
    """

    name: str
    directory: str
    issuer: str
    health: Health
    sentence: str
    not_ready: tuple[str, ...] = ()
    concerns: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    generation: int | None = None
    settled: bool = False
    leaf: Certificate | None = None
    issued: Certificate | None = None
    issued_at: datetime | None = None
    renew_at: datetime | None = None
    emergency_at: datetime | None = None
    wake_at: datetime | None = None
    files: tuple[FileStatus, ...] = ()
    listeners: tuple[ListenerStatus, ...] = ()
    anchors: tuple[Certificate, ...] = ()
    tries: Mapping[str, Tries] = field(default_factory=dict)
    counts: Counts = Counts()
    principal: str | None = None
    restart: RestartDue | None = None
    broker: BrokerStatus | None = None
    rotation: RotationStatus | None = None


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """The agent as a whole, as it is at `now`."""

    version: str
    host: str
    configuration: str
    started_at: datetime
    now: datetime
    turning: bool
    identities: tuple[IdentityStatus, ...] = ()
    issuers: tuple[IssuerStatus, ...] = ()
    loop_lag_seconds: float = 0.0

    @property
    def ready(self) -> bool:
        """Whether every identity is."""
        return self.turning and not any(identity.not_ready for identity in self.identities)

    @property
    def health(self) -> Health:
        """The worst health of any identity; an agent whose loop does not turn has failed."""
        if not self.turning:
            return Health.FAIL
        healths = {identity.health for identity in self.identities}
        return next((health for health in (Health.FAIL, Health.WARN) if health in healths), Health.PASS)
