"""Objects in a bucket that are not what their digests name, however they came there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import ClientSession

from proxy.errors import BlobDamaged, StoreError
from tests.contract.objects import BIG, BIG_DIGEST
from tests.kit.blob_stores import CONTENT, DIGEST, HALF, keep, stored
from tests.kit.proxy import metric

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.oci.reference import Digest
    from proxy.stores.bucket.blobs import ObjectBlobs
    from tests.kit.s3_gateway import Gateway

WRONG: Final = bytes(len(CONTENT))
# So large that nothing is hashed before a client is sent to it.
LARGE: Final = BIG[: 9 * 2**20]


def key(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"


def file_of(gateway: Gateway, tmp_path: Path, digest: Digest = DIGEST) -> Path:
    return gateway.bucket() / tmp_path.name / key(digest)


def later() -> float:
    """A while after everything that is in the bucket was uploaded."""
    return time.time() + 10


def damaged() -> float:
    return metric("blobs_damaged_total", found_by="read")


async def fetched(url: str | None) -> bytes:
    assert url is not None
    async with ClientSession() as session, session.get(url) as answer:
        return await answer.read()


async def _by_somebody_else(store: ObjectBlobs, content: bytes) -> None:
    await store.bucket.put(key(DIGEST), content)


@pytest.mark.parametrize("content", [WRONG, WRONG[1:], CONTENT + b"x", b"", CONTENT[:-1] + b"x"])
@pytest.mark.parametrize("knows", [False, True], ids=["restarted", "running"])
async def test_what_somebody_else_has_put_there_is_a_miss(
    at: Callable[..., ObjectBlobs], content: bytes, *, knows: bool
) -> None:
    store = at()
    await keep(store, CONTENT)
    await _by_somebody_else(store, content)
    before = damaged()
    if not knows:
        store = at()
        assert await store.open(DIGEST) is None
    elif (blob := await store.open(DIGEST)) is not None:
        # It was there a moment ago, so the bucket is not asked again before it is read.
        with pytest.raises(StoreError):
            await blob.read(0, 10)
        await store.quarantine(DIGEST, blob)
        blob.close()
    assert await store.open(DIGEST) is None
    assert await store.url(DIGEST) is None
    if knows:
        return
    assert damaged() == before + 1
    await keep(store, CONTENT)
    assert await stored(at(), DIGEST) == CONTENT


async def test_what_somebody_else_has_put_there_and_is_right_is_served(
    at: Callable[..., ObjectBlobs],
) -> None:
    await _by_somebody_else(at(), CONTENT)
    store = at(wall=later)
    assert await stored(store, DIGEST) == CONTENT
    assert await store.size(DIGEST) == len(CONTENT)
    assert await fetched(await store.url(DIGEST)) == CONTENT


async def test_a_damaged_object_is_read_by_nobody_to_its_end(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path
) -> None:
    """Its metadata are ours, and so is its length."""
    await keep(at(), CONTENT)
    with file_of(gateway, tmp_path).open("r+b") as file:
        file.seek(HALF)
        file.write(b"damaged")
    store = at()
    blob = await store.open(DIGEST)
    assert blob is not None
    sendable = len(CONTENT) - 64 * 1024
    assert await blob.read(0, HALF) == CONTENT[:HALF]
    assert len(await blob.read(HALF, len(CONTENT))) == sendable - HALF
    with pytest.raises(BlobDamaged, match="not what its digest names"):
        await blob.read(sendable, 1)
    before = damaged()
    await store.quarantine(DIGEST, blob)
    blob.close()
    assert damaged() == before + 1
    assert not file_of(gateway, tmp_path).exists()


@pytest.mark.parametrize("offset", [1, HALF, len(CONTENT) - 1])
async def test_no_part_of_a_damaged_object_is_read(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path, offset: int
) -> None:
    await keep(at(), CONTENT)
    file_of(gateway, tmp_path).write_bytes(CONTENT[:-1] + b"x")
    blob = await at().open(DIGEST)
    assert blob is not None
    with pytest.raises(StoreError, match="not what its digest names"):
        await blob.read(offset, 1)
    blob.close()


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 200_000])
async def test_objects_of_every_size_are_hashed_on_the_way(
    at: Callable[..., ObjectBlobs], size: int
) -> None:
    content = CONTENT[:size]
    digest = DIGEST.of(content)
    await keep(at(), content)
    for start in (0, size // 2):
        store = at(wall=later)
        blob = await store.open(digest)
        assert blob is not None
        read = bytearray()
        while piece := await blob.read(start + len(read), 7_000):
            read += piece
        assert read == content[start:]
        if start == 0 and size > 0:
            known = store._objects.get(digest)
            assert known is not None
            assert store._objects.is_verified(known)
        blob.close()


async def test_a_client_is_sent_to_what_was_hashed_or_uploaded_here(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path
) -> None:
    one, two = at(wall=later), at(wall=later)
    digest = DIGEST.of(LARGE)
    await keep(one, LARGE)
    assert await fetched(await one.url(digest)) == LARGE
    assert await two.open(digest)
    assert await two.url(digest) is None, "it has neither hashed nor uploaded it"
    assert await stored(two, digest) == LARGE
    assert await fetched(await two.url(digest)) == LARGE
    # Something else is there now.
    path = file_of(gateway, tmp_path, digest)
    path.unlink()
    path.write_bytes(bytes(len(LARGE)))
    for store in (one, two):
        assert await store.url(digest) is None


async def test_a_client_is_not_sent_to_a_small_object_that_is_damaged(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path
) -> None:
    """Also if it was damaged within the second in which it was uploaded."""
    store = at()
    await keep(store, CONTENT)
    file_of(gateway, tmp_path).write_bytes(WRONG)
    assert await store.url(DIGEST) is None
    assert not file_of(gateway, tmp_path).exists()


async def test_what_was_hashed_is_not_hashed_again_for_a_day(
    at: Callable[..., ObjectBlobs], gateway: Gateway
) -> None:
    now = [0.0]
    await keep(at(), BIG)
    store = at(clock=lambda: now[0], wall=later)
    for hours, reads in ((0, True), (23, False), (48, True)):
        now[0] = hours * 3600.0
        blob = await store.open(BIG_DIGEST)
        assert blob is not None
        before = gateway.requests().count("s3_GetObject")
        await blob.verify()
        assert (gateway.requests().count("s3_GetObject") > before) is reads
        blob.close()


async def test_an_object_that_is_replaced_while_it_is_read_does_not_become_a_mixture(
    at: Callable[..., ObjectBlobs],
) -> None:
    store = at()
    await keep(store, CONTENT)
    blob = await store.open(DIGEST)
    assert blob is not None
    assert await blob.read(0, 1000) == CONTENT[:1000]
    await _by_somebody_else(store, WRONG)
    with pytest.raises(BlobDamaged, match="replaced"):
        await blob.read(1000, HALF)
    blob.close()


async def test_a_bucket_that_fails_costs_no_object(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path
) -> None:
    await keep(at(), CONTENT)
    store = at(endpoint="http://127.0.0.1:9")
    assert await store.open(DIGEST) is None
    assert file_of(gateway, tmp_path).exists()
