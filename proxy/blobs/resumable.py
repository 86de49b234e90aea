"""The body of a blob, or of a range of it, that is resumed by Range where it is interrupted."""

from __future__ import annotations

from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from proxy.blobs.expected_length import expected_length
from proxy.blobs.retry_budget import RetryBudget
from proxy.errors import (
    FailedAt,
    Phase,
    RangeInvalid,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.content_coding import Decoder
from proxy.telemetry import trace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from proxy.kit.clock import Clock
    from proxy.oci.reference import Digest
    from proxy.ports import BlobStream, Late, Upstream


class ContentChanged(UpstreamInvalid):
    """The upstream's content under the digest is not what it was when the body began."""


class NotEncoded(UpstreamInvalid):
    """The bytes cannot be decoded as the upstream's Content-Encoding says."""


class ResumableBody:
    """Bytes of a blob from its upstream, in as many answers as that takes. Not verified here.

    First `begin`, then `chunks`. Every attempt starts at the registry, also where that redirects
    to a storage service: such addresses expire.
    """

    def __init__(
        self,
        digest: Digest,
        name: str,
        upstream: Upstream,
        *,
        last: int | None = None,
        total: int | None = None,
        decode: bool = False,
        late: Late | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`name` is the repository's at the upstream, `last` the last byte; None is the blob's.

        `total` is the length that clients were given already: another one is an error. With
        `decode`, a Content-Encoding is undone; such a body always begins at 0, and has no length.
        `late` is called while the first answer does not begin in time; without it, or after the
        first byte, that is a failure.
        """
        self.total = total
        # What the bytes may be encoded in, if the upstream says so: see `codings`.
        self.coding: str | None = None
        # The offset of the first answer's first byte: 0 if the upstream does not support ranges.
        self.start = 0
        self._digest = digest
        self._name = name
        self._upstream = upstream
        self._last = last
        self._decode = decode
        self._late = late
        self._budget = RetryBudget(digest, clock)
        self._connection = AsyncExitStack()
        self._stream: BlobStream | None = None
        self._validator: str | None = None

    async def __aenter__(self) -> Self:
        """Nothing is sent before `begin`."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection to the upstream."""
        await self._connection.aclose()

    async def begin(self, start: int) -> None:
        """Ask for the bytes from `start` on; below 0 it counts from the end.

        UpstreamFailure, BlobUnknown or RangeInvalid. As long as no client has the head of its
        answer, an error is the better answer: only what may pass at once is tried again.
        """
        is_retry = False
        while True:
            try:
                stream = await self._request(start, late=self._late, is_retry=is_retry)
                self.start = stream.start
            except UpstreamFailure as failure:
                if self.total is None and not _may_pass(failure):
                    raise
                is_retry = True
                await self._budget.spend(failure, received=max(start, 0), gained=0)
            else:
                return

    async def find_length(self) -> int | None:
        """Return `total`; if no answer has stated it, the upstream is asked by HEAD."""
        if self.total is None and self._stream is not None and self.coding is None:
            self.total = await expected_length(
                self._stream, self._upstream, self._name, self._digest
            )
        return self.total

    async def chunks(self, offset: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `offset` on as they arrive; None is where the body begins.

        A body that was not begun is empty. UpstreamFailure when the budget is spent, ContentChanged
        if the upstream cannot continue what it has sent.
        """
        received = self.start if offset is None else offset
        stream = self._stream
        while stream is not None:
            before = received
            try:
                skip = received - stream.start
                async for chunk in self._content(stream):
                    if skip >= len(chunk):
                        skip -= len(chunk)
                        continue
                    received += len(chunk) - skip
                    yield chunk[skip:] if skip else chunk
                    skip = 0
                if received >= self._end():
                    return
                raise UpstreamUnavailable(f"the upstream stopped in the middle of {self._digest}")
            except UpstreamFailure as failure:
                stream = await self._resume(failure, received, gained=received - before)

    async def _resume(
        self, failure: UpstreamFailure, received: int, *, gained: int
    ) -> BlobStream | None:
        """Return an answer with the bytes from `received` on, or None if there are no more.

        Raises the last failure when the budget is spent.
        """
        is_retry = False
        while True:
            await self._connection.aclose()
            await self._budget.spend(failure, received=received, gained=gained)
            gained = 0
            try:
                # The client that has begun it may have left, or reached a limit; others read on.
                with trace.for_nobody():
                    return await self._request(received, is_retry=is_retry)
            except RangeInvalid as answer:
                if self.total is None and answer.size == received:
                    return None
                raise ContentChanged(f"the upstream changed {self._digest} midway") from None
            except UpstreamFailure as another:
                failure, is_retry = another, True

    async def _request(
        self, start: int, *, late: Late | None = None, is_retry: bool = False
    ) -> BlobStream:
        stream = await self._connection.enter_async_context(
            self._upstream.blob(
                self._name,
                self._digest,
                start=0 if self._decode else start,
                end=self._last,
                validator=self._validator,
                late=late,
                is_retry=is_retry,
            )
        )
        self.coding = stream.coding
        if self._decode:
            self._stream = stream
            return stream
        if self.total is None:
            self.total = stream.total
        elif stream.total not in {None, self.total}:
            raise ContentChanged(f"the upstream changed the size of {self._digest} midway")
        self._stream, self._validator = stream, stream.validator
        return stream

    def _content(self, stream: BlobStream) -> AsyncIterator[bytes]:
        if self._decode and stream.coding is not None:
            return decode(stream.chunks(), stream.coding)
        return stream.chunks()

    def _end(self) -> int:
        """Return the offset at which the body is complete; 0 if nobody has stated a length."""
        if self.total is None or self._last is None:
            return self.total or 0
        return min(self._last + 1, self.total)


async def decode(chunks: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    """Yield what the chunks are without their coding.

    UpstreamInvalid if they are not encoded so, UpstreamUnavailable if they end early.
    """
    decoder = Decoder(coding)
    async for chunk in chunks:
        try:
            for piece in decoder.feed(chunk):
                yield piece
        except ValueError:
            raise NotEncoded(f"the upstream sent bytes that are not {coding}") from None
    if not decoder.is_complete:
        raise UpstreamUnavailable("the upstream stopped in the middle of an encoded blob")


def _may_pass(failure: UpstreamFailure) -> bool:
    """Whether the next attempt may succeed, for instance after one error of a storage service.

    Every attempt begins at the registry, which may redirect to another server, or with a signature
    that has not expired.
    """
    context = failure.context
    if context.broke_off:
        return True
    if (
        not isinstance(failure, UpstreamUnavailable)
        or context.at is FailedAt.TOKEN_SERVER
        or failure.retry_after is not None
    ):
        return False
    if context.at is FailedAt.REDIRECT and context.phase is not Phase.WAIT:
        return context.status != HTTPStatus.NOT_IMPLEMENTED
    return (
        context.status is not None
        and context.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        and context.status != HTTPStatus.NOT_IMPLEMENTED
    )
