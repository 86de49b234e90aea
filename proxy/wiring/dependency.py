"""Something that the proxy goes on without, worse than with it: Redis, a bucket, or the disk."""

from __future__ import annotations

from typing import Protocol


class Dependency(Protocol):
    """What reports its own health."""

    async def warning(self) -> str | None:
        """What is wrong with it, or was since the last time."""

    async def trouble(self) -> None:
        """Wait for something to go wrong."""
