"""Messages for invalid settings: where it was said, which setting, and what to do."""

from __future__ import annotations

import difflib
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin

from pydantic import (
    BaseModel,
)

from proxy.config.section import WrongSetting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

    from proxy.config.origins import Place, Source

_GROUP: Final = "a group of settings is needed here: one 'key: value' a line, indented"
_LIST: Final = 'a list is needed, such as ["a", "b"]'
# By the beginning of pydantic's type of error. {} is filled from its context.
_SENTENCES: Final[Mapping[str, str]] = {
    "int": "a whole number is needed",
    "float": "a number is needed",
    "finite": "a number is needed",
    "bool": "true or false is needed",
    "string_too_short": "it must not be empty",
    "string": "text is needed; put a number or a date between quotes",
    "bytes": "text is needed",
    "path": "a path is needed",
    "missing": "it is missing",
    "model": _GROUP,
    "dict": _GROUP,
    "mapping": _GROUP,
    "tuple": _LIST,
    "list": _LIST,
    "too_short": "at least {min_length} is needed",
    "greater_than_equal": "it must be at least {ge}",
    "greater_than": "it must be more than {gt}",
    "less_than_equal": "it must be at most {le}",
    "less_than": "it must be less than {lt}",
    "literal_error": "it must be {expected}",
    "enum": "it must be {expected}",
}


def sentence(error: ErrorDetails, settings: type[BaseModel], source: Source) -> str:
    """Describe one mistake; for an unknown key, name the nearest known one."""
    raised = error.get("ctx", {}).get("error")
    below = raised.place if isinstance(raised, WrongSetting) else ()
    return at((*error["loc"], *below), _message(error, settings), source)


def at(place: Place, message: str, source: Source) -> str:
    """`message` about the setting at `place`, after its origin and its name."""
    origin = source.find(place)
    name = ".".join(map(str, place))
    return ": ".join(filter(None, (origin, name, message)))


def _message(error: ErrorDetails, settings: type[BaseModel]) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        known = _known_keys(error["loc"][:-1], settings)
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
        return f"there is no such setting; {hint}"
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    begins = (known for known in _SENTENCES if kind == known or kind.startswith(f"{known}_"))
    best = max(begins, key=len, default=None)
    if best is None:
        return error["msg"]
    context: dict[str, Any] = error.get("ctx", {})
    return _SENTENCES[best].format(**context)


def _known_keys(place: Place, settings: type[BaseModel]) -> list[str]:
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
