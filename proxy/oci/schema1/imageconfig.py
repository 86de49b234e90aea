"""The parts of an image's config that schema 1 needs, read as distribution reads them.

Go decodes into structs: keys match in any letter case, unknown keys are ignored, and null changes
nothing. A wrong type is an error, and a duplicate key is decoded over the earlier value.
(distribution manifest/schema1/config_builder.go; Go encoding/json decode.go.)

Reading raises ValueError, with a message for the operator, and RecursionError; see `gojson`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from proxy.oci.schema1 import gojson, rfc3339

# More entries would exceed a manifest of 4 MiB: each takes over 300 bytes.
_MAX_ENTRIES: Final = 16_384
_TEXTS: Final = frozenset({"created", "author", "created_by", "comment"})
# The escapes of what is in a time: digits, signs, marks, T and Z.
_ESCAPE_IN_TIME: Final = re.compile(r"\\u00(?:2[b-fB-F]|3[0-9aA]|[57][4aA])")
# Each member and element costs microseconds; real images have less than a hundredth of this.
_MAX_COMMAS: Final = 200_000


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One step of the image's history. `created` has Go's spelling."""

    created: str = rfc3339.ZERO
    author: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


_NOTHING: Final = HistoryEntry()


@dataclass(frozen=True, slots=True)
class RootFS:
    """The number of diff ids, and the base layer of old Windows images."""

    diff_ids: int = 0
    base_layer: str = ""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """`history` is oldest first; `rootfs` is None if it is missing or null."""

    architecture: str
    rootfs: RootFS | None
    history: tuple[HistoryEntry, ...]


def read_config(text: str) -> ImageConfig:
    """Read a config; ValueError or RecursionError as above."""
    if text.count(",") > _MAX_COMMAS:
        raise ValueError(f"it has over {_MAX_COMMAS} commas")
    architecture = ""
    rootfs: RootFS | None = None
    history = _Slice()
    for key, value in gojson.members(text):
        match gojson.fold(key):
            case "architecture":
                architecture = gojson.string(value, architecture)
            case "rootfs":
                rootfs = None if value == gojson.NULL else _rootfs(value, rootfs or RootFS())
            case "created":
                # The newest step has it verbatim, and docker up to 1.9 decodes it as a time.
                _time(value, rfc3339.ZERO)
            case "history":
                history.decode(value)
    return ImageConfig(architecture, rootfs, history.entries)


class _Slice:
    """A Go slice as the target of decoding, possibly more than once.

    Go does not clear entries in between, not even those beyond the length of a shorter array.
    """

    def __init__(self) -> None:
        self._array: list[HistoryEntry] = []
        self._length = 0

    @property
    def entries(self) -> tuple[HistoryEntry, ...]:
        return tuple(self._array[: self._length])

    def decode(self, text: str) -> None:
        self._length = 0
        if not self._array and (plain := _plain_entries(text)):
            self._array, self._length = plain, len(plain)
        elif text != gojson.NULL:
            for element in gojson.elements(text):
                self._decode_next(element)
        if not self._length:
            self._array.clear()

    def _decode_next(self, text: str) -> None:
        if self._length == _MAX_ENTRIES:
            raise ValueError(f"it has over {_MAX_ENTRIES} history entries")
        if self._length == len(self._array):
            self._array.append(_NOTHING)
        self._array[self._length] = _entry(text, self._array[self._length])
        self._length += 1


def _plain_entries(text: str) -> list[HistoryEntry] | None:
    """What `_entry` reads, if they are as builders write them, at a fraction of the cost."""
    # Go resolves no escapes in a time, so none may stand for a character of one.
    found = None if _ESCAPE_IN_TIME.search(text) else gojson.plain_objects(text)
    if found is None or len(found) > _MAX_ENTRIES:
        return None
    entries = []
    for each in found:
        members = dict(each)
        if len(members) < len(each):
            return None
        empty_layer = members.pop("empty_layer", False)
        if (
            not members.keys() <= _TEXTS
            or not isinstance(empty_layer, bool)
            or any(not isinstance(member, str) for member in members.values())
        ):
            return None
        try:
            if "created" in members:
                members["created"] = rfc3339.normal(str(members["created"]))
        except ValueError:
            # Its message quotes the text as it is written.
            return None
        entries.append(HistoryEntry(**members, empty_layer=empty_layer))  # type: ignore[arg-type]  # as was seen
    return entries


def _entry(text: str, entry: HistoryEntry) -> HistoryEntry:
    created, author = entry.created, entry.author
    created_by, comment, empty_layer = entry.created_by, entry.comment, entry.empty_layer
    for key, value in () if text == gojson.NULL else gojson.members(text):
        match gojson.fold(key):
            case "created":
                created = _time(value, created)
            case "author":
                author = gojson.string(value, author)
            case "created_by":
                created_by = gojson.string(value, created_by)
            case "comment":
                comment = gojson.string(value, comment)
            case "empty_layer":
                empty_layer = gojson.boolean(value, otherwise=empty_layer)
    return HistoryEntry(created, author, created_by, comment, empty_layer)


def _rootfs(text: str, rootfs: RootFS) -> RootFS:
    for key, value in gojson.members(text):
        match gojson.fold(key):
            case "type":
                gojson.string(value, "")
            case "diff_ids":
                rootfs = replace(rootfs, diff_ids=_strings(value))
            case "base_layer":
                rootfs = replace(rootfs, base_layer=gojson.string(value, rootfs.base_layer))
    return rootfs


def _strings(text: str) -> int:
    """The number of strings and nulls in an array."""
    if text == gojson.NULL:
        return 0
    if (plain := gojson.count_strings(text)) is not None:
        return plain
    count = 0
    for count, element in enumerate(gojson.elements(text), start=1):  # noqa: B007 -- the last one
        gojson.string(element, "")
    return count


def _time(text: str, otherwise: str) -> str:
    if text == gojson.NULL:
        return otherwise
    gojson.string(text, "")
    # The text between the quotes: Go resolves no escapes in a time.
    return rfc3339.normal(text[1:-1])
