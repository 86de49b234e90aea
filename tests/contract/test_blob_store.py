"""What every BlobStorage does with blobs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from proxy.errors import StoreError
from proxy.oci.reference import Digest
from proxy.stores.bucket.blobs import ObjectBlobs
from tests.kit.blob_stores import CONTENT, DIGEST, HALF, keep, leave, remove, stored, whole

if TYPE_CHECKING:
    from proxy.ports import BlobStorage


async def test_an_unknown_blob_is_nowhere(store: BlobStorage) -> None:
    assert await store.open(DIGEST) is None
    assert await store.size(DIGEST) is None
    assert await store.growing("docker.io", DIGEST) is None


@pytest.mark.parametrize("content", [b"", b"x", CONTENT], ids=["empty", "one byte", "large"])
async def test_a_blob_is_kept(store: BlobStorage, elsewhere: BlobStorage, content: bytes) -> None:
    digest = Digest.of(content)
    await keep(store, content)
    assert await stored(store, digest) == await stored(elsewhere, digest) == content
    assert await store.size(digest) == len(content)
    assert await store.growing("docker.io", digest) is None


async def test_a_blob_may_have_a_sha512_digest(store: BlobStorage) -> None:
    digest = Digest("sha512:" + hashlib.sha512(CONTENT).hexdigest())
    await keep(store, CONTENT, digest)
    assert await stored(store, digest) == CONTENT
    assert await store.size(DIGEST) is None


async def test_a_blob_is_read_at_any_offset(store: BlobStorage) -> None:
    await keep(store, CONTENT)
    blob = await store.open(DIGEST)
    assert blob is not None
    for offset, length in [(0, 1), (1, 4096), (HALF, 10), (len(CONTENT) - 5, 100)]:
        assert await blob.read(offset, length) == CONTENT[offset : offset + length]
    assert len(await blob.read(len(CONTENT), 10)) == 0
    assert len(await blob.read(len(CONTENT) + 10, 10)) == 0
    blob.close()


async def test_a_running_reader_of_a_deleted_blob_finishes_or_is_told(store: BlobStorage) -> None:
    await keep(store, CONTENT)
    blob = await store.open(DIGEST)
    assert blob is not None
    await remove(store, DIGEST)
    assert await store.open(DIGEST) is None
    assert await store.size(DIGEST) is None
    try:
        assert await whole(blob, blob.size) == CONTENT
    except StoreError:
        assert isinstance(store, ObjectBlobs), "an open file stays readable"
    blob.close()


async def test_a_blob_may_come_twice(store: BlobStorage) -> None:
    await keep(store, CONTENT)
    await keep(store, CONTENT)
    assert await stored(store, DIGEST) == CONTENT


async def test_a_blob_says_who_has_delivered_it(store: BlobStorage, elsewhere: BlobStorage) -> None:
    assert await store.upstreams(DIGEST) == frozenset()
    await keep(store, CONTENT)
    assert await store.upstreams(DIGEST) == await elsewhere.upstreams(DIGEST) == {"docker.io"}
    await store.credit(DIGEST, "quay.io")
    assert await elsewhere.upstreams(DIGEST) in ({"docker.io"}, {"docker.io", "quay.io"})
    await remove(store, DIGEST)
    await keep(store, CONTENT)
    assert await store.upstreams(DIGEST) == {"docker.io"}


async def test_what_one_upstream_has_sent_is_not_continued_with_another_s_bytes(
    store: BlobStorage, elsewhere: BlobStorage
) -> None:
    await leave(store, CONTENT[:HALF])
    assert await elsewhere.spooled_bytes("docker.io", DIGEST) == HALF
    assert await elsewhere.spooled_bytes("quay.io", DIGEST) == 0
    assert await elsewhere.growing("quay.io", DIGEST) is None
    spool = await elsewhere.spool("quay.io", DIGEST)
    assert spool.size == 0
    spool.close()
