"""The blob stores under contract, and what is done with each. A new one joins by a row."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from proxy.oci.reference import Digest
from proxy.stores.blobs_disk import DiskBlobs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.ports import BlobStore, Readable

BLOB_STORES: Final[dict[str, Callable[[Path], BlobStore]]] = {"disk": DiskBlobs}

CONTENT: Final = random.Random(7).randbytes(3_000_001)  # noqa: S311 -- bytes that nothing guesses
DIGEST: Final = Digest.of(CONTENT)
HALF: Final = len(CONTENT) // 2


async def keep(store: BlobStore, content: bytes, digest: Digest | None = None) -> None:
    """Store `content` as a transfer does."""
    spool = await store.spool(digest or Digest.of(content))
    try:
        await spool.expect(len(content))
        for start in range(0, len(content), 1_000_000):
            await spool.append(content[start : start + 1_000_000])
        (await spool.commit()).close()
    finally:
        spool.close()


async def leave(store: BlobStore, content: bytes, digest: Digest = DIGEST) -> None:
    """Leave `content` in the spool of `digest`, as a transfer does that was interrupted."""
    spool = await store.spool(digest)
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


async def stored(store: BlobStore, digest: Digest) -> bytes | None:
    blob = await store.open(digest)
    if blob is None:
        return None
    try:
        return await whole(blob, blob.size)
    finally:
        blob.close()
