"""The disk quota: counting by several processes, and eviction."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

import pytest

from proxy.errors import StoreError
from proxy.oci.reference import Digest
from proxy.ports.blobs import spool_key
from proxy.stores.disk.blobs import DiskBlobs
from proxy.stores.disk.janitor import Janitor
from proxy.stores.disk.layout import Layout
from proxy.stores.disk.leases import FlockLeases
from proxy.stores.disk.quota import DiskQuota
from proxy.stores.disk.scrub import Scrub
from tests.kit.another_process import another_process
from tests.kit.blob_stores import keep, leave

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from proxy.stores.disk.stored_blob import StoredBlob

MEBIBYTE = 2**20
NEW = Digest.of(b"on its way")
HOUR = 3600.0


def mebibyte(number: int) -> bytes:
    """Random, for a file system that compresses."""
    return random.Random(number).randbytes(MEBIBYTE)  # noqa: S311 -- bytes that nothing guesses


def on_disk(data: Path) -> int:
    """Bytes that the blobs take."""
    return sum(path.stat().st_blocks * 512 for path in (data / "blobs").glob("*/*/*"))


def counted(data: Path) -> int:
    return int((data / "stock").read_text().split()[0])


def path_of(data: Path, content: bytes) -> Path:
    return Layout(data).blob(Digest.of(content))


def present(data: Path, numbers: Iterable[int]) -> list[int]:
    return [number for number in numbers if path_of(data, mebibyte(number)).exists()]


# -- on the disk ---------------------------------------------------------------------------------


async def test_room_is_made_before_a_blob_takes_its_place(data_dir: Path) -> None:
    store = DiskBlobs(data_dir, max_size=10 * MEBIBYTE)
    for number in range(40):
        await keep(store, mebibyte(number))
        assert counted(data_dir) == on_disk(data_dir) <= 10 * MEBIBYTE
        # A file system's clock may be as coarse as its ticks.
        path = path_of(data_dir, mebibyte(number))
        os.utime(path, (number, time.time() - 1000 + number))
    last = present(data_dir, range(40))
    assert last == list(range(40 - len(last), 40))
    assert len(last) >= 8


_KEEP_MANY = """
    import random

    def size(path):
        # The other process may have evicted it since it was listed.
        try:
            return path.stat().st_blocks * 512
        except FileNotFoundError:
            return 0

    store = DiskBlobs(directory, max_size=10 * 2**20)
    for number in range(int(arguments[0]), int(arguments[0]) + 40):
        content = random.Random(number).randbytes(2**20)
        spool = await store.spool("docker.io", Digest.of(content))
        await spool.append(content)
        (await spool.commit()).close()
        spool.close()
        say(sum(map(size, (directory / "blobs").glob("*/*/*"))))
