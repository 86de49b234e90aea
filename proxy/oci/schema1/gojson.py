"""JSON text as Go's encoding/json reads and prints it.

A value is handled as its own text, never as a Python object: digests depend on the spelling of
numbers and escapes, on the order of members and on members that are there twice. The reference is
Go 1.20, with which distribution 2.8.3 is built; from 1.22 on, Go prints two control characters
differently.

Reading raises ValueError, with a message for a person, for text that Go would not take, and
RecursionError for text that is nested a thousand levels deep (Go: ten thousand).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_T = TypeVar("_T")

NULL: Final = "null"

# encode.go, "HTMLEscape". Other characters outside ASCII, and DEL, are not escaped.
_HTML: Final = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_ESCAPES: Final = {
    **{control: f"\\u{control:04x}" for control in range(0x20)},
    **_HTML,
    ord('"'): '\\"',
    ord("\\"): "\\\\",
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}
# In valid JSON: whole strings, and runs of anything else that is no insignificant space.
# Possessive, so that a long string costs no memory for backtracking.
_TOKEN: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^" \t\n\r]++')
_MARK: Final = re.compile(r"[ \t\n\r]*+([{}\[\]:,])[ \t\n\r]*+")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# An error quotes at most this much of what it is about.
_QUOTED: Final = 40


def quote(text: str) -> str:
    """`text` as a JSON string."""
    return f'"{text.translate(_ESCAPES)}"'


def document(members: Mapping[str, str]) -> str:
    """The object with `members`, which are texts of values under their keys, in their order."""
    return "{" + ",".join(f"{quote(key)}:{value}" for key, value in members.items()) + "}"


def compact(text: str) -> str:
    """The valid JSON `text` without insignificant spaces and safe in HTML; the rest is verbatim."""
    return "".join(_TOKEN.findall(text)).translate(_HTML)


def members(text: str) -> Iterator[tuple[str, str]]:
    """The members of the object `text` in order, repeated ones too: key, and the value's text."""
    return _items(text, "{", "}", _member)


def elements(text: str) -> Iterator[str]:
    """The text of each element of the array `text`."""
    return _items(text, "[", "]", _element)


def fold(key: str) -> str:
    """`key` as Go compares it with the fields of a struct: in any letter case.

    The long s is the one letter outside ASCII that has a letter of our fields as its other case
    (fold.go, "foldFunc").
    """
    return key.lower().replace("\N{LATIN SMALL LETTER LONG S}", "s")


def string(text: str, otherwise: str) -> str:
    """What the string `text` says; `otherwise` for null, which Go takes for no value."""
    if text == NULL:
        return otherwise
    if not text.startswith('"'):
        raise ValueError(f"{text[:_QUOTED]!r} is not a string")
    return _decoded(text, 0)[0]


def boolean(text: str, *, otherwise: bool) -> bool:
    """Whether `text` is true; `otherwise` for null."""
    match text:
        case "true" | "false":
            return text == "true"
        case "null":
            return otherwise
        case _:
            raise ValueError(f"{text[:_QUOTED]!r} is neither true nor false")


def _items(
    text: str, opening: str, closing: str, read: Callable[[str, int], tuple[_T, int]]
) -> Iterator[_T]:
    mark, at = _mark(opening, text, 0)
    if text.startswith(closing, at):
        mark, at = _mark(closing, text, at)
    while mark != closing:
        item, end = read(text, at)
        yield item
        mark, at = _mark("," + closing, text, end)
    if at != len(text):
        raise json.JSONDecodeError("Extra data", text, at)


def _member(text: str, at: int) -> tuple[tuple[str, str], int]:
    key, end = _decoded(text, at)
    _, start = _mark(":", text, end)
    value, end = _element(text, start)
    return (key, value), end


def _element(text: str, at: int) -> tuple[str, int]:
    _, end = _READER.raw_decode(text, at)
    return text[at:end], end


def _decoded(text: str, at: int) -> tuple[str, int]:
    """What the string at `at` says, and where it ends."""
    value, end = _READER.raw_decode(text, at)
    if not isinstance(value, str):
        raise json.JSONDecodeError("Expecting a string", text, at)
    # Half a surrogate pair is no character: Go reads U+FFFD.
    return _SURROGATE.sub("\ufffd", value), end


def _mark(expected: str, text: str, at: int) -> tuple[str, int]:
    """The one of the `expected` marks that is at `at`, and what comes next; spaces are skipped."""
    found = _MARK.match(text, at)
    if found is None or found[1] not in expected:
        raise json.JSONDecodeError(f"Expecting {' or '.join(map(repr, expected))}", text, at)
    return found[1], found.end()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number in JSON")


def _pass_over(_: object) -> None:
    """Make nothing of it: only where a value ends matters, and numbers may be huge."""


_READER: Final = json.JSONDecoder(
    object_pairs_hook=_pass_over,
    parse_int=_pass_over,
    parse_float=_pass_over,
    parse_constant=_refuse,
)
