"""A settings file: YAML, with the line and column of each setting, and of each mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, SequenceNode

from proxy.config.origins import Source
from proxy.config.section import SettingsError, SettingsUnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from yaml.error import Mark, MarkedYAMLError
    from yaml.nodes import Node

    from proxy.config.origins import Place

# Errors that PyYAML does not wrap: invalid dates, numbers and tags.
_NOT_WRAPPED: Final = (ValueError, LookupError, AttributeError)
_BAD_VALUE: Final = "this value is not what its form or its tag says; put text between quotes"
# A part of what PyYAML says about a mistake, and what to say instead.
_SENTENCES: Final = {
    "\\t": "there is a tab; indent with spaces",
    "mapping values are not allowed": "there is a second ':' in this line, or the line is "
    "indented further than the one above; put a value that contains ': ' between quotes",
    "could not find expected ':'": "a ':' is missing after the key, or the line is indented less "
    "than the one above",
    "expected <block end>": "the indentation differs from that of the lines above, or the line "
    "begins with something that is no key",
    "expected ',' or": "a bracket is not closed, or a comma is missing",
    "found unexpected end of stream": "a quote is not closed",
    "could not determine a constructor": "tags such as !!python are not allowed",
    "undefined alias": "there is no anchor (&name) for this alias (*name)",
    "found another document": "a second document begins here; settings are one document",
    "expected the node content": "a value is missing, or a bracket is not closed",
    "cannot start any token": "a value cannot begin with this character; put it between quotes",
    "unhashable key": "a key is text, and no list or group",
    _BAD_VALUE: _BAD_VALUE,
}


class _Loader(yaml.SafeLoader):
    """Knows where a value is that cannot be constructed."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 -- PyYAML's signature
        try:
            return super().construct_object(node, deep)
        except _NOT_WRAPPED:
            raise ConstructorError(None, None, _BAD_VALUE, node.start_mark) from None


def read_file(path: Path | None) -> Source:
    """Read a settings file; an empty source for None.

    SettingsError with path, line and column if it is not YAML.
    """
    if path is None:
        return Source()
    origins: dict[Place, str] = {}
    try:
        loader = _Loader(path.read_bytes())
        node = loader.get_single_node()
        if node is not None:
            # Constructing changes nodes: it resolves `<<`.
            _collect(path, node, origins)
        content = None if node is None else loader.construct_document(node)
    except OSError as error:
        raise SettingsUnreadableError(_unreadable(path, error)) from None
    except yaml.MarkedYAMLError as error:
        raise SettingsError(f"{_at(path, _mark(error))}: {_sentence(error)}") from None
    except yaml.YAMLError:
        raise SettingsError(f"{path} is not UTF-8 text") from None
    except RecursionError:
        raise SettingsError(f"{path} has too many brackets inside each other") from None
    if content is None:
        return Source()
    if not isinstance(content, dict):
        raise SettingsError(f"{path}:1:1: settings are 'key: value', one a line")
    return Source({str(key): value for key, value in content.items()}, origins)


def _collect(path: Path, node: Node, origins: dict[Place, str]) -> None:
    """Write the origin of each key into `origins`; SettingsError if a key is there twice."""
    for place, mark in _positions(node, (), set()):
        if place in origins:
            line = origins[place].rsplit(":", 2)[1]
            name = ".".join(map(str, place))
            raise SettingsError(
                f"{_at(path, mark)}: {name}: line {line} says it, too; remove one of them"
            )
        origins[place] = _at(path, mark)


def _unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no settings file {path}"
    if isinstance(error, IsADirectoryError):
        return f"{path} is a directory; name a settings file"
    return f"{path} cannot be read: {error.strerror}"


def _positions(node: Node, above: Place, seen: set[int]) -> Iterator[tuple[Place, Mark]]:
    """The place of each key and list entry, and where it stands; `seen` are nodes with aliases."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, MappingNode):
        for key, value in node.value:
            place = (*above, str(key.value))
            yield place, key.start_mark
            yield from _positions(value, place, seen)
    elif isinstance(node, SequenceNode):
        for number, value in enumerate(node.value):
            yield (*above, number), value.start_mark
            yield from _positions(value, (*above, number), seen)


def _at(path: Path, mark: Mark | None) -> str:
    return str(path) if mark is None else f"{path}:{mark.line + 1}:{mark.column + 1}"


def _mark(error: MarkedYAMLError) -> Mark | None:
    """What is not closed is shown where it begins; PyYAML means the place where it noticed."""
    is_open = "end of stream" in (error.problem or "") or "expected ','" in (error.problem or "")
    return (error.context_mark if is_open else None) or error.problem_mark or error.context_mark


def _sentence(error: MarkedYAMLError) -> str:
    said = error.problem or ""
    return next((ours for theirs, ours in _SENTENCES.items() if theirs in said), "this is not YAML")
