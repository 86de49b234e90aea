"""The shared cache: short values that other processes read, too."""

from __future__ import annotations

from typing import Protocol


class ManifestCache(Protocol):
    """Short values under text keys, each with a lifetime. Never the only copy.

    An outage of the store behind it looks like a miss, and is counted where it happens; no
    method raises for it.
    """

    async def get(self, key: str, *, extend: float | None = None) -> bytes | None:
        """Return the value, or None; a hit lives for at least `extend` more seconds if given."""
        ...

    async def put(self, key: str, value: bytes, *, life: float) -> None:
        """Store `value` for `life` seconds, in place of an earlier one."""
        ...

    async def delete(self, key: str) -> None:
        """Delete `key`; nothing happens if it is unknown."""
        ...

    async def close(self) -> None:
        """Finish pending writes, and close every connection and file."""
        ...
