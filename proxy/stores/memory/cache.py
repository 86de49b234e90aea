"""A manifest cache in process memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from collections.abc import Callable

# The overhead of an entry besides its key and value, in bytes: objects, hash table, times.
_OVERHEAD: Final = 300


class MemoryManifests:
    """A cache bounded in bytes, lost when the process ends. Fits ManifestCache."""

    __slots__ = ("_clock", "_entries")

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Hold at most `limit` bytes; `clock` gives seconds."""
        self._clock = clock
        self._entries: LruCache[str, tuple[bytes, float]] = LruCache(limit)

    async def get(self, key: str, *, extend: float | None = None) -> bytes | None:
        """The value, or None; with `extend` it expires that many seconds from now or later."""
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
        """Store `value` for `life` seconds."""
        self._put(key, value, self._clock() + life)

    async def delete(self, key: str) -> None:
        """Delete `key`."""
        self._entries.delete(key)

    async def close(self) -> None:
        """Delete all entries."""
        self._entries.clear()

    def _put(self, key: str, value: bytes, expires: float) -> None:
        self._entries.put(key, (value, expires), len(key) + len(value) + _OVERHEAD)
