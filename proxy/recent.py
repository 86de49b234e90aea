"""A mapping that forgets what was not used for longest, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The most recently used entries whose costs, in bytes, add up to at most `limit`."""

    __slots__ = ("_cost", "_entries", "_limit")

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes; an entry that costs more is not kept at all."""
        self._limit = limit
        self._cost = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, now the most recently used, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, cost: int) -> None:
        """Keep `value`, in place of an older one, and forget others until all fit."""
        self.delete(key)
        if cost > self._limit:
            return
        self._entries[key] = value, cost
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

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def cost(self) -> int:
        """What the entries cost together, in bytes."""
        return self._cost