"""


async def test_processes_that_share_a_store_never_exceed_the_limit(data_dir: Path) -> None:
    DiskBlobs(data_dir)
    async with (
        another_process(_KEEP_MANY, data_dir, 100) as one,
        another_process(_KEEP_MANY, data_dir, 200) as other,
    ):
        seen = [int(await process.line()) for _ in range(40) for process in (one, other)]
        assert (await one.ended(), await other.ended()) == (0, 0)
    assert 8 * MEBIBYTE < max(seen) <= 10 * MEBIBYTE
    assert counted(data_dir) == on_disk(data_dir) >= 8 * MEBIBYTE


async def test_a_blob_that_comes_again_is_counted_once(data_dir: Path) -> None:
    store = DiskBlobs(data_dir, max_size=10 * MEBIBYTE)
    for _ in range(3):
        await keep(store, mebibyte(1))
    assert counted(data_dir) == on_disk(data_dir)
    path = path_of(data_dir, mebibyte(1))
    store._quota.remove(path, path.unlink, is_current=lambda: True)
    assert counted(data_dir) == on_disk(data_dir) == 0
    store._quota.remove(path, path.unlink, is_current=lambda: True)
    assert counted(data_dir) == 0


async def test_one_that_would_not_fit_into_an_empty_store_evicts_nothing(data_dir: Path) -> None:
    store = DiskBlobs(data_dir, max_size=2 * MEBIBYTE)
    await keep(store, mebibyte(1))
    with pytest.raises(StoreError, match="larger than max_size"):
        await keep(store, b"".join(map(mebibyte, range(3))))
    assert present(data_dir, [1]) == [1]


async def test_a_recount_notices_blobs_removed_by_hand(data_dir: Path) -> None:
    store = DiskBlobs(data_dir)
    for number in range(3):
        await keep(store, mebibyte(number))
    path_of(data_dir, mebibyte(0)).unlink()
    assert counted(data_dir) > on_disk(data_dir)
    assert (
        DiskQuota(Layout(data_dir), max_size=None).recount()
        == on_disk(data_dir)
        == counted(data_dir)
    )


async def test_blobs_that_change_during_a_recount_are_counted_once(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DiskBlobs(data_dir)
    for number in range(4):
        await keep(store, mebibyte(number))
    quota, real = DiskQuota(Layout(data_dir), max_size=None), DiskQuota.blobs

    def one_goes_first(looking: DiskQuota) -> list[StoredBlob]:
        """In the moment between the first look at the count and the look at the blobs."""
        monkeypatch.setattr(DiskQuota, "blobs", real)
        path = path_of(data_dir, mebibyte(0))
        DiskQuota(Layout(data_dir), max_size=None).remove(
            path, path.unlink, is_current=lambda: True
        )
        return list(real(looking))

    monkeypatch.setattr(DiskQuota, "blobs", one_goes_first)
    assert quota.recount() == on_disk(data_dir) == counted(data_dir) > 0


async def test_files_that_are_not_blobs_are_not_removed(data_dir: Path) -> None:
    store = DiskBlobs(data_dir, max_size=3 * MEBIBYTE)
    folder = data_dir / "blobs/sha256/ab"
    (folder / "lost+found").mkdir(parents=True)
    (folder / "notes").write_text("by hand")
    (folder / Digest.of(mebibyte(77)).hex).write_bytes(mebibyte(77))
    (folder / ("ab" * 32)).symlink_to(data_dir)
    before = sorted(folder.iterdir())
    for number in range(9):
        await keep(store, mebibyte(number))
        assert counted(data_dir) <= 3 * MEBIBYTE
    assert sorted(folder.iterdir()) == before
    assert [path.name for path in Scrub(data_dir).blobs(before=float("inf"))] != []


@pytest.mark.parametrize("text", [b"", b"many", b"1 2 3", b"\xff" * 100, None])
async def test_a_damaged_count_is_replaced(data_dir: Path, text: bytes | None) -> None:
    store = DiskBlobs(data_dir, max_size=3 * MEBIBYTE)
    await keep(store, mebibyte(0))
    if text is None:
        (data_dir / "stock").unlink()
    else:
        (data_dir / "stock").write_bytes(text)
    for number in range(1, 9):
        await keep(store, mebibyte(number))
        assert on_disk(data_dir) <= 3 * MEBIBYTE


# -- a disk that is smaller than it may be -------------------------------------------------------


@pytest.fixture
def free(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much the disk has free besides what the blobs take of it, in bytes."""
    left = [10 * MEBIBYTE]
    real = os.statvfs(data_dir.parent)

    def statvfs(_path: Path) -> os.statvfs_result:
        now = left[0] - on_disk(data_dir)
        return os.statvfs_result((1, 1, 1, now, now, *real[5:]))

    monkeypatch.setattr(os, "statvfs", statvfs)
    return left


