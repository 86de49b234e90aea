"""JSON that every parser reads the same way (CVE-2021-41190).

Go's decoder, used by most clients, matches members in any letter case and takes the last
duplicate. Other parsers match the exact spelling, and some take the first duplicate. So each
member that is read here must have one value, in its exact spelling, or be null.

Go also accepts text that Python's parser rejects: bytes that are not UTF-8, integers of any length,
and 10 000 levels. Registries store such manifests. Here they are read with a loss, see `parse`.
"""

from __future__ import annotations

import json
import re
from typing import Final

from proxy.errors import ManifestInvalid
from proxy.oci.schema1 import gojson

# Each member and element costs microseconds. Ten thousand descriptors have half as many commas.
_MAX_COMMAS: Final = 200_000

# Go's encoding/json accepts this many levels (scanner.go, maxNestingDepth).
_GO_DEPTH: Final = 10_000
# What lies deeper is not read: a descriptor's platform is the deepest member that decides anything.
_READ_DEPTH: Final = 64
# Strings and brackets each cost most of a microsecond.
_MAX_TOKENS: Final = 400_000
_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]++|\\.?)*+"?|[\[\]{}]', re.DOTALL)
# In digits; Python's own limit is 4300.
_LONGEST_INTEGER: Final = 4000


_NO_CONFLICTS: Final = frozenset[str]()


class Spellings(dict[str, str]):
    """Members by their folded names, for look-ups in any letter case; see `spellings`."""

    __slots__ = ("exact",)

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__((gojson.fold(name), name) for name in names)
        self.exact = frozenset(names)


def spellings(*names: str) -> Spellings:
    """A table of the members `names`."""
    return Spellings(names)


class Document(dict[str, object]):
    """A JSON object that keeps the spelling of every member, duplicates included.

    `is_exact` is false if it was read with a loss, and so can only be passed on.
    """

    __slots__ = ("_conflicts", "_spelt", "is_exact")

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        if len(self) == len(pairs):
            self._spelt, self._conflicts = list(self), _NO_CONFLICTS
        else:
            self._spelt = [name for name, _ in pairs]
            self._conflicts = _conflicts(pairs)
        self.is_exact = True

    def refuse_ambiguous(self, names: Spellings) -> None:
        """Raise ManifestInvalid if another parser could read another value for one of `names`."""
        if self.keys() <= names.exact and not self._conflicts:
            # Nearly all documents have these members only, in their spelling.
            return
        seen: dict[str, str] = {}
        for spelt in self._spelt:
            name = names.get(gojson.fold(spelt))
            if name is None:
                continue
            misspelt = spelt != name and self[spelt] is not None
            if misspelt or seen.get(name, spelt) != spelt or spelt in self._conflicts:
                raise ManifestInvalid(f"the manifest has {spelt!r} twice or misspelt")
            seen[name] = spelt

    def equals(self, other: Document) -> bool:
        """Whether every parser reads the same from both."""
        return (
            self._spelt == other._spelt
            and not self._conflicts
            and not other._conflicts
            and all(_is_same(value, other[name]) for name, value in self.items())
        )


def _conflicts(pairs: list[tuple[str, object]]) -> frozenset[str]:
    """The members that occur with more than one value."""
    first: dict[str, object] = {}
    return frozenset(
        name for name, value in pairs if not _is_same(first.setdefault(name, value), value)
    )


def _is_same(one: object, other: object) -> bool:
    """Whether two parsed values are the same; unlike in Python, `1` is neither `1.0` nor `true`."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Document) and isinstance(other, Document):
        return one.equals(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return one == other


def parse(text: bytes) -> Document:
    """Parse a JSON object; ManifestInvalid if `text` is not one.

    What only Go accepts is read with a loss: other bytes than UTF-8 become U+FFFD, as in Go; long
    integers become -1, and levels below the 64th become null.
    """
    if text.count(b",") > _MAX_COMMAS:
        raise ManifestInvalid(f"the manifest has over {_MAX_COMMAS} commas")
    try:
        document = json.loads(
            text.decode("utf-8"), object_pairs_hook=Document, parse_constant=_not_json
        )
    except (ValueError, RecursionError):
        document = _parse_with_loss(text.decode("utf-8", "replace"))
    if not isinstance(document, Document):
        raise ManifestInvalid("the manifest is not a JSON object")
    return document


def _parse_with_loss(text: str) -> object:
    try:
        document = json.loads(
            _cut(text),
            object_pairs_hook=Document,
            parse_int=_integer,
            parse_constant=_not_json,
        )
    except (ValueError, RecursionError):
        raise ManifestInvalid("the manifest is not JSON") from None
    if isinstance(document, Document):
        document.is_exact = False
    return document


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else -1


def _cut(text: str) -> str:
    """The text with null in place of every value below `_READ_DEPTH`; ValueError if it is hopeless.

    A text that is not that deep is not changed.
    """
    if sum(map(text.count, '"[{')) > _MAX_TOKENS:
        raise ValueError("too many strings and brackets")
    kept: list[str] = []
    depth = deepest = start = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        match token[0]:
            case "[" | "{":
                if depth == _READ_DEPTH:
                    kept += (text[start : token.start()], "null")
                depth += 1
                deepest = max(deepest, depth)
            case "]" | "}":
                depth -= 1
                if depth == _READ_DEPTH:
                    start = token.end()
            case _:
                pass
    if depth != 0 or deepest > _GO_DEPTH:
        raise ValueError("too deep, or not closed")
    return "".join((*kept, text[start:]))


def _not_json(literal: str) -> object:
    """Reject NaN and Infinity, which Python's parser accepts as numbers."""
    raise ValueError(literal)
