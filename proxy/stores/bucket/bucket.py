"""One bucket of an object store: what can be asked of it, and what it says.

Whatever goes wrong is an OSError in a sentence that an operator can read. Nothing of obstore's own
text gets further: an answer to a wrong signature has the signature in it, and some URLs have one.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import AlreadyExistsError

from proxy.stores.bucket.calls import BucketCalls, BucketError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from obstore import Attributes, Bytes
    from obstore.store import AzureStore, GCSStore, S3Store

# How long an answer to something small may take, with all retries, and one to a part of a blob, in
# seconds. An upload has no such limit: each of its parts has one, see `bucket_places`.
_TIMEOUT: Final = 5.0
_PART_TIMEOUT: Final = 30.0
# A part of an upload, in bytes, and how many are under way at once. S3 takes 10 000 at most.
_PART: Final = 8 * 2**20
_PARTS: Final = 9000
_PARTS_AT_ONCE: Final = 2
_BINARY: Final[Attributes] = {"Content-Type": "application/octet-stream"}
# How long an upload that is given up may take to say so to the server, in seconds.
_ABORTING: Final = 5.0


class Bucket:
    """The objects below one prefix, by key. A bucket that fails is left alone for moments."""

    def __init__(
        self,
        store: S3Store | GCSStore | AzureStore,
        *,
        name: str,
        prefix: str = "",
        signing: S3Store | GCSStore | AzureStore | None = None,
        on_error: Callable[[str], None],
        timeout: float = _TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name` is for people. `signing` makes the URLs, if clients need others than we do.

        `timeout` is how long an answer to something small may take, with all retries, in seconds.
        """
        self.name = name
        self._store = store
        self._signing = signing or store
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._timeout = timeout
        self._asking = BucketCalls(name, on_error=on_error, clock=clock)

    # -- objects -----------------------------------------------------------------------------

    async def size(self, key: str) -> int | None:
        """The object's size in bytes, or None if there is none."""
        path = self._prefix + key

        async def looked() -> int:
            found = await self._asking.done(obstore.head_async(self._store, path))
            return found["size"]

        with suppress(FileNotFoundError):
            return await self._asking.ask("look", looked, within=self._timeout)
        return None

    async def get(self, key: str) -> bytes | None:
        """A small object's content, or None if there is none."""
        path = self._prefix + key

        async def read() -> bytes:
            found = await self._asking.done(obstore.get_async(self._store, path))
            return bytes(await self._asking.done(found.bytes_async()))

        with suppress(FileNotFoundError):
            return await self._asking.ask("read", read, within=self._timeout)
        return None

    def begin_part(self, key: str, start: int, length: int) -> asyncio.Future[Bytes]:
        """Have `length` bytes from `start` come, which must be there; `part` waits for them."""
        path = self._prefix + key
        return self._asking.started(
            obstore.get_range_async(self._store, path, start=start, length=length)
        )

    async def part(self, coming: asyncio.Future[Bytes]) -> memoryview:
        """What `begin_part` asked for; FileNotFoundError if the object is gone."""
        return memoryview(
            await self._asking.ask("read", lambda: asyncio.shield(coming), within=_PART_TIMEOUT)
        )

    async def put(self, key: str, value: bytes) -> None:
        """Have the object be `value`."""
        await self._put("write", key, value)

    async def create(self, key: str, value: bytes) -> bool:
        """Have the object be `value` unless there is one; whether there was none.

        UnsupportedError where the server says that it cannot; some do not say so.
        """
        path = self._prefix + key

        async def created() -> bool:
            try:
                await self._asking.done(obstore.put_async(self._store, path, value, mode="create"))
            except AlreadyExistsError:
                return False
            return True

        return await self._asking.ask("write", created, within=self._timeout)

    async def upload(self, key: str, size: int, pieces: AsyncIterator[memoryview]) -> None:
        """Have the object be the `size` bytes that `pieces` are; all of them, or nothing.

        Two parts are in memory at once. What was sent of an upload that fails is removed.
        """
        if size <= _PART:
            await self._put("upload", key, b"".join([piece async for piece in pieces]))
            return
        given_up = asyncio.Event()

        async def wanted() -> AsyncIterator[memoryview]:
            async for piece in pieces:
                if given_up.is_set():
                    raise BucketError("the upload was given up")
                yield piece

        async def sent() -> None:
            upload = self._asking.started(
                obstore.put_async(
                    self._store,
                    self._prefix + key,
                    wanted(),
                    attributes=_BINARY,
                    use_multipart=True,
                    chunk_size=max(_PART, -(-size // _PARTS)),
                    max_concurrency=_PARTS_AT_ONCE,
                )
            )
            try:
                await asyncio.shield(upload)
            except asyncio.CancelledError:
                # If it were cancelled, too, its parts would stay in the bucket.
                given_up.set()
                await asyncio.wait({upload}, timeout=_ABORTING)
                raise

        try:
            await self._asking.ask("upload", sent, within=None)
        except FileNotFoundError:
            raise BucketError(f"{self.name} is not there") from None

    async def delete(self, key: str) -> None:
        """Have no such object."""
        path = self._prefix + key

        async def deleted() -> None:
            await self._asking.done(obstore.delete_async(self._store, path))

        with suppress(FileNotFoundError):
            await self._asking.ask("delete", deleted, within=self._timeout)

    async def url(self, key: str, seconds: float) -> str:
        """Where anybody can read the object for so long."""
        path, life = self._prefix + key, timedelta(seconds=seconds)

        async def signed() -> str:
            return await self._asking.done(obstore.sign_async(self._signing, "GET", path, life))

        return await self._asking.ask("sign", signed, within=self._timeout, telling=False)

    async def _put(self, operation: str, key: str, value: bytes) -> None:
        path = self._prefix + key

        async def written() -> None:
            await self._asking.done(
                obstore.put_async(self._store, path, value, attributes=_BINARY, use_multipart=False)
            )

        timeout = self._timeout if operation == "write" else _PART_TIMEOUT
        try:
            await self._asking.ask(operation, written, within=timeout)
        except FileNotFoundError:
            raise BucketError(f"{self.name} is not there") from None

    # -- how it is ---------------------------------------------------------------------------

    async def warning(self) -> str | None:
        """Ask the bucket for something; what is wrong with it, or was since the last time."""
        try:
            await self.get("probe")
        except OSError as error:
            return f"{self.name} cannot be used: {self._asking.last_error or error}"
        recent = self._asking.last_error if self._asking.troubled.is_set() else None
        self._asking.troubled.clear()
        return recent and f"{self.name} failed for a while, or refuses some requests: {recent}"

    async def trouble(self) -> None:
        """Wait for something to fail; at once if it did since the last `warning`."""
        await self._asking.troubled.wait()

    async def close(self) -> None:
        """Wait for what is under way, for moments: nothing may run when the process ends."""
        await self._asking.close()
