"""The `Accept` header: the media types that a client can read (RFC 9110, 12.5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from proxy.oci.mediatype import MediaType, bare

# Further items are ignored, so that parsing takes less than a millisecond.
_MAX_ITEMS: Final = 1024
_RANGES: Final = ("application/*", "*/*")
# Headers up to this many characters are cached when parsed; known clients send half of it.
_CACHED_LENGTH: Final = 2048
# The memory that one type takes besides its characters, in bytes.
_TYPE_COST: Final = 128


@dataclass(frozen=True, slots=True)
class Accept:
    """The types that a client names with their weights, and whether it accepts any other.

    Headers with the same meaning are equal, whatever their order, lines and spelling. Cache keys
    use this value, never the header's text.
    """

    weights: tuple[tuple[str, float], ...] = ()
    excluded: frozenset[str] = frozenset()
    wildcard: bool = False
    present: bool = True

    @staticmethod
    def parse(lines: tuple[str, ...]) -> Accept:
        """Parse all header lines, joined; malformed items are ignored."""
        is_short = sum(map(len, lines)) <= _CACHED_LENGTH
        return _parse_cached(lines) if is_short else _parse(lines)

    @property
    def cost(self) -> int:
        """The approximate size in memory, in bytes."""
        named = [name for name, _ in self.weights]
        return sum(_TYPE_COST + len(name) for name in (*named, *self.excluded))

    def weight(self, media_type: str) -> float:
        """The q of a type that the client names, 0 for others; wildcards do not count.

        The type of unsigned schema 1 also names signed schema 1, unless that has its own q:
        registries have always answered so.
        """
        named = dict(self.weights)
        name = media_type.lower()
        if name == MediaType.V2S1_SIGNED and name not in named and name not in self.excluded:
            name = MediaType.V2S1
        return named.get(name, 0.0)

    def excludes(self, media_type: str) -> bool:
        """Whether the client names `media_type` with q=0."""
        return media_type.lower() in self.excluded

    def names(self, media_type: str) -> bool:
        """Whether the client names `media_type` with q > 0."""
        return self.weight(media_type) > 0

    @property
    def names_index(self) -> bool:
        """Whether the client names any type of index."""
        return self.names(MediaType.OCI_INDEX) or self.names(MediaType.DOCKER_LIST)

    @property
    def names_manifest(self) -> bool:
        """Whether the client names any known manifest type."""
        return any(self.names(media_type) for media_type in MediaType)

    def __str__(self) -> str:
        """The types without weights, for an error message."""
        named = [media_type for media_type, _ in self.weights]
        return ", ".join([*named, *(["*/*"] if self.wildcard else [])]) or "nothing"


NO_ACCEPT: Final = Accept(present=False)


# A cluster has few kinds of clients. docker sends its lines in random order, so one kind has up to
# 720 spellings.
@lru_cache(maxsize=1024)
def _parse_cached(lines: tuple[str, ...]) -> Accept:
    return _parse(lines)


def _parse(lines: tuple[str, ...]) -> Accept:
    if not lines:
        return NO_ACCEPT
    weights: dict[str, float] = {}
    for item in ",".join(lines).split(",")[:_MAX_ITEMS]:
        media_type = bare(item)
        if "/" in media_type:
            weights[media_type] = max(_weight(item), weights.get(media_type, 0.0))
    wildcard = next((weights[name] for name in _RANGES if name in weights), 0.0) > 0
    named = {name: q for name, q in weights.items() if name not in _RANGES}
    return Accept(
        weights=tuple(sorted((name, q) for name, q in named.items() if q > 0)),
        excluded=frozenset(name for name, q in named.items() if q <= 0),
        wildcard=wildcard,
    )


def _weight(item: str) -> float:
    """The q of one item; 1 if it is missing or malformed."""
    for parameter in item.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                weight = float(value.strip())
            except ValueError:
                return 1.0
            return weight if 0.0 <= weight <= 1.0 else 1.0
    return 1.0
