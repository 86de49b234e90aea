"""The journal of purges, which the processes of a machine share."""

from __future__ import annotations

import asyncio

from proxy.catalog.known_purges import ALL_TAGS, MOST, KnownPurges, Purged
from proxy.catalog.purge_journal import PurgeJournal
from proxy.stores.memory.cache import MemoryManifests

ONE = Purged(1000.0, "docker.io", "library/cargo", "1.0")
TWO = Purged(1001.5, "docker.io", "library/cargo", ALL_TAGS)


def only(*purges: Purged) -> KnownPurges:
    return KnownPurges(frozenset(purges))


async def add(journal: PurgeJournal, *purges: Purged) -> None:
    await journal.update(lambda known: known.add(purges))


async def test_processes_share_the_purges() -> None:
    cache = MemoryManifests(2**20)
    journal, another = PurgeJournal(cache), PurgeJournal(cache)
    assert await another.entries() == KnownPurges()
    await add(journal, ONE)
    await add(journal, TWO)
    assert await journal.entries() == only(ONE, TWO)
    another.forget()
    assert await another.entries() == only(ONE, TWO)


async def test_what_another_process_has_added_meanwhile_stays() -> None:
    cache = MemoryManifests(2**20)
    journal, another = PurgeJournal(cache), PurgeJournal(cache)
    assert await journal.entries() == await another.entries() == KnownPurges()
    await add(journal, ONE)
    await add(another, TWO)
    assert await PurgeJournal(cache).entries() == only(ONE, TWO)


async def test_purges_of_one_process_at_once_all_stay() -> None:
    cache = MemoryManifests(2**20)
    journal = PurgeJournal(cache)
    some = [Purged(float(at), "docker.io", "a", "1") for at in range(20)]
    await asyncio.gather(*(add(journal, each) for each in some))
    assert await PurgeJournal(cache).entries() == only(*some)


async def test_the_newest_are_kept_and_of_the_others_a_sum() -> None:
    cache = MemoryManifests(2**20)
    journal = PurgeJournal(cache)
    await add(journal, *(Purged(float(at), "docker.io", "a", "1") for at in range(MOST + 100)))
    kept = await PurgeJournal(cache).entries()
    assert len(kept.purges) == MOST
    assert min(kept.purges).at == 100.0
    assert kept.older.at == 99.0


async def test_what_nobody_has_written_is_a_miss() -> None:
    cache = MemoryManifests(2**20)
    for value in (b"no JSON", b"{}", b'[["x"]]'):
        await cache.put("purges", value, life=60.0)
        assert await PurgeJournal(cache).entries() == KnownPurges()
