"""An object in a bucket, read in parts with read-ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.errors import StoreError
from proxy.stores.bucket.calls import TooShortError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.stores.bucket.bucket import Bucket, Identity, Part

# The largest part, in bytes. Parts double while a client reads on: so a small range costs little,
# and a whole blob takes few requests.
_MAX_PART: Final = 2 * 2**20


class Allowance:
    """The budget, in bytes, for the read-ahead of all readers."""

    __slots__ = ("_left",)

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, amount: int) -> bool:
        """Take `amount` from the budget; False if there is not enough."""
        if amount > self._left:
            return False
        self._left -= amount
        return True

    def give_back(self, amount: int) -> None:
        """Return `amount` to the budget."""
        self._left += amount


@dataclass(frozen=True, slots=True)
class _Requested:
    start: int
    length: int
    request: asyncio.Future[Part]
    # Bytes of the allowance that the part holds.
    taken: int


class ObjectReader:
    """A reader of one object, for as long as it has the content that it had at the beginning."""

    __slots__ = (
        *("_ahead", "_allowance", "_bucket", "_content", "_held", "_key", "_length", "_on_missing"),
        *("_start", "identity", "size"),
    )

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        identity: Identity,
        *,
        allowance: Allowance,
        on_missing: Callable[[], None],
    ) -> None:
        """`on_missing` is called when the object turns out not to be there any more."""
        self.size = identity.size
        self.identity = identity
        self._bucket = bucket
        self._key = key
        self._allowance = allowance
        self._on_missing = on_missing
        # The current part, its start, and the bytes of the allowance that it holds.
        self._content = memoryview(b"")
        self._start = 0
        self._held = 0
        # The length of the next part, and the next part if it has been requested.
        self._length = 0
        self._ahead: _Requested | None = None

    async def read(self, offset: int, length: int) -> memoryview:
        """Read at most `length` bytes from `offset`; StoreError if the object has gone or changed.

        StoreError also if the bucket fails.
        """
        if offset >= self.size:
            return memoryview(b"")
        if not self._start <= offset < self._start + len(self._content):
            await self._advance(offset, length)
        at = offset - self._start
        return self._content[at : at + length]

    def close(self) -> None:
        """Release the parts."""
        self._cancel_ahead()
        self._release_held()

    async def _advance(self, offset: int, length: int) -> None:
        goes_on = len(self._content) > 0 and offset == self._start + len(self._content)
        self._length = max(length, min(2 * self._length, _MAX_PART)) if goes_on else length
        self._release_held()
        if self._ahead is None or self._ahead.start != offset:
            self._cancel_ahead()
            self._ahead = self._request_ahead(offset, self._length) or self._request(
                offset, length, 0
            )
        part, self._ahead = self._ahead, None
        self._held = part.taken
        after = part.start + part.length
        if goes_on and after < self.size:
            self._ahead = self._request_ahead(after, self._length)
        try:
            received = await self._bucket.part(part.request)
        except FileNotFoundError:
            self._on_missing()
            raise StoreError("the object has been deleted from the bucket") from None
        except TooShortError:
            raise StoreError(f"the object in the bucket is not {self.size} bytes") from None
        except OSError as error:
            raise StoreError(str(error)) from error
        if received.identity.size != self.size or len(received.content) != part.length:
            raise StoreError(f"the object in the bucket is not {self.size} bytes")
        if received.identity != self.identity:
            raise StoreError("the object in the bucket has been replaced")
        self._content, self._start = received.content, part.start

    def _request_ahead(self, start: int, length: int) -> _Requested | None:
        """Request a part ahead; None if the allowance is exhausted."""
        length = min(length, self.size - start)
        return self._request(start, length, length) if self._allowance.take(length) else None

    def _request(self, start: int, length: int, taken: int) -> _Requested:
        length = min(length, self.size - start)
        return _Requested(start, length, self._bucket.begin_part(self._key, start, length), taken)

    def _cancel_ahead(self) -> None:
        if self._ahead is not None:
            self._allowance.give_back(self._ahead.taken)
            self._ahead = None

    def _release_held(self) -> None:
        self._content = memoryview(b"")
        self._allowance.give_back(self._held)
        self._held = 0
