"""The blob store of one machine, shared by real processes, some of which are killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.ports.blobs import spool_key
from proxy.stores.disk.blobs import DiskBlobs
from proxy.stores.disk.leases import FlockLeases
from tests.kit.another_process import another_process
from tests.kit.blob_stores import CONTENT, DIGEST, stored, whole

if TYPE_CHECKING:
    from pathlib import Path

_FETCH = """
    content = Path(arguments[1]).read_bytes()
    digest = Digest(arguments[0])
    store = DiskBlobs(directory)
    lease = await FlockLeases(directory / "spool").claim(spool_key("docker.io", digest))
    spool = await store.spool("docker.io", digest)
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
        assert await leases.claim(spool_key("docker.io", DIGEST)) is None
        await process.kill()
    lease = await leases.claim(spool_key("docker.io", DIGEST))
    assert lease is not None
    assert await store.open(DIGEST) is None
    spool = await store.spool("docker.io", DIGEST)
    assert announced[-1] <= spool.size < len(CONTENT)
    await spool.append(CONTENT[spool.size :])
    (await spool.commit()).close()
    spool.close()
    lease.release()
    assert await stored(store, DIGEST) == CONTENT
    assert list((data_dir / "spool" / "docker.io").iterdir()) == []


async def test_a_follower_reads_what_another_process_writes(source: Path, data_dir: Path) -> None:
    store, leases = DiskBlobs(data_dir), FlockLeases(data_dir / "spool")
    async with another_process(_FETCH, data_dir, DIGEST, source) as process:
        await process.line()
        growing = await store.growing("docker.io", DIGEST)
        assert growing is not None
        sizes = set()
        while not await growing.verified():
            sizes.add(await growing.size())
            await asyncio.sleep(0.005)
        assert len(sizes) > 1
        assert await whole(growing, growing.total) == CONTENT
        growing.close()
        lease = await leases.claim(spool_key("docker.io", DIGEST))
        assert lease is not None, "the lease outlived the transfer"
        lease.release()
