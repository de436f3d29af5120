"""A part of the settings as far as it is right, so that one mistake in it hides no other."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from agent.settings.model import BRANCHED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from agent.settings.wording import Location

PartType = TypeVar("PartType", bound=BaseModel)

_NOTHING: Final = object()


def validate(model: type[PartType], value: Any) -> tuple[PartType, list[tuple[Location, ErrorDetails]]]:
    """Return the part and what is wrong in it, each with its location below the part.

    A part with mistakes has what is right of it, down to single keys. A field that is wrong has
    its default, or is no attribute at all where it has none; an element of a list whose kind
    nobody can tell is None.
    """
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        found = [(_location(detail["loc"]), detail) for detail in error.errors(include_url=False)]
    return _rest(model, value, [location for location, _ in found]), found


def _location(raw: tuple[int | str, ...]) -> Location:
    """Leave out what pydantic names and is no key of the file: the branch of a union, and that a key is wrong."""
    branch = BRANCHED.get(str(raw[0])) if raw else None
    location = raw if branch is None else (*raw[:branch], *raw[branch + 1 :])
    return location[:-1] if location[-1:] == ("[key]",) else location


def _rest(model: type[PartType], value: Any, wrong: Sequence[Location]) -> PartType:
    if not isinstance(value, dict):
        return model.model_construct()
    right = {}
    for name, field in model.model_fields.items():
        if name in value:
            below = [location[1:] for location in wrong if location[:1] == (name,)]
            kept = _kept(field, value[name], below) if below else _adapter(model, name).validate_python(value[name])
            if kept is not _NOTHING:
                right[name] = kept
    return model.model_construct(**right)


def _kept(field: FieldInfo, value: Any, wrong: Sequence[Location]) -> Any:
    models = tuple(_models(field.annotation))
    if () in wrong or not models:
        return _NOTHING
    if isinstance(value, dict) and get_origin(field.annotation) is not dict:
        return _rest(next((model for model in models if _is_kind(model, value)), models[0]), value, wrong)
    named = isinstance(value, dict)
    elements = ((key, one) for key, one in value.items() if isinstance(key, str)) if named else enumerate(value)
    kept = {key: _element(models, one, [below[1:] for below in wrong if below[0] == key]) for key, one in elements}
    return kept if named else [*kept.values()]


def _element(models: Sequence[type[BaseModel]], value: Any, wrong: Sequence[Location]) -> BaseModel | None:
    if not isinstance(value, dict):
        return None
    return next((_rest(model, value, wrong) for model in models if _is_kind(model, value)), None)


def _is_kind(model: type[BaseModel], value: dict[Any, Any]) -> bool:
    """Return whether the key that tells kinds apart, where a model has one, says that it is this."""
    kinds = ((name, field.annotation) for name, field in model.model_fields.items() if field.is_required())
    return all(value.get(name) in get_args(kind) for name, kind in kinds if get_origin(kind) is Literal)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from _models(argument)


@cache
def _adapter(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    field = model.model_fields[name]
    annotation: Any = field.annotation
    for metadata in field.metadata:
        annotation = Annotated[annotation, metadata]
    if field.discriminator is not None:
        annotation = Annotated[annotation, Field(discriminator=field.discriminator)]
    return TypeAdapter(annotation)


def known_keys(model: type[BaseModel], location: Location) -> list[str]:
    """Return every key that the part knows, below it too where the location is deeper, for a suggestion."""
    here = list(model.model_fields)
    name = location[0] if location else ""
    if len(location) < 2 or name not in model.model_fields:
        return here
    return [
        key
        for below in _models(model.model_fields[str(name)].annotation)
        for key in known_keys(below, tuple(part for part in location[1:] if isinstance(part, str)))
    ]
