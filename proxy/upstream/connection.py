"""One connection to an upstream, whose answers may be framed in every way that HTTP allows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

from proxy.upstream.framing import end_of_head, is_interim, read_head

if TYPE_CHECKING:
    import asyncio

# A longer head, or more interim ones, are left to aiohttp's parser, which has limits of its own.
_LONGEST_HEAD: Final = 256 * 1024
_MOST_INTERIM: Final = 16
_PROTOCOL: Final = b"HTTP/"
# How many bytes show what a head begins with.
_ENOUGH: Final = 16


class UpstreamConnector(aiohttp.TCPConnector):
    """Connects as aiohttp does, and makes connections of the class below."""

    def __init__(self, **options: Any) -> None:
        """The options are those of aiohttp. Needs a running loop."""
        super().__init__(**options)
        self._factory: Any = partial(UpstreamConnection, loop=self._loop)


class UpstreamConnection(ResponseHandler):
    """A connection that is used for one answer after another.

    A body where none may be, after HEAD or behind a stated length, is no answer to the next
    request: the connection is closed, and that request is sent again on another one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._is_new = True

    def set_response_params(self, *, skip_payload: bool = False, **params: Any) -> None:
        """Expect the answer to the request that is being sent. `skip_payload` after HEAD."""
        super().set_response_params(skip_payload=skip_payload, **params)
        self._parser = cast(
            "Any", _Reader(self._parser, self, to_head=skip_payload, is_first=self._is_new)
        )
        self._is_new = False

    def end(self) -> None:
        """Close the connection now: nothing on it can be an answer any more."""
        self.force_close()
        if self.transport is not None:
            self.transport.close()

    def retry(self) -> None:
        """Fail as if the server had closed the connection meanwhile: aiohttp tries again."""
        self.end()
        self.set_exception(aiohttp.ServerDisconnectedError())


class _Reader:
    """Stands before aiohttp's parser of one answer: normalises its head, and ends its body."""

    def __init__(
        self, parser: Any, connection: UpstreamConnection, *, to_head: bool, is_first: bool
    ) -> None:
        self._parser = parser
        self._connection = connection
        self._to_head = to_head
        self._is_first = is_first
        self._head: bytearray | None = bytearray()
        self._interim = 0
        self._remaining: int | None = None

    def feed_data(self, received: bytes) -> Any:
        """Fits aiohttp's parser."""
        return self._parser.feed_data(self._read(received))

    def __getattr__(self, name: str) -> Any:
        """Whatever else aiohttp wants of its parser."""
        return getattr(self._parser, name)

    def _read(self, received: bytes) -> bytes:
        """What the parser is given of the bytes that were received."""
        if self._head is None:
            return self._read_body(received)
        self._head += received
        # An empty line before the head is to be ignored (RFC 9112, 2.2).
        start = self._head[:_ENOUGH].lstrip(b"\r\n")
        if not start.startswith(_PROTOCOL[: len(start)]):
            return self._refuse()
        while (end := end_of_head(self._head)) is not None:
            raw = bytes(self._head[:end])
            if is_interim(raw) and self._interim < _MOST_INTERIM:
                self._interim += 1
                del self._head[:end]
                continue
            rest = bytes(self._head[end:])
            self._head = None
            return self._begin(raw) + self._read_body(rest)
        return self._give_up() if len(self._head) > _LONGEST_HEAD else b""

    def _refuse(self) -> bytes:
        """Reject what was received: it followed a complete answer, or is not HTTP."""
        if self._is_first:
            return self._give_up()
        self._connection.retry()
        self._head, self._remaining = None, 0
        return b""

    def _give_up(self) -> bytes:
        """Leave it to the parser, which says what is wrong with it."""
        given, self._head = bytes(self._head or b""), None
        return given

    def _begin(self, raw: bytes) -> bytes:
        head = read_head(raw, to_head=self._to_head)
        self._remaining = 0 if self._to_head else head.length
        if head.ambiguous:
            self._connection.force_close()
        return head.raw

    def _read_body(self, received: bytes) -> bytes:
        if self._remaining is None:
            return received
        if received and not self._remaining:
            self._connection.end()
        given = received[: self._remaining]
        self._remaining -= len(given)
        if len(given) < len(received):
            self._connection.force_close()
        return given
