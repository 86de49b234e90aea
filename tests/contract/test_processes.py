"""The stores of one machine, shared by real processes, some of which are killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.oci.reference import Digest
from proxy.stores.disk.blobs import DiskBlobs
from proxy.stores.disk.leases import FlockLeases
from proxy.stores.sqlite.entries import SqliteManifests
from tests.kit.another_process import another_process
from tests.kit.blob_stores import CONTENT, DIGEST, stored, whole

if TYPE_CHECKING:
    from pathlib import Path

_FETCH = """
    content = Path(arguments[1]).read_bytes()
    digest = Digest(arguments[0])
    store = DiskBlobs(directory)
    lease = await FlockLeases(directory / "spool").claim(digest)
    spool = await store.spool(digest)
    await spool.expect(len(content))
    while spool.size < len(content):
        await spool.append(content[spool.size : spool.size + 10_007])
        say(spool.size)
        await asyncio.sleep(0.0005)
    (await spool.commit()).close()
    say("committed")
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What the other process fetches."""
    path = tmp_path / "upstream"
    path.write_bytes(CONTENT)
    return path


async def test_another_process_goes_on_after_kill_9(source: Path, data_dir: Path) -> None:
    store, leases = DiskBlobs(data_dir), FlockLeases(data_dir / "spool")
    async with another_process(_FETCH, data_dir, DIGEST, source) as process:
        announced = [int(await process.line()) for _ in range(100)]
        assert await leases.claim(DIGEST) is None
        await process.kill()
    lease = await leases.claim(DIGEST)
    assert lease is not None
    assert await store.open(DIGEST) is None
    spool = await store.spool(DIGEST)
    assert announced[-1] <= spool.size < len(CONTENT)
    await spool.append(CONTENT[spool.size :])
    (await spool.commit()).close()
    spool.close()
    lease.release()
    assert await stored(store, DIGEST) == CONTENT
    assert list((data_dir / "spool").iterdir()) == []


async def test_a_follower_reads_what_another_process_writes(source: Path, data_dir: Path) -> None:
    store, leases = DiskBlobs(data_dir), FlockLeases(data_dir / "spool")
    async with another_process(_FETCH, data_dir, DIGEST, source) as process:
        await process.line()
        growing = await store.growing(DIGEST)
        assert growing is not None
        sizes = set()
        while not await growing.verified():
            sizes.add(await growing.size())
            await asyncio.sleep(0.005)
        assert len(sizes) > 1
        assert await whole(growing, growing.total) == CONTENT
        growing.close()
        lease = await leases.claim(DIGEST)
        assert lease is not None, "the lease outlived the transfer"
        lease.release()


async def test_one_of_two_processes_writes_the_new_record(data_dir: Path) -> None:
    script = """
        store = DiskBlobs(directory)
        say("ready")
        await heard()
        for number in range(50):
            key = "origin:" + Digest.of(str(number).encode())
            say((await store.put_new_record(key, arguments[0].encode())).decode())
    """
    async with (
        another_process(script, data_dir, "one") as one,
        another_process(script, data_dir, "other") as other,
    ):
        for process in (one, other):
            assert await process.line() == "ready"
        for process in (one, other):
            process.say()
        kept = [(await one.line(), await other.line()) for _ in range(50)]
    store = DiskBlobs(data_dir)
    for number, (by_one, by_other) in enumerate(kept):
        record = await store.record("origin:" + Digest.of(str(number).encode()))
        assert record is not None
        assert by_one == by_other == record.decode()
    assert list((data_dir / "spool").iterdir()) == []


_FILL_CACHE = """
    cache = await SqliteManifests.open(directory / "m.sqlite3", on_error=say)
    say("ready")
    await heard()
    for number in range(500):
        await cache.put(f"{arguments[0]}:{number}", bytes(1000), life=60)
        await cache.put("shared", arguments[0].encode(), life=60)
        await asyncio.sleep(0)
    await cache.flush()
    say("flushed")
    await heard()
    await cache.close()
"""


async def test_two_processes_write_one_sqlite_file(data_dir: Path) -> None:
    errors: list[str] = []
    async with (
        another_process(_FILL_CACHE, data_dir, "one") as one,
        another_process(_FILL_CACHE, data_dir, "other") as other,
    ):
        # Both opened at once a file that was not there.
        for process in (one, other):
            assert await process.line() == "ready"
        cache = await SqliteManifests.open(data_dir / "m.sqlite3", on_error=errors.append)
        for process in (one, other):
            process.say()
        for number in range(500):
            await cache.put(f"here:{number}", bytes(1000), life=60)
            await cache.get(f"one:{number}")
        await cache.flush()
        for process in (one, other):
            assert await process.line() == "flushed"
        for writer in ("one", "other", "here"):
            for number in range(500):
                assert await cache.get(f"{writer}:{number}") == bytes(1000)
        assert await cache.get("shared") in {b"one", b"other"}
        for process in (one, other):
            process.say()
            assert await process.ended() == 0
    await cache.close()
    assert errors == []


async def test_a_killed_writer_leaves_a_file_that_others_go_on_with(data_dir: Path) -> None:
    script = """
        cache = await SqliteManifests.open(directory / "m.sqlite3", on_error=say)
        await cache.put("kept", b"value", life=60)
        await cache.flush()
        say("flushed")
        while True:
            await cache.put("more", bytes(100_000), life=60)
            await asyncio.sleep(0)
    """
    errors: list[str] = []
    cache = await SqliteManifests.open(data_dir / "m.sqlite3", on_error=errors.append)
    async with another_process(script, data_dir) as process:
        assert await process.line() == "flushed"
        await asyncio.sleep(0.05)
        await process.kill()
    assert await cache.get("kept") == b"value"
    await cache.put("here", b"too", life=60)
    await cache.close()
    cache = await SqliteManifests.open(data_dir / "m.sqlite3", on_error=errors.append)
    assert [await cache.get(key) for key in ("kept", "here")] == [b"value", b"too"]
    await cache.close()
    assert errors == []