async def test_older_blobs_make_room_on_a_full_disk(data_dir: Path, free: list[int]) -> None:
    store = DiskBlobs(data_dir)
    for number in range(8):
        assert await store.has_room("docker.io", NEW, MEBIBYTE)
        await keep(store, mebibyte(number))
        os.utime(path_of(data_dir, mebibyte(number)), (number, number))
    assert present(data_dir, range(8)) == list(range(8))
    assert await store.has_room("docker.io", NEW, 4 * MEBIBYTE)
    assert present(data_dir, range(8)) == [3, 4, 5, 6, 7]
    free[0] = 0
    assert not await store.has_room("docker.io", NEW, 1)


async def test_a_file_system_that_does_not_say_how_much_it_has_is_tried(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = os.statvfs_result((4096, 4096, *[0] * 8))
    monkeypatch.setattr(os, "statvfs", lambda _path: nothing)
    assert await DiskBlobs(data_dir).has_room("docker.io", NEW, MEBIBYTE)


async def test_nothing_is_evicted_where_that_would_not_be_enough(
    data_dir: Path, free: list[int]
) -> None:
    store = DiskBlobs(data_dir)
    await keep(store, mebibyte(1))
    assert not await store.has_room("docker.io", NEW, free[0] + 1)
    assert present(data_dir, [1]) == [1]


async def test_space_that_other_transfers_need_is_not_free(data_dir: Path, free: list[int]) -> None:
    store, digest = DiskBlobs(data_dir), Digest.of(mebibyte(1))
    lease = await FlockLeases(data_dir / "spool").claim(spool_key("docker.io", digest))
    assert lease is not None
    spool = await store.spool("docker.io", digest)
    await spool.expect(free[0])
    await spool.append(mebibyte(1))
    assert await store.has_room("docker.io", digest, free[0] - MEBIBYTE)
    assert await store.has_room("docker.io", NEW, MEBIBYTE)
    assert not await store.has_room("docker.io", NEW, MEBIBYTE + 1)
    spool.close()
    assert not await store.has_room("docker.io", NEW, MEBIBYTE + 1)
    assert await store.spooled_bytes("docker.io", digest) == MEBIBYTE
    lease.release()
    # Nobody goes on with it any more.
    os.utime(data_dir / "spool" / "docker.io" / digest, (1, 1))
    assert await store.has_room("docker.io", NEW, MEBIBYTE + 1)
    assert list((data_dir / "spool" / "docker.io").iterdir()) == []


async def test_the_reserve_of_a_full_disk_is_not_for_unfinished_transfers(
    data_dir: Path, free: list[int]
) -> None:
    store, lock = DiskBlobs(data_dir), data_dir / "janitor.lock"
    await leave(store, mebibyte(1), NEW)
    janitor = Janitor(data_dir, lock=lock, max_size=None)
    os.utime(data_dir / "spool" / "docker.io" / NEW, (time.time() - 10, time.time() - 10))
    assert (await janitor.sweep()).spools == 0
    free[0] = -1
    assert (await janitor.sweep()).spools == 1
    assert list((data_dir / "spool" / "docker.io").iterdir()) == []


# -- the time of use -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("max_size", "age", "every"),
    [
        (None, 60.0, HOUR),
        (100 * MEBIBYTE, 60.0, HOUR),
        (3 * MEBIBYTE, 80.0, 10.0),
        (3 * MEBIBYTE, 1.0, 0.125),
        (3 * MEBIBYTE, 0.1, 0.1),
        (3 * MEBIBYTE, 100 * HOUR, HOUR),
    ],
)
async def test_the_time_of_use_is_as_exact_as_eviction_needs_it(
    data_dir: Path, max_size: int | None, age: float, every: float
) -> None:
    await keep(DiskBlobs(data_dir), mebibyte(1))
    await keep(DiskBlobs(data_dir), mebibyte(2))
    now = time.time()
    os.utime(path_of(data_dir, mebibyte(1)), (now, now - age))
    quota = DiskQuota(Layout(data_dir), max_size=max_size, clock=lambda: now)
    quota.recount()
    assert quota.touch_interval() == pytest.approx(every, rel=0.01)
