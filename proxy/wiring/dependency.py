"""Something without which the proxy works, but worse: Redis, a bucket, or the disk."""

from __future__ import annotations

from typing import Protocol


class Dependency(Protocol):
    """What reports its own health."""

    async def warning(self) -> str | None:
        """Return what is wrong with it, or was since the last call."""

    async def trouble(self) -> None:
        """Wait for something to go wrong."""
