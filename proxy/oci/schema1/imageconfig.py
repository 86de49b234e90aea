"""An image's config, read as distribution reads it: what schema 1 is made of, and no more.

Go decodes into structs: keys match in any letter case, unknown ones are ignored, null changes
nothing, a wrong type is an error, and a key that comes again is decoded over what is there
already. (distribution manifest/schema1/config_builder.go; Go encoding/json decode.go.)

Reading raises ValueError, with half a sentence for a person, and RecursionError; see `gojson`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from proxy.oci.schema1 import gojson, rfc3339

# More than this cannot become a manifest of 4 MiB: each entry takes over 300 bytes of it.
_MOST_ENTRIES: Final = 16_384
# Each member and element costs microseconds, and no image has a hundredth of these.
_MOST_COMMAS: Final = 200_000


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One step of the image's history. `created` is spelt as Go spells it."""

    created: str = rfc3339.ZERO
    author: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


@dataclass(frozen=True, slots=True)
class RootFS:
    """How many diff ids there are, and the base layer that only old Windows images have."""

    diff_ids: int = 0
    base_layer: str = ""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The history is oldest first; None is a `rootfs` that is missing or null."""

    architecture: str
    rootfs: RootFS | None
    history: tuple[HistoryEntry, ...]


def read_config(text: str) -> ImageConfig:
    """What the config `text` says."""
    if text.count(",") > _MOST_COMMAS:
        raise ValueError(f"it has over {_MOST_COMMAS} commas")
    architecture = ""
    rootfs: RootFS | None = None
    history = _Slice()
    for key, value in gojson.members(text):
        match gojson.fold(key):
            case "architecture":
                architecture = gojson.string(value, architecture)
            case "rootfs":
                rootfs = None if value == gojson.NULL else _rootfs(value, rootfs or RootFS())
            case "history":
                history.decode(value)
    return ImageConfig(architecture, rootfs, history.entries)


class _Slice:
    """A Go slice that is decoded into, perhaps repeatedly.

    Its entries are not cleared in between, not even those that a shorter array hid from sight.
    """

    def __init__(self) -> None:
        self._array: list[HistoryEntry] = []
        self._length = 0

    @property
    def entries(self) -> tuple[HistoryEntry, ...]:
        return tuple(self._array[: self._length])

    def decode(self, text: str) -> None:
        self._length = 0
        if text != gojson.NULL:
            for element in gojson.elements(text):
                self._decode_next(element)
        if not self._length:
            self._array.clear()

    def _decode_next(self, text: str) -> None:
        if self._length == _MOST_ENTRIES:
            raise ValueError(f"it has over {_MOST_ENTRIES} history entries")
        if self._length == len(self._array):
            self._array.append(HistoryEntry())
        self._array[self._length] = _entry(text, self._array[self._length])
        self._length += 1


def _entry(text: str, entry: HistoryEntry) -> HistoryEntry:
    for key, value in () if text == gojson.NULL else gojson.members(text):
        match gojson.fold(key):
            case "created":
                entry = replace(entry, created=_time(value, entry.created))
            case "author":
                entry = replace(entry, author=gojson.string(value, entry.author))
            case "created_by":
                entry = replace(entry, created_by=gojson.string(value, entry.created_by))
            case "comment":
                entry = replace(entry, comment=gojson.string(value, entry.comment))
            case "empty_layer":
                empty = gojson.boolean(value, otherwise=entry.empty_layer)
                entry = replace(entry, empty_layer=empty)
    return entry


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
    """How many strings or nulls the array has."""
    if text == gojson.NULL:
        return 0
    count = 0
    for count, element in enumerate(gojson.elements(text), start=1):  # noqa: B007 -- the last one
        gojson.string(element, "")
    return count


def _time(text: str, otherwise: str) -> str:
    if text == gojson.NULL:
        return otherwise
    gojson.string(text, "")
    # As it stands between its quotes: Go resolves no escapes in a time.
    return rfc3339.normal(text[1:-1])
