"""What a blob store in a bucket does besides, and what it does when something has gone there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import ClientSession

from proxy.errors import StoreError
from proxy.stores.bucket.blobs import ObjectBlobs
from tests.contract.objects import BIG, BIG_DIGEST, is_big, left, spooled
from tests.kit.blob_stores import (
    CONTENT,
    DIGEST,
    HALF,
    bucket,
    keep,
    stored,
    whole,
)
from tests.kit.s3_gateway import SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kit.s3_gateway import Gateway


async def test_objects_are_called_what_files_are(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path
) -> None:
    store = at()
    await keep(store, CONTENT)
    assert left(gateway, tmp_path) == {
        f"{tmp_path.name}/blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}",
    }
    assert spooled(tmp_path / "local") == []


async def test_a_large_blob_is_uploaded_in_parts_and_read_back_in_some(
    at: Callable[..., ObjectBlobs], gateway: Gateway
) -> None:
    store = at()
    before = len(gateway.requests())
    await keep(store, BIG)
    uploaded = gateway.requests()[before:]
    assert uploaded.count("s3_UploadPart") > 4
    assert "s3_CompleteMultipartUpload" in uploaded
    before = len(gateway.requests())
    assert is_big(await stored(at(), BIG_DIGEST))
    # Not one for each piece that a client is sent.
    assert 20 < gateway.requests()[before:].count("s3_GetObject") < 40


async def test_many_readers_share_what_may_be_read_ahead(at: Callable[..., ObjectBlobs]) -> None:
    store = at()
    await keep(store, BIG)
    blobs = [await store.open(BIG_DIGEST) for _ in range(12)]
    contents = await asyncio.gather(*(whole(blob, len(BIG)) for blob in blobs if blob))
    assert len(contents) == 12
    assert all(map(is_big, contents))
    for blob in blobs:
        assert blob is not None
        blob.close()
    # All of it was given back: the next one may have as much as the first one.
    assert store._allowance.take(32 * 2**20)


async def test_a_client_reads_the_blob_by_its_url(at: Callable[..., ObjectBlobs]) -> None:
    store = at()
    assert await store.url(DIGEST) is None
    await keep(store, CONTENT)
    url = await store.url(DIGEST)
    assert url is not None
    async with ClientSession() as session:
        async with session.get(url) as answer:
            assert (answer.status, await answer.read()) == (200, CONTENT)
        async with session.get(url, headers={"Range": "bytes=5-9"}) as answer:
            assert (answer.status, await answer.read()) == (206, CONTENT[5:10])
        async with session.get(url.replace("Signature=", "Signature=0")) as answer:
            assert answer.status == 403
        async with session.put(url, data=b"x") as answer:
            assert answer.status == 403
    assert SECRET_KEY not in url
    soon = await store.url(DIGEST, seconds=60)
    assert soon is not None
    assert parse_qs(urlsplit(soon).query)["X-Amz-Expires"] == ["60"]
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["1200"]
    assert await at(redirect=False).url(DIGEST) is None


async def test_clients_may_know_the_bucket_by_another_name(
    gateway: Gateway, tmp_path: Path
) -> None:
    inside = bucket(gateway, prefix=tmp_path.name)
    outside = bucket(gateway, endpoint="https://images.example.org")
    inside._signing = outside._store
    store = ObjectBlobs(tmp_path, inside, redirect=True)
    await keep(store, CONTENT)
    url = await store.url(DIGEST)
    assert url is not None
    assert urlsplit(url).netloc == "images.example.org"


async def test_what_the_bucket_has_removed_is_noticed(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path
) -> None:
    now = [0.0]
    store = at(clock=lambda: now[0])
    await keep(store, CONTENT)
    blob = await store.open(DIGEST)
    assert blob is not None
    for name in left(gateway, tmp_path):
        (gateway.bucket() / name).unlink()
    assert await store.size(DIGEST) == len(CONTENT), "it is believed for a while"
    with pytest.raises(StoreError, match="deleted from the bucket"):
        await blob.read(0, 10)
    await store.quarantine(DIGEST, blob)
    blob.close()
    assert await store.open(DIGEST) is None
    assert await store.url(DIGEST) is None


async def test_nobody_is_sent_to_what_was_removed_long_ago(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path
) -> None:
    now = [0.0]
    store = at(clock=lambda: now[0])
    await keep(store, CONTENT)
    for name in left(gateway, tmp_path):
        (gateway.bucket() / name).unlink()
    now[0] += 61
    assert await store.open(DIGEST) is None
    assert await store.url(DIGEST) is None


@pytest.mark.parametrize("start", [95, 100, HALF])
async def test_another_blob_in_its_place_is_not_read(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path, start: int
) -> None:
    store = at()
    await keep(store, CONTENT)
    blob = await store.open(DIGEST)
    assert blob is not None
    (name,) = left(gateway, tmp_path)
    (gateway.bucket() / name).write_bytes(CONTENT[:100])
    with pytest.raises(StoreError, match="is not 3000001 bytes"):
        await blob.read(start, 10)
    await store.quarantine(DIGEST, blob)
    blob.close()
    assert left(gateway, tmp_path) == set(), "nobody reads it again"
