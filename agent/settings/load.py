"""Read the settings and find every mistake in them at once; nothing is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from agent.errors import ConfigurationError, Mistake
from agent.settings.border import Border
from agent.settings.model import (
    HttpPart,
    IdentityPart,
    LocalCaPart,
    LogPart,
    Settings,
    VaultPart,
)
from agent.settings.source import merge, read_environment, read_yaml
from agent.settings.wording import Wording

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic.fields import FieldInfo

    from agent.core.configuration import Configuration

PartType = TypeVar("PartType", bound=BaseModel)

_ISSUERS: Mapping[Any, type[LocalCaPart | VaultPart]] = {"local_ca": LocalCaPart, "vault": VaultPart}


def load(path: Path, environment: Mapping[str, str], hostname: str) -> Configuration:
    """Return the configuration of the YAML file at `path`, with what `CERT_AGENT__…` variables set.

    Relative paths count from the file's folder. Raise `ConfigurationError` with every mistake.
    """
    path = path.absolute()
    values = read_yaml(path)
    found, mistakes = read_environment(environment, values)
    reading = _Reading(Wording(str(path), environment), mistakes)
    reading.keys(merge(values, found))
    border = Border(path, reading.host or hostname, environment, reading.wording, reading.mistakes)
    configuration = border.configuration(reading.http, reading.log, reading.issuers, reading.identities)
    if reading.mistakes:
        unique = dict.fromkeys(reading.mistakes)
        raise ConfigurationError(tuple(unique))
    return configuration


class _Reading:
    """The parts of the settings; one that is wrong hides no mistake in another."""

    def __init__(self, wording: Wording, mistakes: list[Mistake]) -> None:
        self.wording = wording
        self.mistakes = mistakes
        self.http = HttpPart()
        self.log = LogPart()
        self.host: str | None = None
        self.issuers: dict[str, LocalCaPart | VaultPart | None] = {}
        self.identities: dict[str, IdentityPart] = {}

    def keys(self, values: Mapping[str, Any]) -> None:
        """Read the keys of the file."""
        for key in values:
            if key not in Settings.model_fields:
                error = {"type": "extra_forbidden", "loc": (key,), "input": None, "msg": ""}
                self.mistakes.append(self.wording.of((), error, Settings.model_fields))  # type: ignore[arg-type]
        self.http = self._part(HttpPart, values.get("http", {}), ("http",))
        self.log = self._part(LogPart, values.get("log", {}), ("log",))
        host = values.get("host")
        if host is None or (isinstance(host, str) and host):
            self.host = host
        else:
            self._wrong(("host",), "is no name: write the host's name in quotes")
        for name, part in self._named(values, "issuers"):
            self.issuers[name] = self._issuer(part, ("issuers", name))
        for name, part in self._named(values, "identities"):
            self.identities[name] = self._part(IdentityPart, part, ("identities", name))

    def _named(self, values: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
        part = values.get(key)
        if not isinstance(part, dict) or not part:
            self._wrong((key,), "is missing or empty; write at least one, by its name")
            return []
        named = []
        for name, below in part.items():
            if isinstance(name, str) and name and name.isprintable() and not set(name) & set(" /{}\"'\\"):
                named.append((name, below))
            else:
                self._wrong((key, str(name)), "is no name; write letters, digits, dot, hyphen")
        return named

    def _issuer(self, value: Any, location: tuple[str, ...]) -> LocalCaPart | VaultPart | None:
        kind = value.get("type") if isinstance(value, dict) else None
        if kind not in _ISSUERS:
            what = f"{kind!r} is not known" if kind is not None else "is missing"
            self._wrong((*location, "type"), f"{what}: write one of {', '.join(_ISSUERS)}")
            return None
        return self._part(_ISSUERS[kind], value, location)

    def _part(self, model: type[PartType], value: Any, location: tuple[str, ...]) -> PartType:
        """Return a part; where it is wrong, one that has all the fields that are right."""
        try:
            return model.model_validate(value)
        except ValidationError as error:
            wrong = set()
            for detail in error.errors(include_url=False):
                self.mistakes.append(self.wording.of(location, detail, _known(model, detail["loc"])))
                wrong.add(detail["loc"][0] if detail["loc"] else "")
        if not isinstance(value, dict):
            return model.model_construct()
        right = {
            name: TypeAdapter(_annotated(field)).validate_python(value[name])
            for name, field in model.model_fields.items()
            if name in value and name not in wrong
        }
        return model.model_construct(**right)

    def _wrong(self, location: tuple[str | int, ...], what: str) -> None:
        self.mistakes.append(self.wording.mistake(location, what))


def _annotated(field: FieldInfo) -> Any:
    annotation: Any = field.annotation
    for metadata in field.metadata:
        annotation = Annotated[annotation, metadata]
    if field.discriminator is not None:
        from pydantic import Field

        annotation = Annotated[annotation, Field(discriminator=field.discriminator)]
    return annotation


def _known(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return every key that the part knows at any depth, for a suggestion."""
    keys: list[str] = []
    waiting: list[Any] = [model]
    depth = len([part for part in location if isinstance(part, str)])
    while waiting:
        one = waiting.pop()
        if isinstance(one, type) and issubclass(one, BaseModel):
            keys += one.model_fields
            if depth > 1:
                waiting += [field.annotation for field in one.model_fields.values()]
        else:
            waiting += getattr(one, "__args__", ())
    return keys
