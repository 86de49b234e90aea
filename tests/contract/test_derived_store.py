"""What both stores of derived manifests do: files, and objects of a real S3 API."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web

from proxy.errors import ManifestInvalid, StoreError
from proxy.oci.derivation import ConversionInputs, DerivedBlob, Origin
from proxy.oci.derived_record import DerivedRecord
from proxy.oci.layer import LayerFacts
from proxy.oci.manifest import Manifest, Schema1, read_manifest
from proxy.oci.mediatype import DOCKER_CONFIG, MediaType
from proxy.oci.reference import Digest
from proxy.oci.schema1.libtrust import SigningKey
from proxy.stores.bucket.derived import DerivedObjects
from proxy.stores.disk.derived import DerivedFiles
from tests.kit import images
from tests.kit.blob_stores import bucket
from tests.kit.interceptor import interceptor
from tests.kit.manifest_kinds import unsigned
from tests.kit.pulls import CARGO, IMAGE, ORIGIN, OTHER, manifest_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from proxy.ports.catalog import DerivedStore
    from tests.kit.interceptor import Forward
    from tests.kit.s3_gateway import Gateway

UNSIGNED: Final = manifest_of(unsigned())


def signed() -> Manifest:
    """The same payload with a signature of a new key, and so with the same digest."""
    assert isinstance(UNSIGNED, Schema1)
    raw = SigningKey.generate().sign(UNSIGNED.raw, time="2016-01-02T03:04:05Z")
    return read_manifest(raw, MediaType.V2S1_SIGNED, expected=UNSIGNED.digest)


def record_of(manifest: Manifest, *repositories: str, origin: Origin = ORIGIN) -> DerivedRecord:
    return DerivedRecord(manifest.digest, manifest, origin, frozenset(repositories or {CARGO}))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store keeps its records; `make` opens one more there, as a process does."""

    make: Callable[[], DerivedStore]
    value_of: Callable[[Digest], Path]


