"""What is found wrong, as one line for an operator: where it stands and what to write instead."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias

from agent.errors import Mistake
from agent.net.words import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

PREFIX = "CERT_AGENT__"
DELIMITER = "__"

Location: TypeAlias = tuple[str | int, ...]

_LONGEST_VALUE = 60
_LONGEST_KEY = 80

_WORDS = {
    "string_type": "is no text: write it in quotes",
    "string_too_short": "is empty: write it",
    "string_pattern_mismatch": "is no country: write two capital letters, as CH",
    "list_type": "is no list: write [one, two] or a line with a hyphen for each",
    "dict_type": "is no mapping: write keys below it",
    "model_type": "is no mapping: write keys below it",
    "model_attributes_type": "is no mapping: write keys below it",
    "invalid_key": "is a key that is no text: write it in quotes",
    "bool_parsing": "is neither: write true or false",
    "bool_type": "is neither: write true or false",
    "int_parsing": "is no whole number: write one as 1",
    "int_type": "is no whole number: write one as 1",
    "int_from_float": "is no whole number: write one as 1",
    "float_parsing": "is no number: write one as 0.66",
    "float_type": "is no number: write one as 0.66",
    "greater_than": "is not between 0 and 1: write a share as 0.66",
    "less_than": "is not between 0 and 1: write a share as 0.66",
    "path_type": "is no path: write one in quotes",
    "too_short": "is empty: write at least one",
}


def key_path(location: Iterable[str | int]) -> str:
    """Return a key's path as `identities.broker.sans.ip[0]`."""
    path = ""
    for part in location:
        key = part if isinstance(part, int) else _cut(part, _LONGEST_KEY)
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else key
    return path


def variable_of(location: Iterable[str | int]) -> str:
    """Return the name of the variable that sets a key; what no shell lets stand in one is an underscore."""
    return PREFIX + DELIMITER.join(_NOT_IN_A_VARIABLE.sub("_", str(part).upper()) for part in location)


_NOT_IN_A_VARIABLE = re.compile(r"[^A-Z0-9_]")


class Findings:
    """The mistakes that were found, and where: what is wrong already is not blamed for what follows from it."""

    def __init__(self, file: str, environment: Mapping[str, str]) -> None:
        self._file = file
        self._variables = {
            _NOT_IN_A_VARIABLE.sub("_", name.upper()): name for name in environment if name.upper().startswith(PREFIX)
        }
        self._mistakes: dict[Mistake, None] = {}
        self._wrong: set[Location] = set()

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """Each mistake once, in the order in which they were found."""
        return tuple(self._mistakes)

    def sound(self, location: Location, *keys: str) -> bool:
        """Return whether nothing was found wrong at or below any of these keys of a location, or above them."""
        asked = [(*location, key) for key in keys] or [location]
        return not any(wrong[: len(one)] == one or one[: len(wrong)] == wrong for wrong in self._wrong for one in asked)

    def add(self, location: Location, what: str) -> None:
        """Note a mistake at a key; its place is the environment where a variable set it."""
        self._wrong.add(location)
        self.note(*self._place(location), what)

    def note(self, place: str, key: str, what: str) -> None:
        """Note a mistake at a place of its own."""
        self._mistakes[Mistake(escaped(place), escaped(key), escaped(what))] = None

    def add_error(self, location: Location, error: ErrorDetails, known: Iterable[str]) -> None:
        """Note one finding of pydantic; `known` are the keys that may stand there."""
        self.add((*location, *_tag(error)), _what(error, location, known))

    def _place(self, location: Location) -> tuple[str, str]:
        for end in range(len(location), 0, -1):
            # A variable that sets a list sets all of its elements.
            variable = self._variables.get(variable_of(location[:end]))
            if variable is not None and (end == len(location) or isinstance(location[end], int)):
                return "environment", variable
        return self._file, key_path(location)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the known name that is nearest, or nothing."""
    near = get_close_matches(name[:_LONGEST_KEY], known, n=1)
    return near[0] if near else ""


def _tag(error: ErrorDetails) -> tuple[str, ...]:
    """Return the key that tells kinds apart, where it is that key which is wrong."""
    if error["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return (str(error.get("ctx", {}).get("discriminator", "type")).strip("'"),)
    return ()


def _what(error: ErrorDetails, location: Location, known: Iterable[str]) -> str:
    kind, value = error["type"], _shown_at(error["input"], location)
    match kind:
        case "extra_forbidden":
            near = suggestion(str(location[-1]), known)
            return f"is no key that is known here; {f'did you mean `{near}`?' if near else 'leave it out'}"
        case "missing" | "union_tag_not_found":
            return "is missing; write it"
        case "union_tag_invalid":
            context = error.get("ctx", {})
            tags = str(context.get("expected_tags", "")).replace("'", "")
            return f"{shown(context.get('tag'))} is not known: write one of {tags}"
        case "greater_than_equal":
            return f"{value} is too small: write {error.get('ctx', {}).get('ge')} or more"
        case "less_than_equal":
            return f"{value} is too large: write {error.get('ctx', {}).get('le')} or less"
        case "enum" | "literal_error":
            expected = str(error.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ")
            return f"{value} is not known: write one of {expected}"
        case "value_error":
            return error["msg"].removeprefix("Value error, ")
        case _:
            return f"{value} {_WORDS[kind]}" if kind in _WORDS else f"{value}: {error['msg']}"


def shown(value: Any) -> str:
    """Return a value for a message: short, in one line, and of a collection only what it is."""
    match value:
        case dict():
            return "a mapping"
        case list() | tuple() | set():
            return "a list"
        case str() if "@" in value:
            return "the text"  # which may hold a user and a password
        case str():
            return repr(_cut(value, _LONGEST_VALUE))
        case int() if value.bit_length() > _LONGEST_VALUE:
            return "a huge number"
        case bool() | int() | float() | None:
            return repr(value)
        case _:
            return f"a value of YAML's {type(value).__name__}"


def _shown_at(value: Any, location: Location) -> str:
    """Show a value, unless it stands where a person may have written the secret itself."""
    key = next((part for part in reversed(location) if isinstance(part, str)), "")
    return (
        "the value"
        if key in ("auth", "files", "sasl")
        or key.startswith(("password", "token", "secret_id", "role_id", "external_id"))
        else shown(value)
    )


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
