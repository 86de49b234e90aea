"""One answer with bytes of a blob: where they begin, how many there are, and that all arrive."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.errors import UpstreamFailure, UpstreamInvalid, UpstreamUnavailable
from proxy.kit.content_coding import can_decode, parse_coding
from proxy.upstream.failures import failures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import StreamReader

    from proxy.upstream.session import Answer

# The statuses of an answer with the whole content: 203 says that a proxy has changed something.
WHOLE: Final = (HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION)
CONTENT: Final = (*WHOLE, HTTPStatus.PARTIAL_CONTENT)
# RFC 9110, 14.4; 18 digits are more than any blob has.
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.IGNORECASE)
# RFC 9110, 8.8.3. Some registries send an ETag that is empty.
_STRONG: Final = re.compile(r'"[\x21\x23-\x7e]{1,200}"')
_UNSATISFIED: Final = re.compile(r"bytes \*/(\d{1,18})", re.IGNORECASE)


class BlobAnswer:
    """A 200 or 206 whose body is still to be read. Fits ports.BlobStream."""

    def __init__(
        self, answer: Answer, *, start: int, length: int | None, total: int | None
    ) -> None:
        """`length` is how many bytes the body has, if the answer states it."""
        self._answer = answer
        self._length = length
        self.start = start
        self.total = total
        self.received = 0

    @property
    def validator(self) -> str | None:
        """Its ETag, if that is a strong one."""
        tag = self._answer.response.headers.get("ETag", "").strip()
        return tag if _STRONG.fullmatch(tag) else None

    @property
    def coding(self) -> str | None:
        """What the bytes may be encoded in, if that can be undone; None if they are the blob's."""
        coding = parse_coding(self._answer.response.headers.getall("Content-Encoding", []))
        return coding if coding is not None and can_decode(coding) else None

    @property
    def finished(self) -> bool:
        """Whether the last byte was received, as far as that can be known."""
        return self.received == self._length or self._answer.response.content.at_eof()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they arrive; UpstreamUnavailable if the body ends early."""
        endpoint, content = self._answer.endpoint, self._answer.response.content
        while True:
            try:
                with failures(endpoint, self._answer.context):
                    chunk = await content.readany()
            except UpstreamFailure:
                if rest := _unread(content):
                    yield self._count(rest)
                raise
            if not chunk:
                break
            yield self._count(chunk)
        if self._length is not None and self.received < self._length:
            raise UpstreamUnavailable(
                f"{endpoint} stopped in the middle of a blob", context=self._answer.context
            )

    def _count(self, chunk: bytes) -> bytes:
        self.received += len(chunk)
        if self._length is not None and self.received > self._length:
            raise UpstreamInvalid(
                f"{self._answer.endpoint} sent more of a blob than it had announced"
            )
        return chunk


def _unread(content: StreamReader) -> bytes:
    """Take what aiohttp has received of an interrupted body: it gives that to no caller any more.

    Without it as much is fetched again after each interruption as aiohttp's buffer holds.
    """
    rest = b"".join(content._buffer)[content._buffer_offset :]  # noqa: SLF001 -- no other way to it
    content._buffer.clear()  # noqa: SLF001
    content._buffer_offset = 0  # noqa: SLF001
    return rest


def parse_answer(answer: Answer, *, start: int, end: int | None) -> BlobAnswer:
    """Return the body of a 200 or 206 to a request for `start` to `end`; None is the last byte.

    UpstreamInvalid if the answer is about other bytes, or contradicts itself.
    """
    response, endpoint = answer.response, answer.endpoint
    announced = response.content_length
    content_range = response.headers.get("Content-Range", "").strip()
    is_whole = start == 0 and end is None
    # Some send 206 for the whole, without saying which part that is. Its digest will.
    if response.status in WHOLE or (is_whole and not content_range):
        return BlobAnswer(answer, start=0, length=announced, total=announced)
    parts = _CONTENT_RANGE.fullmatch(content_range)
    if parts is None:
        raise UpstreamInvalid(
            f"{endpoint} answered 206 without stating which part of the blob it is"
        )
    first, last = int(parts[1]), int(parts[2])
    total = None if parts[3] == "*" else int(parts[3])
    if start < 0 and total is not None:
        start, end = max(0, total + start), None
    if first != start or last < first or not _ends_right(last, end, total):
        raise UpstreamInvalid(f"{endpoint} sent another part of the blob than it was asked for")
    length = last - first + 1
    if announced not in {None, length}:
        raise UpstreamInvalid(f"{endpoint} contradicts itself about the length of a blob's part")
    return BlobAnswer(answer, start=first, length=length, total=total)


def _ends_right(last: int, end: int | None, total: int | None) -> bool:
    if total is None:
        return end is None or last <= end
    return last == (total - 1 if end is None else min(end, total - 1))


def unsatisfied_size(content_range: str | None) -> int | None:
    """Return the blob's size from the `Content-Range` of a 416, or None."""
    parts = _UNSATISFIED.fullmatch((content_range or "").strip())
    return int(parts[1]) if parts else None
