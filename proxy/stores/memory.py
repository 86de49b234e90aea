"""The manifest cache in process memory: for tests, and as the plainest form of the contract."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from proxy.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable


class MemoryManifests:
    """Values with lives, bounded in bytes."""

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`limit` is in bytes, keys included; `clock` tells seconds."""
        self._entries: Recent[str, tuple[bytes, float]] = Recent(limit)
        self._clock = clock

    async def get(self, key: str, *, extend: float | None = None) -> bytes | None:
        """The value, if it is there and alive."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, end = entry
        now = self._clock()
        if end <= now:
            self._entries.delete(key)
            return None
        if extend is not None and now + extend > end:
            await self.put(key, value, life=extend)
        return value

    async def put(self, key: str, value: bytes, *, life: float) -> None:
        """Keep `value` for `life` seconds."""
        self._entries.put(key, (value, self._clock() + life), len(key) + len(value))

    async def delete(self, key: str) -> None:
        """Forget `key`."""
        self._entries.delete(key)

    async def close(self) -> None:
        """Nothing is open."""