@pytest.fixture(params=["files", "objects"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "files":
        directory = tmp_path / "derived"
        yield Place(lambda: DerivedFiles(directory), lambda digest: directory / digest)
        return
    gateway: Gateway = request.getfixturevalue("gateway")
    objects = bucket(gateway, prefix=tmp_path.name)
    yield Place(
        lambda: DerivedObjects(objects),
        lambda digest: gateway.bucket() / tmp_path.name / "keep/derived" / digest,
    )
    await objects.close()


@pytest.fixture
def store(place: Place) -> DerivedStore:
    return place.make()


async def test_an_unknown_digest_has_no_record(store: DerivedStore) -> None:
    assert await store.get(IMAGE.digest) is None
    assert await store.get(IMAGE.digest, CARGO) is None
    assert await store.get(Digest("sha512:" + "ab" * 64), CARGO) is None


@pytest.mark.parametrize(
    "manifest",
    [IMAGE, manifest_of(images.docker_list()), UNSIGNED, signed()],
    ids=["v2s2", "list", "unsigned", "signed"],
)
async def test_a_record_is_read_by_every_process_as_it_was_stored(
    place: Place, manifest: Manifest
) -> None:
    record = record_of(manifest, CARGO, OTHER)
    assert await place.make().put(record) == record
    found = await place.make().get(manifest.digest, CARGO)
    assert found == record
    assert found.manifest is not None
    assert found.manifest.raw == manifest.raw


async def test_the_value_can_be_read_by_hand(place: Place, store: DerivedStore) -> None:
    """The first line is JSON, and the digest of all that follows is the name."""
    await store.put(record_of(IMAGE))
    head, _, raw = place.value_of(IMAGE.digest).read_bytes().partition(b"\n")
    assert head.startswith(b'{"format":1,')
    assert Digest.of(raw) == IMAGE.digest


async def test_a_config_is_kept_as_a_manifest_is(place: Place) -> None:
    """With the origin of the manifest that was made with it, the facts of layers included."""
    layer = LayerFacts(IMAGE.digest, 5, IMAGE.digest, 6, is_gzip=True)
    origin = replace(ORIGIN, inputs=replace(ORIGIN.inputs, layers=(layer,)))
    blob = DerivedBlob(DOCKER_CONFIG, Digest.of(b"{\n}"), b"{\n}")
    record = DerivedRecord(blob.digest, blob, origin, frozenset({CARGO}))
    assert await place.make().put(record) == record
    assert await place.make().get(blob.digest, CARGO) == record
    assert record.manifest is None
    other = replace(record, repositories=frozenset({OTHER}))
    assert (await place.make().put(other)).content == blob
    found = await place.make().get(blob.digest, CARGO)
    assert found is not None
    assert CARGO in found.repositories
    file = place.value_of(blob.digest)
    file.write_bytes(file.read_bytes()[:-1] + b"]")
    damaged = await place.make().get(blob.digest)
    assert damaged is not None
    assert (damaged.content, damaged.origin) == (None, origin)
    await place.make().replace(record)
    again = await place.make().get(blob.digest)
    assert again is not None
    assert again.content == blob


async def test_the_first_writer_wins_and_the_second_learns_what_it_wrote(place: Place) -> None:
    """A signature is part of the bytes and not of the digest: all processes send one of them."""
    first, second = signed(), signed()
    assert first.raw != second.raw
    await place.make().put(record_of(first))
    stored = await place.make().put(record_of(second))
    assert stored.manifest == first
    again = await place.make().get(UNSIGNED.digest)
    assert again is not None
    assert again.manifest is not None
    assert again.manifest.raw == first.raw


async def test_the_first_origin_stays(store: DerivedStore) -> None:
    await store.put(record_of(IMAGE))
    other = replace(ORIGIN, inputs=ConversionInputs(name="other", tag="2.0"))
    await store.put(record_of(IMAGE, origin=other))
    found = await store.get(IMAGE.digest)
    assert found is not None
    assert found.origin == ORIGIN


async def test_repositories_are_added(place: Place, store: DerivedStore) -> None:
    await store.put(record_of(IMAGE, CARGO))
    assert (await store.put(record_of(IMAGE, OTHER))).repositories == {CARGO, OTHER}
    await store.put(record_of(IMAGE, CARGO))
    for repository in (CARGO, OTHER):
        found = await place.make().get(IMAGE.digest, repository)
        assert found is not None
        assert repository in found.repositories
    found = await place.make().get(IMAGE.digest, "docker.io/library/third")
    assert found is not None
    assert "docker.io/library/third" not in found.repositories


async def test_a_signed_manifest_takes_the_unsigned_one_s_place_and_not_the_other_way_round(
    place: Place,
) -> None:
    with_signature = signed()
    await place.make().put(record_of(UNSIGNED, CARGO))
    for manifest in (with_signature, UNSIGNED, signed()):
        stored = await place.make().put(record_of(manifest, OTHER))
        assert stored.manifest == with_signature
    for repository in (CARGO, OTHER):
        found = await place.make().get(UNSIGNED.digest, repository)
        assert found is not None
        assert found.manifest == with_signature
        assert repository in found.repositories


@pytest.mark.parametrize("damage", [b"", b"x", b'{"schemaVersion":2}', IMAGE.raw + b" "], ids=len)
async def test_damaged_bytes_leave_the_origin_to_make_them_again(
    place: Place, damage: bytes
) -> None:
    await place.make().put(record_of(IMAGE, CARGO))
    path = place.value_of(IMAGE.digest)
    path.write_bytes(path.read_bytes().partition(b"\n")[0] + b"\n" + damage)
    found = await place.make().get(IMAGE.digest, CARGO)
    assert found == DerivedRecord(IMAGE.digest, None, ORIGIN, frozenset({CARGO}))
    with pytest.raises(ManifestInvalid):
        found.encode()
    await place.make().replace(record_of(IMAGE, OTHER))
    for repository in (CARGO, OTHER):
        found = await place.make().get(IMAGE.digest, repository)
        assert found is not None
        assert found.manifest == IMAGE
        assert repository in found.repositories


async def test_damaged_bytes_are_replaced_by_a_put_too(place: Place) -> None:
    await place.make().put(record_of(IMAGE, CARGO))
    path = place.value_of(IMAGE.digest)
    path.write_bytes(path.read_bytes()[:-1])
    assert (await place.make().put(record_of(IMAGE, CARGO))).manifest == IMAGE
    found = await place.make().get(IMAGE.digest)
    assert found is not None
    assert found.manifest == IMAGE


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\n",
        b"garbage\n" + IMAGE.raw,
        b"[" * 100_000,
        b"{}\n" + IMAGE.raw,
        b'{"format":2}\n' + IMAGE.raw,
        b'{"format":1,"type":5,"origin":[],"repositories":5}\n' + IMAGE.raw,
        b"\xff\xfe\n" + IMAGE.raw,
        b'{"format":1' + b"0" * 5000 + b"}\n" + IMAGE.raw,
    ],
    ids=["empty", "line", "garbage", "nested", "members", "format", "types", "bytes", "digits"],
)
async def test_a_record_that_cannot_be_read_is_none_and_can_be_stored_again(
    place: Place, value: bytes
) -> None:
    await place.make().put(record_of(IMAGE))
    place.value_of(IMAGE.digest).write_bytes(value)
    assert await place.make().get(IMAGE.digest, CARGO) is None
    assert [record async for record in place.make().records()] == []
    stored = await place.make().put(record_of(IMAGE))
    assert stored.manifest == IMAGE
    found = await place.make().get(IMAGE.digest, CARGO)
    assert found is not None
    assert found.manifest == IMAGE


