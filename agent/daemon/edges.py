"""What one identity needs of the world, as ports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from agent.ports import AnchorSource, Broker, CertificateIssuer, Prober, Reloader, Store, Witness


@dataclass(frozen=True, slots=True)
class Edges:
    """The adapters of one identity, and the clock; `broker` is among the reloaders too, in its place.

    `failover` is asked for a leaf while `issuer` is down and every peer trusts both.
    """

    store: Store
    issuer: CertificateIssuer
    trust: Sequence[AnchorSource]
    peer_trust: Sequence[AnchorSource]
    reloaders: Sequence[Reloader]
    prober: Prober
    clock: Callable[[], datetime]
    broker: Broker | None = None
    witness: Witness | None = None
    failover: CertificateIssuer | None = None
