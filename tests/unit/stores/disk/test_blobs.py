"""The disk store's own behaviour: files, limits and cancelled callers."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from pathlib import Path

import pytest

from proxy.errors import StoreError
from proxy.oci.reference import Digest
from proxy.ports.blobs import spool_key
from proxy.stores.disk.blobs import DiskBlobs
from proxy.stores.disk.leases import FlockLeases
from tests.kit.blob_stores import CONTENT, DIGEST, HALF, keep, leave, stored
from tests.kit.full_disk import files_limited_to


@pytest.fixture
def store(data_dir: Path) -> DiskBlobs:
    return DiskBlobs(data_dir)


def files(directory: Path) -> dict[str, tuple[int, int]]:
    """Every file below, with its inode and when it was written."""
    return {
        str(path.relative_to(directory)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


async def test_a_committed_blob_is_the_only_file_that_is_left(
    data_dir: Path, store: DiskBlobs
) -> None:
    await keep(store, CONTENT)
    assert files(data_dir).keys() == {"stock", f"blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}"}


async def test_a_blob_that_shrinks_does_not_pass_for_a_shorter_one(
    data_dir: Path, store: DiskBlobs
) -> None:
    """Between its opening and the first look at its size: that is what the client is promised."""
    await keep(store, CONTENT)
    blob = await store.open(DIGEST)
    assert blob is not None
    os.truncate(data_dir / "blobs/sha256" / DIGEST.hex[:2] / DIGEST.hex, HALF)
    assert blob.size == len(CONTENT)
    assert len(await blob.read(HALF, 10)) == 0
    blob.close()


async def test_an_empty_transfer_leaves_no_files(data_dir: Path, store: DiskBlobs) -> None:
    lease = await FlockLeases(data_dir / "spool").claim(spool_key("docker.io", DIGEST))
    assert lease is not None
    spool = await store.spool("docker.io", DIGEST)
    await spool.expect(1000)
    spool.close()
    lease.release()
    assert files(data_dir) == {}


async def test_a_full_disk_leaves_the_spool_as_it_was(store: DiskBlobs) -> None:
    spool = await store.spool("docker.io", DIGEST)
    await spool.append(CONTENT[:HALF])
    reader = spool.reader()
    with files_limited_to(HALF + 1000):
        for _ in range(2):
            with pytest.raises(StoreError, match="too large") as caught:
                await spool.append(CONTENT[HALF:])
            assert isinstance(caught.value.__cause__, OSError)
            assert caught.value.__cause__.errno == errno.EFBIG
            assert spool.size == reader.size == HALF
    await spool.append(CONTENT[HALF:])
    (await spool.commit()).close()
    spool.close()
    reader.close()
    assert await stored(store, DIGEST) == CONTENT


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was flushed to the disk, by the name that it had then."""
    paths: list[Path] = []
    real = os.fsync

    def fsync(file: int) -> None:
        paths.append(Path(f"/proc/self/fd/{file}").readlink())
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


async def test_a_blob_is_on_the_disk_before_it_has_its_name(
    data_dir: Path, store: DiskBlobs, flushed: list[Path]
) -> None:
    await keep(store, CONTENT)
    assert flushed[0] == data_dir / "spool" / "docker.io" / DIGEST
    folder = data_dir / "blobs/sha256" / DIGEST.hex[:2]
    assert sorted(flushed[1:]) == [folder.parents[1], folder.parent, folder]


async def test_a_cancelled_append_is_whole_or_not_there(store: DiskBlobs) -> None:
    """And nobody else gets the lease while a thread still writes: the caller waits for it."""
    spool = await store.spool("docker.io", DIGEST)
    appending = asyncio.ensure_future(spool.append(CONTENT[:HALF]))
    await asyncio.sleep(0)
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    assert spool.size == HALF
    spool.close()
    spool = await store.spool("docker.io", DIGEST)
    assert spool.size == HALF
    await spool.append(CONTENT[HALF:])
    (await spool.commit()).close()
    spool.close()


async def test_cancelled_callers_leave_no_file_open(store: DiskBlobs) -> None:
    await keep(store, CONTENT)
    other = Digest.of(b"other")
    await leave(store, b"other", other)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- nothing of it is a path
    for _ in range(20):
        for work in (
            store.open(DIGEST),
            store.spool("docker.io", other),
            store.growing("docker.io", other),
        ):
            task = asyncio.ensure_future(work)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 -- as above


@pytest.mark.parametrize(("minutes", "touched"), [(10, False), (70, True)])
async def test_the_time_of_use_is_written_once_an_hour(
    data_dir: Path, store: DiskBlobs, minutes: int, *, touched: bool
) -> None:
    await keep(store, CONTENT)
    path = data_dir / "blobs/sha256" / DIGEST.hex[:2] / DIGEST.hex
    then = time.time() - 60 * minutes

    async def touch(digest: Digest) -> None:
        await store.touch([Digest.of(b"another"), digest])

    for use in (store.size, store.open, touch):
        os.utime(path, (then, then))
        opened = await use(DIGEST)
        assert (path.stat().st_mtime > then + 1) is touched
        if opened is not None and not isinstance(opened, int):
            opened.close()


@pytest.mark.parametrize("damaged", [CONTENT[:-1], b"", CONTENT + b"x"], ids=len)
async def test_a_blob_of_another_size_is_quarantined(
    data_dir: Path, store: DiskBlobs, damaged: bytes
) -> None:
    path = data_dir / "blobs/sha256" / DIGEST.hex[:2] / DIGEST.hex
    for use in (store.size, store.open):
        await keep(store, CONTENT)
        with path.open("r+b") as file:
            file.truncate()
            file.write(damaged)
        assert await use(DIGEST) is None
        assert not path.exists()
        assert (data_dir / "damaged" / DIGEST).read_bytes() == damaged
    await keep(store, CONTENT)
    assert await stored(store, DIGEST) == CONTENT


async def test_only_the_file_that_was_read_is_quarantined(data_dir: Path, store: DiskBlobs) -> None:
    await keep(store, CONTENT)
    read = await store.open(DIGEST)
    assert read is not None
    await store.quarantine(DIGEST, read)
    assert await store.open(DIGEST) is None
    await keep(store, CONTENT)
    # Somebody else has mended it since.
    await store.quarantine(DIGEST, read)
    read.close()
    assert await stored(store, DIGEST) == CONTENT
    assert [path.name for path in (data_dir / "damaged").iterdir()] == [DIGEST]


async def test_a_truncated_announcement_is_ignored(data_dir: Path, store: DiskBlobs) -> None:
    await leave(store, CONTENT[:10])
    for damaged in (b"", b"many", b"-1", b"1e3"):
        (data_dir / "spool" / "docker.io" / f"{DIGEST}.meta").write_bytes(damaged)
        assert await store.growing("docker.io", DIGEST) is None
