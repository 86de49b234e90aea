"""What every BlobStore does with blobs and spools. A new one joins by a row in `BLOB_STORES`.

A second store at the same place stands for another process; `test_processes.py` has real ones.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import UpstreamInvalid
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


@pytest.fixture(params=BLOB_STORES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], BlobStore]:
    return lambda: BLOB_STORES[request.param](tmp_path)


@pytest.fixture
def store(make: Callable[[], BlobStore]) -> BlobStore:
    return make()


@pytest.fixture
def elsewhere(make: Callable[[], BlobStore]) -> BlobStore:
    return make()


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


# -- blobs ---------------------------------------------------------------------------------------


async def test_an_unknown_blob_is_nowhere(store: BlobStore) -> None:
    assert await store.open(DIGEST) is None
    assert await store.size(DIGEST) is None
    assert await store.growing(DIGEST) is None
    await store.delete(DIGEST)


@pytest.mark.parametrize("content", [b"", b"x", CONTENT], ids=["empty", "one byte", "large"])
async def test_a_blob_is_kept(store: BlobStore, elsewhere: BlobStore, content: bytes) -> None:
    digest = Digest.of(content)
    await keep(store, content)
    assert await stored(store, digest) == await stored(elsewhere, digest) == content
    assert await store.size(digest) == len(content)
    assert await store.growing(digest) is None


async def test_a_blob_may_have_a_sha512_digest(store: BlobStore) -> None:
    digest = Digest("sha512:" + hashlib.sha512(CONTENT).hexdigest())
    await keep(store, CONTENT, digest)
    assert await stored(store, digest) == CONTENT
    assert await store.size(DIGEST) is None


async def test_a_blob_is_read_at_any_offset(store: BlobStore) -> None:
    await keep(store, CONTENT)
    blob = await store.open(DIGEST)
    assert blob is not None
    for offset, length in [(0, 1), (1, 4096), (HALF, 10), (len(CONTENT) - 5, 100)]:
        assert await blob.read(offset, length) == CONTENT[offset : offset + length]
    assert len(await blob.read(len(CONTENT), 10)) == 0
    assert len(await blob.read(len(CONTENT) + 10, 10)) == 0
    blob.close()


async def test_a_running_reader_finishes_when_the_blob_is_deleted(store: BlobStore) -> None:
    await keep(store, CONTENT)
    blob = await store.open(DIGEST)
    assert blob is not None
    await store.delete(DIGEST)
    assert await store.open(DIGEST) is None
    assert await store.size(DIGEST) is None
    assert await whole(blob, blob.size) == CONTENT
    blob.close()


async def test_a_blob_may_come_twice(store: BlobStore) -> None:
    await keep(store, CONTENT)
    await keep(store, CONTENT)
    assert await stored(store, DIGEST) == CONTENT


# -- spools --------------------------------------------------------------------------------------


async def test_nothing_is_there_before_the_commit(store: BlobStore, elsewhere: BlobStore) -> None:
    await leave(store, CONTENT)
    assert await store.open(DIGEST) is None
    assert await elsewhere.size(DIGEST) is None


@pytest.mark.parametrize(
    "wrong",
    [CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), CONTENT[:-1], CONTENT + b"x", b""],
    ids=["last byte", "too short", "too long", "nothing"],
)
async def test_wrong_content_never_lands(store: BlobStore, wrong: bytes) -> None:
    with pytest.raises(UpstreamInvalid):
        await keep(store, wrong, DIGEST)
    assert await store.open(DIGEST) is None
    assert await store.growing(DIGEST) is None
    spool = await store.spool(DIGEST)
    assert spool.size == 0
    spool.close()
    await keep(store, CONTENT)
    assert await stored(store, DIGEST) == CONTENT


async def test_an_announced_length_is_kept(store: BlobStore) -> None:
    """Followers have answered with it: a blob of another length is no good for them."""
    spool = await store.spool(DIGEST)
    await spool.expect(len(CONTENT) + 1)
    await spool.append(CONTENT)
    with pytest.raises(UpstreamInvalid):
        await spool.commit()
    spool.close()
    assert await store.open(DIGEST) is None


async def test_the_length_need_not_be_known(store: BlobStore) -> None:
    spool = await store.spool(DIGEST)
    await spool.append(CONTENT)
    (await spool.commit()).close()
    spool.close()
    assert await stored(store, DIGEST) == CONTENT


async def test_the_next_holder_goes_on_where_the_last_one_stopped(
    store: BlobStore, elsewhere: BlobStore
) -> None:
    await leave(store, CONTENT[:HALF])
    spool = await elsewhere.spool(DIGEST)
    assert spool.size == HALF
    await spool.expect(len(CONTENT))
    await spool.append(CONTENT[HALF:])
    assert spool.size == len(CONTENT)
    (await spool.commit()).close()
    spool.close()
    assert await stored(store, DIGEST) == CONTENT


async def test_what_an_earlier_holder_left_is_verified_too(store: BlobStore) -> None:
    await leave(store, b"?" * HALF)
    spool = await store.spool(DIGEST)
    await spool.append(CONTENT[HALF:])
    with pytest.raises(UpstreamInvalid):
        await spool.commit()
    spool.close()
    assert await store.open(DIGEST) is None


async def test_a_restarted_spool_has_forgotten_everything(store: BlobStore) -> None:
    await leave(store, b"?" * HALF)
    spool = await store.spool(DIGEST)
    await spool.restart()
    assert spool.size == 0
    await spool.append(CONTENT)
    (await spool.commit()).close()
    spool.close()
    assert await stored(store, DIGEST) == CONTENT


async def test_a_discarded_spool_is_gone(store: BlobStore) -> None:
    spool = await store.spool(DIGEST)
    await spool.expect(len(CONTENT))
    await spool.append(CONTENT[:HALF])
    await spool.discard()
    spool.close()
    assert await store.growing(DIGEST) is None
    spool = await store.spool(DIGEST)
    assert spool.size == 0
    spool.close()


async def test_a_spool_is_read_while_it_grows_and_ever_after(store: BlobStore) -> None:
    spool = await store.spool(DIGEST)
    reader = spool.reader()
    assert len(await reader.read(0, 10)) == 0
    await spool.append(CONTENT[:HALF])
    assert await whole(reader, HALF) == CONTENT[:HALF]
    assert len(await reader.read(HALF, 10)) == 0
    await spool.append(CONTENT[HALF:])
    blob = await spool.commit()
    spool.close()
    await store.delete(DIGEST)
    assert await whole(reader, len(CONTENT)) == await whole(blob, blob.size) == CONTENT
    reader.close()
    blob.close()


async def test_readers_and_a_writer_do_not_disturb_each_other(
    store: BlobStore, elsewhere: BlobStore
) -> None:
    spool = await store.spool(DIGEST)
    await spool.expect(len(CONTENT))

    async def written() -> None:
        for start in range(0, len(CONTENT), 50_000):
            await spool.append(CONTENT[start : start + 50_000])
        (await spool.commit()).close()

    async def read_along(readable: Readable) -> bytes:
        content = bytearray()
        while len(content) < len(CONTENT):
            piece = await readable.read(len(content), 70_000)
            content += piece
            await asyncio.sleep(0 if piece else 0.001)
        readable.close()
        return bytes(content)

    followed = [await elsewhere.growing(DIGEST) for _ in range(8)]
    readers = [*(spool.reader() for _ in range(8)), *(each for each in followed if each)]
    _, *contents = await asyncio.gather(written(), *map(read_along, readers))
    assert len(contents) == 16
    assert all(content == CONTENT for content in contents)
    spool.close()


# -- followers in other processes ----------------------------------------------------------------


async def test_nobody_can_follow_before_the_length_is_known(
    store: BlobStore, elsewhere: BlobStore
) -> None:
    spool = await store.spool(DIGEST)
    await spool.append(b"x")
    assert await elsewhere.growing(DIGEST) is None
    spool.close()


async def test_a_follower_sees_the_spool_grow_until_it_is_verified(
    store: BlobStore, elsewhere: BlobStore
) -> None:
    spool = await store.spool(DIGEST)
    await spool.expect(len(CONTENT))
    growing = await elsewhere.growing(DIGEST)
    assert growing is not None
    assert growing.total == len(CONTENT)
    assert await growing.size() == 0
    await spool.append(CONTENT[:HALF])
    assert await growing.size() == HALF
    assert await whole(growing, HALF) == CONTENT[:HALF]
    await spool.append(CONTENT[HALF:])
    assert not await growing.verified()
    (await spool.commit()).close()
    spool.close()
    assert await growing.verified()
    assert await growing.size() == growing.total
    assert await whole(growing, growing.total) == CONTENT
    growing.close()


async def test_a_follower_stays_when_the_next_holder_goes_on(
    store: BlobStore, elsewhere: BlobStore
) -> None:
    await leave(store, CONTENT[:HALF])
    growing = await elsewhere.growing(DIGEST)
    assert growing is not None
    spool = await store.spool(DIGEST)
    await spool.expect(len(CONTENT))
    await spool.append(CONTENT[HALF:])
    (await spool.commit()).close()
    spool.close()
    assert await growing.verified()
    assert await whole(growing, growing.total) == CONTENT
    growing.close()


@pytest.mark.parametrize("end", ["commit", "discard", "restart", "expect"])
async def test_a_follower_of_wrong_bytes_is_never_told_that_they_are_right(
    store: BlobStore, elsewhere: BlobStore, end: str
) -> None:
    """It may have given most of them to a client, who must not get the right rest."""
    wrong = bytes(len(CONTENT) - 1)
    spool = await store.spool(DIGEST)
    await spool.expect(len(wrong))
    await spool.append(wrong)
    growing = await elsewhere.growing(DIGEST)
    assert growing is not None
    match end:
        case "commit":
            with pytest.raises(UpstreamInvalid):
                await spool.commit()
        case "discard":
            await spool.discard()
        case "restart":
            await spool.restart()
        case "expect":
            # The upstream named another length this time; the first was in somebody's answer.
            await spool.expect(len(CONTENT))
            await spool.restart()
    if end in {"restart", "expect"}:
        await spool.expect(len(CONTENT))
        await spool.append(CONTENT)
        (await spool.commit()).close()
    else:
        await keep(store, CONTENT)
    spool.close()
    with pytest.raises(UpstreamInvalid):
        await growing.size()
    with pytest.raises(UpstreamInvalid):
        await growing.verified()
    growing.close()
    assert await stored(elsewhere, DIGEST) == CONTENT
