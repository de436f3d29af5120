"""Settings that variables of the environment make; imported only where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings.sources.utils import parse_env_vars

from agent.settings.model import Settings
from agent.settings.source import merge
from agent.settings.wording import DELIMITER, PREFIX, suggestion, variable_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.settings.wording import Findings

NAMED = ("issuers", "identities")
"""The parts whose keys are names that the operator chose."""


class _FromEnvironment(Settings, BaseSettings):
    model_config = SettingsConfigDict(
        extra="forbid", env_prefix=PREFIX, env_nested_delimiter=DELIMITER, case_sensitive=False
    )


class _Source(EnvSettingsSource):
    """The variables that are passed in, instead of the process's own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._given = environment
        super().__init__(_FromEnvironment)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return parse_env_vars(self._given, self.case_sensitive, self.env_ignore_empty, self.env_parse_none_str)


def overlay(environment: Mapping[str, str], values: Mapping[str, Any], findings: Findings) -> dict[str, Any]:
    """Return the file's `values` with what the variables set, each that is wrong noted by its name.

    Names are compared without case, and with an underscore for what no shell lets stand in a
    variable: the identity `Broker-1` is set by `CERT_AGENT__IDENTITIES__BROKER_1__LIFETIME`.
    """
    above: dict[str, Any] = {}
    for name in sorted(environment):
        if name.upper().startswith(PREFIX):
            for what in _mistakes(name, environment, values):
                findings.note("environment", name, what)
                break
            else:
                above = merge(above, _named_as_in(values, _Source({name: environment[name]})()))
    joined: dict[str, Any] = merge(values, above)
    return joined


def _mistakes(name: str, environment: Mapping[str, str], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with one variable, before anything is made of it."""
    value = environment[name]
    twin = next((other for other in sorted(environment) if other != name and _folded(other) == _folded(name)), None)
    if twin is not None:
        yield f"stands beside {twin}, and case does not count; unset one of them"
    first, *rest = name[len(PREFIX) :].lower().split(DELIMITER)
    if first not in Settings.model_fields:
        near = suggestion(first, Settings.model_fields)
        advice = (
            f"did you mean {variable_of((near, *rest))}?" if near else f"there are {', '.join(Settings.model_fields)}"
        )
        yield f"there is no setting `{first}`; {advice}"
    if first in NAMED and rest:
        names = values.get(first)
        known = [str(one) for one in names] if isinstance(names, dict) else []
        meant = [one for one in known if _folded(one) == _folded(rest[0])]
        if len(meant) > 1:
            yield f"means each of {', '.join(f'`{one}`' for one in meant)}; set it in the file, or rename all but one"
        if not meant:
            near = suggestion(rest[0], [one.lower() for one in known])
            advice = f"did you mean `{near}`?" if near else "name one that it has"
            yield f"the file has no `{first}.{rest[0]}`; {advice}"
    try:
        value.encode()
    except UnicodeEncodeError:
        yield "is not UTF-8 text; write it as UTF-8"
    try:
        _Source({name: value})()
    except Exception:  # noqa: BLE001 - pydantic-settings wraps whatever a value's parsing raises
        yield "cannot be read; write a text or a number, or JSON for a list"


def _folded(name: str) -> str:
    return variable_of((name,))


def _named_as_in(values: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    for part in NAMED:
        named = values.get(part)
        if isinstance(found.get(part), dict) and isinstance(named, dict):
            names = {_folded(str(name)): name for name in named}
            found[part] = {names.get(_folded(name), name): value for name, value in found[part].items()}
    return found
