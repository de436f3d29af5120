"""Where settings come from: one YAML file, and the environment over it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from agent.errors import ConfigurationError, Mistake

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 1024 * 1024
"""Bytes of a configuration file."""
MOST_NODES = 200_000
"""Values after YAML's aliases have been followed; a file that unfolds to more is an attack or an accident."""

_NAMED = re.compile(r"(alias|anchor|tag|tag handle) '[^']*'")


class _Loader(yaml.SafeLoader):
    """A safe loader that takes a key that stands twice for a mistake."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose it, keys once; what `<<` merges into it comes later, and may be overridden."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen:
                raise yaml.composer.ComposerError(None, None, f"`{key}` stands twice", key_node.start_mark)
            seen.add(key)
        return node


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
        values = _parse(content)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        # An alias, an anchor or a tag may be a password that begins with *, & or ! and is not quoted.
        problem = _NAMED.sub(r"\1", error.problem or "is no YAML")
        raise wrong(f"{line}{problem}; mend the YAML there, quotes help") from None
    except yaml.reader.ReaderError as error:
        raise wrong(f"is no text at byte {error.position + 1}; write it as UTF-8") from None
    except _TooMuchError:
        raise wrong(f"unfolds to more than {MOST_NODES} values; use fewer YAML aliases") from None
    except RecursionError:
        raise wrong("is nested too deep; write it flatter") from None
    except Exception as error:  # noqa: BLE001 - PyYAML lets through whatever a value's constructor raises
        raise wrong(f"is no YAML ({type(error).__name__}); mend what stands behind a !!tag, or quote it") from None
    if values is None:
        values = {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise wrong("is no mapping; begin with `issuers:` and `identities:`")
    return values


class _TooMuchError(Exception):
    """The file is small and what it says is not."""


def _parse(content: bytes) -> Any:
    loader = _Loader(content)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check(root: yaml.Node) -> None:
    """Count the values, aliases and merges followed, before anything is made of them; look at each text."""
    count, waiting = 0, [root]
    while waiting:
        node = waiting.pop()
        count += 1
        if count > MOST_NODES:
            raise _TooMuchError
        if isinstance(node, yaml.ScalarNode):
            # What no path, no name and no terminal can hold: NUL, and half a character.
            if "\0" in node.value or any("\ud800" <= one <= "\udfff" for one in node.value):
                what = "a text holds NUL or half a character, which nothing can use"
                raise yaml.composer.ComposerError(None, None, what, node.start_mark)
        elif isinstance(node, yaml.MappingNode):
            waiting += [one for pair in node.value for one in pair]
        else:
            waiting += node.value
