"""What pydantic finds wrong, as one line for an operator: where it stands and what to write instead."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from agent.errors import Mistake
from agent.settings.model import DELIMITER, PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

_LONGEST_VALUE = 60

_WORDS = {
    "string_type": "is no text: write it in quotes",
    "list_type": "is no list: write [one, two] or a line with a hyphen for each",
    "model_type": "is no mapping: write keys below it",
    "model_attributes_type": "is no mapping: write keys below it",
    "dict_type": "is no mapping: write a name with its keys below it",
    "bool_parsing": "is neither: write true or false",
    "bool_type": "is neither: write true or false",
    "float_parsing": "is no number: write one as 0.66",
    "float_type": "is no number: write one as 0.66",
    "path_type": "is no path: write one in quotes",
    "too_short": "is empty: write at least one",
}


def key_path(location: Iterable[str | int]) -> str:
    """Return a key's path as `identities.broker.sans.ip[0]`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


class Wording:
    """Makes mistakes of a file's settings, which some variables of the environment may have set."""

    def __init__(self, file: str, environment: Mapping[str, str]) -> None:
        self._file = file
        self._variables = {name.upper(): name for name in environment if name.upper().startswith(PREFIX)}

    def mistake(self, location: tuple[str | int, ...], what: str) -> Mistake:
        """Return a mistake at a key; the place is the environment where a variable set it."""
        variable = PREFIX + DELIMITER.join(str(part).upper() for part in location)
        if location and variable in self._variables:
            return Mistake("environment", self._variables[variable], what)
        return Mistake(self._file, key_path(location), what)

    def of(self, prefix: tuple[str | int, ...], error: ErrorDetails, known: Iterable[str]) -> Mistake:
        """Return one finding of pydantic below `prefix`; `known` are the keys that may stand there."""
        # A union's branch is named in the location, and is no key of the file.
        branches = ("local_ca", "vault", "pem", "pkcs12", "str", "SubjectPart")
        raw = error["loc"]
        location = (*prefix, *(part for index, part in enumerate(raw) if not _is_branch(raw, index, branches)))
        return self.mistake(location, _what(error, location, known))


def _is_branch(location: tuple[int | str, ...], index: int, branches: tuple[str, ...]) -> bool:
    part = location[index]
    if part not in branches:
        return False
    before = location[index - 1] if index else None
    return before is None or isinstance(before, int) or before == "subject"


def _what(error: ErrorDetails, location: tuple[str | int, ...], known: Iterable[str]) -> str:
    kind, value = error["type"], error["input"]
    match kind:
        case "extra_forbidden":
            name = str(location[-1])
            near = get_close_matches(name, known, n=1)
            return (
                f"is no key that is known here; did you mean `{near[0]}`?" if near else "is no key that is known here"
            )
        case "missing":
            return "is missing; write it"
        case "union_tag_not_found":
            tag = error.get("ctx", {}).get("discriminator", "'type'")
            return f"has no {str(tag).replace(chr(39), '`')}; write one"
        case "union_tag_invalid":
            context = error.get("ctx", {})
            tags = str(context.get("expected_tags", "")).replace("'", "")
            return f"is of no kind that is known, {_shown(context.get('tag'))}: write one of {tags}"
        case "enum" | "literal_error":
            expected = str(error.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ")
            return f"{_shown(value)} is not known: write one of {expected}"
        case "value_error":
            return error["msg"].removeprefix("Value error, ")
        case _:
            return f"{_shown(value)} {_WORDS[kind]}" if kind in _WORDS else f"{_shown(value)}: {error['msg']}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
