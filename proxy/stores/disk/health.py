"""What cannot be read or written below the directory of a disk store, for the operator.

What cannot be read is a miss, so that the proxy goes on without it: this says why it is slower.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Final

import structlog

from proxy.kit.threads import in_thread
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.stores.disk.layout import Layout

_log = structlog.get_logger()

# A failing operation is logged at most once per interval, in seconds.
_LOG_INTERVAL: Final = 60.0


class DiskHealth:
    """Counts and logs failures, and warns of directories that cannot be used. Fits Dependency."""

    def __init__(self, layout: Layout, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._layout = layout
        self._clock = clock
        self._logged_at: dict[str, float] = {}
        self._last_error: str | None = None
        self._has_failed = asyncio.Event()

    def record(self, operation: str, error: Exception) -> None:
        """Note that `operation` has failed, which counts as a miss. From the loop's thread only."""
        metrics.DISK_ERRORS.labels(operation).inc()
        self._last_error = str(error)
        self._has_failed.set()
        now = self._clock()
        if now - self._logged_at.get(operation, -_LOG_INTERVAL) >= _LOG_INTERVAL:
            self._logged_at[operation] = now
            _log.warning("disk.failed", operation=operation, error=str(error))

    async def warning(self) -> str | None:
        """The problem with the directories, or the last failure since the last call, or None."""
        recent = self._last_error if self._has_failed.is_set() else None
        self._has_failed.clear()
        problem = await in_thread(self._probe)
        if problem is not None:
            return problem
        return recent and f"the disk failed recently: {recent}"

    async def trouble(self) -> None:
        """Wait for a failure; at once if there has been one since the last `warning`."""
        await self._has_failed.wait()

    def _probe(self) -> str | None:
        """Which directory cannot be used. One that does not exist is made when it is needed."""
        for directory in (self._layout.root, self._layout.blobs, self._layout.spools):
            try:
                os.scandir(directory).close()
            except FileNotFoundError:
                continue
            except OSError as error:
                return f"{directory} cannot be read: {error.strerror}"
            if not os.access(directory, os.W_OK | os.X_OK):
                return f"{directory} cannot be written"
        return None
