"""Derived manifests as files: what is on the disk when, and what a crash or a full disk leaves."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import pytest

from proxy.errors import StoreError
from proxy.oci.derived_record import DerivedRecord
from proxy.oci.reference import Digest
from proxy.stores.disk.derived import DerivedFiles
from tests.kit import images
from tests.kit.another_process import another_process
from tests.kit.full_disk import files_limited_to
from tests.kit.pulls import CARGO, IMAGE, ORIGIN, OTHER, manifest_of

RECORD: Final = DerivedRecord(IMAGE.digest, IMAGE, ORIGIN, frozenset({CARGO}))
DAY: Final = 86400.0


@pytest.fixture
def directory(data_dir: Path) -> Path:
    return data_dir / "derived"


@pytest.fixture
def store(directory: Path) -> DerivedFiles:
    return DerivedFiles(directory)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if not path.name.startswith(".lock"))


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def set_age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


async def test_nothing_is_made_before_it_is_needed(store: DerivedFiles, directory: Path) -> None:
    assert await store.get(IMAGE.digest) is None
    assert [record async for record in store.records()] == []
    assert await store.delete_unused(0.0) == 0
    assert os.listdir(directory.parent) == []  # noqa: PTH208 -- names are all that is needed


async def test_only_the_owner_reads_them(store: DerivedFiles, directory: Path) -> None:
    previous = os.umask(0)
    try:
        await store.put(RECORD)
    finally:
        os.umask(previous)
    assert [mode_of(path) for path in (directory, directory / IMAGE.digest)] == [0o700, 0o600]
    assert names(directory) == [IMAGE.digest]


async def test_the_content_is_on_the_disk_before_its_name_and_the_name_before_put_returns(
    store: DerivedFiles, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    real = os.fsync

    def fsync(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        named = (directory / IMAGE.digest).exists()
        happened.append(f"{os.path.relpath(path, directory)} {'named' if named else 'unnamed'}")
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    await store.put(RECORD)
    assert happened == [".. unnamed", f".new-{IMAGE.digest} unnamed", ". named"]
    await store.put(RECORD)
    assert len(happened) == 3, "what is there is not written again"


async def test_a_crash_between_write_and_rename_leaves_no_record_and_is_no_obstacle(
    store: DerivedFiles, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CrashError(BaseException):
        """Nothing that the store handles."""

    def rename(*_arguments: object) -> None:
        raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.PosixPath.rename", rename)
        with pytest.raises(CrashError):
            await store.put(RECORD)
    assert names(directory) == [f".new-{IMAGE.digest}"]
    store = DerivedFiles(directory)
    assert await store.get(IMAGE.digest) is None
    assert [record async for record in store.records()] == []
    assert list(store.verify()) == []
    assert await store.put(RECORD) == RECORD
    assert await store.get(IMAGE.digest) == RECORD
    assert names(directory) == [IMAGE.digest]


async def test_a_longer_rest_of_a_crash_is_not_in_the_next_record(
    store: DerivedFiles, directory: Path
) -> None:
    await store.put(RECORD)
    (directory / IMAGE.digest).unlink()
    (directory / f".new-{IMAGE.digest}").write_bytes(bytes(100_000))
    await store.put(RECORD)
    assert (directory / IMAGE.digest).read_bytes() == RECORD.encode()


async def test_a_full_disk_is_an_error_and_keeps_what_was_there(
    store: DerivedFiles, directory: Path
) -> None:
    await store.put(RECORD)
    other = manifest_of(images.oci())
    with files_limited_to(100):
        with pytest.raises(StoreError, match="too large"):
            await store.put(DerivedRecord(other.digest, other, ORIGIN, frozenset({CARGO})))
        with pytest.raises(StoreError, match="too large"):
            await store.put(DerivedRecord(IMAGE.digest, IMAGE, ORIGIN, frozenset({OTHER})))
        with pytest.raises(StoreError, match="too large"):
            await store.replace(RECORD)
        assert await store.get(other.digest) is None
        assert await store.get(IMAGE.digest) == RECORD
    assert (await store.put(RECORD)) == RECORD
    assert IMAGE.digest in names(directory)


async def test_a_place_that_is_no_directory_is_an_error(data_dir: Path) -> None:
    (data_dir / "file").touch()
    store = DerivedFiles(data_dir / "file")
    with pytest.raises(StoreError):
        await store.put(RECORD)
    assert await store.get(IMAGE.digest) is None


async def test_what_was_not_used_for_long_is_deleted(store: DerivedFiles, directory: Path) -> None:
    other = manifest_of(images.oci())
    await store.put(RECORD)
    await store.put(DerivedRecord(other.digest, other, ORIGIN, frozenset({CARGO})))
    set_age(directory / IMAGE.digest, 401 * DAY)
    set_age(directory / other.digest, 399 * DAY)
    assert await store.delete_unused(400 * DAY) == 1
    assert names(directory) == [other.digest]


@pytest.mark.parametrize(("days", "is_touched"), [(0.9, False), (1.1, True), (399.0, True)])
async def test_use_saves_a_record_and_is_written_once_a_day(
    store: DerivedFiles, directory: Path, days: float, *, is_touched: bool
) -> None:
    await store.put(RECORD)
    set_age(directory / IMAGE.digest, days * DAY)
    assert await store.get(IMAGE.digest) is not None
    age = time.time() - (directory / IMAGE.digest).stat().st_mtime
    assert (age < DAY / 2) is is_touched
    assert await store.delete_unused(400 * DAY) == 0


async def test_all_records_are_found_and_what_cannot_be_read_is_left_out(
    store: DerivedFiles, directory: Path
) -> None:
    manifests = [manifest_of(images.oci(f"image-{n}")) for n in range(150)]
    records = {m.digest: DerivedRecord(m.digest, m, ORIGIN, frozenset({CARGO})) for m in manifests}
    for record in records.values():
        await store.put(record)
    damaged, unreadable = manifests[0].digest, manifests[1].digest
    path = directory / damaged
    path.write_bytes(path.read_bytes()[:-1])
    (directory / unreadable).write_bytes(b"garbage")
    (directory / "no-digest").write_bytes(b"garbage")
    found = {record.digest: record async for record in store.records()}
    del records[unreadable]
    assert found.keys() == records.keys()
    assert found[damaged].manifest is None
    assert {digest for digest, is_right in store.verify() if not is_right} == {damaged, unreadable}
    assert len(list(store.verify())) == 150


_PUT = """
    from proxy.oci.derived_record import DerivedRecord
    store = DerivedFiles(directory)
    say("ready")
    await heard()
    for path in sorted(Path(arguments[1]).iterdir()):
        record = DerivedRecord.decode(Digest(path.name), path.read_bytes())
        stored = await store.put(record)
        say(" ".join(sorted(stored.repositories)))
