"""Images that exist only as schema 1, for clients that no longer read it."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.oci.schema1.build import EMPTY_LAYER, EMPTY_LAYER_BYTES
from tests.kit import images, schema1
from tests.kit.catalog_files import derived_file, derived_in, remove_blob, remove_index
from tests.kit.proxy import Proxy, metric, push, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kit.images import Content
    from tests.kit.proxy import Answer
    from tests.kit.schema1 import Step

OLD: Final = "/v2/library/old/manifests"
V2S2, OCI = MediaType.V2S2, MediaType.OCI_MANIFEST
LAYERS: Final = schema1.two_layers()
FORMS: Final = {
    "signed": schema1.old_docker(LAYERS),
    "before 1.8.3": schema1.old_docker(LAYERS, version="1.6.2", signed=False),
    "after 1.8.3": schema1.old_docker(LAYERS, version="1.9.1", signed=False),
    "Quay's": schema1.quay(LAYERS),
}
# docker 28 (lines in random order), docker 29 and containerd 2 as they send it.
CLIENTS: Final = {
    "docker 28": (
        MediaType.DOCKER_LIST,
        OCI,
        MediaType.V2S1_SIGNED,
        "application/json",
        MediaType.OCI_INDEX,
        V2S2,
    ),
    "containerd 2, docker 29": (
        f"{V2S2}, {MediaType.DOCKER_LIST}, {OCI}, {MediaType.OCI_INDEX}, */*",
    ),
    "kaniko": (f"{V2S2},{OCI},{MediaType.DOCKER_LIST},{MediaType.OCI_INDEX}",),
    "only v2s2": (V2S2,),
    "only the OCI's": (f"{OCI}, {MediaType.OCI_INDEX}",),
}


async def pull(proxy: Proxy, answer: Answer, name: str = "library/old") -> dict[str, Any]:
    """Check that all of an image is there, as a client does; its config."""
    manifest = json.loads(answer.body)
    config: dict[str, Any] = {}
    for part in (manifest["config"], *manifest["layers"]):
        path = f"/v2/{name}/blobs/{part['digest']}"
        blob, head = await proxy.get(path), await proxy.head(path)
        assert (blob.status, head.status) == (200, 200)
        assert images.digest(blob.body) == part["digest"]
        assert len(blob.body) == part["size"] == int(head.headers["Content-Length"])
        config = config or json.loads(blob.body)
    unpacked = [
        images.digest(
            gzip.decompress((await proxy.get(f"/v2/{name}/blobs/{layer['digest']}")).body)
        )
        for layer in manifest["layers"]
    ]
    assert config["rootfs"] == {"type": "layers", "diff_ids": unpacked}
    return config


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("form", FORMS)
async def test_new_clients_get_an_image_of_their_own(
    proxy: Proxy, upstream: ScriptedUpstream, form: str, client: str
) -> None:
    content = FORMS[form]
    push(upstream, "library/old", "1", content)
    head = await proxy.head(f"{OLD}/1", Accept=CLIENTS[client])
    answer = await proxy.get(f"{OLD}/1", Accept=CLIENTS[client])
    kind = OCI if client == "only the OCI's" else V2S2
    assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
    assert answer.digest == head.digest == images.digest(answer.body)
    assert "Cache-Control" not in answer.headers
    by_digest = await proxy.get(f"{OLD}/{answer.digest}", Accept=f"{kind}, */*")
    assert by_digest.body == answer.body
    config = await pull(proxy, answer)
    empty = [entry.get("empty_layer", False) for entry in config["history"]]
    layers = [layer["digest"] for layer in json.loads(answer.body)["layers"]]
    if form == "Quay's":
        assert empty == [False, False, True]
        assert layers == [images.digest(layer) for layer in LAYERS]
    else:
        # Size 0 without `throwaway` is a layer, as in docker.
        assert empty == [False, False, False]
        assert layers[:-1] == [images.digest(layer) for layer in LAYERS]
        assert layers[-1] == EMPTY_LAYER


@pytest.mark.parametrize("accept", [(), ("*/*",), (MediaType.V2S1,), ("application/json",)])
async def test_others_get_what_is_stored(
    proxy: Proxy, upstream: ScriptedUpstream, accept: tuple[str, ...]
) -> None:
    push(upstream, "library/old", "1", FORMS["signed"])
    answer = await proxy.get(f"{OLD}/1", Accept=accept)
    assert answer.body == FORMS["signed"].manifest
    assert upstream.count("GET", "*/blobs/*") == 0


async def test_a_second_image_with_the_same_base_costs_only_what_is_new(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    base, above = LAYERS
    push(upstream, "library/old", "1", schema1.old_docker([base]))
    push(upstream, "library/old", "2", schema1.old_docker([base, above]))
    await proxy.get(f"{OLD}/1", Accept=V2S2)
    before = metric("layers_measured_total", outcome="measured")
    assert upstream.count("GET", "*/blobs/*") == 1
    answer = await proxy.get(f"{OLD}/2", Accept=V2S2)
    assert answer.status == 200
    assert metric("layers_measured_total", outcome="measured") == before + 1
    await proxy.restart()
    upstream.requests.clear()
    push(upstream, "library/old", "3", schema1.quay([base, above]))
    assert (await proxy.get(f"{OLD}/3", Accept=V2S2)).status == 200
    assert upstream.count("*", "*/blobs/*") == 0


@pytest.mark.parametrize("kind", [V2S2, OCI])
async def test_it_outlives_the_upstream_and_the_index(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path, kind: str
) -> None:
    push(upstream, "library/old", "1", FORMS["signed"])
    answer = await proxy.get(f"{OLD}/1", Accept=kind)
    config = json.loads(answer.body)["config"]["digest"]
    blob = await proxy.get(f"/v2/library/old/blobs/{config}")
    await proxy.stop()
    remove_index(data_dir)
    await upstream.stop()
    await proxy.start()
    again = await proxy.get(f"{OLD}/{answer.digest}")
    assert (again.status, again.body) == (200, answer.body)
    assert (await proxy.get(f"/v2/library/old/blobs/{config}")).body == blob.body
    part = await proxy.get(f"/v2/library/old/blobs/{config}", Range="bytes=2-5")
    assert (part.status, part.body) == (206, blob.body[2:6])


async def test_what_is_damaged_is_made_again_without_the_layers(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    push(upstream, "library/old", "1", FORMS["signed"])
    answer = await proxy.get(f"{OLD}/1", Accept=OCI)
    config = json.loads(answer.body)["config"]["digest"]
    blob = await proxy.get(f"/v2/library/old/blobs/{config}")
    await proxy.stop()
    remove_index(data_dir)
    for digest in (answer.digest, config):
        head, _, _ = derived_file(data_dir, digest).read_bytes().partition(b"\n")
        derived_file(data_dir, digest).write_bytes(head + b"\ngarbage")
    for layer in FORMS["signed"].blobs:
        upstream.remove("library/old", layer)
        remove_blob(data_dir, layer)
    await proxy.start()
    again = await proxy.get(f"{OLD}/{answer.digest}")
    assert (again.status, again.body) == (200, answer.body)
    assert (await proxy.get(f"/v2/library/old/blobs/{config}")).body == blob.body
    assert images.digest(derived_file(data_dir, config).read_bytes().partition(b"\n")[2]) == config


async def test_another_proxy_makes_the_same(
    proxy: Proxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    push(upstream, "library/old", "1", FORMS["signed"])
    push(upstream, "library/unsigned", "1", schema1.old_docker(LAYERS, signed=False))
    async with Proxy(settings(upstream, tmp_path / "other")) as other:
        for kind in (V2S2, OCI):
            answers = [
                await asked.get(f"/v2/library/{name}/manifests/1", Accept=kind)
                for asked in (proxy, other)
                for name in ("old", "unsigned")
            ]
            assert len({answer.body for answer in answers}) == 1


async def test_only_the_repository_that_it_was_made_for_has_the_config(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    push(upstream, "library/old", "1", FORMS["signed"])
    push(upstream, "library/other", "1", images.docker("other"))
    answer = await proxy.get(f"{OLD}/1", Accept=V2S2)
    config = json.loads(answer.body)["config"]["digest"]
    for ask in (proxy.get, proxy.head):
        assert (await ask(f"/v2/library/other/blobs/{config}")).status == 404
        assert (await ask(f"/v2/library/old/manifests/{config}")).status == 404
    assert (await proxy.get(f"/v2/library/old/blobs/{config}")).status == 200


def _change(edit: Callable[[list[Step], list[bytes]], None]) -> Content:
    content = schema1.old_docker(LAYERS)
    steps, blobs = schema1.steps_of(content), schema1.blobs_of(content)
    edit(steps, blobs)
    return schema1.of_steps(steps, blobs)


def _garbage(layer: bytes) -> Content:
    return schema1.old_docker([LAYERS[0], layer])


REFUSED: Final = {
    "neither gzip nor tar": (_garbage(b"no archive" * 100), "is neither gzip nor a tar archive"),
    "xz": (_garbage(b"\xfd7zXZ\x00" + bytes(600)), "is neither gzip nor a tar archive"),
    "trailing garbage": (_garbage(LAYERS[1] + b"x"), "has other bytes after its gzip data"),
    "cut": (_garbage(LAYERS[1][:-4]), "ends in the middle of its gzip data"),
    "damaged": (
        _garbage(LAYERS[1][:-8] + bytes(4) + LAYERS[1][-4:]),
        "is damaged gzip data",
    ),
    "history too short": (
        _change(lambda steps, _: steps.remove(steps[1])),
        "its history has 2 steps, and it has 3 layers",
    ),
    "not JSON": (
        schema1.of_steps(["{", *schema1.steps_of(FORMS["signed"])[1:]], [*LAYERS, b""]),
        "is not a JSON object",
    ),
    "broken link": (
        _change(lambda steps, _: steps[0].update(parent="ab" * 32)),
        "is below it",
    ),
    "base with a parent": (
        _change(lambda steps, _: steps[-1].update(parent="ab" * 32)),
        "its base has a parent",
    ),
    "id twice apart": (
        _change(lambda steps, _: steps[0].update(id=steps[2]["id"])),
        "occurs twice in its history",
    ),
    "no id": (_change(lambda steps, _: steps[0].update(id="x")), "is not an id"),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_bad_input_is_refused_with_the_reason(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path, kind: str
) -> None:
    content, sentence = REFUSED[kind]
    push(upstream, "library/old", "1", content)
    for accept in (V2S2, OCI, f"{V2S2}, {OCI}"):
        answer = await proxy.get(f"{OLD}/1", Accept=accept)
        assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
        assert sentence in answer.message
    fetched = upstream.count("GET", "*/blobs/*")
    stored = await proxy.get(f"{OLD}/1", Accept=(V2S2, MediaType.V2S1_SIGNED, MediaType.V2S1))
    assert json.loads(stored.body)["fsLayers"] == json.loads(content.manifest)["fsLayers"]
    assert upstream.count("GET", "*/blobs/*") == fetched
    assert derived_in(data_dir) == []


async def test_a_missing_layer_is_said_to_be_missing_and_is_asked_for_again(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    push(upstream, "library/old", "1", FORMS["signed"])
    missing = images.digest(LAYERS[1])
    upstream.remove("library/old", missing)
    answer = await proxy.get(f"{OLD}/1", Accept=V2S2)
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    assert f"the upstream has no layer {missing}, which it names" in answer.message


async def test_a_damaged_signature_is_logged_and_the_image_converted(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    content = FORMS["signed"]
    document = json.loads(content.manifest)
    good = document["signatures"][0]["signature"].encode()
    other = good[:-8] + (b"AAAAAAAA" if good[-8:] != b"AAAAAAAA" else b"BBBBBBBB")
    damaged = content.manifest.replace(good, other)
    push(upstream, "library/whole", "1", content)
    whole = await proxy.get("/v2/library/whole/manifests/1", Accept=V2S2)
    assert not [line for line in proxy.log() if line["event"] == "manifest.signature_damaged"]
    for digest, blob in content.blobs.items():
        assert upstream.add_blob("library/old", blob) == digest
    upstream.add_manifest("library/old", "1", damaged, MediaType.V2S1_SIGNED)
    answer = await proxy.get(f"{OLD}/1", Accept=V2S2)
    assert (answer.status, answer.body) == (200, whole.body)
    line = await proxy.line("manifest.signature_damaged")
    assert line["reason"] == "a signature is not that of its content"


async def test_the_empty_layer_is_never_asked_for(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    push(upstream, "library/old", "1", FORMS["signed"])
    answer = await proxy.get(f"{OLD}/1", Accept=V2S2)
    layer = json.loads(answer.body)["layers"][-1]
    assert (layer["digest"], layer["size"]) == (EMPTY_LAYER, len(EMPTY_LAYER_BYTES))
    assert upstream.count("*", f"*/{EMPTY_LAYER}") == 0


async def test_an_upstream_that_fails_midway_is_no_refusal(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    push(upstream, "library/old", "1", FORMS["signed"])
    upstream.fault("GET", "*/blobs/*", Fault(status=500))
    failed = await proxy.get(f"{OLD}/1", Accept=V2S2)
    assert failed.status == 502
    stored = await proxy.get(f"{OLD}/1", Accept=(V2S2, MediaType.V2S1_SIGNED))
    assert stored.body == FORMS["signed"].manifest
    assert stored.headers["Cache-Control"] == "no-store"
    assert derived_in(data_dir) == []
