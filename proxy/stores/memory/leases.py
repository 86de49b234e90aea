"""Leases within one process."""

from __future__ import annotations


class MemoryLease:
    """One claimed key. Fits Lease."""

    __slots__ = ("_claimed", "_key")

    def __init__(self, claimed: set[str], key: str) -> None:
        self._claimed = claimed
        self._key = key

    def release(self) -> None:
        """Let others claim it."""
        self._claimed.discard(self._key)


class MemoryLeases:
    """Leases as members of a set, which several instances may share. Fits Leases."""

    __slots__ = ("_claimed",)

    def __init__(self, claimed: set[str] | None = None) -> None:
        """`claimed` are the keys that are held."""
        self._claimed: set[str] = set() if claimed is None else claimed

    async def claim(self, key: str) -> MemoryLease | None:
        """Claim the lease on `key`; None if it is held."""
        if key in self._claimed:
            return None
        self._claimed.add(key)
        return MemoryLease(self._claimed, key)
