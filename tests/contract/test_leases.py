"""What all Leases do. A new one joins by a row in `LEASES`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.reference import Digest
from proxy.ports.blobs import spool_key
from proxy.stores.disk.blobs import DiskBlobs
from proxy.stores.disk.leases import FlockLeases
from proxy.stores.memory.leases import MemoryLeases
from tests.kit.another_process import another_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.ports import Leases

_HELD: Final[dict[Path, set[str]]] = {}
LEASES: Final[dict[str, Callable[[Path], Leases]]] = {
    "flock": FlockLeases,
    "memory": lambda path: MemoryLeases(_HELD.setdefault(path, set())),
}

DIGEST: Final = Digest.of(b"content")
KEYS: Final = (
    spool_key("docker.io", DIGEST),
    DIGEST,
    f"../{DIGEST}",
    "sha512:" + 128 * "a",
    "manifest:docker.io/library/alpine:latest",
    "tag:docker.io/" + 1000 * "long/" + ":x",
    "../../escape\0\n*",
)


@pytest.fixture(params=LEASES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Leases]:
    return lambda: LEASES[request.param](tmp_path / "spool")


@pytest.fixture
def leases(make: Callable[[], Leases]) -> Leases:
    return make()


@pytest.fixture
def file_leases(tmp_path: Path) -> FlockLeases:
    """Those that exclude other processes, too."""
    return FlockLeases(tmp_path / "spool")


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
async def test_a_key_is_claimed_once(make: Callable[[], Leases], key: str) -> None:
    leases, elsewhere = make(), make()
    lease = await leases.claim(key)
    assert lease is not None
    assert await leases.claim(key) is None
    assert await elsewhere.claim(key) is None
    lease.release()
    again = await elsewhere.claim(key)
    assert again is not None
    assert await leases.claim(key) is None
    again.release()


async def test_keys_do_not_hinder_each_other(leases: Leases) -> None:
    claimed = [await leases.claim(key) for key in KEYS]
    assert None not in claimed
    for lease in claimed:
        assert lease is not None
        lease.release()


async def test_of_many_who_claim_at_once_one_succeeds(leases: Leases) -> None:
    claimed = await asyncio.gather(*(leases.claim(KEYS[4]) for _ in range(50)))
    (lease,) = [lease for lease in claimed if lease is not None]
    lease.release()


async def test_a_late_release_does_not_take_another_s_lease_away(tmp_path: Path) -> None:
    """The spool of an empty blob looks like a lease's file that nobody needs any more."""
    digest = Digest.of(b"")
    leases, store = FlockLeases(tmp_path / "spool"), DiskBlobs(tmp_path)
    first = await leases.claim(spool_key("docker.io", digest))
    assert first is not None
    spool = await store.spool("docker.io", digest)
    (await spool.commit()).close()
    spool.close()
    second = await leases.claim(spool_key("docker.io", digest))
    assert second is not None
    first.release()
    assert await leases.claim(spool_key("docker.io", digest)) is None
    second.release()


async def test_another_process_is_excluded_too(file_leases: FlockLeases, tmp_path: Path) -> None:
    lease = await file_leases.claim(KEYS[4])
    assert lease is not None
    script = """
        leases = FlockLeases(directory)
        say(await leases.claim(arguments[0]) is None)
        await heard()
        say(await leases.claim(arguments[0]) is None)
    """
    async with another_process(script, tmp_path / "spool", KEYS[4]) as process:
        assert await process.line() == "True"
        lease.release()
        process.say()
        assert await process.line() == "False"
        assert await process.ended() == 0


@pytest.mark.parametrize("key", [KEYS[0], KEYS[4]])
async def test_the_lease_of_a_killed_process_is_free(
    file_leases: FlockLeases, tmp_path: Path, key: str
) -> None:
    script = """
        lease = await FlockLeases(directory).claim(arguments[0])
        say("claimed")
        await heard()
    """
    async with another_process(script, tmp_path / "spool", key) as process:
        assert await process.line() == "claimed"
        assert await file_leases.claim(key) is None
        await process.kill()
    lease = await file_leases.claim(key)
    assert lease is not None
    lease.release()


async def test_a_child_process_does_not_inherit_a_lease(
    file_leases: FlockLeases, tmp_path: Path
) -> None:
    lease = await file_leases.claim(KEYS[4])
    assert lease is not None
    async with another_process("say('up')\nawait heard()", tmp_path) as process:
        assert await process.line() == "up"
        lease.release()
        again = await file_leases.claim(KEYS[4])
        assert again is not None
        again.release()


@pytest.mark.parametrize("key", [KEYS[0], KEYS[4]])
async def test_two_processes_never_do_the_same_work_at_once(tmp_path: Path, key: str) -> None:
    """Each adds to one counter, without any other protection, while files come and go."""
    rounds = 300
    counter = tmp_path / "counter"
    counter.write_text("0")
    script = f"""
        leases = FlockLeases(directory)
        counter = directory.parent / "counter"
        done = 0
        say("ready")
        await heard()
        while done < {rounds}:
            if (lease := await leases.claim(arguments[0])) is None:
                continue
            before = int(counter.read_text())
            await asyncio.sleep(0)
            counter.write_text(str(before + 1))
            lease.release()
            done += 1
    """
    async with (
        another_process(script, tmp_path / "spool", key) as one,
        another_process(script, tmp_path / "spool", key) as other,
    ):
        for process in (one, other):
            assert await process.line() == "ready"
        for process in (one, other):
            process.say()
        assert [await one.ended(), await other.ended()] == [0, 0]
    assert int(counter.read_text()) == 2 * rounds
