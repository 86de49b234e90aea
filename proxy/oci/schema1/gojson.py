"""JSON text as Go's encoding/json reads and prints it.

Values are handled as text, never as Python objects: digests depend on the spelling of numbers and
escapes, on the order of members and on duplicates. The reference is Go 1.20, which builds
distribution 2.8.3; Go 1.22 and later print two control characters differently.

Reading raises ValueError for text that Go rejects, with a message for the operator. It raises
RecursionError for about a thousand levels of nesting (Go: ten thousand).
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring
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
# The characters that Go and Python escape differently; here Python escapes none outside ASCII.
_UNUSUAL: Final = re.compile("[\b\f<>&\u2028\u2029]")
# Tokens of valid JSON: strings, and runs of other characters without insignificant spaces.
# Possessive quantifiers, so that a long string needs no memory for backtracking.
_TOKEN: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^" \t\n\r]++')
_MARK: Final = re.compile(r"[ \t\n\r]*+([{}\[\]:,])[ \t\n\r]*+")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# The escapes of surrogates, paired or not.
_ESCAPED_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
# Error messages quote at most this many characters of the text.
_MAX_QUOTED: Final = 40


def quote(text: str) -> str:
    """`text` as a JSON string."""
    if not _UNUSUAL.search(text):
        # The standard library's own way takes a tenth of the time, and differs in the others.
        return encode_basestring(text)
    return f'"{text.translate(_ESCAPES)}"'


def document(members: Mapping[str, str]) -> str:
    """An object of `members`, a mapping of keys to the texts of their values, in order."""
    return "{" + ",".join(f"{quote(key)}:{value}" for key, value in members.items()) + "}"


def compact(text: str) -> str:
    """Remove insignificant spaces from valid JSON and escape HTML; the rest is verbatim."""
    return "".join(_TOKEN.findall(text)).translate(_HTML)


def members(text: str) -> Iterator[tuple[str, str]]:
    """The keys and the texts of the values of an object, in order, duplicates included."""
    return _items(text, "{", "}", _member)


def elements(text: str) -> Iterator[str]:
    """The text of each element of an array."""
    return _items(text, "[", "]", _element)


def plain_objects(text: str) -> list[list[tuple[str, object]]] | None:
    """The members of each object in an array, decoded at once: strings, booleans, None for null.

    None if that is not all that they have, or if it is no such array: then see `elements`.
    """
    value = _decode_plain(text)
    if type(value) is not list:
        return None
    for each in value:
        if type(each) is not _Pairs:
            return None
        for _, member in each:
            if type(member) not in _PLAIN_TYPES:
                return None
    return value


def count_strings(text: str) -> int | None:
    """The length of an array of strings; None if it is anything else: see `elements`."""
    value = _decode_plain(text)
    if type(value) is not list or any(type(each) is not str for each in value):
        return None
    return len(value)


def _decode_plain(text: str) -> object:
    """The value, or None if it has to be read with care."""
    if _ESCAPED_SURROGATE.search(text):
        return None
    try:
        value, end = _PLAIN(text, 0)
    except (StopIteration, ValueError):
        return None
    return value if end == len(text) else None


def fold(key: str) -> str:
    """Fold the letter case of `key` as Go does to match struct fields.

    The long s is the only letter outside ASCII that folds to a letter of our fields
    (fold.go, "foldFunc").
    """
    return key.lower().replace("\N{LATIN SMALL LETTER LONG S}", "s")


def string(text: str, otherwise: str) -> str:
    """The value of a string; `otherwise` for null, which Go treats as no value."""
    if text == NULL:
        return otherwise
    if not text.startswith('"'):
        raise ValueError(f"{text[:_MAX_QUOTED]!r} is not a string")
    return _decode_string(text, 0)[0]


def boolean(text: str, *, otherwise: bool) -> bool:
    """The value of a boolean; `otherwise` for null."""
    match text:
        case "true" | "false":
            return text == "true"
        case "null":
            return otherwise
        case _:
            raise ValueError(f"{text[:_MAX_QUOTED]!r} is neither true nor false")


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
    key, end = _decode_string(text, at)
    _, start = _mark(":", text, end)
    value, end = _element(text, start)
    return (key, value), end


def _element(text: str, at: int) -> tuple[str, int]:
    _, end = _scan(text, at)
    return text[at:end], end


def _decode_string(text: str, at: int) -> tuple[str, int]:
    """Decode the string at `at`; its value and the position of its end."""
    value, end = _scan(text, at)
    if not isinstance(value, str):
        raise json.JSONDecodeError("Expecting a string", text, at)
    # Go reads an unpaired surrogate as U+FFFD.
    return _SURROGATE.sub("\ufffd", value), end


def _scan(text: str, at: int) -> tuple[object, int]:
    """Read the value at `at`; strings, and None for all that has no value here, and its end."""
    try:
        value, end = _SCAN(text, at)
    except StopIteration:
        raise json.JSONDecodeError("Expecting value", text, at) from None
    return value, end


def _mark(expected: str, text: str, at: int) -> tuple[str, int]:
    """Read one of the `expected` marks at `at`; the mark and the position after it and spaces."""
    found = _MARK.match(text, at)
    if found is None or found[1] not in expected:
        raise json.JSONDecodeError(f"Expecting {' or '.join(map(repr, expected))}", text, at)
    return found[1], found.end()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number in JSON")


def _discard(_: object) -> None:
    """Discard a parsed value: only its end matters, and numbers may be huge."""


def _discard_number(_: str) -> object:
    """Something that is neither a string nor a boolean nor null; numbers may be huge."""
    return ...


class _Pairs(list[tuple[str, object]]):
    """The members of an object, in order, duplicates included."""


# What `raw_decode` calls; its own frame costs as much as a short string.
_PLAIN: Final = json.JSONDecoder(
    object_pairs_hook=_Pairs,
    parse_int=_discard_number,
    parse_float=_discard_number,
    parse_constant=_refuse,
).scan_once  # type: ignore[attr-defined]  # typeshed has not got it
_PLAIN_TYPES: Final = frozenset({str, bool, type(None)})
_READER: Final = json.JSONDecoder(
    object_pairs_hook=_discard,
    parse_int=_discard,
    parse_float=_discard,
    parse_constant=_refuse,
)
_SCAN: Final = _READER.scan_once  # type: ignore[attr-defined]  # typeshed has not got it
