"""The index's file: damaged, of another release, locked, read-only, full, or impossible."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.catalog.catalog import Catalog
from proxy.oci.derivation import Origin
from proxy.oci.reference import Repository, Tag
from proxy.ports.catalog import NOTHING, Batch, Grant, Listing, Proof
from proxy.stores.disk.derived import DerivedFiles
from proxy.stores.sqlite import schema, writer
from tests.kit import images
from tests.kit.full_disk import files_limited_to
from tests.kit.open_index import count, locked, open_index
from tests.kit.pulls import CARGO, IMAGE, ONE, ORIGIN, OTHER, manifest_of, pull_of, until

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.stores.sqlite.index import SqliteIndex

REPOSITORY: Final = Repository("docker.io", "library/cargo", "cargo")

pytestmark = pytest.mark.usefixtures("unhurried")


async def is_empty(index: SqliteIndex) -> bool:
    return (await index.look_tag(CARGO, ONE)).tag is None


async def is_usable(index: SqliteIndex) -> bool:
    await index.commit(pull_of(IMAGE))
    return (await index.look_tag(CARGO, ONE)).raw == IMAGE.raw


def quarantined(path: Path) -> Path:
    return path.with_name(f"{path.name}.quarantined")


def write_new(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def write_at(path: Path, offset: int, noise: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(noise)


async def fill(path: Path) -> None:
    async with open_index(path) as index:
        for number in range(2000):
            page = Listing(bytes(1000), 1000.0 + number)
            await index.commit(Batch(listings=[(CARGO, f"tags:{number}", page)]))
        await index.commit(pull_of(IMAGE))


# -- at the start --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "noise",
    [b"this is no database" * 1000, b"SQLite format 3\0" + b"\xff" * 10_000],
    ids=["no database", "a header and noise"],
)
async def test_a_file_that_is_no_database_is_quarantined(
    path: Path, errors: list[str], noise: bytes
) -> None:
    write_new(path, noise)
    async with open_index(path, on_error=errors.append) as index:
        assert index.is_new.is_set()
        assert await is_empty(index)
        assert await is_usable(index)
    assert quarantined(path).read_bytes() == noise
    assert errors == []


async def test_an_empty_file_is_a_new_index(path: Path, errors: list[str]) -> None:
    """As after a crash between the making of the file and that of its tables."""
    write_new(path, b"")
    async with open_index(path, on_error=errors.append) as index:
        assert index.is_new.is_set()
        assert await is_usable(index)
    assert errors == []


@pytest.mark.parametrize("version", [0, 1, schema.FORMAT, schema.FORMAT + 1, -5])
async def test_another_format_is_quarantined(path: Path, errors: list[str], version: int) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE another (key)")
        database.execute(f"PRAGMA user_version = {version}")
    async with open_index(path, on_error=errors.append) as index:
        assert index.is_new.is_set()
        assert await is_usable(index)
    with closing(sqlite3.connect(quarantined(path))) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (version,)
    assert errors == []


async def test_damage_inside_is_found_when_the_file_is_opened(
    path: Path, errors: list[str]
) -> None:
    await fill(path)
    write_at(path, 1_000_000, b"\xa5" * 100_000)
    async with open_index(path, on_error=errors.append) as index:
        assert index.is_new.is_set()
        assert await is_empty(index)
        assert await is_usable(index)
    assert errors == []


async def test_a_truncated_file_is_quarantined(path: Path, errors: list[str]) -> None:
    await fill(path)
    with path.open("r+b") as file:
        file.truncate(1_000_000)
    async with open_index(path, on_error=errors.append) as index:
        assert await is_empty(index)
        assert await is_usable(index)
    assert errors == []


async def test_a_large_file_does_not_hold_up_the_start(
    path: Path, errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path)
    write_at(path, 1_000_000, b"\xa5" * 100_000)
    monkeypatch.setattr(schema, "_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(schema, "_CHECK_STEPS", 1)
    # The damage is not found in no time, and is met later: still no more than misses.
    async with open_index(path, on_error=errors.append) as index:
        assert not index.is_new.is_set()
        found = [await index.look_listing(CARGO, f"tags:{number}") for number in range(2000)]
    assert None in found
    assert Listing(bytes(1000), 1000.0) in found
    assert set(errors) <= {"get", "evict"}


async def test_a_log_of_the_old_file_does_not_get_into_the_new_one(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE another (key)")
        # Still open, so the log still has everything that is in it.
        async with open_index(path) as index:
            assert await is_usable(index)
        database.execute("INSERT INTO another VALUES (1)")
    async with open_index(path) as index:
        assert (await index.look_tag(CARGO, ONE)).raw == IMAGE.raw


async def test_a_start_quarantines_nobody_s_new_file(tmp_path: Path, errors: list[str]) -> None:
    for turn in range(5):
        path = tmp_path / f"{turn}.sqlite3"
        write_new(path, b"this is no database" * 1000)
        opening = [open_index(path, on_error=errors.append) for _ in range(6)]
        indexes = await asyncio.gather(*(each.__aenter__() for each in opening))
        for number, index in enumerate(indexes):
            await index.commit(pull_of(IMAGE, f"docker.io/team/{number}"))
        for index in indexes:
            for number in range(6):
                assert (await index.look_tag(f"docker.io/team/{number}", ONE)).raw == IMAGE.raw
        for each in opening:
            await each.__aexit__(None, None, None)
    assert errors == []


@pytest.mark.parametrize("reason", ["directory", "file as parent"])
async def test_where_there_can_be_no_file_everything_is_a_counted_miss(
    tmp_path: Path, errors: list[str], reason: str
) -> None:
    place = tmp_path / "place"
    if reason == "directory":
        (tmp_path / "place").mkdir()
    else:
        (tmp_path / "place").touch()
        place /= "index.sqlite3"
    async with open_index(place, on_error=errors.append) as index:
        await index.commit(pull_of(IMAGE))
        await index.put("key", b"value", life=60)
        await index.drop_tag(CARGO, ONE)
        assert not await index.purge(CARGO, 1000.0, tags=True)
        assert await index.look_tag(CARGO, ONE) == NOTHING
        assert await index.get("key") is None
        await index.flush()
    assert errors == ["open", "write", "write", "write", "write", "get", "get"]


@pytest.mark.parametrize("reason", ["full", "locked"])
async def test_what_could_not_be_opened_is_opened_later(
    path: Path, errors: list[str], monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """Without a restart; and derived manifests are restored then."""
    monkeypatch.setattr(writer, "_MAINTAIN_EVERY", 0.02)
    monkeypatch.setattr(schema, "_TIMEOUT", 0.02)
    if reason == "locked":
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE another (key)")
        obstruction: Any = locked(path)
    else:
        obstruction = files_limited_to(100)
    async with AsyncExitStack() as stack:
        with obstruction:
            index = await stack.enter_async_context(open_index(path, on_error=errors.append))
            await index.commit(pull_of(IMAGE))
            assert await index.look_tag(CARGO, ONE) == NOTHING
            await until(lambda: errors.count("open") > 2)
            assert not index.is_new.is_set()
        await until(index.is_new.is_set)
        index._reader._breaker.record_success()
        assert await is_usable(index)


# -- while it is open ----------------------------------------------------------------------------


async def test_a_full_disk_costs_writes_and_nothing_else(path: Path, errors: list[str]) -> None:
    large = Batch(listings=[(CARGO, "tags:", Listing(bytes(1_000_000), 1000.0))])
    async with open_index(path, on_error=errors.append) as index:
        await index.commit(pull_of(IMAGE))
        with files_limited_to(200_000):
            await index.commit(large)
            assert errors == ["write"]
            assert await index.look_listing(CARGO, "tags:") is None
            assert (await index.look_tag(CARGO, ONE)).raw == IMAGE.raw
        await index.commit(large)
        assert await index.look_listing(CARGO, "tags:") == Listing(bytes(1_000_000), 1000.0)
    assert errors == ["write"]


async def test_a_file_that_becomes_read_only_costs_writes_and_nothing_else(
    path: Path, errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_index(path) as index:
        await index.commit(pull_of(IMAGE))
    real = sqlite3.connect

    def connect(place: Path | str, **options: Any) -> sqlite3.Connection:
        """As where the file system was mounted read-only, which root is not stopped by."""
        connection: sqlite3.Connection = real(place, **options)
        connection.execute("PRAGMA query_only = 1")
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    async with open_index(path, on_error=errors.append) as index:
        await index.commit(pull_of(IMAGE, OTHER))
        assert (await index.look_tag(CARGO, ONE)).raw == IMAGE.raw
        assert (await index.look_tag(OTHER, ONE)).tag is None
    assert "write" in errors
    assert "get" not in errors
    assert not quarantined(path).exists()


async def test_damage_while_it_is_open_is_quarantined_and_the_index_goes_on(
    path: Path, errors: list[str]
) -> None:
    await fill(path)
    async with open_index(path, on_error=errors.append) as index:
        assert not index.is_new.is_set()
        write_at(path, 0, b"\xa5" * 3_000_000)
        await index.commit(pull_of(IMAGE, OTHER))
        await until(index.is_new.is_set)
        index._reader._breaker.record_success()
        assert await is_empty(index)
        assert await is_usable(index)
    assert quarantined(path).exists()
    # Whichever met it first: a write, or the upkeep that follows it.
    assert set(errors) <= {"write", "evict"}
    assert errors


async def test_of_processes_that_meet_the_damage_one_replaces_the_file(path: Path) -> None:
    await fill(path)
    async with open_index(path) as one, open_index(path) as other:
        write_at(path, 0, b"\xa5" * 3_000_000)
        for index in (one, other):
            await index.commit(pull_of(IMAGE, "docker.io/lost"))
            await index.flush()
            await until(lambda index=index: index._writer.opened == 2)  # type: ignore[misc]
        await one.commit(pull_of(IMAGE, CARGO))
        await other.commit(pull_of(IMAGE, OTHER))
        for index in (one, other):
            index._reader._breaker.record_success()
            for repository in (CARGO, OTHER):
                assert (await index.look_tag(repository, ONE)).raw == IMAGE.raw
        assert one.is_new.is_set() != other.is_new.is_set()


async def test_derived_manifests_come_back_into_an_index_that_is_new(
    path: Path, data_dir: Path
) -> None:
    derived = DerivedFiles(data_dir / "derived")
    manifests = [manifest_of(images.oci(f"image-{n}")) for n in range(20)]
    async with open_index(path) as index:
        catalog = Catalog([index], derived, memory=2**20)
        for manifest in manifests:
            await catalog.derive(REPOSITORY, manifest, ORIGIN)
    write_at(path, 0, b"\xa5" * 10_000)
    async with open_index(path) as index:
        assert index.is_new.is_set()
        assert await Catalog([index], derived, memory=2**20).restore_derived() == 20
        for manifest in manifests:
            found = await index.look_manifest(CARGO, manifest.digest)
            assert found.grant == Grant(Proof.DERIVED, manifest.media_type)
            assert found.raw == manifest.raw
            assert found.origin is not None
            assert Origin.decode(found.origin) == ORIGIN
    assert count(path, "contents") == 20


async def test_a_row_that_cannot_be_read_is_a_miss(path: Path) -> None:
    async with open_index(path) as index:
        await index.commit(pull_of(IMAGE))
        await index.commit(pull_of(IMAGE, tag=Tag("other")))
        with closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE tags SET digest = x'00' WHERE name = 'other'")
            database.execute("UPDATE grants SET proof = 'hearsay'")
            database.commit()
        assert await index.look_tag(CARGO, ONE) == NOTHING
        assert await index.look_tag(CARGO, Tag("other")) == NOTHING
        assert await index.look_blob(CARGO, IMAGE.digest) == NOTHING
