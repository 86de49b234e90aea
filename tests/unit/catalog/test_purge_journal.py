"""What replicas tell each other of purges, and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.catalog.purge_journal import ALL_TAGS, Purged, PurgeJournal, mark_of, read_all
from proxy.stores.memory.cache import MemoryManifests

ONE = Purged(1000.0, "docker.io", "library/cargo", "1.0")
TWO = Purged(1001.5, "docker.io", "library/cargo", ALL_TAGS)


async def test_processes_share_the_purges() -> None:
    cache = MemoryManifests(2**20)
    journal, another = PurgeJournal(cache), PurgeJournal(cache)
    assert await another.entries() == frozenset()
    await journal.add([ONE])
    await journal.add([TWO])
    assert await journal.entries() == {ONE, TWO}
    another.forget()
    assert await another.entries() == {ONE, TWO}


async def test_the_newest_are_kept() -> None:
    journal = PurgeJournal(MemoryManifests(2**20))
    await journal.add(Purged(float(at), "docker.io", "a", "1") for at in range(600))
    kept = await journal.entries()
    assert len(kept) == 500
    assert min(kept).at == 100.0


async def test_what_nobody_has_written_is_a_miss() -> None:
    cache = MemoryManifests(2**20)
    for value in (b"no JSON", b"{}", b'[["x"]]'):
        await cache.put("purges", value, life=60.0)
        assert await PurgeJournal(cache).entries() == frozenset()


def test_a_mark_tells_sets_apart() -> None:
    assert mark_of([ONE, TWO]) == mark_of([TWO, ONE])
    assert mark_of([ONE]) != mark_of([TWO]) != mark_of([])


def test_purges_are_read_as_they_were_written() -> None:
    written = json.loads(json.dumps([[1000.0, "docker.io", "library/cargo", "1.0"]]))
    assert read_all(written) == {ONE}


@pytest.mark.parametrize(
    "news",
    [
        {},
        None,
        [[]],
        [["now", "docker.io", "a", "1"]],
        [[1.0, "docker.io", "A", "1"]],
        [[1.0, "docker.io", "a", "no tag"]],
        [[1.0, "docker.io", "a", "1", "more"]],
        [[1.0, "docker.io", "a", "1"]] * 501,
    ],
)
def test_what_is_no_purge_is_refused(news: Any) -> None:
    with pytest.raises(ValueError, match=r"it is no|is not a valid"):
        read_all(news)
