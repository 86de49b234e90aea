"""A manifest cache in the memory of one process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from collections.abc import Callable

# What an entry takes besides its key and its value, in bytes: objects, hash table, times.
_OVERHEAD: Final = 300


class MemoryManifests:
    """Entries bounded in bytes, which go with the process. Fits ManifestCache."""

    __slots__ = ("_clock", "_entries")

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Hold at most `limit` bytes; `clock` gives seconds."""
        self._clock = clock
        self._entries: LruCache[str, tuple[bytes, float]] = LruCache(limit)

    async def get(self, key: str, *, extend: float | None = None) -> bytes | None:
        """The value, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires = entry
        now = self._clock()
        if expires <= now:
            self._entries.delete(key)
            return None
        if extend is not None and now + extend > expires:
            self._put(key, value, now + extend)
        return value

    async def put(self, key: str, value: bytes, *, life: float) -> None:
        """Keep `value` for `life` seconds."""
        self._put(key, value, self._clock() + life)

    async def delete(self, key: str) -> None:
        """Forget `key`."""
        self._entries.delete(key)

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def _put(self, key: str, value: bytes, expires: float) -> None:
        self._entries.put(key, (value, expires), len(key) + len(value) + _OVERHEAD)
