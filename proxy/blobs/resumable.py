"""The body of a blob, or of a range of it, that is resumed by Range where it is interrupted."""

from __future__ import annotations

from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from proxy.blobs.expected_length import expected_length
from proxy.blobs.retry_budget import RetryBudget
from proxy.errors import (
    FailedAt,
    RangeInvalid,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.telemetry import trace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from proxy.kit.clock import Clock
    from proxy.oci.reference import Digest
    from proxy.ports import BlobStream, Upstream


class ContentChanged(UpstreamInvalid):
    """The upstream has other content under the digest than when the body began."""


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
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`name` is the repository's at the upstream, `last` the last byte; None is the blob's.

        `total` is the length that clients were given already: another one is an error.
        """
        self.total = total
        # The offset of the first answer's first byte: 0 if the upstream does not support ranges.
        self.start = 0
        self._digest = digest
        self._name = name
        self._upstream = upstream
        self._last = last
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
        answer, an error is the better answer: only a connection that the upstream closes before
        its own head, and a server error that states no time, are tried again, once.
        """
        retried = False
        while True:
            try:
                self.start = (await self._request(start)).start
            except UpstreamFailure as failure:
                if self.total is None and (retried or not _may_pass(failure)):
                    raise
                retried = True
                await self._budget.spend(failure, received=max(start, 0), gained=0)
            else:
                return

    async def find_length(self) -> int | None:
        """Return `total`; if no answer has stated it, the upstream is asked by HEAD."""
        if self.total is None and self._stream is not None:
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
                async for chunk in stream.chunks():
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
        while True:
            await self._connection.aclose()
            await self._budget.spend(failure, received=received, gained=gained)
            gained = 0
            try:
                # The client that has begun it may have left, or reached a limit; others read on.
                with trace.for_nobody():
                    return await self._request(received)
            except RangeInvalid as answer:
                if self.total is None and answer.size == received:
                    return None
                raise ContentChanged(f"the upstream changed {self._digest} midway") from None
            except UpstreamFailure as another:
                failure = another

    async def _request(self, start: int) -> BlobStream:
        stream = await self._connection.enter_async_context(
            self._upstream.blob(
                self._name, self._digest, start=start, end=self._last, validator=self._validator
            )
        )
        if self.total is None:
            self.total = stream.total
        elif stream.total not in {None, self.total}:
            raise ContentChanged(f"the upstream changed the size of {self._digest} midway")
        self._stream, self._validator = stream, stream.validator
        return stream

    def _end(self) -> int:
        """Return the offset at which the body is complete; 0 if nobody has stated a length."""
        if self.total is None or self._last is None:
            return self.total or 0
        return min(self._last + 1, self.total)


def _may_pass(failure: UpstreamFailure) -> bool:
    """Whether the next attempt may well succeed: one hiccup of a storage service, say."""
    if failure.context.broke_off:
        return True
    status = failure.context.status
    return (
        isinstance(failure, UpstreamUnavailable)
        and failure.context.at is not FailedAt.TOKEN_SERVER
        and failure.retry_after is None
        and status is not None
        and status >= HTTPStatus.INTERNAL_SERVER_ERROR
        and status != HTTPStatus.NOT_IMPLEMENTED
    )
