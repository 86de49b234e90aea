"""An upstream whose manifests are not what they are said to be: never served, and never kept."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import MediaType
from tests.kit import images
from tests.kit.catalog_files import manifests_in
from tests.kit.proxy import push
from tests.kit.scripted_upstream import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.proxy import Proxy
    from tests.kit.scripted_upstream import ScriptedUpstream

CARGO: Final = "/v2/library/cargo/manifests"
DOCKER: Final = images.docker_with_empty_steps()
NEWER: Final = images.docker("newer")
HTML: Final = b"<!DOCTYPE html><html><body>Please log in</body></html>"


def _document(**members: object) -> bytes:
    return json.dumps({**json.loads(DOCKER.manifest), **members}).encode()


LIES: Final = {
    "no JSON": Fault(body=b"{"),
    "HTML": Fault(body=HTML, headers={"Content-Type": "text/html"}),
    "nothing": Fault(body=b""),
    "an array": Fault(body=b"[]"),
    "another manifest": Fault(body=NEWER.manifest),
    "one byte wrong": Fault(corrupt=True),
    "too short": Fault(headers={"Content-Length": str(len(DOCKER.manifest) - 1)}),
    "too long": Fault(headers={"Content-Length": str(len(DOCKER.manifest) + 1)}),
    "cut off": Fault(cut=100),
    "endless": Fault(headers={"Content-Length": str(5 * 2**20)}),
    "over the limit": Fault(body=b'{"schemaVersion":2}' + b" " * 5 * 2**20),
    "over the limit in chunks": Fault(body=b" " * 5 * 2**20, chunked=True),
    "an image and an index": Fault(body=_document(manifests=[])),
    "two spellings": Fault(body=_document(Layers=[])),
    "another type": Fault(headers={"Content-Type": MediaType.OCI_INDEX}),
    "another one in gzip": Fault(
        headers={"Content-Encoding": "gzip"}, body=gzip.compress(NEWER.manifest)
    ),
    "half of it in gzip": Fault(
        headers={"Content-Encoding": "gzip"}, body=gzip.compress(DOCKER.manifest)[:-20]
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_not_served_and_not_kept(
    impatient: Proxy, upstream: ScriptedUpstream, lie: str, data_dir: Path
) -> None:
    upstream.fault("GET", "*", LIES[lie])
    for reference in ("docker", DOCKER.digest):
        for _ in range(2):
            answer = await impatient.get(f"{CARGO}/{reference}", Accept=MediaType.V2S2)
            assert (answer.status, answer.code) == (502, "UNAVAILABLE")
            assert HTML not in answer.body
    assert upstream.count("GET") == 4
    assert manifests_in(data_dir) == 0
    assert all(line["error"] for line in await impatient.lines(4))

    upstream.heal()
    await impatient.restart()
    right = await impatient.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    assert (right.status, right.body) == (200, DOCKER.manifest)
    push(upstream, "library/cargo", "docker", NEWER)
    upstream.fault("GET", "*", Fault(body=b"{"))
    stale = await impatient.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    assert (stale.status, stale.body) == (200, DOCKER.manifest)


async def test_a_tag_whose_digest_head_invents_is_served_by_get(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Some registries name, in HEAD, a digest of something that they convert and do not keep."""
    upstream.fault("HEAD", "*", Fault(headers={"Docker-Content-Digest": NEWER.digest}))
    answer = await proxy.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    assert (answer.status, answer.body) == (200, DOCKER.manifest)


async def test_a_tag_with_a_digest_that_is_not_its_own_is_a_lie(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("*", "*", Fault(headers={"Docker-Content-Digest": NEWER.digest}))
    answer = await proxy.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    assert NEWER.digest in answer.message