"""


async def test_of_two_processes_at_once_none_loses_a_repository(
    store: DerivedFiles, directory: Path, tmp_path: Path
) -> None:
    manifests = [manifest_of(images.oci(f"image-{n}")) for n in range(40)]
    for name in (CARGO, OTHER):
        place = tmp_path / name.rpartition("/")[2]
        place.mkdir()
        for manifest in manifests:
            record = DerivedRecord(manifest.digest, manifest, ORIGIN, frozenset({name}))
            (place / manifest.digest).write_bytes(record.encode())
    async with (
        another_process(_PUT, directory, "one", tmp_path / "cargo") as one,
        another_process(_PUT, directory, "other", tmp_path / "other") as other,
    ):
        for process in (one, other):
            assert await process.line() == "ready"
        for process in (one, other):
            process.say()
        answers = [(await one.line(), await other.line()) for _ in manifests]
        assert [await process.ended() for process in (one, other)] == [0, 0]
    assert all(CARGO in by_one and OTHER in by_other for by_one, by_other in answers)
    for manifest in manifests:
        found = await store.get(manifest.digest)
        assert found is not None
        assert found.repositories == {CARGO, OTHER}
    assert names(directory) == sorted(manifest.digest for manifest in manifests)


async def test_a_process_that_is_killed_while_it_writes_holds_up_nobody(
    store: DerivedFiles, directory: Path, tmp_path: Path
) -> None:
    script = """
    import os
    from proxy.oci.derived_record import DerivedRecord
    def fsync(file):
        if not os.path.isdir(f"/proc/self/fd/{file}"):
            say("writing")
            sys.stdin.readline()
    os.fsync = fsync
    record = DerivedRecord.decode(Digest(arguments[0]), Path(arguments[1]).read_bytes())
    await DerivedFiles(directory).put(record)
    """
    value = tmp_path / "record"
    value.write_bytes(RECORD.encode())
    async with another_process(script, directory, IMAGE.digest, value) as process:
        assert await process.line() == "writing"
        assert names(directory) == [f".new-{IMAGE.digest}"]
        await process.kill()
    assert await store.get(IMAGE.digest) is None
    assert await store.put(RECORD) == RECORD
    assert await DerivedFiles(directory).get(Digest(IMAGE.digest)) == RECORD
