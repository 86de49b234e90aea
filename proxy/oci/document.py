"""JSON in which no two readers see two different things (CVE-2021-41190).

Go's decoders, which most clients have, take a member in any letter case, and the last of several;
others take them as they are spelt, and some the first. So what is read here must be there once, in
its own spelling, or be null.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from proxy.errors import ManifestInvalid
from proxy.oci.schema1 import gojson

if TYPE_CHECKING:
    from collections.abc import Mapping

# The members and elements of a manifest cost microseconds each; ten thousand descriptors have half
# as many.
_MOST_COMMAS: Final = 200_000


def spellings(*names: str) -> Mapping[str, str]:
    """The members `names`, to be looked for in any letter case."""
    return {gojson.fold(name): name for name in names}


class Document(dict[str, object]):
    """A JSON object that still knows every member that was there, repeated ones too."""

    __slots__ = ("_spelt",)

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self._spelt = [name for name, _ in pairs]

    def refuse_ambiguous(self, names: Mapping[str, str]) -> None:
        """ManifestInvalid if another reader could see another value of one of `names`."""
        seen: set[str] = set()
        for spelt in self._spelt:
            name = names.get(gojson.fold(spelt))
            if name is None:
                continue
            if name in seen or (spelt != name and self[spelt] is not None):
                raise ManifestInvalid(f"the manifest has {spelt!r} twice or misspelt")
            seen.add(name)


def parse(text: bytes) -> Document:
    """The JSON object that `text` is; ManifestInvalid if it is none."""
    if text.count(b",") > _MOST_COMMAS:
        raise ManifestInvalid(f"the manifest has over {_MOST_COMMAS} commas")
    try:
        document = json.loads(
            text.decode("utf-8"), object_pairs_hook=Document, parse_constant=_not_json
        )
    except (ValueError, RecursionError):
        raise ManifestInvalid("the manifest is not JSON") from None
    if not isinstance(document, Document):
        raise ManifestInvalid("the manifest is not a JSON object")
    return document


def _not_json(literal: str) -> object:
    """Python would take NaN and Infinity for numbers."""
    raise ValueError(literal)
