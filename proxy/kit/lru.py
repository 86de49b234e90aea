"""What was used recently, in as many bytes of memory as it may take."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """A mapping bounded in bytes: what was used least recently goes first. Every call is O(1)."""

    __slots__ = ("_cost", "_entries", "_limit")

    def __init__(self, limit: int) -> None:
        """Hold entries that cost at most `limit` bytes together."""
        self._limit = limit
        self._cost = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def cost(self) -> int:
        """Of all entries together, in bytes."""
        return self._cost

    def get(self, key: K) -> V | None:
        """The value, which is now the most recently used one, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, cost: int) -> None:
        """Hold `value`, in place of what was there; not at all if it alone is over the limit."""
        self.delete(key)
        if cost > self._limit:
            return
        self._entries[key] = (value, cost)
        self._cost += cost
        while self._cost > self._limit:
            _, (_, freed) = self._entries.popitem(last=False)
            self._cost -= freed

    def delete(self, key: K) -> None:
        """Forget `key`; nothing happens if it is unknown."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._cost -= entry[1]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._cost = 0
