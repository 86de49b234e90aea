"""What the proxy knows: in memory, in the cache and durably, and what is lost with each."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from proxy.catalog.catalog import Catalog, TagEntry
from proxy.oci.derivation import ConversionInputs, Origin
from proxy.oci.manifest import Image, Manifest, read_manifest
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest, Repository, Tag
from proxy.stores.disk.blobs import DiskBlobs
from proxy.stores.memory.cache import MemoryManifests
from tests.kit import images

if TYPE_CHECKING:
    from pathlib import Path

CARGO: Final = Repository("docker.io", "library/cargo", "cargo")
OTHER: Final = Repository("docker.io", "library/other", "other")
ONE: Final = Tag("1.0")
IMAGE: Final = read_manifest(images.docker().manifest, MediaType.V2S2)
ORIGIN: Final = Origin(
    source=Digest.of(b"source"),
    target=MediaType.V2S2,
    inputs=ConversionInputs(name="cargo", tag="1.0"),
)
LIFE: Final = 3600.0


class Known:
    """Records, and the two stores behind them."""

    def __init__(self, data: Path) -> None:
        self.cache = MemoryManifests(2**20)
        self.blobs = DiskBlobs(data)
        self.catalog = self.anew()

    def anew(self, cache: MemoryManifests | None = None) -> Catalog:
        """As another process sees it."""
        return Catalog(cache or self.cache, self.blobs, memory=2**20)

    def without_cache(self) -> Catalog:
        """As a process sees it whose cache was lost."""
        return self.anew(MemoryManifests(2**20))


@pytest.fixture
def known(tmp_path: Path) -> Known:
    return Known(tmp_path)


# Manifests


async def test_a_manifest_is_known_to_every_process_and_without_a_cache(known: Known) -> None:
    assert await known.catalog.manifest(IMAGE.digest) is None
    await known.catalog.keep(CARGO, IMAGE)
    for catalog in (known.catalog, known.anew(), known.without_cache()):
        assert await catalog.manifest(IMAGE.digest) == IMAGE


async def test_what_is_found_further_out_is_remembered_nearer(known: Known) -> None:
    await known.catalog.keep(CARGO, IMAGE)
    key = f"manifest:{IMAGE.digest}"
    await known.cache.delete(key)
    catalog = known.anew()
    assert await catalog.manifest(IMAGE.digest) == IMAGE
    assert await known.cache.get(key) is not None
    await known.cache.delete(key)
    await known.blobs.delete_record(key)
    assert await catalog.manifest(IMAGE.digest) == IMAGE


@pytest.mark.parametrize(
    "content",
    [images.docker(), images.oci(), images.oci_undeclared(), images.docker_list()],
    ids=["v2s2", "oci", "undeclared", "list"],
)
async def test_a_manifest_keeps_its_bytes_and_its_type(
    known: Known, content: images.Content
) -> None:
    manifest = read_manifest(content.manifest, content.media_type)
    await known.catalog.keep(CARGO, manifest)
    found = await known.without_cache().manifest(manifest.digest)
    assert found == manifest
    assert found.raw == content.manifest


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\n",
        b"garbage",
        IMAGE.raw,
        f"{MediaType.V2S2}\n".encode() + IMAGE.raw + b" ",
        f"{MediaType.OCI_INDEX}\n".encode() + IMAGE.raw,
    ],
)
async def test_what_is_not_what_its_digest_names_is_a_miss(known: Known, value: bytes) -> None:
    key = f"manifest:{IMAGE.digest}"
    await known.cache.put(key, value, life=LIFE)
    await known.blobs.put_records([(key, value)])
    assert await known.catalog.manifest(IMAGE.digest) is None
    await known.catalog.keep(CARGO, IMAGE)
    assert await known.without_cache().manifest(IMAGE.digest) == IMAGE


async def test_a_damaged_cache_does_not_hide_what_is_durable(known: Known) -> None:
    await known.catalog.keep(CARGO, IMAGE, origin=ORIGIN)
    for kind in ("manifest", "origin"):
        await known.cache.put(f"{kind}:{IMAGE.digest}", b"garbage", life=LIFE)
    await known.cache.put(f"tag:{CARGO}:{ONE}", b"garbage", life=LIFE)
    await known.blobs.put_records([(f"tag:{CARGO}:{ONE}", TagEntry(IMAGE.digest, 5.0).encode())])
    catalog = known.anew()
    assert await catalog.manifest(IMAGE.digest) == IMAGE
    assert await catalog.origin(IMAGE.digest) == ORIGIN
    assert await catalog.tag_entry(CARGO, ONE) == TagEntry(IMAGE.digest, 5.0)


async def test_a_large_manifest_is_in_the_blob_store_only(known: Known) -> None:
    document = json.loads(IMAGE.raw) | {"annotations": {"a": "x" * 300_000}}
    large = read_manifest(json.dumps(document).encode(), MediaType.V2S2)
    await known.catalog.keep(CARGO, large)
    assert await known.cache.get(f"manifest:{large.digest}") is None
    assert await known.anew().manifest(large.digest) == large


async def test_what_cannot_be_made_durable_is_known_nowhere(known: Known, tmp_path: Path) -> None:
    (tmp_path / "records").touch()
    with pytest.raises(FileExistsError):
        await known.catalog.keep(CARGO, IMAGE, origin=ORIGIN)
    assert await known.cache.get(f"manifest:{IMAGE.digest}") is None
    assert await known.cache.get(f"origin:{IMAGE.digest}") is None
    assert not known.catalog.remembers_link(CARGO, IMAGE.digest)


# Links


async def test_a_manifest_makes_all_that_it_names_part_of_its_repository(known: Known) -> None:
    assert isinstance(IMAGE, Image)
    await known.catalog.keep(CARGO, IMAGE)
    for catalog in (known.catalog, known.anew(), known.without_cache()):
        for digest in (IMAGE.digest, IMAGE.config.digest, *(x.digest for x in IMAGE.layers)):
            assert await catalog.linked(CARGO, digest)
            assert catalog.remembers_link(CARGO, digest)
            assert not await catalog.linked(OTHER, digest)
        assert not await catalog.linked(CARGO, Digest.of(b"another"))


async def test_a_link_by_itself(known: Known) -> None:
    digest = Digest.of(b"blob")
    await known.catalog.link(CARGO, [digest])
    assert await known.without_cache().linked(CARGO, digest)
    # It is the repository's, however it was addressed.
    assert await known.catalog.linked(replace(CARGO, addressed="docker.io/cargo"), digest)


# Tags


async def test_a_pin_is_known_to_every_process_and_without_a_cache(known: Known) -> None:
    pin = TagEntry(IMAGE.digest, 1000.0)
    await known.catalog.put_tag_entry(CARGO, ONE, pin, life=LIFE)
    assert known.catalog.remembered_tag_entry(CARGO, ONE) == pin
    assert known.anew().remembered_tag_entry(CARGO, ONE) is None
    assert await known.anew().tag_entry(CARGO, ONE) == pin
    assert await known.without_cache().tag_entry(CARGO, ONE) == pin
    assert await known.catalog.tag_entry(OTHER, ONE) is None
    assert await known.catalog.tag_entry(CARGO, Tag("1.1")) is None


async def test_a_pin_that_is_only_newer_costs_the_disk_nothing(known: Known) -> None:
    durable = f"tag:{CARGO}:{ONE}"
    first = TagEntry(IMAGE.digest, 1000.0)
    await known.catalog.put_tag_entry(CARGO, ONE, first, life=LIFE)
    newer = TagEntry(IMAGE.digest, 1060.0)
    await known.catalog.put_tag_entry(CARGO, ONE, newer, life=LIFE)
    assert await known.anew().tag_entry(CARGO, ONE) == newer
    assert TagEntry.decode(await known.blobs.record(durable)) == first
    for written in (TagEntry(Digest.of(b"moved"), 1061.0), TagEntry(Digest.of(b"moved"), 90_000.0)):
        await known.catalog.put_tag_entry(CARGO, ONE, written, life=LIFE)
        assert TagEntry.decode(await known.blobs.record(durable)) == written


async def test_a_pin_that_is_dropped_is_gone_everywhere(known: Known) -> None:
    await known.catalog.put_tag_entry(CARGO, ONE, TagEntry(IMAGE.digest, 1000.0), life=LIFE)
    await known.catalog.drop_tag_entry(CARGO, ONE)
    assert known.catalog.remembered_tag_entry(CARGO, ONE) is None
    for catalog in (known.catalog, known.anew(), known.without_cache()):
        assert await catalog.tag_entry(CARGO, ONE) is None


@pytest.mark.parametrize(
    "value", [b"", b"sha256:x 1", IMAGE.digest.encode(), f"{IMAGE.digest} soon".encode(), b"\xff 1"]
)
def test_a_pin_that_cannot_be_read_is_none(value: bytes) -> None:
    assert TagEntry.decode(value) is None


def test_a_pin_is_read_as_it_was_written() -> None:
    pin = TagEntry(IMAGE.digest, 1_767_323_045.125)
    assert TagEntry.decode(pin.encode()) == pin


async def test_what_others_may_change_is_forgotten_and_what_nobody_can_is_not(
    known: Known,
) -> None:
    await known.catalog.keep(CARGO, IMAGE)
    await known.catalog.put_tag_entry(CARGO, ONE, TagEntry(IMAGE.digest, 1000.0), life=LIFE)
    known.catalog.forget_mutable()
    assert known.catalog.remembered_tag_entry(CARGO, ONE) is None
    assert not known.catalog.remembers_link(CARGO, IMAGE.digest)
    await known.cache.close()
    await known.blobs.delete_record(f"manifest:{IMAGE.digest}")
    assert await known.catalog.manifest(IMAGE.digest) == IMAGE


# What was made


async def test_a_representation_is_found_on_its_own_terms_only(known: Known) -> None:
    made: Manifest = IMAGE
    await known.catalog.keep(CARGO, made, origin=ORIGIN)
    source, target = ORIGIN.source, MediaType.V2S1_SIGNED
    inputs = ConversionInputs(name="cargo", tag="1.0")
    await known.catalog.put_representation(source, target, inputs, made.digest)
    assert await known.anew().representation(source, target, inputs) == made
    for other in (replace(inputs, tag="1.1"), replace(inputs, name="docker.io/cargo")):
        assert await known.catalog.representation(source, target, other) is None
    assert await known.catalog.representation(source, MediaType.V2S2, inputs) is None
    assert await known.without_cache().representation(source, target, inputs) is None


async def test_an_origin_outlives_the_cache(known: Known) -> None:
    await known.catalog.keep(CARGO, IMAGE, origin=ORIGIN)
    assert await known.without_cache().origin(IMAGE.digest) == ORIGIN
    assert await known.catalog.origin(Digest.of(b"somebody else's")) is None
