"""What a sweep removes, and the space that it frees."""

from __future__ import annotations

import fcntl
import os
import random
import time
from typing import TYPE_CHECKING

import pytest

from proxy.errors import UpstreamInvalid
from proxy.oci.reference import Digest
from proxy.ports.blobs import spool_key
from proxy.stores.disk.blobs import DiskBlobs
from proxy.stores.disk.janitor import Janitor, Swept
from proxy.stores.disk.leases import FlockLeases, try_lock
from tests.kit.blob_stores import CONTENT, DIGEST, keep, leave, stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEBIBYTE = 2**20
DAY = 86400.0
HOUR = 3600.0


# -- on the disk ---------------------------------------------------------------------------------


def on_disk(directory: Path) -> int:
    """Bytes that the files below `directory` take."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
def janitor(data_dir: Path) -> Callable[[int], Janitor]:
    def make(max_size: int) -> Janitor:
        made = Janitor(data_dir, lock=data_dir / "janitor.lock", max_size=max_size)
        made._quota.recount()
        return made

    return make


def mebibyte(number: int) -> bytes:
    """Random, for a file system that compresses."""
    return random.Random(number).randbytes(MEBIBYTE)  # noqa: S311 -- bytes that nothing guesses


async def keep_mebibyte(store: DiskBlobs, data_dir: Path, number: int, hours: float) -> Digest:
    content = mebibyte(number)
    digest = Digest.of(content)
    await keep(store, content)
    age(data_dir / "blobs/sha256" / digest.hex[:2] / digest.hex, hours * HOUR)
    return digest


async def keep_rest(store: DiskBlobs) -> None:
    spool = await store.spool("docker.io", DIGEST)
    await spool.append(CONTENT[spool.size :])
    (await spool.commit()).close()
    spool.close()


async def test_old_blobs_make_room_on_the_disk(
    data_dir: Path, janitor: Callable[[int], Janitor]
) -> None:
    store = DiskBlobs(data_dir)
    # Every other one is old, so that the order of use is not the order of creation.
    digests = [await keep_mebibyte(store, data_dir, n, hours=10 + n % 2) for n in range(20)]
    await leave(store, CONTENT)
    before = on_disk(data_dir)

    swept = await janitor(12 * MEBIBYTE).sweep()

    assert (swept.blobs, swept.spools) == (10, 0)
    assert swept.freed == pytest.approx(10 * MEBIBYTE, rel=0.05)
    assert before - on_disk(data_dir) == swept.freed
    kept = [await store.size(digest) is not None for digest in digests]
    assert kept == [True, False] * 10
    spool = await store.spool("docker.io", DIGEST)
    assert spool.size == len(CONTENT)
    spool.close()
    assert await janitor(12 * MEBIBYTE).sweep() == Swept()


@pytest.mark.parametrize("use", ["open", "size", "commit again"])
async def test_use_saves_a_blob(
    data_dir: Path, janitor: Callable[[int], Janitor], use: str
) -> None:
    store = DiskBlobs(data_dir)
    first = await keep_mebibyte(store, data_dir, 1, hours=100)
    second = await keep_mebibyte(store, data_dir, 2, hours=50)
    match use:
        case "open":
            assert await stored(store, first) is not None
        case "size":
            assert await store.size(first) == MEBIBYTE
        case "commit again":
            await keep(store, mebibyte(1))
    assert (await janitor(int(1.5 * MEBIBYTE)).sweep()).blobs == 1
    assert await store.size(first) == MEBIBYTE
    assert await store.size(second) is None


async def test_a_blob_counts_as_used_when_it_arrives(
    data_dir: Path, janitor: Callable[[int], Janitor]
) -> None:
    """And not when its transfer began, which may be long before."""
    store = DiskBlobs(data_dir)
    first = await keep_mebibyte(store, data_dir, 1, hours=10)
    await leave(store, CONTENT[:10])
    age(data_dir / "spool" / "docker.io" / DIGEST, 20 * HOUR)
    await keep_rest(store)
    assert (await janitor(len(CONTENT) * 6 // 5).sweep()).blobs == 1
    assert await store.size(first) is None
    assert await store.size(DIGEST) == len(CONTENT)


async def test_a_blob_that_is_being_read_is_read_to_its_end(
    data_dir: Path, janitor: Callable[[int], Janitor]
) -> None:
    store = DiskBlobs(data_dir)
    await keep(store, CONTENT)
    reader = await store.open(DIGEST)
    assert reader is not None
    assert (await janitor(0).sweep()).blobs == 1
    assert await store.open(DIGEST) is None
    assert await reader.read(len(CONTENT) - 10, 100) == CONTENT[-10:]
    reader.close()


@pytest.mark.parametrize(("hours", "goes"), [(23, False), (25, True)])
async def test_an_orphaned_spool_is_removed_after_a_day(
    data_dir: Path, janitor: Callable[[int], Janitor], hours: float, *, goes: bool
) -> None:
    await leave(DiskBlobs(data_dir), CONTENT)
    spool = data_dir / "spool" / "docker.io" / DIGEST
    age(spool, hours * HOUR)
    age(spool.with_name(f"{DIGEST}.meta"), hours * HOUR)
    announcement = spool.with_name(f"{DIGEST}.meta").stat().st_blocks * 512
    before = on_disk(data_dir / "spool")
    swept = await janitor(10**9).sweep()
    assert (swept.spools, swept.blobs) == (int(goes), 0)
    assert swept.freed >= len(CONTENT) * goes
    names = {path.name for path in (data_dir / "spool" / "docker.io").iterdir()}
    assert names == (set() if goes else {DIGEST, f"{DIGEST}.meta"})
    if goes:
        assert before - on_disk(data_dir / "spool") == swept.freed + announcement


async def test_a_follower_of_a_swept_spool_learns_that_it_will_never_be_the_blob(
    data_dir: Path, janitor: Callable[[int], Janitor]
) -> None:
    store = DiskBlobs(data_dir)
    await leave(store, b"wrong")
    growing = await store.growing("docker.io", DIGEST)
    assert growing is not None
    for path in (data_dir / "spool" / "docker.io").iterdir():
        age(path, 2 * DAY)
    assert (await janitor(10**9).sweep()).spools == 1
    await keep(store, CONTENT)
    with pytest.raises(UpstreamInvalid):
        await growing.verified()
    growing.close()


async def test_a_spool_with_a_writer_stays_whatever_its_age(
    data_dir: Path, janitor: Callable[[int], Janitor]
) -> None:
    store, leases = DiskBlobs(data_dir), FlockLeases(data_dir / "spool")
    lease = await leases.claim(spool_key("docker.io", DIGEST))
    assert lease is not None
    await leave(store, CONTENT[:10])
    age(data_dir / "spool" / "docker.io" / DIGEST, 100 * DAY)
    age(data_dir / "spool" / "docker.io" / f"{DIGEST}.meta", 100 * DAY)
    assert await janitor(0).sweep() == Swept()
    assert await store.growing("docker.io", DIGEST) is not None or pytest.fail(
        "its announcement is gone"
    )
    lease.release()
    assert (await janitor(0).sweep()).spools == 1


async def test_leftovers_of_a_crash_are_removed_from_the_spool_directory(
    data_dir: Path, janitor: Callable[[int], Janitor]
) -> None:
    leases = FlockLeases(data_dir / "spool")
    held = await leases.claim("manifest:held")
    lost = await leases.claim("manifest:lost")
    assert held is not None
    assert lost is not None
    # As a kill leaves it: unlocked, and still there.
    lost._file.close()
    spools = data_dir / "spool"
    for name in ("temp-0123", f"{DIGEST}.meta", "temp-young"):
        (spools / name).write_bytes(b"x")
    for path in spools.iterdir():
        if path.name != "temp-young":
            age(path, 2 * DAY)
    assert await janitor(0).sweep() == Swept()
    assert sorted(path.name for path in spools.iterdir()) == sorted(["temp-young", held._path.name])
    held.release()


async def test_the_first_process_removes_the_leftovers_of_killed_ones(
    data_dir: Path, janitor: Callable[[int], Janitor]
) -> None:
    """Whatever its age: nobody else can be writing it. What can be gone on with stays."""
    store, leases = DiskBlobs(data_dir), FlockLeases(data_dir / "spool")
    lost = await leases.claim("manifest:lost")
    empty = await leases.claim(spool_key("docker.io", Digest.of(b"claimed, and nothing more")))
    assert lost is not None
    assert empty is not None
    lost._file.close()
    empty._file.close()
    await leave(store, CONTENT[:10])
    whole = Digest.of(mebibyte(1))
    await keep(store, mebibyte(1))
    await leave(store, b"begun again", whole)
    spools = data_dir / "spool"
    (spools / "temp-0123").write_bytes(b"x")
    (spools / f"{Digest.of(b'gone')}.meta").write_bytes(b"7")
    before = sorted(path.name for path in spools.iterdir())

    first, second = janitor(10**9), janitor(10**9)
    other = try_lock(data_dir / "in-use.lock")
    assert other is not None
    fcntl.flock(other.fileno(), fcntl.LOCK_SH)
    await second.open()
    assert sorted(path.name for path in spools.iterdir()) == before
    second.close()
    other.close()
    await first.open()
    assert [path.name for path in spools.iterdir()] == ["docker.io"]
    left = sorted(path.name for path in (spools / "docker.io").iterdir())
    assert left == [DIGEST, f"{DIGEST}.meta"]
    (spools / "temp-4567").write_bytes(b"somebody who has moved in writes it")
    await second.open()
    assert (spools / "temp-4567").exists()
    first.close()
    second.close()


async def test_a_quarantined_file_is_removed_after_a_day(
    data_dir: Path, janitor: Callable[[int], Janitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DiskBlobs(data_dir)
    await keep(store, CONTENT)
    blob = await store.open(DIGEST)
    assert blob is not None
    await store.quarantine(DIGEST, blob)
    blob.close()
    aside = data_dir / "damaged" / DIGEST
    sweeping = janitor(10**9)
    await sweeping.sweep()
    assert aside.exists()
    monkeypatch.setattr(sweeping, "_clock", lambda: time.time() + DAY + 60)
    await sweeping.sweep()
    assert not aside.exists()


async def test_one_process_sweeps_at_a_time(
    data_dir: Path, janitor: Callable[[int], Janitor]
) -> None:
    store = DiskBlobs(data_dir)
    await keep(store, CONTENT)
    lock_file = try_lock(data_dir / "janitor.lock")
    assert lock_file is not None
    assert await janitor(0).sweep() == Swept()
    assert await store.size(DIGEST) == len(CONTENT)
    lock_file.close()
    assert (await janitor(0).sweep()).blobs == 1


async def test_there_may_be_nothing_to_sweep(
    data_dir: Path, janitor: Callable[[int], Janitor]
) -> None:
    assert await janitor(0).sweep() == Swept()
    DiskBlobs(data_dir)
    assert await janitor(0).sweep() == Swept()


async def test_other_files_are_not_removed(
    data_dir: Path, janitor: Callable[[int], Janitor]
) -> None:
    """Directories that somebody made by hand, say: the sweep goes on beside them."""
    store, other = DiskBlobs(data_dir), Digest.of(b"other")
    batch = [
        data_dir / "spool" / name
        for name in ("lost+found", "temp-0", "lease-0", f"{other}.meta", other)
    ]
    batch.append(data_dir / "damaged" / "lost+found")
    for folder in batch:
        folder.mkdir(parents=True)
        age(folder, 2 * DAY)
    await leave(store, CONTENT)
    age(data_dir / "spool" / "docker.io" / DIGEST, 2 * DAY)
    sweeping = janitor(10**9)
    await sweeping.open()
    assert not (data_dir / "spool" / "docker.io" / DIGEST).exists()
    await leave(store, CONTENT)
    sweeping._clock = lambda: time.time() + 9 * DAY
    assert (await sweeping.sweep()).spools == 1
    sweeping.close()
    assert all(folder.is_dir() for folder in batch)
