"""The audit log: who was given, or refused, what of a closed repository; purges and settings.

One JSON object a line, in a file of its own, without any secret. Lines are written by a thread, all
that wait at once, and the file is opened for each: so it can be rotated by renaming.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import stat
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import StorageFailure
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.threads import in_thread
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.kit.clock import Clock
    from proxy.kit.singleflight import SingleFlight

_log = structlog.get_logger()

_MAX_WAITING: Final = 10_000
_FLUSH_TIMEOUT: Final = 2.0
# For a disk that hangs, in seconds.
_WRITE_TIMEOUT: Final = 5.0
_LATE: Final = "writing takes too long"
_END_OF_LINE: Final = ord("\n")
_WARNING: Final = "audit"


class AuditLog:
    """Writes lines. One that cannot be written refuses what it is about, or is a warning."""

    def __init__(
        self,
        file: Path,
        *,
        refuses: bool,
        warnings: dict[str, str],
        flights: SingleFlight,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`refuses`: nothing happens whose line is not in the file. `warnings` are of /readyz."""
        self._file = file
        self._refuses = refuses
        self._warnings = warnings
        self._flights = flights
        self._clock = clock
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        # When what is being written is late, monotonic.
        self._late_at = math.inf
        # Whether the last line is not whole.
        self._is_cut = False

    def open(self) -> None:
        """Create the file; OSError if it cannot be written."""
        self._append(b"")

    async def flush(self) -> None:
        """Return when the lines so far are written, or a moment later."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=_FLUSH_TIMEOUT)

    async def write(self, event: str, **facts: object) -> None:
        """Write a line; StorageFailure if that fails and lines are required."""
        moment = datetime.fromtimestamp(self._clock.wall(), UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": moment, "event": event, **facts}, default=str).encode() + b"\n"
        written = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= _MAX_WAITING:
            self._fail("too many lines are waiting", [written])
        elif self._clock.monotonic() > self._late_at:
            self._fail(_LATE, [written])
        else:
            self._waiting.append((line, written))
            if self._writing is None or self._writing.done():
                self._writing = self._flights.start(self._write_all())
        if self._refuses:
            await asyncio.wait({written}, timeout=_WRITE_TIMEOUT)
            if not written.done():
                self._fail(_LATE, [written])
            written.result()

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            futures = [future for _, future in batch]
            self._late_at = self._clock.monotonic() + _WRITE_TIMEOUT
            try:
                await in_thread(partial(self._append, b"".join(line for line, _ in batch)))
            except OSError as error:
                self._fail(error.strerror or "it cannot be written", futures)
            else:
                self._warnings.pop(_WARNING, None)
                for future in futures:
                    if not future.done():
                        future.set_result(None)
            finally:
                self._late_at = math.inf

    def _append(self, lines: bytes) -> None:
        # Not blocking, for a pipe that nobody reads.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
        descriptor = os.open(self._file, flags, 0o600)
        try:
            found = os.fstat(descriptor)
            if self._is_cut and (found.st_size or not stat.S_ISREG(found.st_mode)):
                lines = b"\n" + lines
            rest = memoryview(lines)
            while rest:
                written = os.write(descriptor, rest)
                # What follows a line that only a part of was written, as on a full disk, must not
                # be added to it.
                self._is_cut = rest[written - 1] != _END_OF_LINE
                rest = rest[written:]
        finally:
            os.close(descriptor)

    def _fail(self, reason: str, futures: list[asyncio.Future[None]]) -> None:
        metrics.AUDIT_LOST.inc(len(futures))
        if _WARNING not in self._warnings:
            _log.error("audit.not_written", file=str(self._file), reason=reason)
        self._warnings[_WARNING] = f"the audit log cannot be written: {reason}"
        for future in futures:
            if future.done():
                continue
            if self._refuses:
                future.set_exception(StorageFailure("the audit log cannot be written"))
            else:
                future.set_result(None)
