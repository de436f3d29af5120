"""The shape of the settings of a CA rotation: peers, listeners, readers, and windows in which files may change."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent.core.configuration import Retirement
from agent.settings.part import Part
from agent.settings.scalars import Cron, Endpoint, ListenerName, PathName, Pause, PeerName, Span, UnitName


class ProcessPart(Part):
    """The process that reads the files as it starts: `pid_file` or `unit`."""

    pid_file: PathName | None = Field(None, description="File with its process number.")
    unit: UnitName | None = Field(None, description="Its systemd unit, a service or a scope.")


class RotationPart(Part):
    """Who meets the identity in a CA rotation, and what may happen by itself."""

    peers: list[PeerName] | None = Field(
        None,
        description="Hosts that meet it and that nobody here can look at; a person vouches for each. [] for none.",
    )
    listeners: list[Endpoint] = Field([], description="Listeners that it meets as a client, beside the cluster's.")
    cluster: str | None = Field(
        None, description="One of `clusters`, whose TLS listeners it meets; by default that of its broker."
    )
    cluster_listeners: list[ListenerName] = Field(
        [], description="Which of the cluster's listeners, by their names; by default all with TLS."
    )
    soak: Pause = Field(
        "1d", validate_default=True, description="How long no leaf of a CA may be in use before its anchor leaves."
    )
    retire: Retirement = Field(Retirement.ASK, description="Whether an anchor then leaves, or waits for `ca retire`.")
    process: ProcessPart | None = Field(None, description="The process that reads the files as it starts.")


class WindowPart(Part):
    """A maintenance window: what readers use changes in one alone, but for an emergency."""

    cron: Cron = Field(description="When it opens: minute, hour, day of month, month, day of week.")
    length: Span = Field(description="How long it stays open.")
    timezone: Annotated[str, Field(min_length=1)] = Field("UTC", description="Whose clock is meant, as Europe/Zurich.")
