"""Images as real registries have them: what every generation of client gets, cold and cached."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import ARTIFACT_MANIFESTS, MediaType
from tests.integration.quirks.stored_images import (
    CLIENTS,
    IMAGE,
    INDEX,
    LIST,
    ROWS,
    V2S2,
    VARIANTS,
    artifact_manifest,
    index_of,
    platform_of,
    undeclared,
    with_member,
)
from tests.kit import images
from tests.kit.manifest_kinds import document, edited
from tests.kit.proxy import Answer, Proxy, push

if TYPE_CHECKING:
    from tests.kit.images import Content
    from tests.kit.scripted_upstream import ScriptedUpstream

CARGO: Final = "/v2/library/cargo/manifests"


def _cells() -> list[tuple[str, str]]:
    return [(name, client) for name, row in ROWS.items() for client in row.expected]


async def _ask(proxy: Proxy, reference: str, client: str) -> Answer:
    accept = CLIENTS[client]
    path = f"{CARGO}/{reference}"
    return await (proxy.get(path, Accept=accept) if accept else proxy.get(path))


@pytest.mark.parametrize(("name", "client"), _cells())
async def test_what_a_client_gets(
    proxy: Proxy, upstream: ScriptedUpstream, name: str, client: str
) -> None:
    row = ROWS[name]
    content = replace(row.content, media_type=row.label or row.content.media_type)
    push(upstream, "library/cargo", "odd", content)
    cold = await _ask(proxy, "odd", client)
    asked = len(upstream.requests)
    cached = await _ask(proxy, "odd", client)
    assert (cached.status, cached.body) == (cold.status, cold.body)
    expected = row.expected[client]
    if expected == "404":
        assert (cold.status, cold.code) == (404, "MANIFEST_UNKNOWN")
        return
    assert cold.status == 200, cold.body
    assert len(upstream.requests) == asked
    if expected == "stored":
        assert cold.body == row.content.manifest
        assert cold.headers["Content-Type"] == row.stored_type
    elif expected == "stored child":
        assert cold.body == row.content.children[0].manifest
    else:
        assert cold.headers["Content-Type"] == MediaType[expected.upper()]
        if expected != "v2s1_signed":
            assert json.loads(cold.body)["mediaType"] == MediaType[expected.upper()]
    by_digest = await _ask(proxy, cold.digest, client)
    assert (by_digest.status, by_digest.body) == (200, cold.body)


@pytest.mark.parametrize("name", ROWS)
async def test_a_digest_names_bytes(proxy: Proxy, upstream: ScriptedUpstream, name: str) -> None:
    row = ROWS[name]
    content = replace(row.content, media_type=row.label or row.content.media_type)
    push(upstream, "library/cargo", "odd", content)
    for _ in range(2):
        for client in CLIENTS:
            answer = await _ask(proxy, row.content.digest, client)
            assert (answer.status, answer.body) == (200, row.content.manifest)
            assert answer.headers["Content-Type"] == row.stored_type
        await proxy.restart()


async def test_nine_thousand_levels(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    deep = with_member("x", b"[" * 9000 + b"]" * 9000)
    push(upstream, "library/cargo", "odd", deep)
    for reference in (deep.digest, "odd", deep.digest, "odd"):
        answer = await _ask(proxy, reference, "modern")
        assert (answer.status, answer.body) == (200, deep.manifest)
        assert answer.headers["Content-Type"] == IMAGE


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("media_type", ARTIFACT_MANIFESTS)
async def test_an_artifact_manifest_is_for_who_names_it(
    proxy: Proxy, upstream: ScriptedUpstream, media_type: str, *, declared: bool
) -> None:
    artifact = artifact_manifest(media_type, declared=declared)
    push(upstream, "library/cargo", "sbom", artifact)
    for reference in ("sbom", artifact.digest, "sbom", artifact.digest):
        answer = await proxy.get(f"{CARGO}/{reference}", Accept=(IMAGE, media_type))
        assert (answer.status, answer.body) == (200, artifact.manifest)
        assert answer.headers["Content-Type"] == media_type
    for request in upstream.requests:
        assert media_type in request.headers["Accept"].split(", ")
    refused = await _ask(proxy, "sbom", "modern")
    assert (refused.status, refused.code) == (404, "MANIFEST_UNKNOWN")
    assert media_type in refused.message


@pytest.mark.parametrize(
    ("content", "label", "reason"),
    [
        (images.oci_index("two readings"), IMAGE, "came as"),
        (images.oci_index("two readings"), V2S2, "came as"),
        (images.oci("two readings"), INDEX, "came as"),
        (undeclared(images.oci("two readings")), LIST, "content is not that of"),
        (undeclared(images.oci_index("two readings")), V2S2, "content is not that of"),
        (edited(images.oci("two readings"), manifests=[]), IMAGE, "must not have"),
        (with_member("mediaType", b'"' + V2S2.encode() + b'"'), IMAGE, "twice"),
        (with_member("Layers", b"[]"), IMAGE, "misspelt"),
        (with_member("manifests", b'["\xf6"]'), IMAGE, "must not have"),
    ],
)
async def test_what_has_two_readings_is_refused(
    proxy: Proxy, upstream: ScriptedUpstream, content: Content, label: str, reason: str
) -> None:
    """By tag and by digest (CVE-2021-41190)."""
    push(upstream, "library/cargo", "odd", replace(content, media_type=label))
    for reference in ("odd", content.digest):
        for client in CLIENTS:
            answer = await _ask(proxy, reference, client)
            assert (answer.status, answer.code) == (502, "UNAVAILABLE")
            assert reason in answer.message


@pytest.mark.parametrize("client", ["v2s2 only", "docker 1.8", "docker 1.13"])
async def test_the_oldest_cpu_gets_an_image_that_it_can_run(
    proxy: Proxy, upstream: ScriptedUpstream, client: str
) -> None:
    index = ROWS["newest-cpu-first"].content
    push(upstream, "library/cargo", "odd", index)
    config = document(VARIANTS["v1"])["config"]["digest"]
    answer = await _ask(proxy, "odd", client)
    members = json.loads(answer.body)
    if client == "docker 1.13":
        assert [x["platform"].get("variant") for x in members["manifests"]] == [None, "v2", "v3"]
        members = json.loads((await _ask(proxy, members["manifests"][0]["digest"], client)).body)
    if client == "docker 1.8":
        newest = json.loads(VARIANTS["v1"].manifest)["layers"][-1]["digest"]
        assert newest in [layer["blobSum"] for layer in members["fsLayers"]]
    else:
        assert members["config"]["digest"] == config


async def test_a_raspberry_pi_with_docker_18(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    """v7 if there is one, and else the best that it runs."""
    pi = {name: images.oci(name) for name in ("v5", "v6", "v7")}
    for tag, names, best in (("all", ("v5", "v7", "v6"), "v7"), ("old", ("v5", "v6"), "v6")):
        arm = [(pi[name], platform_of(f"linux/arm/{name}")) for name in names]
        index = index_of((VARIANTS["v1"], platform_of("linux/amd64")), *arm)
        push(upstream, "library/cargo", tag, index)
        members = json.loads((await _ask(proxy, tag, "docker 1.13")).body)
        assert [x["platform"] for x in members["manifests"]] == [
            platform_of("linux/amd64"),
            platform_of(f"linux/arm/{best}"),
        ]


async def test_an_index_of_many_indexes_costs_its_own_client_only_so_much(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    many = [images.oci_index(f"many {n}") for n in range(65)]
    push(upstream, "library/cargo", "many", index_of(*((index, None) for index in many)))
    before = upstream.count("GET")
    refused = await _ask(proxy, "many", "docker 1.13")
    assert (refused.status, refused.code) == (404, "MANIFEST_UNKNOWN")
    assert "65 indexes in it, more than the limit of 64" in refused.message
    assert upstream.count("GET") <= before + 2
    assert (await _ask(proxy, "many", "modern")).status == 200
