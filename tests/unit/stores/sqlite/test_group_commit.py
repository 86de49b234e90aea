"""Many pulls, one transaction; and how long a pull waits for it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.oci.reference import Digest, Tag
from proxy.ports.catalog import Batch, Grant, Listing, Proof, TagEntry
from proxy.stores.sqlite import index as index_module
from proxy.stores.sqlite import rows, writer
from tests.kit.open_index import (
    WallClock,
    commit_and_upkeep,
    count,
    locked,
    open_index,
    writer_waits,
)
from tests.kit.pulls import CARGO, IMAGE, INDEX, ONE, pull_of, until

if TYPE_CHECKING:
    from proxy.stores.sqlite.index import SqliteIndex


def transactions(index: SqliteIndex) -> list[str]:
    """What its writer begins, commits and rolls back from now on."""
    statements: list[str] = []
    database = index._writer._database
    assert database is not None

    def note(statement: str) -> None:
        if statement in {"COMMIT", "ROLLBACK"}:
            statements.append(statement)

    database.set_trace_callback(note)
    return statements


def small(number: int) -> Batch:
    digest = Digest.of(b"%d" % number)
    return Batch(
        tags=[(f"docker.io/team/{number}", ONE, TagEntry(digest, 1000.0))],
        grants=[(f"docker.io/team/{number}", digest, Grant(Proof.HEAD, "text/plain"))],
    )


@pytest.mark.usefixtures("unhurried")
async def test_pulls_that_come_while_a_commit_runs_share_the_next_one(
    path: Path, errors: list[str]
) -> None:
    # In a smaller index a commit takes fewer rows, for the sake of its log.
    async with open_index(path, max_size=2**30, on_error=errors.append) as index:
        await commit_and_upkeep(index, small(0))
        done = transactions(index)
        with writer_waits(path):
            first = asyncio.ensure_future(index.commit(small(1)))
            await until(lambda: index._writer._writing)
            others = [asyncio.ensure_future(index.commit(small(n))) for n in range(2, 500)]
            await asyncio.sleep(0)
            assert done == []
        await asyncio.gather(first, *others)
        assert done == ["COMMIT", "COMMIT"]
        for number in range(500):
            found = await index.look_tag(f"docker.io/team/{number}", ONE)
            assert found.grant is not None
    assert errors == []


@pytest.mark.usefixtures("unhurried")
async def test_one_pull_is_one_transaction(path: Path) -> None:
    async with open_index(path) as index:
        await commit_and_upkeep(index, small(0))
        done = transactions(index)
        batch = pull_of(INDEX)
        batch.listings.append((CARGO, "tags:", Listing(b"page", 1000.0)))
        batch.representations.append(("rep:1", IMAGE.digest))
        await index.commit(batch)
        assert done == ["COMMIT"]
        await index.commit(Batch())
        await index.flush()
        assert done == ["COMMIT"], "nothing is no transaction"


@pytest.mark.usefixtures("unhurried")
async def test_of_two_values_for_one_key_in_one_commit_the_later_one_counts(path: Path) -> None:
    async with open_index(path) as index:
        with writer_waits(path):
            await asyncio.to_thread(lambda: None)
            tasks = [asyncio.ensure_future(index.commit(small(0)))]
            await until(lambda: index._writer._writing)
            for at, manifest in ((1000.0, IMAGE), (2000.0, INDEX)):
                tasks.append(asyncio.ensure_future(index.commit(pull_of(manifest, at=at))))
                await asyncio.sleep(0)
            await index.drop_tag(CARGO, Tag("dropped"))
            tasks.append(asyncio.ensure_future(index.commit(pull_of(IMAGE, tag=Tag("dropped")))))
            tasks.append(asyncio.ensure_future(index.commit(pull_of(IMAGE, tag=Tag("gone")))))
            await asyncio.sleep(0)
            await index.drop_tag(CARGO, Tag("gone"))
        await asyncio.gather(*tasks)
        assert (await index.look_tag(CARGO, ONE)).tag == TagEntry(INDEX.digest, 2000.0)
        assert (await index.look_tag(CARGO, Tag("dropped"))).tag is not None
        assert (await index.look_tag(CARGO, Tag("gone"))).tag is None


@pytest.mark.usefixtures("unhurried")
async def test_an_older_entry_never_takes_the_place_of_a_newer_one(path: Path) -> None:
    """Two processes may have asked, and the one with the older answer may write last."""
    async with open_index(path) as one, open_index(path) as other:
        await one.commit(pull_of(INDEX, at=2000.0))
        await other.commit(pull_of(IMAGE, at=1000.0))
        assert (await one.look_tag(CARGO, ONE)).tag == TagEntry(INDEX.digest, 2000.0)


@pytest.mark.usefixtures("unhurried")
async def test_an_entry_from_a_clock_that_was_ahead_gives_way(path: Path) -> None:
    clock = WallClock()
    async with open_index(path, clock=clock) as index:
        await index.commit(pull_of(IMAGE, at=clock.now + 10 * 365 * 86400))
        await index.commit(pull_of(INDEX, at=clock.now))
        assert (await index.look_tag(CARGO, ONE)).tag == TagEntry(INDEX.digest, clock.now)


@pytest.mark.parametrize("number", [1, 3, 4, 5, 63, 85, 256, 341, 1000])
@pytest.mark.usefixtures("unhurried")
async def test_any_number_of_rows_is_written(path: Path, number: int) -> None:
    """They are written in statements of some sizes, of which every number is a sum."""
    digests = [Digest.of(b"%d" % n) for n in range(number)]
    async with open_index(path) as index:
        await index.commit(Batch(grants=[(CARGO, each, Grant(Proof.HEAD)) for each in digests]))
        assert count(path, "grants") == number
        assert (await index.look_blob(CARGO, digests[-1])).grant == Grant(Proof.HEAD)


async def test_a_pull_waits_no_longer_than_a_disk_may_take(
    path: Path, errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And those after it do not wait at all, until a commit has ended again."""
    monkeypatch.setattr(index_module, "_COMMIT_WITHIN", 0.02)
    async with open_index(path, on_error=errors.append) as index:
        with writer_waits(path):
            await index.commit(small(0))
            monkeypatch.setattr(index_module, "_COMMIT_WITHIN", 3600.0)
            async with asyncio.timeout(30):
                for number in range(1, 20):
                    await index.commit(small(number))
            assert count(path, "tags") == 0
        await index.flush()
        assert count(path, "tags") == 20
        await until(lambda: not index._is_slow)
        await index.commit(small(20))
        assert count(path, "tags") == 21
    assert errors == []


