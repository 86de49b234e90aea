"""What an upstream sends of a blob from some byte on, in as many answers as that takes."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from proxy.blobs.expected_length import announced_size
from proxy.blobs.retry_budget import RetryBudget
from proxy.errors import RangeInvalid, UpstreamFailure, UpstreamInvalid, UpstreamUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from proxy.oci.reference import Digest
    from proxy.ports import BlobStream, Upstream


class ResumableBody:
    """A part of a blob that goes on where it breaks off. Nothing of it is verified here."""

    def __init__(
        self, digest: Digest, name: str, upstream: Upstream, *, last: int | None = None
    ) -> None:
        """Of the upstream's repository `name`; `last` is the last byte, None the blob's."""
        self.total: int | None = None
        # Where it begins: at 0 if the upstream knows no ranges.
        self.start = 0
        self._digest = digest
        self._name = name
        self._upstream = upstream
        self._last = last
        self._stack = AsyncExitStack()
        self._stream: BlobStream | None = None

    async def __aenter__(self) -> Self:
        """Nothing is asked for yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hang up."""
        await self._stack.aclose()

    async def begin(self, start: int) -> None:
        """Ask for it; UpstreamFailure, BlobUnknown or RangeInvalid.

        `start` is as for the upstream: below 0 it counts from the end.
        """
        self._stream = await self._asked(start, None)
        self.start, self.total = self._stream.start, self._stream.total

    async def announced(self) -> None:
        """Know the `total`, if the upstream says it at all."""
        if self._stream is not None:
            self.total = await announced_size(
                self._stream, self._upstream, self._name, self._digest
            )

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes as they arrive; nothing if it was not begun. UpstreamFailure."""
        attempts, received = RetryBudget(self._digest), self.start
        while self._stream is not None:
            before = received
            try:
                skip = received - self._stream.start
                async for chunk in self._stream.chunks():
                    if fresh := chunk[skip:]:
                        received += len(fresh)
                        yield fresh
                    skip = max(0, skip - len(chunk))
                if received < self._end():
                    raise UpstreamUnavailable(
                        f"the upstream stopped in the middle of {self._digest}"
                    )
            except UpstreamFailure as failure:
                validator = self._stream.validator
                await self._stack.aclose()
                await attempts.next_attempt(failure, received=received, more=received - before)
            else:
                return
            try:
                self._stream = await self._asked(received, validator)
            except RangeInvalid:
                raise UpstreamInvalid(f"the upstream changed {self._digest} midway") from None
            if self._stream.total not in {None, self.total}:
                raise UpstreamInvalid(f"the upstream changed the size of {self._digest} midway")

    def _end(self) -> int:
        """Before which byte it may not stop; 0 if nobody has said."""
        if self.total is None or self._last is None:
            return self.total or 0
        return min(self._last + 1, self.total)

    async def _asked(self, start: int, validator: str | None) -> BlobStream:
        return await self._stack.enter_async_context(
            self._upstream.blob(
                self._name, self._digest, start=start, end=self._last, validator=validator
            )
        )
