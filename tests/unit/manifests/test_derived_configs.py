"""Configs that conversions from schema 1 made: through their repository, and made again if lost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from proxy.catalog.routing import Standby
from proxy.errors import ManifestUnknown, StoreError, UpstreamUnavailable
from proxy.manifests.derived_configs import DerivedConfigs
from proxy.oci.derivation import DerivedBlob
from proxy.oci.headers.accept import Accept
from proxy.oci.manifest import Image
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Repository, mirrors_of
from proxy.ports.catalog import Grant, Proof
from proxy.telemetry import metrics, trace
from tests.kit import images, schema1
from tests.kit.memory_upstream import Script
from tests.kit.pulls import ONE

if TYPE_CHECKING:
    from proxy.oci.derived_record import DerivedRecord
    from proxy.oci.reference import Digest
    from tests.kit.manifest_world import ManifestWorld

CARGO: Final = Repository("docker.io", "library/cargo", "cargo")
OTHER: Final = Repository("docker.io", "library/other", "other")
LAYER: Final = images.layer({"srv/file": b"cargo"}).blob
OLD: Final = schema1.old_docker([LAYER])
MISMATCHES: Final = metrics.REBUILD_MISMATCHES._value.get


async def convert(world: ManifestWorld) -> Digest:
    """Have an old image made one of today; the digest of its config."""
    world.upstream.push(OLD, ONE)
    trace.begin()
    found = await world.manifests.by_tag(CARGO, ONE, Accept.parse((MediaType.V2S2,)))
    assert isinstance(found.manifest, Image)
    restart(world)
    return found.manifest.config.digest


def restart(world: ManifestWorld) -> None:
    """Have nothing in memory, and nothing counted."""
    world.restart()
    world.asked()
    world.layer.reset()


def configs_of(world: ManifestWorld, *upstreams: str) -> DerivedConfigs:
    return DerivedConfigs(world.catalog, world.fetches, Standby(upstreams))


def damage(world: ManifestWorld, digest: Digest) -> bytes:
    """Leave the record of a config, and not its bytes, which are returned."""
    record = world.derived.stored[digest]
    assert isinstance(record.content, DerivedBlob)
    world.derived.stored[digest] = replace(record, content=None)
    return record.content.raw


def stored(world: ManifestWorld, digest: Digest) -> bytes | None:
    content = world.derived.stored[digest].content
    return None if content is None else content.raw


async def test_a_config_is_there_for_the_repository_that_it_was_made_for(
    world: ManifestWorld,
) -> None:
    digest = await convert(world)
    raw = await configs_of(world).get(CARGO, digest)
    assert raw is not None
    assert digest.matches(raw)
    assert await configs_of(world).get(OTHER, digest) is None
    assert world.asked() == []


async def test_a_catalog_that_has_lost_the_grant_learns_it_once(world: ManifestWorld) -> None:
    digest = await convert(world)
    for _ in range(3):
        await configs_of(world).get(CARGO, digest)
    (batch,) = world.layer.batches
    assert batch.grants == [(str(CARGO), digest, Grant(Proof.DERIVED))]


async def test_a_manifest_that_was_made_here_is_no_config(world: ManifestWorld) -> None:
    config = await convert(world)
    (manifest,) = world.derived.stored.keys() - {config}
    assert await configs_of(world).get(CARGO, manifest) is None


async def test_a_damaged_config_is_made_again_without_the_layers(world: ManifestWorld) -> None:
    digest = await convert(world)
    raw = damage(world, digest)
    assert await configs_of(world).get(CARGO, digest) == raw
    assert stored(world, digest) == raw
    assert world.asked() == [], "the image is stored, and its layers are not needed"


async def test_what_it_was_made_of_is_fetched_if_that_is_lost_too(world: ManifestWorld) -> None:
    digest = await convert(world)
    raw = damage(world, digest)
    world.layer.away = True
    assert await configs_of(world).get(CARGO, digest) == raw
    assert world.asked() == ["manifest"]


async def test_a_config_whose_image_cannot_be_had_now_stays_recorded(world: ManifestWorld) -> None:
    digest = await convert(world)
    raw = damage(world, digest)
    world.layer.away = True
    world.upstream.scripts.append(Script(error=UpstreamUnavailable("docker.io is away")))
    with pytest.raises(UpstreamUnavailable):
        await configs_of(world).get(CARGO, digest)
    assert stored(world, digest) is None
    assert await configs_of(world).get(CARGO, digest) == raw


async def test_a_store_that_takes_nothing_does_not_keep_the_client_waiting(
    world: ManifestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = await convert(world)
    raw = damage(world, digest)

    async def fail(*_arguments: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(type(world.derived), "replace", fail)
    assert await configs_of(world).get(CARGO, digest) == raw
    assert stored(world, digest) is None


async def test_other_bytes_are_never_served_as_the_config(world: ManifestWorld) -> None:
    """The record names another image: what is made of that is not what the digest names."""
    digest = await convert(world)
    damage(world, digest)
    record = world.derived.stored[digest]
    another = world.upstream.push(images.oci("another"))
    other_layers = world.upstream.push(schema1.old_docker(schema1.two_layers("another")))
    other_author = world.upstream.push(schema1.old_docker([LAYER], author="another"))
    for source in (another.digest, other_layers.digest, other_author.digest):
        origin = replace(record.origin, source=source)
        world.derived.stored[digest] = replace(record, origin=origin)
        before = MISMATCHES()
        assert await configs_of(world).get(CARGO, digest) is None
        assert MISMATCHES() == before + 1
        assert stored(world, digest) is None


# -- what was made of a mirror's image -----------------------------------------------------------


async def made_at_mirrors(world: ManifestWorld) -> DerivedRecord:
    """Have the config as one that was made while the registry was down, and for nobody else."""
    digest = await convert(world)
    record = world.derived.stored[digest]
    mirrors = frozenset({str(CARGO.at_mirrors)})
    world.derived.stored[digest] = record = replace(record, repositories=mirrors)
    return record


async def test_a_registry_that_has_the_image_too_has_the_mirrors_config(
    world: ManifestWorld,
) -> None:
    record = await made_at_mirrors(world)
    configs = configs_of(world, "docker.io", mirrors_of("docker.io"))
    assert isinstance(record.content, DerivedBlob)
    assert await configs.get(CARGO, record.digest) == record.content.raw
    assert world.derived.stored[record.digest].repositories == {
        str(CARGO),
        str(CARGO.at_mirrors),
    }


async def test_a_registry_that_does_not_have_the_image_has_no_config_of_it(
    world: ManifestWorld,
) -> None:
    record = await made_at_mirrors(world)
    world.upstream.scripts.append(Script(error=ManifestUnknown("there is none")))
    configs = configs_of(world, "docker.io", mirrors_of("docker.io"))
    assert await configs.get(OTHER, record.digest) is None
    world.layer.away = True
    assert await configs.get(CARGO, record.digest) is None
    assert world.asked() == ["manifest"]
    assert world.derived.stored[record.digest] == record


async def test_without_mirrors_nothing_is_adopted(world: ManifestWorld) -> None:
    record = await made_at_mirrors(world)
    assert await configs_of(world, "docker.io").get(CARGO, record.digest) is None
    assert world.derived.stored[record.digest] == record


async def test_a_damaged_config_of_the_mirrors_is_not_adopted(world: ManifestWorld) -> None:
    record = await made_at_mirrors(world)
    damage(world, record.digest)
    configs = configs_of(world, "docker.io", mirrors_of("docker.io"))
    assert await configs.get(CARGO, record.digest) is None
    assert stored(world, record.digest) is None
