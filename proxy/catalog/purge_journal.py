"""Recent purges, for other replicas: each applies what one was asked to do."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from proxy.errors import RegistryError
from proxy.oci.reference import Digest, Repository, Tag, parse_name
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.ports import ManifestCache

KEY: Final = "purges"
_LIFE: Final = 400 * 86400.0
# The newest ones are kept. Each takes up to 500 bytes, and its digests 75 bytes each.
_MOST: Final = 500
_MOST_DIGESTS: Final = 20_000
# What a purge is about, if it is no tag.
ALL_TAGS: Final = "*"
LISTINGS: Final = ""


@dataclass(frozen=True, slots=True, order=True)
class Purged:
    """One purge: when (seconds since 1970), and of what. `tag` may be ALL_TAGS or LISTINGS.

    `content` are the digests to remove; None where content stays.
    """

    at: float
    registry: str
    name: str
    tag: str
    content: frozenset[Digest] | None = field(default=None, compare=False)

    @property
    def repository(self) -> Repository:
        """The repository that was purged."""
        return Repository(self.registry, self.name, self.name)

    def encode(self) -> list[object]:
        """The value for JSON."""
        fixed: list[object] = [self.at, self.registry, self.name, self.tag]
        return fixed if self.content is None else [*fixed, sorted(self.content)]

    @classmethod
    def read(cls, value: Any) -> Self:
        """The purge in a JSON value; ValueError if there is none."""
        match value:
            case [int(at) | float(at), str(registry), str(name), str(tag), *more]:
                try:
                    parse_name(name)
                    if tag not in {ALL_TAGS, LISTINGS}:
                        Tag(tag)
                    content = _read_content(more)
                except RegistryError as error:
                    raise ValueError(error.message) from None
                return cls(float(at), registry, name, tag, content)
        raise ValueError("it is no purge")


class PurgeJournal:
    """The newest purges, which all processes of a machine share, and replicas tell each other."""

    def __init__(self, cache: ManifestCache) -> None:
        """`cache` is what the processes share."""
        self._cache = cache
        self._known: frozenset[Purged] = frozenset()
        self._is_current = False

    def forget(self) -> None:
        """Another process may have added some."""
        self._is_current = False

    async def entries(self) -> frozenset[Purged]:
        """Return the purges of this machine; those read last if they cannot be read now."""
        if not self._is_current and (value := await self._cache.get(KEY)) is not None:
            try:
                self._known = read_all(json.loads(value))
            except ValueError:
                metrics.CACHE_ERRORS.labels("decode").inc()
            self._is_current = True
        return self._known

    async def add(self, purged: Iterable[Purged]) -> None:
        """Record purges that were applied now."""
        entries = _newest(sorted({*await self.entries(), *purged}))
        value = json.dumps([each.encode() for each in entries], separators=(",", ":"))
        await self._cache.put(KEY, value.encode(), life=_LIFE)
        self._known = frozenset(entries)


def read_all(value: Any) -> frozenset[Purged]:
    """The purges in a JSON value; ValueError for what is none."""
    if not isinstance(value, list) or len(value) > _MOST:
        raise ValueError("it is no list of purges")
    return frozenset(map(Purged.read, value))


def mark_of(entries: Iterable[Purged]) -> str:
    """A mark that differs where the entries do."""
    encoded = json.dumps([each.encode() for each in sorted(entries)])
    return hashlib.sha256(encoded.encode()).hexdigest()[:32]


def _newest(entries: list[Purged]) -> list[Purged]:
    """Return the newest purges, and at least one, that fit into the journal's limit."""
    chosen: list[Purged] = []
    digests = 0
    for each in reversed(entries[-_MOST:]):
        digests += len(each.content or ())
        if chosen and digests > _MOST_DIGESTS:
            break
        chosen.append(each)
    return chosen[::-1]


def _read_content(more: list[Any]) -> frozenset[Digest] | None:
    match more:
        case []:
            return None
        case [list(digests)] if len(digests) <= _MOST_DIGESTS:
            return frozenset(Digest(str(digest)) for digest in digests)
    raise ValueError("it is no purge")
