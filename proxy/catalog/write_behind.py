"""Writes to the shared cache that no request waits for, in order for each key, and bounded."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.kit.singleflight import SingleFlight

if TYPE_CHECKING:
    from proxy.ports import ManifestCache

# What may be pending, in bytes. What is more is waited for.
_LIMIT: Final = 4 * 2**20
# The overhead of a pending write besides its key and value, in bytes.
_OVERHEAD: Final = 300
# What is sent at once is one exchange, which the reads of requests may wait for: so many writes,
# and so many bytes, or one write.
_AT_ONCE: Final = 16
_BYTES_AT_ONCE: Final = 2**18
# How long the end of the process waits for pending writes, in seconds.
_GRACE: Final = 5.0


class _Write(NamedTuple):
    value: bytes
    life: float
    cost: int


class WriteBehind:
    """`cache`, with writes that are made later. What is pending can be read here already."""

    def __init__(self, cache: ManifestCache, *, limit: int = _LIMIT) -> None:
        """At most `limit` bytes are pending."""
        self._cache = cache
        self._limit = limit
        self._tasks = SingleFlight()
        self._writer: asyncio.Task[None] | None = None
        self._pending: dict[str, _Write] = {}
        # What the cache is being told, and when it has answered.
        self._sent: dict[str, _Write] = {}
        self._answered = asyncio.Event()
        self._size = 0
        self._is_closed = False

    async def get(self, key: str, *, extend: float | None = None) -> bytes | None:
        """The value that was put last, or None."""
        write = self._pending.get(key) or self._sent.get(key)
        if write is not None:
            return write.value
        return await self._cache.get(key, extend=extend)

    def put_later(self, key: str, value: bytes, life: float) -> bool:
        """Store `value` for `life` seconds, soon; False if too much is pending for that."""
        cost = len(key) + len(value) + _OVERHEAD
        self._forget(key)
        if self._is_closed or self._size + cost > self._limit:
            return False
        self._pending[key] = _Write(value, life, cost)
        self._size += cost
        if self._writer is None:
            self._writer = self._tasks.start(self._write_all())
        return True

    async def put(self, key: str, value: bytes, *, life: float) -> None:
        """Store `value` for `life` seconds: the cache has been told when this returns."""
        await self._overtake(key)
        await self._cache.put(key, value, life=life)

    async def delete(self, key: str) -> None:
        """Delete `key`, and what is pending for it."""
        await self._overtake(key)
        await self._cache.delete(key)

    async def close(self) -> None:
        """Wait for what is pending, some seconds at most. The cache stays open."""
        self._is_closed = True
        await self._tasks.finish(_GRACE)
        self._pending.clear()

    async def _overtake(self, key: str) -> None:
        """Leave out what is pending for `key`, and wait for what is being written."""
        self._forget(key)
        if key in self._sent:
            await self._answered.wait()

    def _forget(self, key: str) -> None:
        if (write := self._pending.pop(key, None)) is not None:
            self._size -= write.cost

    async def _write_all(self) -> None:
        try:
            while self._pending:
                await self._write_some()
        finally:
            self._writer = None

    def _take(self) -> dict[str, _Write]:
        """The next writes, which are pending no more."""
        keys: list[str] = []
        cost = 0
        for key, write in islice(self._pending.items(), _AT_ONCE):
            cost += write.cost
            if keys and cost > _BYTES_AT_ONCE:
                break
            keys.append(key)
        return {key: self._pending.pop(key) for key in keys}

    async def _write_some(self) -> None:
        self._sent = self._take()
        answered = self._answered = asyncio.Event()
        try:
            await asyncio.gather(
                *(
                    self._cache.put(key, write.value, life=write.life)
                    for key, write in self._sent.items()
                )
            )
        finally:
            self._size -= sum(write.cost for write in self._sent.values())
            self._sent = {}
            answered.set()
