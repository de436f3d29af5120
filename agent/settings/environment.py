"""Settings that variables of the environment make; imported only where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings.sources.utils import parse_env_vars

from agent.settings.model import Settings
from agent.settings.wording import DELIMITER, PREFIX, suggestion, variable_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.settings.wording import Findings

NAMED = ("issuers", "clusters", "identities")
"""The parts whose keys are names that the operator chose."""
_LONGEST_INDEX = 6
"""Digits; a configuration has fewer values than that says."""


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
    variable: the identity `Broker-1` is set by `CERT_AGENT__IDENTITIES__BROKER_1__LIFETIME`. Elements of
    a list are counted from 0: `CERT_AGENT__IDENTITIES__BROKER_1__RELOAD__0__NODE_ID`.
    """
    joined: dict[str, Any] = dict(values)
    for name in sorted(environment):
        if name.upper().startswith(PREFIX):
            for what in _mistakes(name, environment, values):
                findings.note("environment", name, what)
                break
            else:
                joined = merge(joined, _Source({name: environment[name]})())
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
    if rest:
        yield from _astray(first, rest, values.get(first))
    try:
        value.encode()
    except UnicodeEncodeError:
        yield "is not UTF-8 text; write it as UTF-8"
    try:
        _Source({name: value})()
    except Exception:  # noqa: BLE001 - pydantic-settings wraps whatever a value's parsing raises
        yield "cannot be read; write a text or a number, or JSON for a list"


def _astray(first: str, rest: Sequence[str], at: Any) -> Iterator[str]:
    """Yield why nothing, or more than one thing, in the file is meant by what the operator named or counted there."""
    path, must_be_there = first, first in NAMED
    for key in rest:
        path += f".{key}"
        names = at if isinstance(at, dict) else {}
        elements = at if isinstance(at, list) else []
        index = _index(key, elements)
        meant = [name for name in names if _folded(str(name)) == _folded(key)]
        must_be_there |= isinstance(at, list) or (at is None and key.isdecimal())
        if len(meant) > 1:
            yield f"means each of {', '.join(f'`{one}`' for one in meant)}; set it in the file, or rename all but one"
        elif must_be_there and not meant and index is None:
            near = suggestion(key, [str(one).lower() for one in names])
            yield f"the file has no `{path}`; {f'did you mean `{near}`?' if near else 'name one that it has'}"
        at = names[meant[0]] if meant else elements[index] if index is not None else None
        must_be_there = False


def merge(below: Any, above: Any) -> Any:
    """Return `below` with what `above` sets; mappings are joined, elements counted, all else is replaced.

    A name of `above` is that of `below` which no variable could tell apart from it.
    """
    if isinstance(below, dict) and isinstance(above, dict):
        names = {_folded(str(name)): name for name in reversed(below)}
        meant = {name if name in below else names.get(_folded(name), name): value for name, value in above.items()}
        return below | {name: merge(below.get(name), value) for name, value in meant.items()}
    if isinstance(below, list) and isinstance(above, dict):
        counted = {_index(key, below): value for key, value in above.items()}
        if counted and None not in counted:
            return [merge(one, counted[index]) if index in counted else one for index, one in enumerate(below)]
    return above


def _index(key: str, elements: Sequence[Any]) -> int | None:
    is_number = key.isascii() and key.isdecimal() and len(key) <= _LONGEST_INDEX
    return int(key) if is_number and int(key) < len(elements) else None


def _folded(name: str) -> str:
    return variable_of((name,))
