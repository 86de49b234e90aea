"""What every RecordStore does with durable records."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.ports import RecordStore

DIGEST: Final = Digest.of(b"content")
KEYS: Final = (
    f"manifest:{DIGEST}",
    f"origin:{DIGEST}",
    "manifest:sha512:" + 64 * "ab",
    "tag:docker.io/library/alpine:latest",
    "tag:localhost:5000/a:v1.0_x-y",
    f"link:docker.io/library/alpine/{DIGEST}",
    # Repositories lie in each other, and may be called what tags are called.
    "tag:docker.io/library:alpine",
    "tag:docker.io/library/alpine/latest:latest",
    f"link:docker.io/library/{DIGEST}",
    f"link:localhost:5000/a/{DIGEST}",
    f"link:docker.io/{'n' * 245}/{DIGEST}",
    f"tag:docker.io/{'n' * 245}:{'t' * 128}",
    f"tag:docker.io/{'n' * 244}:{'t' * 128}",
)
# A name was checked long before it got here; the store does not rely on it.
NO_KEYS: Final = (
    "tag:docker.io/../../etc/passwd:x",
    "tag:docker.io/a/..:x",
    "tag:docker.io/./a:x",
    "tag:/etc/passwd:x",
    "tag:docker.io//a:x",
    "tag:docker.io/a\0:x",
    "tag:docker.io/a:x\0",
    "tag:docker.io/a:../x",
    "tag:docker.io/.hidden:x",
    "tag:docker.io/a:x/",
    "tag:docker.io/a",
    "../tag:docker.io/a:x",
    "tag:docker.io/a\n:x",
    "tag",
    "tag:",
    "",
)


async def test_an_unknown_record_is_none(records: RecordStore) -> None:
    for key in KEYS:
        assert await records.record(key) is None
        await records.delete_record(key)


async def test_every_kind_of_key_has_a_record_of_its_own(
    records: RecordStore, make_records: Callable[[], RecordStore]
) -> None:
    await records.put_records([(key, key.encode()) for key in KEYS])
    elsewhere = make_records()
    assert [await elsewhere.record(key) for key in KEYS] == [key.encode() for key in KEYS]


@pytest.mark.parametrize("key", NO_KEYS)
async def test_a_key_that_is_no_name_is_refused(records: RecordStore, key: str) -> None:
    with pytest.raises(ValueError, match="no key of a record"):
        await records.record(key)
    with pytest.raises(ValueError, match="no key of a record"):
        await records.put_records([(key, b"value")])
    with pytest.raises(ValueError, match="no key of a record"):
        await records.put_new_record(key, b"value")
    with pytest.raises(ValueError, match="no key of a record"):
        await records.delete_record(key)


@pytest.mark.parametrize("value", [b"", bytes(range(256)), b"\0" * 4_000_000])
async def test_a_record_is_any_bytes(records: RecordStore, value: bytes) -> None:
    await records.put_records([(KEYS[0], value)])
    assert await records.record(KEYS[0]) == value


@pytest.mark.parametrize("values", [(b"one", b"two"), (b"", b"x"), (b"x", b""), (b"x", b"x")])
async def test_the_last_value_counts(records: RecordStore, values: tuple[bytes, ...]) -> None:
    for value in values:
        await records.put_records([(KEYS[3], value)])
        assert await records.record(KEYS[3]) == value
    await records.put_records([(KEYS[4], value) for value in values])
    assert await records.record(KEYS[4]) == values[-1]


async def test_a_deleted_record_is_gone(records: RecordStore) -> None:
    await records.put_records([(key, b"value") for key in KEYS])
    await records.delete_record(KEYS[3])
    assert await records.record(KEYS[3]) is None
    assert await records.record(KEYS[4]) == b"value"


async def test_the_first_writer_wins(records: RecordStore) -> None:
    assert await records.put_new_record(KEYS[0], b"first") == b"first"
    assert await records.put_new_record(KEYS[0], b"second") == b"first"
    assert await records.record(KEYS[0]) == b"first"


async def test_a_new_record_may_be_empty_or_come_again(records: RecordStore) -> None:
    assert await records.put_new_record(KEYS[0], b"") == b""
    assert await records.put_new_record(KEYS[0], b"second") == b""
    await records.delete_record(KEYS[0])
    assert await records.put_new_record(KEYS[0], b"third") == b"third"


async def test_of_many_writers_one_wins_and_all_know_it(
    make_records: Callable[[], RecordStore],
) -> None:
    stores = [make_records() for _ in range(20)]
    results = await asyncio.gather(
        *(each.put_new_record(KEYS[0], str(n).encode()) for n, each in enumerate(stores))
    )
    assert set(results) == {await stores[0].record(KEYS[0])}


async def test_a_reader_sees_an_old_or_a_new_value_and_nothing_between(
    records: RecordStore,
) -> None:
    old, new = b"o" * 100_000, b"n" * 100_000
    await records.put_records([(KEYS[3], old)])
    seen: set[bytes | None] = set()

    async def write() -> None:
        for value in (new, old) * 10:
            await records.put_records([(KEYS[3], value)])

    async def read() -> None:
        while not writing.done():
            seen.add(await records.record(KEYS[3]))

    writing = asyncio.ensure_future(write())
    await asyncio.gather(writing, read(), read())
    assert seen <= {old, new}
