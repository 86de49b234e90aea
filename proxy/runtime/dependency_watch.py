"""What is wrong with Redis, the bucket or the disk, among the warnings of /readyz."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from proxy.kit.backoff import with_jitter

if TYPE_CHECKING:
    from proxy.wiring.dependency import Dependency

_log = structlog.get_logger()

# How often a dependency is asked for its health, in seconds: when nothing fails, and while
# something does.
_LOOK_EVERY: Final = 60.0
_LOOK_AGAIN: Final = 2.0


class DependencyWatch:
    """Keeps one dependency's warning up to date, for a minute after the last trouble."""

    def __init__(self, name: str, dependency: Dependency, warnings: dict[str, str]) -> None:
        """`name` is the warning's key."""
        self._name = name
        self._dependency = dependency
        self._warnings = warnings
        self._has_looked = False

    async def look(self) -> None:
        """Wait for trouble, or for the next time to look, and look; the first time at once."""
        if self._has_looked:
            await asyncio.sleep(with_jitter(_LOOK_AGAIN))
            with suppress(TimeoutError):
                async with asyncio.timeout(with_jitter(_LOOK_EVERY)):
                    await self._dependency.trouble()
        # A look that fails is repeated without waiting for trouble.
        self._has_looked = False
        warning = await self._dependency.warning()
        self._has_looked = True
        if warning is None:
            self._warnings.pop(self._name, None)
        elif self._warnings.get(self._name) != warning:
            self._warnings[self._name] = warning
            _log.warning("dependency.warning", dependency=self._name, message=warning)
