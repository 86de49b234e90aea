"""The log: one JSON object a line, or text, written by a thread of its own."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

import orjson
import structlog

from proxy.telemetry import metrics
from proxy.telemetry.log_text import RenderText

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from pathlib import Path
    from typing import Any


class LogWriter:
    """Writes lines to a file descriptor in a thread, so that the event loop never blocks.

    If the reader of the log does not keep up, lines are dropped and counted.
    """

    _FLUSH_BYTES: Final = 64 * 1024
    _FLUSH_SECONDS: Final = 0.1
    _BACKLOG_BYTES: Final = 8 * 2**20

    def __init__(self, descriptor: int, *, lock: Path | None = None) -> None:
        """Start the thread; `close` ends it.

        Processes that share the descriptor lock the file at `lock` to write. Otherwise a pipe
        could interleave their lines, because it takes more than a page in several pieces.
        """
        self._descriptor = descriptor
        self._lock_file = None if lock is None else lock.open("ab")
        self._lines: list[bytes] = []
        self._size = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def line(self, line: bytes) -> None:
        """Queue one line, without its newline."""
        if self._size > self._BACKLOG_BYTES:
            metrics.LOG_DROPPED.inc()
            return
        with self._lock:
            self._lines.append(line)
            before = self._size
            self._size = before + len(line) + 1
        # Once: the thread may take a while to get its turn.
        if before < self._FLUSH_BYTES <= self._size:
            self._wake.set()

    def close(self) -> None:
        """Write the queued lines within a second, and end the thread."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout=1.0)
        if self._lock_file is not None and not self._thread.is_alive():
            self._lock_file.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(self._FLUSH_SECONDS)
            self._wake.clear()
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            lines, self._lines, self._size = self._lines, [], 0
        if not lines:
            return
        rest = memoryview(b"\n".join((*lines, b"")))
        try:
            if self._lock_file is not None:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            metrics.LOG_DROPPED.inc(len(lines))
        finally:
            if self._lock_file is not None:
                fcntl.flock(self._lock_file, fcntl.LOCK_UN)


_slowly: Final = json.JSONEncoder(separators=(",", ":"), default=str).encode
# What orjson knows of its own accord, but a line says in the words of `str`.
_AS_TEXT: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def encode(values: object) -> bytes:
    """JSON in ASCII, without spaces.

    orjson takes a tenth of the standard library's time, but writes UTF-8 and refuses lone
    surrogates. A client chooses its own name: what could steer a terminal stays escaped.
    """
    try:
        encoded = orjson.dumps(values, str, _AS_TEXT)
    except TypeError:
        return _slowly(values).encode("ascii")
    return encoded if encoded.isascii() else _slowly(values).encode("ascii")


def members(**values: object) -> bytes:
    """Encode `values` as members of a JSON object, for an event's `members`.

    Encoding is most of the cost of a line, so members that repeat are encoded once.
    """
    return encode(values)[1:-1]


class Render:
    """The only structlog processor: one JSON object a line. Caches the formatted time."""

    def __init__(self, always: Mapping[str, Any]) -> None:
        """`always` is in every line."""
        self.always = always
        self._now = self._second = 0
        self._day_and_time = self._stamp = ""

    def __call__(self, logger: object, level: str, event: MutableMapping[str, Any]) -> bytes:
        """The line of one event."""
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, level, event)
        ready = event.pop("members", b"")
        text = encode({"time": self.stamp(), "level": level, **self.always, **event})
        return b"%b,%b}" % (text[:-1], ready) if ready else text

    def stamp(self) -> str:
        """The current time, as every line begins with it."""
        now = int(time.time() * 1000)
        if now != self._now:
            self._now = now
            second, millisecond = divmod(now, 1000)
            if second != self._second:
                self._second = second
                self._day_and_time = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._stamp = f"{self._day_and_time}.{millisecond:03d}Z"
        return self._stamp


class _Lines:
    """The logger that structlog wraps: every level writes a line."""

    def __init__(self, writer: LogWriter) -> None:
        self.msg = self.debug = self.info = self.warning = self.error = writer.line
        self.critical = self.exception = self.fatal = writer.line


class _Libraries(logging.Handler):
    """Writes what libraries log through the standard library to the same log."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            "library.logged",
            library=record.name,
            message=record.getMessage(),
            **({"exc_info": record.exc_info} if record.exc_info else {}),
        )


def start_log(
    descriptor: int | None = None,
    *,
    lock: Path | None = None,
    as_text: bool = False,
    **always: Any,
) -> LogWriter:
    """Send the log to `descriptor` (default: standard output), one JSON object a line.

    `as_text`: lines for people instead. `always` is in every line of JSON; `lock` as in
    `LogWriter`.
    """
    writer = LogWriter(sys.stdout.fileno() if descriptor is None else descriptor, lock=lock)
    lines = _Lines(writer)
    structlog.configure(
        processors=[RenderText() if as_text else Render(always)],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    logging.lastResort = _Libraries(logging.WARNING)
    return writer
