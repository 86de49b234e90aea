"""How fast a client reads its response, and whether that is too slow."""

from __future__ import annotations

import fcntl
import struct
import termios
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class TooSlow(StrEnum):
    """Why a connection is closed. Labels of a metric, which docs/observability.md explains."""

    STALLED = "stalled"
    RATE = "rate"


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """`send_timeout` is in seconds, `minimum_rate` in bytes a second."""

    send_timeout: float = 60.0
    minimum_rate: int = 1024


class ReadingRate:
    """Measures one connection from samples, which are taken about once a second.

    Only the time counts in which the client has something to read and we wait for it.
    """

    __slots__ = ("_at", "_before", "_moved", "_read", "_response", "_waited")

    def __init__(self) -> None:
        self._response: object = None
        # The time of the last sample, and of the last one that showed progress.
        self._at = self._moved = 0.0
        # What the client had read at the last sample; None if we did not wait for it then.
        self._before: int | None = None
        self._read = 0
        self._waited = 0.0

    def pause(self) -> None:
        """Note that we do not wait for the client."""
        self._before = None

    def sample(
        self, now: float, limits: ReadingLimits, *, response: object, read: int
    ) -> TooSlow | None:
        """Note that the client has read `read` bytes; why it is too slow, or None.

        `response` is another object for each response, and `read` grows within one.
        """
        if response is not self._response:
            self._response, self._before = response, None
            self._read, self._waited = 0, 0.0
        if self._before is None:
            self._moved = now
        else:
            self._waited += now - self._at
            self._read += read - self._before
            if read > self._before:
                self._moved = now
        self._at, self._before = now, read
        if now - self._moved >= limits.send_timeout:
            return TooSlow.STALLED
        if self._waited < limits.send_timeout:
            return None
        return TooSlow.RATE if self._read < self._waited * limits.minimum_rate else None


def unread_bytes(transport: asyncio.Transport) -> int:
    """The bytes that the client has not acknowledged: in our buffer, and in the system's."""
    socket = transport.get_extra_info("socket")
    try:
        (queued,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))
    except (OSError, ValueError, AttributeError):
        queued = 0
    return transport.get_write_buffer_size() + int(queued)
