"""One upstream's word gets nothing of what another upstream has delivered."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import UPSTREAM_ACCEPT, MediaType
from proxy.oci.reference import Digest
from tests.hostile import bystander
from tests.kit.proxy import Proxy, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECRET: Final = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(20_000))
SMALL: Final = b'{"architecture": "amd64", "secret": "of the private image"}'
PRIVATE: Final = "team/private"
LYING: Final = "evil/lying"


def path(host: str, name: str, digest: str, kind: str = "blobs") -> str:
    return f"/v2/{host}/{name}/{kind}/{digest}"


@pytest.fixture
async def liar() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as liar:
        yield liar


@pytest.fixture
async def proxy(
    upstream: ScriptedUpstream, liar: ScriptedUpstream, data_dir: Path
) -> AsyncIterator[Proxy]:
    """A proxy that has cached a private image of one upstream, and knows a second one."""
    for content in (SECRET, SMALL):
        upstream.add_blob(PRIVATE, content)
    upstreams = {
        "docker.io": {"url": upstream.url, "default": True},
        "liar.example": {"url": liar.url},
    }
    async with Proxy(settings(upstreams, data_dir)) as proxy:
        for content in (SECRET, SMALL):
            answer = await proxy.get(path("docker.io", PRIVATE, Digest.of(content)))
            assert answer.body == content
        yield proxy
        await bystander.pull(proxy)
        answer = await proxy.get(path("docker.io", PRIVATE, Digest.of(SECRET)))
        assert answer.body == SECRET


@pytest.mark.parametrize("content", [SECRET, SMALL], ids=["large", "small"])
async def test_a_head_of_what_it_has_not(
    proxy: Proxy, liar: ScriptedUpstream, content: bytes
) -> None:
    blob = f"/v2/{LYING}/blobs/{Digest.of(content)}"
    length = {"Content-Length": str(len(content))}
    liar.fault("HEAD", blob, Fault(status=200, body=b"", headers=length))
    liar.fault("GET", blob, Fault(status=200, body=bytes(len(content))))
    for _ in range(2):
        answer = await proxy.get(path("liar.example", LYING, Digest.of(content)))
        assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")
        await proxy.restart()


async def test_a_range_from_the_middle_of_what_it_has_not(
    proxy: Proxy, liar: ScriptedUpstream
) -> None:
    blob = f"/v2/{LYING}/blobs/{Digest.of(SECRET)}"
    at, size = len(SECRET) // 2, len(SECRET)
    headers = {
        "Content-Range": f"bytes {at}-{size - 1}/{size}",
        "Content-Length": str(size - at),
    }
    liar.fault("HEAD", blob, Fault(status=200, body=b"", headers={"Content-Length": str(size)}))
    liar.fault("GET", blob, Fault(status=206, body=bytes(size - at), headers=headers))
    for wanted in (None, f"bytes={at}-", "bytes=0-99", "bytes=-100"):
        headers = {} if wanted is None else {"Range": wanted}
        answer = await proxy.get(path("liar.example", LYING, Digest.of(SECRET)), **headers)
        assert SECRET[:64] not in answer.body
        assert SECRET[at : at + 64] not in answer.body
        assert SECRET[-64:] not in answer.body


async def test_the_end_of_what_another_upstream_has_begun_to_send(
    proxy: Proxy, upstream: ScriptedUpstream, liar: ScriptedUpstream
) -> None:
    """A transfer of one upstream that is cut off is not continued by another one's 206."""
    content = bytes(reversed(SECRET))
    digest = upstream.add_blob(PRIVATE, content)
    liar.fault("*", f"/v2/{LYING}/blobs/*", Fault(status=404))
    upstream.fault("GET", f"/v2/{PRIVATE}/blobs/*", Fault(status=503))
    upstream.fault("GET", f"/v2/{PRIVATE}/blobs/*", Fault(cut=len(content) // 2), times=1)
    cut = await proxy.get(path("docker.io", PRIVATE, digest))
    assert not cut.whole
    answer = await proxy.get(path("liar.example", LYING, digest))
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")
    upstream.heal()
    await proxy.restart()
    assert (await proxy.get(path("docker.io", PRIVATE, digest))).body == content
    asked = [request.headers.get("Range") for request in liar.requests if request.method == "GET"]
    assert set(asked) <= {None}


@pytest.mark.parametrize("member", ["config", "layers", "foreign", "manifests"])
async def test_a_manifest_that_claims_it(proxy: Proxy, liar: ScriptedUpstream, member: str) -> None:
    def entry(content: bytes, media_type: str) -> dict[str, object]:
        return {"mediaType": media_type, "size": len(content), "digest": Digest.of(content)}

    layer = entry(SECRET, "application/vnd.oci.image.layer.v1.tar+gzip")
    own = entry(b"{}", "application/vnd.oci.image.config.v1+json")
    liar.add_blob(LYING, b"{}")
    manifest: dict[str, object] = {"schemaVersion": 2, "mediaType": MediaType.OCI_MANIFEST}
    match member:
        case "config":
            secret = entry(SMALL, "application/vnd.oci.image.config.v1+json")
            manifest |= {"config": secret, "layers": []}
        case "layers":
            manifest |= {"config": own, "layers": [layer]}
        case "foreign":
            manifest |= {"config": own, "layers": [{**layer, "urls": ["http://127.0.0.1:1/"]}]}
        case _:
            manifest = {
                "schemaVersion": 2,
                "mediaType": MediaType.OCI_INDEX,
                "manifests": [entry(SMALL, MediaType.OCI_MANIFEST)],
            }
    raw = json.dumps(manifest).encode()
    liar.add_manifest(LYING, "1", raw, str(manifest["mediaType"]))
    pulled = await proxy.get(path("liar.example", LYING, "1", "manifests"), Accept=UPSTREAM_ACCEPT)
    assert (pulled.status, pulled.body) == (200, raw)
    for content in (SECRET, SMALL):
        for kind in ("blobs", "manifests"):
            answer = await proxy.get(
                path("liar.example", LYING, Digest.of(content), kind), Accept=UPSTREAM_ACCEPT
            )
            assert answer.status == 404
            head = await proxy.get(
                path("liar.example", LYING, Digest.of(content), kind), Accept=UPSTREAM_ACCEPT
            )
            assert head.status == 404


async def test_a_type_for_bytes_that_do_not_declare_theirs(
    proxy: Proxy, upstream: ScriptedUpstream, liar: ScriptedUpstream
) -> None:
    manifest = json.loads(bystander.IMAGE.manifest)
    del manifest["mediaType"]
    raw = json.dumps(manifest).encode()
    liar.add_manifest(LYING, "1", raw, MediaType.V2S2)
    first = await proxy.get(path("liar.example", LYING, "1", "manifests"), Accept=UPSTREAM_ACCEPT)
    digest = upstream.add_manifest(PRIVATE, "1", raw, MediaType.OCI_MANIFEST)
    for _ in range(2):
        for reference in ("1", digest):
            answer = await proxy.get(
                path("docker.io", PRIVATE, reference, "manifests"), Accept=UPSTREAM_ACCEPT
            )
            assert (answer.status, answer.body) == (200, raw)
            assert answer.headers["Content-Type"] == MediaType.OCI_MANIFEST
        await proxy.restart()
    assert first.status in {200, 502}
