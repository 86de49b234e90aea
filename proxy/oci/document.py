"""JSON that every parser reads the same way (CVE-2021-41190).

Go's decoder, used by most clients, matches members in any letter case and takes the last
duplicate. Other parsers match the exact spelling, and some take the first duplicate. So each
member that is read here must occur once, in its exact spelling, or be null.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from proxy.errors import ManifestInvalid
from proxy.oci.schema1 import gojson

if TYPE_CHECKING:
    from collections.abc import Mapping

# Each member and element costs microseconds. Ten thousand descriptors have half as many commas.
_MAX_COMMAS: Final = 200_000


def spellings(*names: str) -> Mapping[str, str]:
    """A table of the members `names`, for look-ups in any letter case."""
    return {gojson.fold(name): name for name in names}


class Document(dict[str, object]):
    """A JSON object that keeps the spelling of every member, duplicates included."""

    __slots__ = ("_spelt",)

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self._spelt = [name for name, _ in pairs]

    def refuse_ambiguous(self, names: Mapping[str, str]) -> None:
        """Raise ManifestInvalid if another parser could read another value for one of `names`."""
        seen: set[str] = set()
        for spelt in self._spelt:
            name = names.get(gojson.fold(spelt))
            if name is None:
                continue
            if name in seen or (spelt != name and self[spelt] is not None):
                raise ManifestInvalid(f"the manifest has {spelt!r} twice or misspelt")
            seen.add(name)


def parse(text: bytes) -> Document:
    """Parse a JSON object; ManifestInvalid if `text` is not one."""
    if text.count(b",") > _MAX_COMMAS:
        raise ManifestInvalid(f"the manifest has over {_MAX_COMMAS} commas")
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
    """Reject NaN and Infinity, which Python's parser accepts as numbers."""
    raise ValueError(literal)
