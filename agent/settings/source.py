"""Where settings come from: one YAML file, and the environment over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from pydantic_settings import EnvSettingsSource
from pydantic_settings.sources.utils import parse_env_vars

from agent.errors import ConfigurationError, Mistake
from agent.settings.model import DELIMITER, PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from pathlib import Path

LARGEST = 1024 * 1024
"""Bytes of a configuration file."""
MOST_NODES = 200_000
"""Values after YAML's aliases have been followed; a file that unfolds to more is an attack or an accident."""


class _Loader(yaml.SafeLoader):
    """A safe loader that takes a key that stands twice for a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Construct it, keys once."""
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key != "<<" and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"`{key}` stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the file's values; raise `ConfigurationError` for what cannot be read as a mapping."""

    def wrong(what: str) -> ConfigurationError:
        return ConfigurationError((Mistake(str(path), "", what),))

    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise wrong(f"cannot be read: {error.strerror}; name the file with --config or CERT_AGENT_CONFIG") from error
    if len(content) > LARGEST:
        raise wrong(f"is larger than {LARGEST} bytes; name the configuration")
    try:
        values = yaml.load(content, _Loader)  # noqa: S506 - a safe loader with one more rule
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise wrong(f"{line}{error.problem or 'is no YAML'}; mend the YAML there") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise wrong(f"is no YAML: {first}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise wrong("is no mapping; begin with `issuers:` and `identities:`")
    if _count(values, MOST_NODES) > MOST_NODES:
        raise wrong(f"unfolds to more than {MOST_NODES} values; use fewer YAML aliases")
    return values


def _count(value: Any, most: int) -> int:
    """Count the values, aliases followed, and stop beyond `most`."""
    count, waiting = 0, [value]
    while waiting and count <= most:
        one = waiting.pop()
        count += 1
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return count


class _Environment(EnvSettingsSource):
    """The variables that are passed in, instead of the process's own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._given = environment
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return parse_env_vars(self._given, self.case_sensitive, self.env_ignore_empty, self.env_parse_none_str)


def read_environment(environment: Mapping[str, str], values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Mistake]]:
    """Return the settings that `CERT_AGENT__…` variables make, and a mistake for each that names none.

    Names are compared without case, so an identity or issuer is found under the name that the
    file in `values` gives it.
    """
    mistakes = []
    for name in sorted(environment):
        if name.upper().startswith(PREFIX):
            first = name[len(PREFIX) :].split(DELIMITER)[0].lower()
            if first not in Settings.model_fields:
                known = ", ".join(Settings.model_fields)
                mistakes.append(Mistake("environment", name, f"there is no setting `{first}`; there are {known}"))
    found: dict[str, Any] = {}
    if any(name.upper().startswith(PREFIX) for name in environment):
        try:
            found = _Environment(environment)()
        except Exception as error:  # noqa: BLE001 - pydantic-settings wraps whatever a value's parsing raises
            mistakes.append(Mistake("environment", PREFIX + "…", f"{error}; write a scalar"))
    return _as_named(found, values), mistakes


def _as_named(found: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    for part in ("issuers", "identities"):
        named = values.get(part)
        if isinstance(found.get(part), dict) and isinstance(named, dict):
            names = {str(name).lower(): name for name in named}
            found[part] = {names.get(name, name): value for name, value in found[part].items()}
    return found


def merge(below: Any, above: Any) -> Any:
    """Return `below` with what `above` sets; mappings are joined, all else is replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: merge(below.get(key), value) for key, value in above.items()}
    return above
