"""The log: one JSON object a line, written by nobody that serves."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

import structlog

from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from pathlib import Path
    from typing import Any


class LogWriter:
    """Lines to a file descriptor, written by a thread of its own so that the loop never waits.

    A reader that does not keep up loses lines, which are counted, and never stops the proxy.
    """

    _FLUSH_BYTES: Final = 64 * 1024
    _FLUSH_SECONDS: Final = 0.1
    _BACKLOG_BYTES: Final = 8 * 2**20

    def __init__(self, descriptor: int, *, turn: Path | None = None) -> None:
        """Start the thread; `close` ends it.

        `turn` is a file that processes which share the descriptor lock to write: a pipe takes
        more than a page in pieces, between which another one's lines would come.
        """
        self._descriptor = descriptor
        self._turn = None if turn is None else turn.open("ab")
        self._lines: list[bytes] = []
        self._size = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def line(self, line: str) -> None:
        """Queue one line, without its newline."""
        if self._size > self._BACKLOG_BYTES:
            metrics.LOG_DROPPED.inc()
            return
        encoded = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            self._lines.append(encoded)
            self._size += len(encoded)
        if self._size >= self._FLUSH_BYTES:
            self._wake.set()

    def close(self) -> None:
        """Write what is queued, for at most a second, and end."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout=1.0)
        if self._turn is not None and not self._thread.is_alive():
            self._turn.close()

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
        rest = memoryview(b"".join(lines))
        try:
            if self._turn is not None:
                fcntl.flock(self._turn, fcntl.LOCK_EX)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            metrics.LOG_DROPPED.inc(len(lines))
        finally:
            if self._turn is not None:
                fcntl.flock(self._turn, fcntl.LOCK_UN)


_encode: Final = json.JSONEncoder(separators=(",", ":"), default=str).encode


def members(**values: object) -> str:
    """`values` as members of a JSON object, for an event's `members`.

    Encoding is most of what a line costs: who logs the same again and again encodes it once.
    """
    return _encode(values)[1:-1]


class _Render:
    """One JSON object a line; the only processor. The second is formatted once a second."""

    def __init__(self, always: Mapping[str, Any]) -> None:
        self._always = always
        self._second = 0
        self._stamp = ""

    def __call__(self, logger: object, level: str, event: MutableMapping[str, Any]) -> str:
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, level, event)
        now = time.time()
        if (second := int(now)) != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        stamp = f"{self._stamp}.{int((now - second) * 1000):03d}Z"
        ready = event.pop("members", "")
        text = _encode({"time": stamp, "level": level, **self._always, **event})
        return f"{text[:-1]},{ready}}}" if ready else text


class _Lines:
    """What structlog calls a logger: every level is a line."""

    def __init__(self, writer: LogWriter) -> None:
        self.msg = self.debug = self.info = self.warning = self.error = writer.line
        self.critical = self.exception = self.fatal = writer.line


class _Libraries(logging.Handler):
    """What libraries tell the standard library's logging, as lines of the same log."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            "library.said",
            library=record.name,
            message=record.getMessage(),
            **({"exc_info": record.exc_info} if record.exc_info else {}),
        )


def start_log(
    descriptor: int | None = None, *, turn: Path | None = None, **always: Any
) -> LogWriter:
    """Send the log to `descriptor` (standard output), one JSON object a line.

    `always` is in every line; `turn` as in `LogWriter`.
    """
    writer = LogWriter(sys.stdout.fileno() if descriptor is None else descriptor, turn=turn)
    lines = _Lines(writer)
    structlog.configure(
        processors=[_Render(always)],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    logging.lastResort = _Libraries(logging.WARNING)
    return writer