async def test_a_disk_that_takes_nothing_costs_facts_and_not_memory(
    path: Path, errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_COMMIT_WITHIN", 0.02)
    monkeypatch.setattr(writer, "_BACKLOG", 100_000)
    async with open_index(path, on_error=errors.append) as index:
        with writer_waits(path):
            for number in range(2000):
                await index.commit(small(number))
            assert index._writer._backlog <= 100_000 + 2 * rows._OVERHEAD
            assert 0 < errors.count("write") < 2000
            dropped = errors.count("write")
        await index.flush()
        assert count(path, "tags") == 2000 - dropped
    assert set(errors) == {"write"}


@pytest.mark.usefixtures("unhurried")
async def test_the_log_is_flushed_soon_after_a_commit_though_nothing_follows_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power loss costs no more than what is younger than that."""
    assert writer._FLUSH_AFTER <= 0.1
    flushed: list[str] = []
    real = os.fsync

    def fsync(file: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{file}").readlink().name)
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    async with open_index(path) as index:
        await index.commit(small(0))
        await until(lambda: flushed != [])
        assert flushed == ["index.sqlite3-wal"]
        await asyncio.sleep(3 * writer._FLUSH_AFTER)
        assert len(flushed) == 1, "there is nothing more to flush"
        await index.commit(small(1))
    assert flushed == ["index.sqlite3-wal"] * 2, "and when it is closed"


async def test_a_write_that_stays_locked_out_is_counted_and_dropped(
    path: Path, errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.stores.sqlite.schema._TIMEOUT", 0.05)
    async with open_index(path, on_error=errors.append) as index:
        with locked(path):
            await index.commit(small(0))
            await index.flush()
            await until(lambda: "write" in errors)
        await index.commit(small(1))
        await index.flush()
        assert (await index.look_tag("docker.io/team/0", ONE)).tag is None
        assert (await index.look_tag("docker.io/team/1", ONE)).tag is not None
    assert set(errors) <= {"write", "evict"}


@pytest.mark.usefixtures("unhurried")
async def test_a_name_that_is_no_unicode_stops_nobody_else(path: Path, errors: list[str]) -> None:
    async with open_index(path, on_error=errors.append) as index:
        await index.commit(Batch(listings=[(CARGO, "tags:\ud800", Listing(b"", 1000.0))]))
        assert await index.look_listing(CARGO, "tags:\ud800") is None
        await index.commit(small(0))
        assert (await index.look_tag("docker.io/team/0", ONE)).tag is not None
    assert errors == ["write", "get"]


async def test_what_comes_after_the_end_is_dropped(path: Path, errors: list[str]) -> None:
    async with open_index(path, on_error=errors.append) as index:
        await index.commit(small(0))
    await index.commit(small(1))
    assert not await index.purge(CARGO, 1000.0, tags=True)
    assert errors == ["write", "write"]
    assert count(path, "tags") == 1
