"""The blob stores under contract, and what is done with each. A new one joins by a row."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from proxy.oci.reference import Digest
from proxy.stores.bucket.blobs import ObjectBlobs
from proxy.stores.bucket.bucket import Bucket
from proxy.stores.bucket.providers import Secret, s3
from proxy.stores.disk.blobs import DiskBlobs
from proxy.stores.memory.blobs import MemoryBlobs, MemoryVolume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from proxy.ports import Blob, BlobStorage, Readable, Spool
    from tests.kit.s3_gateway import Gateway

BLOB_STORES: Final = ("disk", "s3", "memory")
# What stores in memory share at one path, for the length of a test run.
_VOLUMES: Final[dict[Path, MemoryVolume]] = {}


def blob_store(kind: str, path: Path, gateway: Callable[[], Gateway]) -> BlobStorage:
    """A store that shares `path`, and what is behind it, with others of its kind there."""
    if kind == "memory":
        return MemoryBlobs(_VOLUMES.setdefault(path, MemoryVolume()))
    if kind == "disk":
        return DiskBlobs(path)
    return ObjectBlobs(path, bucket(gateway(), prefix=path.name), redirect=True)


async def closed(stores: Iterable[object]) -> None:
    """Let what they asked of a bucket come to its end, before the loop does."""
    await asyncio.gather(*(store.close() for store in stores if isinstance(store, ObjectBlobs)))


def bucket(
    gateway: Gateway,
    *,
    prefix: str = "",
    name: str = "lighterage",
    endpoint: str | None = None,
    secret: Secret | None = None,
    on_error: Callable[[str], None] = lambda _: None,
    timeout: float = 5.0,
) -> Bucket:
    """A bucket of the gateway, or of what is at `endpoint` in front of it."""
    gateway.bucket(name)
    store = s3(
        name,
        region=None,
        endpoint=endpoint or gateway.endpoint,
        path_style=True,
        access_key_id=Secret(gateway.access_key),
        secret_access_key=secret or Secret(gateway.secret_key),
        ca_file=None,
    )
    return Bucket(store, name=f"s3://{name}", prefix=prefix, on_error=on_error, timeout=timeout)


CONTENT: Final = random.Random(7).randbytes(3_000_001)  # noqa: S311 -- bytes that nothing guesses
DIGEST: Final = Digest.of(CONTENT)
HALF: Final = len(CONTENT) // 2


async def keep(store: BlobStorage, content: bytes, digest: Digest | None = None) -> None:
    """Store `content` as a transfer does."""
    spool = await store.spool("docker.io", digest or Digest.of(content))
    try:
        await spool.expect(len(content))
        for start in range(0, len(content), 1_000_000):
            await spool.append(content[start : start + 1_000_000])
        (await committed(spool)).close()
    finally:
        spool.close()


async def committed(spool: Spool) -> Blob:
    """Commit it, and wait until it is where it stays."""
    blob = await spool.commit()
    await spool.persist()
    return blob


async def remove(store: BlobStorage, digest: Digest) -> None:
    """Remove the blob as eviction does, or the rules of a bucket."""
    match store:
        case DiskBlobs():
            store._layout.blob(digest).unlink()
        case ObjectBlobs():
            await store.bucket.delete(f"blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}")
            store._objects.forget(digest)
        case MemoryBlobs():
            del store.volume.blobs[digest]


async def leave(store: BlobStorage, content: bytes, digest: Digest = DIGEST) -> None:
    """Leave `content` in the spool of `digest`, as a transfer does that was interrupted."""
    spool = await store.spool("docker.io", digest)
    await spool.expect(len(CONTENT))
    await spool.append(content)
    spool.close()


async def whole(readable: Readable, size: int) -> bytes:
    """The first `size` bytes, in whatever pieces they come."""
    content = bytearray()
    while len(content) < size:
        piece = await readable.read(len(content), min(256 * 1024, size - len(content)))
        assert piece, "the content ended early"
        content += piece
    return bytes(content)


async def stored(store: BlobStorage, digest: Digest) -> bytes | None:
    blob = await store.open(digest)
    if blob is None:
        return None
    try:
        return await whole(blob, blob.size)
    finally:
        blob.close()
