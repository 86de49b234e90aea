"""What is stored of an image, and every representation of it: nobody is asked for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import (
    ManifestUnknown,
)
from proxy.oci.clients import CLIENTS, accept_of
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from tests.kit import images, schema1
from tests.kit.manifest_kinds import KINDS
from tests.kit.memory_questions import (
    NAME,
    ONE,
    inspect,
    pull,
    store,
)

if TYPE_CHECKING:
    from tests.kit.manifest_world import ManifestWorld

IMAGE: Final = KINDS["v2s2"]


async def test_what_is_not_stored_is_unknown(world: ManifestWorld) -> None:
    world.upstream.push(IMAGE, ONE)
    for image, message in (
        ("cargo:1", f"docker.io/{NAME}:1 is not cached"),
        ("quay.io/cargo", "quay.io/cargo:latest is not cached"),
        (f"cargo@{IMAGE.digest}", f"docker.io/{NAME}@{IMAGE.digest} is not cached"),
    ):
        with pytest.raises(ManifestUnknown) as unknown:
            await inspect(world, image)
        assert unknown.value.message == message
    with pytest.raises(ManifestUnknown, match=r"'ghcr\.io' is no upstream of this proxy"):
        await inspect(world, "ghcr.io/cargo:1")


async def test_an_image_is_described_by_its_layers(world: ManifestWorld) -> None:
    await store(world, IMAGE)
    said = await inspect(world)
    assert (said["upstream"], said["repository"], said["reference"]) == ("docker.io", NAME, "1")
    layers = said["stored"].pop("layers")
    assert said["stored"] == {
        "type": MediaType.V2S2,
        "form": "docker image",
        "digest": IMAGE.digest,
        "size": len(IMAGE.manifest),
    }
    assert {layer["type"] for layer in layers} == {images.DOCKER.layer}
    sizes = {layer["digest"]: layer["size"] for layer in layers}
    assert sizes.items() <= {name: len(blob) for name, blob in IMAGE.blobs.items()}.items()
    assert len(sizes) == len(IMAGE.blobs) - 1, "all but the config"


@pytest.mark.parametrize(
    ("kind", "platforms"),
    [("index", {"linux/amd64", "linux/arm64"}), ("referrers", {None})],
)
async def test_an_index_is_described_by_its_entries(
    world: ManifestWorld, kind: str, platforms: set[str | None]
) -> None:
    content = KINDS[kind]
    await store(world, content)
    entries = (await inspect(world))["stored"]["manifests"]
    assert [entry["digest"] for entry in entries] == [each.digest for each in content.children]
    assert {entry["type"] for entry in entries} == {MediaType.OCI_MANIFEST}
    assert {entry["platform"] for entry in entries} == platforms


async def test_schema_1_is_described_by_digests_alone(world: ManifestWorld) -> None:
    layers = schema1.two_layers("described")
    await store(world, schema1.quay(layers))
    described = (await inspect(world))["stored"]["layers"]
    assert {layer["digest"] for layer in described} >= {Digest.of(layer) for layer in layers}
    assert all(layer.keys() == {"digest"} for layer in described)


async def test_a_type_that_is_in_no_table_is_described_by_its_bytes(world: ManifestWorld) -> None:
    content = KINDS["unknown"]
    await store(world, content)
    stored = (await inspect(world))["stored"]
    assert (stored["digest"], stored["size"]) == (content.digest, len(content.manifest))
    assert not stored.keys() & {"layers", "manifests"}


async def test_every_client_is_served_by_one_representation(world: ManifestWorld) -> None:
    """One that was made before exists; others can be made, and of those that cannot it is why."""
    await store(world, KINDS["oci"])
    await pull(world, accept_of("docker-1.13"))
    rows = (await inspect(world))["representations"]
    assert sorted(client for row in rows for client in row["serves"]) == sorted(CLIENTS)
    stored, made = (row for row in rows if row["digest"] is not None)
    assert (stored["digest"], stored["type"]) == (KINDS["oci"].digest, MediaType.OCI_MANIFEST)
    assert (made["type"], stored["exists"], made["exists"]) == (MediaType.V2S2, True, True)
    assert "containerd" in stored["serves"]
    assert "docker-1.13" in made["serves"]
    (not_made,) = (row for row in rows if "docker-1.9" in row["serves"])
    assert not_made["reason"].startswith(f"it needs a GET of blob {NAME} ")
    assert (not_made["digest"], not_made["type"], not_made["exists"]) == (None, None, False)


async def test_what_was_never_made_does_not_exist_though_it_can_be(world: ManifestWorld) -> None:
    await store(world, KINDS["oci"])
    rows = {row["type"]: row for row in (await inspect(world))["representations"]}
    assert rows[MediaType.V2S2]["exists"] is False
    served = await pull(world, accept_of("docker-1.13"))
    assert rows[MediaType.V2S2]["digest"] == served.manifest.digest
    rows = {row["type"]: row for row in (await inspect(world))["representations"]}
    assert rows[MediaType.V2S2]["exists"] is True


async def test_what_cannot_be_made_has_a_reason_and_no_digest(world: ManifestWorld) -> None:
    await store(world, KINDS["artifact"])
    rows = (await inspect(world))["representations"]
    (stored,) = [row for row in rows if row["digest"] is not None]
    assert (stored["digest"], stored["exists"]) == (KINDS["artifact"].digest, True)
    refused = [row for row in rows if row["digest"] is None]
    assert refused
    assert all(row["reason"] and not row["exists"] for row in refused)


async def test_by_digest_there_is_only_what_is_stored(world: ManifestWorld) -> None:
    await store(world, KINDS["oci"])
    (row,) = (await inspect(world, f"cargo@{KINDS['oci'].digest}"))["representations"]
    assert (row["digest"], row["exists"], row["serves"]) == (KINDS["oci"].digest, True, [])
