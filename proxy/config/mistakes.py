"""Messages for invalid settings."""

from __future__ import annotations

import difflib
from types import UnionType
from typing import TYPE_CHECKING, Union, get_args, get_origin

from pydantic import (
    BaseModel,
)

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def sentence(error: ErrorDetails, settings: type[BaseModel]) -> str:
    """Describe one mistake; for an unknown key, name the nearest known one."""
    place = ".".join(map(str, error["loc"]))
    if error["type"] != "extra_forbidden":
        message = error["msg"].removeprefix("Value error, ")
        return f"{place}: {message}" if place else message
    known = _known_keys(error["loc"][:-1], settings)
    near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(sorted(known))}"
    return f"{place}: there is no such setting{hint}"


def _known_keys(place: tuple[int | str, ...], settings: type[BaseModel]) -> list[str]:
    section = settings
    for key in place:
        field = section.model_fields.get(str(key))
        # Below `upstreams` is a name, which is no field, and below that are fields again.
        for part in (field.annotation, *_parts(field.annotation)) if field else ():
            if isinstance(part, type) and issubclass(part, BaseModel):
                section = part
    return list(section.model_fields)


def _parts(annotation: object) -> tuple[object, ...]:
    return get_args(annotation) if get_origin(annotation) in {Union, UnionType, dict, tuple} else ()
