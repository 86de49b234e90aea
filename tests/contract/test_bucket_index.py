"""What is a bucket's own as a layer of the catalog: objects, their number, and what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web

from proxy.ports.catalog import NOTHING, Batch, Grant, Proof, TagEntry
from proxy.stores.bucket.index import BucketIndex
from tests.kit.blob_stores import bucket
from tests.kit.interceptor import interceptor
from tests.kit.manual_clock import ManualClock
from tests.kit.pulls import CARGO, IMAGE, INDEX, ONE, pull_of
from tests.kit.s3_gateway import objects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from proxy.stores.bucket.bucket import Bucket
    from tests.kit.interceptor import Forward
    from tests.kit.s3_gateway import Gateway

TAG_KEY: Final = f"again/tags/{CARGO}/+/{ONE}"
MANIFEST_KEY: Final = f"again/manifests/{CARGO}/+/{IMAGE.digest}"


@pytest.fixture
async def place(gateway: Gateway, tmp_path: Path) -> AsyncIterator[Bucket]:
    place = bucket(gateway, prefix=tmp_path.name)
    yield place
    await place.close()


async def test_a_manifest_with_its_tag_is_two_objects_where_a_lifecycle_rule_deletes(
    place: Bucket, gateway: Gateway, tmp_path: Path
) -> None:
    await BucketIndex(place).commit(pull_of(IMAGE))
    found = {name for name in objects(gateway.bucket()) if name.startswith(tmp_path.name)}
    assert found == {f"{tmp_path.name}/{TAG_KEY}", f"{tmp_path.name}/{MANIFEST_KEY}"}


async def test_a_tag_that_still_names_the_same_is_written_once_a_day(
    place: Bucket, gateway: Gateway
) -> None:
    clock = ManualClock()
    index = BucketIndex(place, clock=clock)

    async def confirm(hours: float) -> int:
        clock.advance(hours * 3600)
        before = gateway.requests().count("s3_PutObject")
        entry = TagEntry(IMAGE.digest, clock.wall())
        await index.commit(Batch(tags=[(CARGO, ONE, entry)], touched=[IMAGE.digest]))
        return gateway.requests().count("s3_PutObject") - before

    assert [await confirm(hours) for hours in (0, 1, 22, 2)] == [1, 0, 0, 1]
    before = gateway.requests().count("s3_PutObject")
    await index.commit(Batch(tags=[(CARGO, ONE, TagEntry(INDEX.digest, clock.wall()))]))
    assert gateway.requests().count("s3_PutObject") == before + 1


@pytest.mark.parametrize(
    "moment", [b"", b"soon", b"inf", b"-inf", b"nan", b"-1", b"9" * 400, b"1\r\n2", b"\xff"]
)
async def test_a_moment_that_is_none_is_a_miss(place: Bucket, moment: bytes) -> None:
    await place.put(TAG_KEY, f"{IMAGE.digest} ".encode() + moment)
    assert await BucketIndex(place).look_tag(CARGO, ONE) == NOTHING


@pytest.mark.parametrize("mark", [b"", b"inf", b"nan", b"9" * 400, b"garbage"])
async def test_a_mark_of_a_purge_that_never_comes_voids_nothing(place: Bucket, mark: bytes) -> None:
    await BucketIndex(place).commit(pull_of(IMAGE))
    await place.put(f"again/purged/{CARGO}/+", mark)
    found = await BucketIndex(place).look_tag(CARGO, ONE)
    assert found.tag == TagEntry(IMAGE.digest, 1000.0)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b'["delivered"]',
        b'["hearsay",null]',
        b'["head","a\\r\\nb"]',
        b"\xff",
        b"9" * 400,
    ],
)
async def test_a_manifest_whose_first_line_is_garbage_is_a_miss(place: Bucket, head: bytes) -> None:
    await place.put(MANIFEST_KEY, head + b"\n" + IMAGE.raw)
    await place.put(f"again/blobs/{CARGO}/+/{IMAGE.digest}", head)
    index = BucketIndex(place)
    assert await index.look_manifest(CARGO, IMAGE.digest) == NOTHING
    assert (await index.look_blob(CARGO, IMAGE.digest)).grant is None


async def test_a_bucket_that_fails_is_a_miss_and_loses_what_is_learnt_again(
    gateway: Gateway, tmp_path: Path
) -> None:
    async def broken(_request: web.BaseRequest, _forward: Forward) -> web.Response:
        return web.Response(status=403)

    async with interceptor(gateway, broken) as endpoint:
        place = bucket(gateway, prefix=tmp_path.name, endpoint=endpoint)
        index = BucketIndex(place)
        for _ in range(5):  # and also when the circuit is open
            await index.commit(pull_of(IMAGE))
            await index.commit(Batch(grants=[(CARGO, IMAGE.digest, Grant(Proof.HEAD))]))
            assert await index.look_tag(CARGO, ONE) == NOTHING
            assert await index.look_manifest(CARGO, IMAGE.digest) == NOTHING
            await index.drop_tag(CARGO, ONE)
            assert not await index.purge(CARGO, 1000.0, tags=True)
        await place.close()


async def test_a_tag_that_could_not_be_written_is_written_next_time(
    gateway: Gateway, tmp_path: Path
) -> None:
    fails = True

    async def sometimes(request: web.BaseRequest, forward: Forward) -> web.Response:
        return web.Response(status=403) if fails else await forward(request)

    async with interceptor(gateway, sometimes) as endpoint:
        place = bucket(gateway, prefix=tmp_path.name, endpoint=endpoint)
        index = BucketIndex(place)
        batch = Batch(tags=[(CARGO, ONE, TagEntry(IMAGE.digest, 1000.0))])
        await index.commit(batch)
        fails = False
        await index.commit(batch)
        found = await BucketIndex(place).look_tag(CARGO, ONE)
        assert found.tag == TagEntry(IMAGE.digest, 1000.0)
        await place.close()
