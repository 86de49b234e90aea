"""The scrub finds damaged blobs, quarantines them, and logs each once."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from proxy.oci.reference import Digest
from proxy.stores.disk.blobs import DiskBlobs
from proxy.stores.disk.layout import Layout
from proxy.stores.disk.leases import try_lock
from proxy.stores.disk.scrub import Scrub
from tests.kit.blob_stores import CONTENT, DIGEST, keep, stored
from tests.kit.proxy import metric

if TYPE_CHECKING:
    from pathlib import Path

OTHER = b"another blob" * 1000


@pytest.fixture
async def store(data_dir: Path) -> DiskBlobs:
    """With two blobs."""
    store = DiskBlobs(data_dir)
    await keep(store, CONTENT)
    await keep(store, OTHER)
    return store


def path_of(data: Path, digest: Digest = DIGEST) -> Path:
    return Layout(data).blob(digest)


def verify(scrub: Scrub, path: Path) -> tuple[int, bool]:
    """How many bytes were read, and whether they were right."""
    steps, read = scrub.verify(path), 0
    while True:
        try:
            read += next(steps)
        except StopIteration as end:
            return read, end.value


@pytest.mark.usefixtures("store")
def test_a_good_blob_stays(data_dir: Path) -> None:
    scrub = Scrub(data_dir)
    assert verify(scrub, path_of(data_dir)) == (len(CONTENT), True)
    assert path_of(data_dir).read_bytes() == CONTENT
    assert verify(scrub, path_of(data_dir, Digest.of(b"gone"))) == (0, True)


@pytest.mark.parametrize("offset", [0, 1_500_000, len(CONTENT) - 1])
async def test_one_changed_byte_is_found(store: DiskBlobs, data_dir: Path, offset: int) -> None:
    """Reading it would not show it: its size is as it was."""
    before = metric("blobs_damaged_total", found_by="scrub")
    with path_of(data_dir).open("r+b") as file:
        file.seek(offset)
        file.write(bytes([CONTENT[offset] ^ 1]))
    assert await store.size(DIGEST) == len(CONTENT)
    assert verify(Scrub(data_dir), path_of(data_dir)) == (len(CONTENT), False)
    assert await store.size(DIGEST) is None
    assert (data_dir / "damaged" / DIGEST).stat().st_size == len(CONTENT)
    assert metric("blobs_damaged_total", found_by="scrub") == before + 1
    await keep(store, CONTENT)
    assert await stored(store, DIGEST) == CONTENT


@pytest.mark.usefixtures("store")
def test_a_disk_that_cannot_read_it_is_as_bad(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, real = path_of(data_dir).stat().st_ino, os.pread

    def pread(file: int, length: int, offset: int) -> bytes:
        if os.fstat(file).st_ino == bad:
            raise OSError(5, "Input/output error")
        return real(file, length, offset)

    monkeypatch.setattr(os, "pread", pread)
    assert verify(Scrub(data_dir), path_of(data_dir)) == (0, False)
    assert not path_of(data_dir).exists()


@pytest.mark.usefixtures("store")
def test_a_recently_verified_blob_is_not_due(data_dir: Path) -> None:
    """Arriving is being verified; what an older release has stored was never."""
    scrub = Scrub(data_dir)
    assert scrub.blobs(before=time.time() - 60) == []
    both = {path_of(data_dir), path_of(data_dir, Digest.of(OTHER))}
    assert set(scrub.blobs(before=time.time() + 60)) == both
    os.removexattr(path_of(data_dir), "user.lighterage")
    assert scrub.blobs(before=time.time() - 60) == [path_of(data_dir)]
    verify(scrub, path_of(data_dir))
    assert scrub.blobs(before=time.time() - 60) == []


async def test_one_process_at_a_time_verifies_due_blobs(store: DiskBlobs, data_dir: Path) -> None:
    for digest in (DIGEST, Digest.of(OTHER)):
        os.removexattr(path_of(data_dir, digest), "user.lighterage")
    path_of(data_dir).write_bytes(CONTENT[:-1] + b"?")
    scrub, lock = Scrub(data_dir), data_dir / "scrub.lock"

    lock_file = try_lock(lock)
    assert lock_file is not None
    await scrub.verify_due(every=60, rate=10**9, lock=lock)
    assert path_of(data_dir).exists()
    lock_file.close()
    await scrub.verify_due(every=60, rate=10**9, lock=lock)
    assert not path_of(data_dir).exists()
    assert await stored(store, Digest.of(OTHER)) == OTHER