async def test_of_many_writers_at_once_one_wins_and_all_know_it(place: Place) -> None:
    stored = await asyncio.gather(
        *(place.make().put(record_of(signed(), f"docker.io/team/{n}")) for n in range(12))
    )
    found = await place.make().get(UNSIGNED.digest)
    assert found is not None
    assert found.manifest is not None
    assert {record.manifest.raw for record in stored if record.manifest} == {found.manifest.raw}
    for number in range(12):
        name = f"docker.io/team/{number}"
        granted = await place.make().get(UNSIGNED.digest, name)
        assert granted is not None
        assert name in granted.repositories


# -- a bucket's own ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["says so", "does not say so"])
async def test_a_server_that_cannot_create_once_is_asked_in_another_way(
    gateway: Gateway, tmp_path: Path, how: str
) -> None:
    conditional = 0

    async def older(request: web.BaseRequest, forward: Forward) -> web.Response:
        nonlocal conditional
        if "If-None-Match" not in request.headers:
            return await forward(request)
        conditional += 1
        if how == "says so":
            return web.Response(status=501, text="<Error><Code>NotImplemented</Code></Error>")
        return web.Response(status=200, headers={"ETag": '"x"'})

    first = signed()
    async with interceptor(gateway, older) as endpoint:
        objects = bucket(gateway, prefix=tmp_path.name, endpoint=endpoint)
        store = DerivedObjects(objects)
        assert (await store.put(record_of(first))).manifest == first
        asked = conditional
        assert (await store.put(record_of(signed()))).manifest == first
        assert (await store.put(record_of(IMAGE))).manifest == IMAGE
        assert conditional == asked > 0, "it is found out once"
        assert (await DerivedObjects(objects).put(record_of(signed()))).manifest == first
        await objects.close()
    direct = bucket(gateway, prefix=tmp_path.name)
    found = await DerivedObjects(direct).get(UNSIGNED.digest)
    assert found is not None
    assert found.manifest == first
    await direct.close()


async def test_a_bucket_that_fails_is_an_error_of_the_store(
    gateway: Gateway, tmp_path: Path
) -> None:
    async def broken(_request: web.BaseRequest, _forward: Forward) -> web.Response:
        return web.Response(status=403)

    async with interceptor(gateway, broken) as endpoint:
        objects = bucket(gateway, prefix=tmp_path.name, endpoint=endpoint)
        store = DerivedObjects(objects)
        for _ in range(5):  # and also when the circuit is open
            with pytest.raises(StoreError):
                await store.get(IMAGE.digest, CARGO)
            with pytest.raises(StoreError):
                await store.put(record_of(IMAGE))
            with pytest.raises(StoreError):
                await store.replace(record_of(IMAGE))
        await objects.close()
