"""The purges of late, for other replicas: each does for itself what one was asked to do."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from proxy.errors import RegistryError
from proxy.oci.reference import Repository, Tag, parse_name
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.ports import ManifestCache

KEY: Final = "purges"
_LIFE: Final = 400 * 86400.0
# The newest ones are kept. Each takes up to 500 bytes.
_MOST: Final = 500
# What a purge is about, if it is no tag.
ALL_TAGS: Final = "*"
LISTINGS: Final = ""


@dataclass(frozen=True, slots=True, order=True)
class Purged:
    """One purge: when (seconds since 1970), and of what. `tag` may be ALL_TAGS or LISTINGS."""

    at: float
    registry: str
    name: str
    tag: str

    @property
    def repository(self) -> Repository:
        """The repository that was purged."""
        return Repository(self.registry, self.name, self.name)

    @classmethod
    def read(cls, value: Any) -> Self:
        """The purge in a JSON value; ValueError if there is none."""
        match value:
            case [int(at) | float(at), str(registry), str(name), str(tag)]:
                try:
                    parse_name(name)
                    if tag not in {ALL_TAGS, LISTINGS}:
                        Tag(tag)
                except RegistryError as error:
                    raise ValueError(error.message) from None
                return cls(float(at), registry, name, tag)
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
        """Those that this machine has done; what was known before if they cannot be read now."""
        if not self._is_current and (value := await self._cache.get(KEY)) is not None:
            try:
                self._known = read_all(json.loads(value))
            except ValueError:
                metrics.CACHE_ERRORS.labels("decode").inc()
            self._is_current = True
        return self._known

    async def add(self, purged: Iterable[Purged]) -> None:
        """These are done now, too."""
        entries = sorted({*await self.entries(), *purged})[-_MOST:]
        value = json.dumps(list(map(astuple, entries)), separators=(",", ":"))
        await self._cache.put(KEY, value.encode(), life=_LIFE)
        self._known = frozenset(entries)


def read_all(value: Any) -> frozenset[Purged]:
    """The purges in a JSON value; ValueError for what is none."""
    if not isinstance(value, list) or len(value) > _MOST:
        raise ValueError("it is no list of purges")
    return frozenset(map(Purged.read, value))


def mark_of(entries: Iterable[Purged]) -> str:
    """A mark that differs where the entries do."""
    return hashlib.sha256(json.dumps(sorted(map(astuple, entries))).encode()).hexdigest()[:32]
