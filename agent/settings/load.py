"""Read the settings and find every mistake in them at once; nothing is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.errors import ConfigurationError
from agent.settings.border import Border
from agent.settings.issuer_parts import AwsPcaPart, LocalCaPart, ManualPart, VaultPart
from agent.settings.kafka_parts import ClusterPart
from agent.settings.model import (
    HttpPart,
    IdentityPart,
    LogPart,
    Settings,
)
from agent.settings.partial import known_keys, validate
from agent.settings.source import read_yaml
from agent.settings.wording import PREFIX, Findings, shown, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent.core.configuration import Configuration
    from agent.settings.issuer_parts import AnyIssuerPart
    from agent.settings.partial import PartType
    from agent.settings.wording import Location

_ISSUERS: Mapping[str, type[AnyIssuerPart]] = {
    "local_ca": LocalCaPart,
    "aws_pca": AwsPcaPart,
    "vault": VaultPart,
    "manual": ManualPart,
}


def load(path: Path, environment: Mapping[str, str], hostname: str, *, needs_identities: bool = True) -> Configuration:
    """Return the configuration of the YAML file at `path`, with what `CERT_AGENT__…` variables set.

    A verb that is about CAs alone needs no identities. Relative paths count from the file's folder.
    Raise `ConfigurationError` with every mistake.
    """
    path = path.absolute()
    values = read_yaml(path)
    findings = Findings(str(path), environment)
    if any(name.upper().startswith(PREFIX) for name in environment):
        from agent.settings.environment import overlay

        values = overlay(environment, values, findings)
    if not needs_identities:
        values = {"identities": {}} | values
    reading = _Reading(values, findings, needs_identities=needs_identities)
    border = Border(path, reading.host or hostname, environment, findings)
    configuration = border.configuration(
        reading.http, reading.log, reading.issuers, reading.clusters, reading.identities
    )
    if findings.mistakes:
        raise ConfigurationError(findings.mistakes)
    return configuration


class _Reading:
    """The parts of the settings; one that is wrong hides no mistake in another."""

    def __init__(self, values: Mapping[str, Any], findings: Findings, *, needs_identities: bool) -> None:
        self._values = values
        self._may_be_empty = {"clusters"} if needs_identities else {"clusters", "identities"}
        self._findings = findings
        for key in values:
            if key not in Settings.model_fields:
                near = suggestion(key, Settings.model_fields)
                advice = f"did you mean `{near}`?" if near else f"there are {', '.join(Settings.model_fields)}"
                findings.add((key,), f"is no key that is known here; {advice}")
        self.http = self._part(HttpPart, values.get("http", {}), ("http",))
        self.log = self._part(LogPart, values.get("log", {}), ("log",))
        self.host = self._host(values.get("host"))
        self.issuers = {name: self._issuer(part, ("issuers", name)) for name, part in self._named("issuers")}
        self.clusters = {
            name: self._part(ClusterPart, part, ("clusters", name)) for name, part in self._named("clusters")
        }
        self.identities = {
            name: self._part(IdentityPart, part, ("identities", name)) for name, part in self._named("identities")
        }

    def _host(self, value: Any) -> str | None:
        if value is None or (isinstance(value, str) and value.strip() and value.isprintable()):
            return value
        self._findings.add(("host",), "is no name: write the host's name in quotes")
        return None

    def _named(self, key: str) -> list[tuple[str, Any]]:
        part = self._values.get(key, {})
        if part == {} and key in self._may_be_empty:
            return []
        if not isinstance(part, dict) or not part:
            self._findings.add((key,), "is missing or empty; write at least one, by its name")
            return []
        named = []
        for name, below in part.items():
            if isinstance(name, str) and name and name.isprintable() and not set(name) & set(" /{}\"'\\"):
                named.append((name, below))
            else:
                self._findings.add((key, str(name)), "is no name; write letters, digits, dot, hyphen")
        return named

    def _issuer(self, value: Any, location: Location) -> AnyIssuerPart | None:
        kind = value.get("type") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in _ISSUERS:
            what = f"{shown(kind)} is not known" if kind is not None else "is missing"
            self._findings.add((*location, "type"), f"{what}: write one of {', '.join(_ISSUERS)}")
            return None
        return self._part(_ISSUERS[kind], value, location)

    def _part(self, model: type[PartType], value: Any, location: Location) -> PartType:
        part, wrong = validate(model, value)
        for below, error in wrong:
            self._findings.add_error((*location, *below), error, known_keys(model, below))
        return part
