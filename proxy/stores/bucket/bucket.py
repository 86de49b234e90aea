"""The client of one bucket of an object store.

Every failure is an OSError with a message for the operator. obstore's own texts are not passed on,
because responses to a wrong signature contain the signature, and some URLs contain one.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import AlreadyExistsError

from proxy.stores.bucket.calls import BucketCalls, BucketError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from datetime import datetime

    from obstore import Attributes, GetOptions, ObjectMeta
    from obstore.store import AzureStore, GCSStore, S3Store

# The time limits of small requests and of a part of a blob, with all retries, in seconds. An upload
# as a whole has none, but each of its parts has one, see `providers`.
_TIMEOUT: Final = 5.0
_PART_TIMEOUT: Final = 30.0
# The size of an upload's part in bytes, and the concurrent parts. S3 allows 10 000 parts.
_PART: Final = 8 * 2**20
_PARTS: Final = 9000
_PARTS_AT_ONCE: Final = 2
_BINARY: Final[Attributes] = {"Content-Type": "application/octet-stream"}
# The time to abort an upload on the server, in seconds.
_ABORT_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one content of an object from another: they change with its content.

    `modified` has a resolution of a second.
    """

    size: int
    e_tag: str | None
    modified: datetime


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of an object, and which content of it they are of."""

    content: memoryview
    identity: Identity


class Bucket:
    """The objects below one prefix, by key. A circuit breaker opens when the bucket fails."""

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
        """`name` is for messages; `signing` signs the URLs if clients use another endpoint.

        `timeout` limits small requests, with all retries, in seconds.
        """
        self.name = name
        self._store = store
        self._signing = signing or store
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._timeout = timeout
        self._calls = BucketCalls(name, on_error=on_error, clock=clock)

    # -- objects -----------------------------------------------------------------------------

    async def size(self, key: str) -> int | None:
        """The object's size in bytes, or None if there is none."""
        path = self._prefix + key

        async def head() -> int:
            found = await self._calls.result(obstore.head_async(self._store, path))
            return found["size"]

        with suppress(FileNotFoundError):
            return await self._calls.run("look", head, limit=self._timeout)
        return None

    async def describe(self, key: str) -> tuple[Identity, Mapping[str, str]] | None:
        """Which content the object has, and its metadata; None if there is none."""
        path = self._prefix + key

        async def head() -> tuple[Identity, Mapping[str, str]]:
            options: GetOptions = {"head": True}
            found = await self._calls.result(obstore.get_async(self._store, path, options=options))
            return _identity(found.meta), dict(found.attributes)

        with suppress(FileNotFoundError):
            return await self._calls.run("look", head, limit=self._timeout)
        return None

    async def get(self, key: str) -> bytes | None:
        """A small object's content, or None if there is none."""
        path = self._prefix + key

        async def read() -> bytes:
            found = await self._calls.result(obstore.get_async(self._store, path))
            return bytes(await self._calls.result(found.bytes_async()))

        with suppress(FileNotFoundError):
            return await self._calls.run("read", read, limit=self._timeout)
        return None

    def begin_part(self, key: str, start: int, length: int) -> asyncio.Future[Part]:
        """Request `length` bytes from `start`, which must exist; `part` waits for them."""
        path = self._prefix + key
        options: GetOptions = {"range": (start, start + length)}
        return self._calls.chain(
            obstore.get_async(self._store, path, options=options),
            lambda found: found.bytes_async(),
            lambda found, content: Part(memoryview(content), _identity(found.meta)),
        )

    async def part(self, request: asyncio.Future[Part]) -> Part:
        """What `begin_part` requested; FileNotFoundError if the object is missing."""
        return await self._calls.run("read", lambda: asyncio.shield(request), limit=_PART_TIMEOUT)

    async def put(self, key: str, value: bytes) -> None:
        """Write the object."""
        await self._put("write", key, value)

    async def create(self, key: str, value: bytes) -> bool:
        """Create the object unless it exists; whether it was created.

        UnsupportedError if the server reports that it does not support this; some do not report it.
        """
        path = self._prefix + key

        async def create_object() -> bool:
            try:
                await self._calls.result(obstore.put_async(self._store, path, value, mode="create"))
            except AlreadyExistsError:
                return False
            return True

        return await self._calls.run("write", create_object, limit=self._timeout)

    async def upload(
        self,
        key: str,
        size: int,
        pieces: AsyncIterator[memoryview],
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Upload the `size` bytes of `pieces` as one object, atomically; its entity tag.

        Two parts are in memory at a time. The parts of a failed upload are removed.
        """
        attributes: Attributes = {**_BINARY, **(metadata or {})}
        if size <= _PART:
            content = b"".join([piece async for piece in pieces])
            return await self._put("upload", key, content, attributes)
        given_up = asyncio.Event()

        async def until_abandoned() -> AsyncIterator[memoryview]:
            async for piece in pieces:
                if given_up.is_set():
                    raise BucketError("the upload was aborted")
                yield piece

        async def send() -> str | None:
            upload = self._calls.start(
                obstore.put_async(
                    self._store,
                    self._prefix + key,
                    until_abandoned(),
                    attributes=attributes,
                    use_multipart=True,
                    chunk_size=max(_PART, -(-size // _PARTS)),
                    max_concurrency=_PARTS_AT_ONCE,
                )
            )
            try:
                return (await asyncio.shield(upload))["e_tag"]
            except asyncio.CancelledError:
                # If the upload were cancelled, its parts would stay in the bucket.
                given_up.set()
                await asyncio.wait({upload}, timeout=_ABORT_TIMEOUT)
                raise

        try:
            return await self._calls.run("upload", send, limit=None)
        except FileNotFoundError:
            raise BucketError(f"{self.name} does not exist") from None

    async def delete(self, key: str) -> None:
        """Delete the object if it exists."""
        path = self._prefix + key

        async def delete_object() -> None:
            await self._calls.result(obstore.delete_async(self._store, path))

        with suppress(FileNotFoundError):
            await self._calls.run("delete", delete_object, limit=self._timeout)

    async def url(self, key: str, seconds: float) -> str:
        """A URL by which anyone can read the object for `seconds`."""
        path, life = self._prefix + key, timedelta(seconds=seconds)

        async def sign() -> str:
            return await self._calls.result(obstore.sign_async(self._signing, "GET", path, life))

        return await self._calls.run("sign", sign, limit=self._timeout, affects_circuit=False)

    async def _put(
        self, operation: str, key: str, value: bytes, attributes: Attributes = _BINARY
    ) -> str | None:
        path = self._prefix + key

        async def write() -> str | None:
            done = await self._calls.result(
                obstore.put_async(
                    self._store, path, value, attributes=attributes, use_multipart=False
                )
            )
            return done["e_tag"]

        timeout = self._timeout if operation == "write" else _PART_TIMEOUT
        try:
            return await self._calls.run(operation, write, limit=timeout)
        except FileNotFoundError:
            raise BucketError(f"{self.name} does not exist") from None

    # -- status ------------------------------------------------------------------------------

    async def warning(self) -> str | None:
        """Probe the bucket; the problem with it, now or since the last call, or None."""
        try:
            await self.get("probe")
        except OSError as error:
            return f"{self.name} cannot be used: {self._calls.last_error or error}"
        recent = self._calls.last_error if self._calls.has_failed.is_set() else None
        self._calls.has_failed.clear()
        return recent and f"{self.name} failed recently, or refuses some requests: {recent}"

    async def trouble(self) -> None:
        """Wait for a request to fail; at once if one has since the last `warning`."""
        await self._calls.has_failed.wait()

    async def close(self) -> None:
        """Wait briefly for requests in flight: none may run when the process ends."""
        await self._calls.close()


def _identity(meta: ObjectMeta) -> Identity:
    return Identity(meta["size"], meta["e_tag"], meta["last_modified"])
