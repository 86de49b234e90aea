"""A least-recently-used cache bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """A mapping bounded in bytes that evicts the least recently used entry. Calls are O(1)."""

    __slots__ = ("_cost", "_entries", "_limit")

    def __init__(self, limit: int) -> None:
        """Hold entries with a total cost of at most `limit` bytes."""
        self._limit = limit
        self._cost = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def cost(self) -> int:
        """The total cost of all entries, in bytes."""
        return self._cost

    def get(self, key: K) -> V | None:
        """The value, or None; it becomes the most recently used one."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, cost: int) -> None:
        """Store `value` in place of an earlier one, unless `cost` alone exceeds the limit."""
        self.delete(key)
        if cost > self._limit:
            return
        self._entries[key] = (value, cost)
        self._cost += cost
        while self._cost > self._limit:
            _, (_, freed) = self._entries.popitem(last=False)
            self._cost -= freed

    def delete(self, key: K) -> None:
        """Remove `key` if it is present."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._cost -= entry[1]

    def values(self) -> list[V]:
        """All values, the least recently used first."""
        return [value for value, _ in self._entries.values()]

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self._cost = 0
