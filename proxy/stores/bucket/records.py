"""Small durable records as objects."""

from __future__ import annotations

import asyncio
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.stores.bucket.calls import UnsupportedError
from proxy.stores.disk.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.stores.bucket.bucket import Bucket

# Says nothing but that there is no second one: see `_creates_once`.
_PROOF: Final = "records/created-once"
# A manifest has some dozens of links, which know nothing of each other.
_IN_ANY_ORDER: Final = "link:"
_AT_ONCE: Final = 32


class RecordObjects:
    """Records by key, below `records/` of a bucket. Every method may raise an OSError."""

    __slots__ = ("_bucket", "_conditional", "_layout", "_turns")

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        # The same names as on a disk, which are as safe in a bucket.
        self._layout = Layout(Path())
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._conditional: bool | None = None

    async def get(self, key: str) -> bytes | None:
        """The record, or None."""
        return await self._bucket.get(self._name(key))

    async def put(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Keep them all: each kind after the one before it, and links all at once."""
        named = [(key, self._name(key), value) for key, value in records]
        for any_order, group in groupby(named, lambda each: each[0].startswith(_IN_ANY_ORDER)):
            if any_order:
                # The last value of a key counts.
                links = {name: value for _, name, value in group}
                await self._all(links)
            else:
                for _, name, value in group:
                    await self._keep(name, value)

    async def put_new(self, key: str, value: bytes) -> bytes:
        """Keep the record unless there is one; whichever is there now."""
        name = self._name(key)
        if self._conditional is None:
            self._conditional = await self._creates_once()
        while True:
            if self._conditional:
                if await self._bucket.create(name, value):
                    return value
            elif await self._bucket.get(name) is None:
                # Two at once may both get here: whoever was last is what both read then, unless
                # one of them is slower than the other one's way there and back.
                await self._bucket.put(name, value)
            if (kept := await self._bucket.get(name)) is not None:
                return kept

    async def delete(self, key: str) -> None:
        """Forget the record."""
        await self._bucket.delete(self._name(key))

    def _name(self, key: str) -> str:
        return self._layout.record(key).as_posix()

    async def _all(self, values: dict[str, bytes]) -> None:
        async def keep(name: str, value: bytes) -> None:
            async with self._turns:
                await self._keep(name, value)

        failures = [
            each
            for each in await asyncio.gather(
                *(keep(name, value) for name, value in values.items()), return_exceptions=True
            )
            if each is not None
        ]
        if failures:
            raise failures[0]

    async def _keep(self, name: str, value: bytes) -> None:
        if not await self._holds(name, value):
            await self._bucket.put(name, value)

    async def _holds(self, name: str, value: bytes) -> bool:
        size = await self._bucket.size(name)
        if size != len(value):
            return False
        return not value or await self._bucket.get(name) == value

    async def _creates_once(self) -> bool:
        """Whether the server refuses to create what is there: some do not, and do not say so."""
        try:
            return not await self._bucket.create(_PROOF, b"") or not await self._bucket.create(
                _PROOF, b""
            )
        except UnsupportedError:
            return False
