"""The limit of a request's head as a whole: aiohttp bounds each line of it, and their number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from aiohttp.http_exceptions import HttpProcessingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import StreamReader
    from aiohttp.http import RawRequestMessage

# Credentials of cloud registries take up to 32 KiB, and load balancers add a few more. In
# bytes.
MAX_HEAD: Final = 64 * 1024


class HeadTooLongError(HttpProcessingError):
    """The head of a request is longer than the limit."""

    code = 431


class RequestParser(Protocol):
    """aiohttp's parser, as its connection uses it."""

    def feed_data(
        self, data: bytes
    ) -> tuple[Sequence[tuple[RawRequestMessage, StreamReader]], bool, bytes]:
        """Take bytes; return the requests whose heads are complete now."""

    def message_consumed(self) -> None:
        """Note that a request was taken."""

    def set_upgraded(self, val: bool) -> None:  # noqa: FBT001 -- its signature
        """Note that another protocol is spoken from now on."""


class HeadLimit:
    """A parser that counts what it is fed. Fits `RequestParser`."""

    __slots__ = ("_body", "_parser", "_pending", "_refused", "_waiting")

    def __init__(self, parser: RequestParser) -> None:
        self._parser = parser
        # The bytes of a head that is not complete.
        self._pending = 0
        # The requests that were parsed and not taken yet. The parser may stop behind them.
        self._waiting = 0
        self._body: StreamReader | None = None
        self._refused = False

    def feed_data(
        self, data: bytes
    ) -> tuple[Sequence[tuple[RawRequestMessage, StreamReader]], bool, bytes]:
        """Take bytes as `RequestParser` does; HeadTooLongError once a head is too long."""
        if self._refused:
            return (), False, b""
        fed = self._parser.feed_data(data)
        messages = fed[0]
        if messages:
            self._waiting += len(messages)
            self._body = messages[-1][1]
            rest = self._pending + len(data)
            self._pending = 0
            if rest > MAX_HEAD:
                for message, _ in messages:
                    length = _length(message)
                    self._check(length)
                    rest -= length
                if self._body.is_eof():
                    self._pending = rest
        elif self._body is None or self._body.is_eof():
            self._pending += len(data)
        if not self._waiting:
            self._check(self._pending)
        return fed

    def message_consumed(self) -> None:
        """Note that a request was taken."""
        self._waiting -= 1
        self._parser.message_consumed()

    def set_upgraded(self, val: bool) -> None:  # noqa: FBT001 -- aiohttp's signature
        """Note that another protocol is spoken from now on."""
        self._parser.set_upgraded(val)

    def _check(self, length: int) -> None:
        if length > MAX_HEAD:
            self._refused = True
            raise HeadTooLongError(message="the head is too long")


def _length(message: RawRequestMessage) -> int:
    """The bytes of a head, if it has no more space between them than it needs."""
    fields = sum(len(name) + len(value) + 4 for name, value in message.raw_headers)
    return len(message.method) + len(message.path) + fields + 13
