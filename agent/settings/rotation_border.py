"""The border for CA rotations: their parts in, frozen values out."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from agent.core.configuration import ReaderProcess, RotationPolicy
from agent.core.window import Window
from agent.settings.ground import Ground
from agent.settings.scalars import host_and_port
from agent.settings.wording import shown

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from datetime import tzinfo
    from pathlib import Path

    from agent.core.kafka_spec import Cluster, KafkaBrokerReload
    from agent.settings.kafka_border import KafkaBorder
    from agent.settings.rotation_parts import ProcessPart, RotationPart, WindowPart
    from agent.settings.wording import Findings, Location


class RotationBorder(Ground):
    """Turns the parts about CA rotations into values and notes mistakes; `kafka` knows the clusters."""

    def __init__(self, file: Path, environment: Mapping[str, str], findings: Findings, kafka: KafkaBorder) -> None:
        super().__init__(file, environment, findings)
        self._kafka = kafka

    def rotation(self, at: Location, part: RotationPart, broker: KafkaBrokerReload | None) -> RotationPolicy:
        """Return who meets an identity; `broker` is the node that is told of its stores, `at` where the part stands."""
        self._expect_once((*at, "peers"), part.peers or [])
        self._expect_once((*at, "listeners"), [host_and_port(one) for one in part.listeners])
        cluster = self._cluster(at, part, broker)
        names = [name.upper() for name in part.cluster_listeners]
        self._expect_once((*at, "cluster_listeners"), names)
        if names and cluster is None and part.cluster is None and self._findings.sound(at, "cluster"):
            self._wrong((*at, "cluster_listeners"), "is of a cluster, and none is named: write `cluster` beside it")
        return RotationPolicy(
            peers=None if part.peers is None else tuple(part.peers),
            listeners=tuple(part.listeners),
            cluster=cluster,
            of_cluster=tuple(names),
            soak=part.soak,
            retire=part.retire,
            process=None if part.process is None else self._process((*at, "process"), part.process),
        )

    def _cluster(self, at: Location, part: RotationPart, broker: KafkaBrokerReload | None) -> Cluster | None:
        """Return the cluster that is asked which listeners there are: its client has to be there."""
        here: Location = (*at, "cluster")
        if part.cluster is None:
            return broker.cluster if broker is not None else None
        self._kafka.expect_extra(here)
        return self._kafka.named(here, part.cluster)

    def _process(self, at: Location, part: ProcessPart) -> ReaderProcess | None:
        if (part.pid_file is None) == (part.unit is None):
            if self._findings.sound(at, "pid_file", "unit"):
                self._wrong(at, "names not one process: write `pid_file` or `unit`")
            return None
        return ReaderProcess(None if part.pid_file is None else self._path(part.pid_file), part.unit)

    def _expect_once(self, at: Location, values: Sequence[Hashable]) -> None:
        first: dict[Hashable, int] = {}
        for index, value in enumerate(values):
            if first.setdefault(value, index) != index:
                self._wrong((*at, index), "stands there twice: leave one of them out")

    # --- windows -----------------------------------------------------------------------------

    def windows(self, at: Location, parts: Sequence[WindowPart]) -> tuple[Window, ...]:
        """Return the maintenance windows in the order of the settings; `at` is where their list stands."""
        windows = []
        for index, part in self._elements(parts):
            cron, length = getattr(part, "cron", None), getattr(part, "length", None)
            zone = self._zone((*at, index, "timezone"), part.timezone)
            if cron is not None and length is not None:
                windows.append(Window(cron, length, zone))
        return tuple(windows)

    def _zone(self, at: Location, name: str) -> tzinfo:
        if name.upper() == "UTC":
            return UTC  # without a data base of time zones, too
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            # No such zone, no name of one, a folder of zones.
            self._wrong(at, f"this host knows no time zone {shown(name)}: write one as Europe/Zurich, or UTC")
            return UTC
