"""A stored blob that cannot be read is quarantined, and comes from upstream where that is right."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from proxy.blobs.self_healing import StoredBlob, open_verified
from proxy.errors import BlobDamaged, StorageFailure, StoreError, UpstreamUnavailable
from proxy.oci.reference import Digest
from proxy.stores.memory.blobs import MemoryBlob, MemoryBlobs

CONTENT: Final = b"0123456789" * 10
DIGEST: Final = Digest.of(CONTENT)
DISK: Final = StoreError("Input/output error")


class Store(MemoryBlobs):
    """`failures` are what its blobs raise: by offset, or -1 when all of it is verified."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: dict[int, BaseException] = {}
        self.end: int | None = None
        self.closed = 0
        self.is_full = False

    async def open(self, digest: Digest) -> MemoryBlob | None:
        blob = await super().open(digest)
        return None if blob is None else StoreBlob(self, blob)

    async def quarantine(self, digest: Digest, blob: object) -> None:
        if self.is_full:
            raise StoreError("No space left on device")
        assert isinstance(blob, StoreBlob)
        await super().quarantine(digest, blob)


class StoreBlob(MemoryBlob):
    def __init__(self, store: Store, blob: MemoryBlob) -> None:
        super().__init__(blob._content)
        self._store = store

    async def read(self, offset: int, length: int) -> bytes:
        if (failure := self._store.failures.get(offset)) is not None:
            raise failure
        return (await super().read(offset, length))[: self._store.end]

    async def verify(self) -> None:
        if (failure := self._store.failures.get(-1)) is not None:
            raise failure

    def close(self) -> None:
        self._store.closed += 1


class Transfer:
    """What comes from upstream instead. Fits Source."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.fetched = 0
        self.closed = 0

    @property
    def size(self) -> int:
        return len(self.content)

    def is_near(self, _offset: int) -> bool:
        return False

    async def read(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]

    def close(self) -> None:
        self.closed += 1

    async def fetch(self) -> Transfer:
        self.fetched += 1
        return self


@pytest.fixture
async def store() -> Store:
    store = Store()
    spool = await store.spool("docker.io", DIGEST)
    await spool.append(CONTENT)
    await spool.commit()
    return store


@pytest.fixture
def transfer() -> Transfer:
    return Transfer(CONTENT)


async def stored(store: Store, transfer: Transfer) -> StoredBlob:
    blob = await store.open(DIGEST)
    assert blob is not None
    return StoredBlob(DIGEST, blob, store=store, fetch=transfer.fetch)


async def is_stored(store: Store) -> bool:
    return await store.size(DIGEST) is not None


# Before anything is sent


async def test_a_blob_is_opened_that_is_right(store: Store) -> None:
    blob = await open_verified(store, DIGEST)
    assert blob is not None
    assert await blob.read(0, 1000) == CONTENT
    assert store.closed == 0
    assert await open_verified(store, Digest.of(b"never stored")) is None


@pytest.mark.parametrize("failure", [BlobDamaged("its third part is wrong"), DISK])
async def test_a_damaged_blob_is_none_and_is_quarantined(store: Store, failure: StoreError) -> None:
    store.failures[-1] = failure
    assert await open_verified(store, DIGEST) is None
    assert store.closed == 1
    assert not await is_stored(store)


async def test_a_damaged_blob_is_none_also_where_it_cannot_be_quarantined(store: Store) -> None:
    store.failures[-1] = DISK
    store.is_full = True
    assert await open_verified(store, DIGEST) is None
    assert store.closed == 1
    assert await is_stored(store)


async def test_a_client_that_leaves_meanwhile_says_nothing_of_the_blob(store: Store) -> None:
    store.failures[-1] = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await open_verified(store, DIGEST)
    assert store.closed == 1
    assert await is_stored(store)


# While it is sent


async def test_a_good_blob_comes_from_the_store(store: Store, transfer: Transfer) -> None:
    source = await stored(store, transfer)
    assert source.size == len(CONTENT)
    assert source.is_near(99)
    assert b"".join([await source.read(0, 60), await source.read(60, 60)]) == CONTENT
    source.close()
    assert (store.closed, transfer.fetched) == (1, 0)


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("failure", [DISK, None])
async def test_the_rest_of_one_that_cannot_be_read_comes_from_upstream(
    store: Store, transfer: Transfer, failure: StoreError | None, *, is_full: bool
) -> None:
    source = await stored(store, transfer)
    store.is_full = is_full
    assert await source.read(0, 40) == CONTENT[:40]
    if failure is None:
        # The file was cut.
        store.end = 0
    else:
        store.failures[40] = failure
    assert b"".join([await source.read(40, 30), await source.read(70, 30)]) == CONTENT[40:]
    assert transfer.fetched == 1
    assert await is_stored(store) is is_full
    source.close()
    assert (store.closed, transfer.closed) == (1, 1)


async def test_what_was_sent_and_is_wrong_cannot_be_mended(
    store: Store, transfer: Transfer
) -> None:
    source = await stored(store, transfer)
    store.failures[40] = BlobDamaged("its first part is wrong")
    assert await source.read(0, 40) == CONTENT[:40]
    with pytest.raises(StorageFailure, match="the blob that was stored is damaged"):
        await source.read(40, 60)
    assert transfer.fetched == 0
    assert not await is_stored(store)


async def test_another_blob_does_not_continue_this_one(store: Store, transfer: Transfer) -> None:
    source = await stored(store, transfer)
    store.failures[40] = DISK
    transfer.content += b"more"
    with pytest.raises(StorageFailure, match="not what the upstream has"):
        await source.read(40, 60)
    assert transfer.closed == 1
    source.close()
    assert (store.closed, transfer.closed) == (1, 1)


async def test_without_an_upstream_the_client_gets_its_failure(store: Store) -> None:
    async def fetch() -> Transfer:
        raise UpstreamUnavailable("the registry is down")

    blob = await store.open(DIGEST)
    assert blob is not None
    source = StoredBlob(DIGEST, blob, store=store, fetch=fetch)
    store.failures[0] = DISK
    with pytest.raises(UpstreamUnavailable):
        await source.read(0, 10)
    source.close()
    assert store.closed == 1
