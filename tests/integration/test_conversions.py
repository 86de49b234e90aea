"""What is made for clients that cannot read what is stored, and why something cannot be made."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from proxy.oci.schema1.build import EMPTY_LAYER
from tests.kit import images
from tests.kit.proxy import Proxy, metric, push, settings
from tests.kit.scripted_upstream import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.images import Content
    from tests.kit.scripted_upstream import ScriptedUpstream

CARGO: Final = "/v2/library/cargo/manifests"
DOCKER: Final = images.docker_with_empty_steps()
INDEX: Final = images.oci_index()
LEGACY: Final[tuple[str, ...]] = ()
DOCKER_1_13: Final = (MediaType.V2S2, MediaType.DOCKER_LIST)


def _changed(image: Content, config: bytes | None = None, **members: object) -> Content:
    """The image with another config, or other members of its manifest."""
    document = {**json.loads(image.manifest), **members}
    blobs = dict(image.blobs)
    if config is not None:
        document["config"] |= {"digest": images.digest(config), "size": len(config)}
        blobs[images.digest(config)] = config
    return replace(image, manifest=json.dumps(document).encode(), blobs=blobs)


def _layers(image: Content, **members: object) -> Content:
    layers = json.loads(image.manifest)["layers"]
    return _changed(image, layers=[layers[0], {**layers[1], **members}])


def _config(image: Content, **members: object) -> Content:
    config = json.loads(image.blobs[json.loads(image.manifest)["config"]["digest"]])
    return _changed(image, json.dumps({**config, **members}).encode())


OCI: Final = images.oci()
REFUSED: Final = {
    "zstd": (
        _layers(OCI, mediaType="application/vnd.oci.image.layer.v1.tar+zstd"),
        "a layer of type 'application/vnd.oci.image.layer.v1.tar+zstd'",
    ),
    "encrypted": (
        _layers(OCI, mediaType="application/vnd.oci.image.layer.v1.tar+gzip+encrypted"),
        "a layer of type",
    ),
    "foreign": (_layers(DOCKER, urls=["https://example.com/layer"]), "foreign layers"),
    "no JSON": (_changed(DOCKER, b"not JSON"), "its config cannot be read as an image's"),
    "no rootfs": (_config(DOCKER, rootfs=None), "its config has no rootfs"),
    "no time": (_config(DOCKER, created=""), "its config cannot be read as an image's"),
    "wrong history": (_config(DOCKER, history=[{}]), "its history makes 1 layers, and it has 2"),
    "huge": (_config(DOCKER, config={"Env": ["x" * 5 * 2**20]}), "too large"),
}


@pytest.mark.parametrize("reason", REFUSED)
async def test_a_conversion_that_is_refused_says_why_and_concerns_nobody_else(
    proxy: Proxy, upstream: ScriptedUpstream, reason: str
) -> None:
    image, sentence = REFUSED[reason]
    push(upstream, "library/cargo", "odd", image)
    for _ in range(2):
        answer = await proxy.get(f"{CARGO}/odd")
        head = await proxy.head(f"{CARGO}/odd")
        assert (answer.status, answer.code, head.status) == (404, "MANIFEST_UNKNOWN", 404)
        assert (answer.headers["Vary"], head.headers["Vary"]) == ("Accept", "Accept")
        assert sentence in answer.message
        assert image.media_type in answer.message
        assert "the client sent no Accept header" in answer.message
        assert "Docker-Content-Digest" not in answer.headers
    stored = await proxy.get(f"{CARGO}/odd", Accept=image.media_type)
    assert (stored.status, stored.body) == (200, image.manifest)


async def test_a_refusal_names_what_was_accepted(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    push(upstream, "library/cargo", "odd", REFUSED["zstd"][0])
    before = metric("conversion_refusals_total", edge="oci_manifest-v2s2", reason="layers")
    answer = await proxy.get(f"{CARGO}/odd", Accept=f"{MediaType.V2S2}, text/html;q=0.5")
    assert f"the client accepts {MediaType.V2S2}, text/html" in answer.message
    assert (
        metric("conversion_refusals_total", edge="oci_manifest-v2s2", reason="layers") == before + 1
    )


async def test_what_is_no_image_is_served_as_it_is_to_who_says_nothing(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    artifact = _changed(OCI, artifactType="application/vnd.example.sbom")
    push(upstream, "library/cargo", "sbom", artifact)
    answer = await proxy.get(f"{CARGO}/sbom")
    assert (answer.status, answer.body) == (200, artifact.manifest)
    refused = await proxy.get(f"{CARGO}/sbom", Accept=MediaType.V2S2)
    assert (refused.status, refused.code) == (404, "MANIFEST_UNKNOWN")


# What a conversion needs


async def test_a_config_that_the_upstream_has_not_is_a_refusal(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    config = json.loads(DOCKER.manifest)["config"]["digest"]
    upstream.remove("library/cargo", config)
    answer = await proxy.get(f"{CARGO}/docker")
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    assert f"the upstream has no {config}, which it names" in answer.message
    assert (await proxy.get(f"{CARGO}/docker", Accept=MediaType.V2S2)).status == 200


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(corrupt=True), Fault(cut=10)])
async def test_a_config_that_cannot_be_fetched_is_no_refusal(
    proxy: Proxy, upstream: ScriptedUpstream, fault: Fault
) -> None:
    upstream.fault("GET", "*/blobs/*", fault)
    answer = await proxy.get(f"{CARGO}/docker")
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    upstream.heal()
    answer = await proxy.get(f"{CARGO}/docker")
    assert (answer.status, answer.headers["Content-Type"]) == (200, MediaType.V2S1_SIGNED)


async def test_a_conversion_leaves_what_is_said_of_the_tag(
    impatient: Proxy, upstream: ScriptedUpstream
) -> None:
    """The config that it reads is here, and yet the image that it makes may be an old one."""
    config = json.loads(DOCKER.manifest)["config"]["digest"]
    await impatient.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    await impatient.get(f"/v2/library/cargo/blobs/{config}")
    upstream.fault("*", "*", Fault(status=503))
    stale = await impatient.get(f"{CARGO}/docker")
    assert (stale.status, stale.cache) == (200, 'Lighterage; hit; detail="stale unavailable"')


async def test_a_conversion_of_what_is_here_is_a_hit_if_all_that_it_needs_is(proxy: Proxy) -> None:
    config = json.loads(DOCKER.manifest)["config"]["digest"]
    await proxy.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    await proxy.get(f"{CARGO}/oci", Accept=MediaType.OCI_MANIFEST)
    await proxy.get(f"/v2/library/cargo/blobs/{config}")
    assert (await proxy.get(f"{CARGO}/docker")).cache == "Lighterage; hit"
    assert (await proxy.get(f"{CARGO}/oci")).cache == "Lighterage; fwd=miss; stored"


async def test_a_child_that_the_upstream_does_not_have_is_left_out(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """A sparse index; its list can be made again when the child is there."""
    upstream.remove("library/cargo", INDEX.children[1].digest)
    answer = await proxy.get(f"{CARGO}/index", Accept=DOCKER_1_13)
    assert [x["platform"]["architecture"] for x in json.loads(answer.body)["manifests"]] == [
        "amd64"
    ]
    # One platform needs only its own child.
    assert (await proxy.get(f"{CARGO}/index", Accept=MediaType.V2S2)).status == 200
    push(upstream, "library/cargo", None, INDEX.children[1])
    files = (path for path in (proxy.settings.data / "derived").rglob("*") if path.is_file())
    (record,) = (path for path in files if path.read_bytes().endswith(answer.body))
    record.write_bytes(record.read_bytes().partition(b"\n")[0] + b"\nlost")
    (proxy.settings.data / "index.sqlite3").unlink()
    await proxy.restart()
    again = await proxy.get(f"{CARGO}/{answer.digest}")
    assert (again.status, again.body) == (200, answer.body)


async def test_an_index_without_any_child_is_a_refusal(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    for child in INDEX.children:
        upstream.remove("library/cargo", child.digest)
    answer = await proxy.get(f"{CARGO}/index", Accept=DOCKER_1_13)
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    assert f"the upstream has no {INDEX.children[0].digest}" in answer.message


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=403), Fault(corrupt=True)])
async def test_a_child_that_cannot_be_fetched_refuses_the_whole_list(
    proxy: Proxy, upstream: ScriptedUpstream, fault: Fault
) -> None:
    """And that is not remembered."""
    upstream.fault("*", f"*/{INDEX.children[1].digest}", fault)
    answer = await proxy.get(f"{CARGO}/index", Accept=DOCKER_1_13)
    assert answer.code in {"NAME_UNKNOWN", "UNAVAILABLE"}
    upstream.heal()
    await proxy.restart()
    answer = await proxy.get(f"{CARGO}/index", Accept=DOCKER_1_13)
    assert len(json.loads(answer.body)["manifests"]) == 2


@pytest.mark.parametrize("fault", [Fault(status=404), Fault(status=503), Fault(corrupt=True)])
async def test_who_also_takes_what_is_stored_gets_that_while_something_is_missing(
    upstream: ScriptedUpstream, data_dir: Path, fault: Fault
) -> None:
    """And what is named first as soon as it can be made, though the tag names the same."""
    wanted = (MediaType.V2S2, "*/*;q=0.1")
    whole, child = INDEX.digest, INDEX.children[0].digest
    upstream.fault("*", f"*/{child}", fault)
    async with Proxy(settings(upstream, data_dir, negative_cache={"not_found": "0s"})) as proxy:
        for _ in range(2):
            answer = await proxy.get(f"{CARGO}/index", Accept=wanted)
            assert (answer.status, answer.digest) == (200, whole)
            head = await proxy.head(f"{CARGO}/index", Accept=wanted)
            assert (head.status, head.digest) == (200, whole)
        only = await proxy.get(f"{CARGO}/index", Accept=MediaType.V2S2)
        assert only.status == (404 if fault.status == 404 else 502)
        upstream.heal()
        deadline = monotonic() + 5
        answer = await proxy.get(f"{CARGO}/index", Accept=wanted)
        while answer.digest == whole and monotonic() < deadline:
            # The circuit of an upstream that failed is open for a while.
            await asyncio.sleep(0.1)
            answer = await proxy.get(f"{CARGO}/index", Accept=wanted)
        assert answer.headers["Content-Type"] == MediaType.V2S2
        assert answer.headers["Lighterage-Converted-From"] == child


async def test_a_list_that_is_made_names_images_that_are_there(proxy: Proxy) -> None:
    answer = await proxy.get(f"{CARGO}/index", Accept=DOCKER_1_13)
    assert answer.headers["Lighterage-Converted-From"] == INDEX.digest
    entries = json.loads(answer.body)["manifests"]
    assert [entry["platform"]["architecture"] for entry in entries] == ["amd64", "arm64"]
    for entry, original in zip(entries, INDEX.children, strict=True):
        child = await proxy.get(f"{CARGO}/{entry['digest']}", Accept=DOCKER_1_13)
        assert (child.status, len(child.body)) == (200, entry["size"])
        assert child.headers["Content-Type"] == entry["mediaType"] == MediaType.V2S2
        assert child.headers["Lighterage-Converted-From"] == original.digest


async def test_a_platform_is_named_by_where_it_was_chosen_from(proxy: Proxy) -> None:
    chosen = await proxy.get(f"{CARGO}/index", Accept=MediaType.OCI_MANIFEST)
    assert chosen.digest == INDEX.children[0].digest
    assert chosen.headers["Lighterage-Converted-From"] == INDEX.digest
    made = await proxy.get(f"{CARGO}/index", Accept=MediaType.V2S2)
    assert made.headers["Lighterage-Converted-From"] == INDEX.children[0].digest


async def test_schema_1_can_be_pulled_whole(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    """With the name as it was addressed, and with the empty layer that no upstream has."""
    answer = await proxy.get(f"{CARGO}/docker")
    document = json.loads(answer.body)
    assert (document["name"], document["tag"]) == ("library/cargo", "docker")
    layers = [layer["blobSum"] for layer in document["fsLayers"]]
    assert EMPTY_LAYER in layers
    for layer in layers:
        blob = await proxy.get(f"/v2/library/cargo/blobs/{layer}")
        assert (blob.status, Digest.of(blob.body)) == (200, layer)
    assert upstream.count("*", f"*/{EMPTY_LAYER}") == 0
    short = await proxy.get("/v2/docker.io/library/cargo/manifests/docker")
    assert json.loads(short.body)["name"] == "docker.io/library/cargo"
    assert short.digest != answer.digest


@pytest.mark.parametrize(("steps", "warnings"), [(125, 0), (126, 1)])
async def test_an_image_that_is_too_deep_for_docker_1_9_is_served_with_a_warning(
    proxy: Proxy, upstream: ScriptedUpstream, steps: int, warnings: int
) -> None:
    """It counts the steps without a layer, too; others that speak schema 1 have no limit."""
    empty = [{"empty_layer": True}] * (steps - 2)
    push(upstream, "library/cargo", "deep", _config(DOCKER, history=[{}, {}, *empty]))
    answer = await proxy.get(f"{CARGO}/deep")
    assert len(json.loads(answer.body)["fsLayers"]) == steps
    await proxy.line(reference="deep")
    warned = [line for line in proxy.log() if line["event"] == "manifest.too_deep"]
    assert [line["steps"] for line in warned] == [steps] * warnings


async def test_fifty_clients_are_one_conversion(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    before = metric("conversions_total", edge="v2s2-v2s1")
    answers = await asyncio.gather(*(proxy.get(f"{CARGO}/docker") for _ in range(50)))
    assert len({answer.body for answer in answers}) == 1
    assert metric("conversions_total", edge="v2s2-v2s1") == before + 1
    assert (upstream.count("HEAD"), upstream.count("GET")) == (0, 2)
