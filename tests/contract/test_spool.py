"""What every BlobStorage does with blobs that are on their way in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.errors import UpstreamInvalid
from tests.kit.blob_stores import (
    CONTENT,
    DIGEST,
    HALF,
    committed,
    keep,
    leave,
    remove,
    stored,
    whole,
)

if TYPE_CHECKING:
    from proxy.ports import BlobStorage, Readable


async def test_nothing_is_there_before_the_commit(
    store: BlobStorage, elsewhere: BlobStorage
) -> None:
    await leave(store, CONTENT)
    assert await store.open(DIGEST) is None
    assert await elsewhere.size(DIGEST) is None


@pytest.mark.parametrize(
    "wrong",
    [CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), CONTENT[:-1], CONTENT + b"x", b""],
    ids=["last byte", "too short", "too long", "nothing"],
)
async def test_wrong_content_never_lands(store: BlobStorage, wrong: bytes) -> None:
    with pytest.raises(UpstreamInvalid):
        await keep(store, wrong, DIGEST)
    assert await store.open(DIGEST) is None
    assert await store.growing("docker.io", DIGEST) is None
    spool = await store.spool("docker.io", DIGEST)
    assert spool.size == 0
    spool.close()
    await keep(store, CONTENT)
    assert await stored(store, DIGEST) == CONTENT


async def test_an_announced_length_is_kept(store: BlobStorage) -> None:
    """Followers have answered with it: a blob of another length is no good for them."""
    spool = await store.spool("docker.io", DIGEST)
    await spool.expect(len(CONTENT) + 1)
    await spool.append(CONTENT)
    with pytest.raises(UpstreamInvalid):
        await spool.commit()
    spool.close()
    assert await store.open(DIGEST) is None


async def test_the_length_need_not_be_known(store: BlobStorage) -> None:
    spool = await store.spool("docker.io", DIGEST)
    await spool.append(CONTENT)
    (await committed(spool)).close()
    spool.close()
    assert await stored(store, DIGEST) == CONTENT


async def test_the_next_holder_goes_on_where_the_last_one_stopped(
    store: BlobStorage, elsewhere: BlobStorage
) -> None:
    await leave(store, CONTENT[:HALF])
    spool = await elsewhere.spool("docker.io", DIGEST)
    assert spool.size == HALF
    await spool.expect(len(CONTENT))
    await spool.append(CONTENT[HALF:])
    assert spool.size == len(CONTENT)
    (await committed(spool)).close()
    spool.close()
    assert await stored(store, DIGEST) == CONTENT


async def test_what_an_earlier_holder_left_is_verified_too(store: BlobStorage) -> None:
    await leave(store, b"?" * HALF)
    spool = await store.spool("docker.io", DIGEST)
    await spool.append(CONTENT[HALF:])
    with pytest.raises(UpstreamInvalid):
        await spool.commit()
    spool.close()
    assert await store.open(DIGEST) is None


async def test_a_restarted_spool_has_forgotten_everything(store: BlobStorage) -> None:
    await leave(store, b"?" * HALF)
    spool = await store.spool("docker.io", DIGEST)
    await spool.restart()
    assert spool.size == 0
    await spool.append(CONTENT)
    (await committed(spool)).close()
    spool.close()
    assert await stored(store, DIGEST) == CONTENT


async def test_a_discarded_spool_is_gone(store: BlobStorage) -> None:
    spool = await store.spool("docker.io", DIGEST)
    await spool.expect(len(CONTENT))
    await spool.append(CONTENT[:HALF])
    await spool.discard()
    spool.close()
    assert await store.growing("docker.io", DIGEST) is None
    spool = await store.spool("docker.io", DIGEST)
    assert spool.size == 0
    spool.close()


async def test_a_spool_is_read_while_it_grows_and_ever_after(store: BlobStorage) -> None:
    spool = await store.spool("docker.io", DIGEST)
    reader = spool.reader()
    assert len(await reader.read(0, 10)) == 0
    await spool.append(CONTENT[:HALF])
    assert await whole(reader, HALF) == CONTENT[:HALF]
    assert len(await reader.read(HALF, 10)) == 0
    await spool.append(CONTENT[HALF:])
    blob = await committed(spool)
    spool.close()
    await remove(store, DIGEST)
    assert await whole(reader, len(CONTENT)) == await whole(blob, blob.size) == CONTENT
    reader.close()
    blob.close()


async def test_readers_and_a_writer_do_not_disturb_each_other(
    store: BlobStorage, elsewhere: BlobStorage
) -> None:
    spool = await store.spool("docker.io", DIGEST)
    await spool.expect(len(CONTENT))

    async def written() -> None:
        for start in range(0, len(CONTENT), 50_000):
            await spool.append(CONTENT[start : start + 50_000])
        (await committed(spool)).close()

    async def read_along(readable: Readable) -> bytes:
        content = bytearray()
        while len(content) < len(CONTENT):
            piece = await readable.read(len(content), 70_000)
            content += piece
            await asyncio.sleep(0 if piece else 0.001)
        readable.close()
        return bytes(content)

    followed = [await elsewhere.growing("docker.io", DIGEST) for _ in range(8)]
    readers = [*(spool.reader() for _ in range(8)), *(each for each in followed if each)]
    _, *contents = await asyncio.gather(written(), *map(read_along, readers))
    assert len(contents) == 16
    assert all(content == CONTENT for content in contents)
    spool.close()
