"""A blob in a bucket, read in parts that come while the ones before are sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.stores.bucket.calls import TooShortError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from obstore import Bytes

    from proxy.stores.bucket.bucket import Bucket

# What is asked for at once at most, in bytes. Who reads on gets twice as much each time: a client
# that wants a little of a blob costs little, and one that wants all of it few requests.
_LARGEST: Final = 2 * 2**20


class Allowance:
    """The bytes that all readers together may hold besides what they were just asked for."""

    __slots__ = ("_left",)

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, amount: int) -> bool:
        """Whether there is room for `amount`, which is then taken."""
        if amount > self._left:
            return False
        self._left -= amount
        return True

    def give_back(self, amount: int) -> None:
        """Make room again."""
        self._left += amount


@dataclass(frozen=True, slots=True)
class _Part:
    start: int
    length: int
    coming: asyncio.Future[Bytes]
    # What of the allowance it holds.
    taken: int


class ObjectBlob:
    """One reader of one object. Fits Blob."""

    __slots__ = (
        *("_ahead", "_allowance", "_bucket", "_content", "_gone", "_held", "_key", "_length"),
        *("_start", "altered", "size"),
    )

    def __init__(
        self, bucket: Bucket, key: str, size: int, *, allowance: Allowance, gone: Callable[[], None]
    ) -> None:
        """`gone` is called when the object turns out not to be there any more."""
        self.size = size
        # Whether it was found to be something else than it was.
        self.altered = False
        self._bucket = bucket
        self._key = key
        self._allowance = allowance
        self._gone = gone
        # The part that is being read, where it begins, and what it holds of the allowance.
        self._content = memoryview(b"")
        self._start = 0
        self._held = 0
        # How long the next one may be, and that one, if it is on its way.
        self._length = 0
        self._ahead: _Part | None = None

    async def read(self, offset: int, length: int) -> memoryview:
        """At most `length` bytes from `offset`; OSError if they are not to be had any more."""
        if offset >= self.size:
            return memoryview(b"")
        if not self._start <= offset < self._start + len(self._content):
            await self._advance(offset, length)
        at = offset - self._start
        return self._content[at : at + length]

    def close(self) -> None:
        """Want no more of it."""
        self._drop_ahead()
        self._let_go()

    async def _advance(self, offset: int, length: int) -> None:
        goes_on = len(self._content) > 0 and offset == self._start + len(self._content)
        self._length = max(length, min(2 * self._length, _LARGEST)) if goes_on else length
        self._let_go()
        if self._ahead is None or self._ahead.start != offset:
            self._drop_ahead()
            self._ahead = self._begun(offset, self._length) or self._asked(offset, length, 0)
        part, self._ahead = self._ahead, None
        self._held = part.taken
        after = part.start + part.length
        if goes_on and after < self.size:
            self._ahead = self._begun(after, self._length)
        try:
            self._content = await self._bucket.part(part.coming)
        except FileNotFoundError:
            self._gone()
            raise OSError("the object is not in the bucket any more") from None
        except TooShortError:
            self._content = memoryview(b"")
        self._start = part.start
        if len(self._content) != part.length:
            self.altered = True
            raise OSError(f"the object in the bucket is not {self.size} bytes")

    def _begun(self, start: int, length: int) -> _Part | None:
        """The part, if the allowance has room for it."""
        length = min(length, self.size - start)
        return self._asked(start, length, length) if self._allowance.take(length) else None

    def _asked(self, start: int, length: int, taken: int) -> _Part:
        length = min(length, self.size - start)
        return _Part(start, length, self._bucket.begin_part(self._key, start, length), taken)

    def _drop_ahead(self) -> None:
        if self._ahead is not None:
            self._allowance.give_back(self._ahead.taken)
            self._ahead = None

    def _let_go(self) -> None:
        self._content = memoryview(b"")
        self._allowance.give_back(self._held)
        self._held = 0
