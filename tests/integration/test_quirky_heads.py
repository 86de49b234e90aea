"""HEAD of a blob where registries and their storage answer it worse than GET."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from tests.kit import images
from tests.kit.proxy import Proxy, until
from tests.kit.scripted_upstream import Fault, ScriptedUpstream, redirect

LAYER: Final = images.noise("layer", 300_000)
BLOB: Final = Digest.of(LAYER)
# Of the image with the tag `docker`, which names its length.
CLAIMED: Final = list(images.docker_with_empty_steps().blobs.items())[-1]
MODERN: Final = (MediaType.V2S2, MediaType.DOCKER_LIST, MediaType.OCI_MANIFEST, MediaType.OCI_INDEX)
CLIENTS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "modern": {"Accept": MODERN},
    "docker 1.8": {},
}
CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="for GET there is none"'}

# What HEAD is answered; GET works.
HEADS: Final[dict[str, Fault]] = {
    **{str(status): Fault(status=status) for status in (400, 403, 405, 406, 411, 415, 500, 501)},
    "401": Fault(status=401),
    "401 and a login that nobody has": Fault(status=401, headers=CHALLENGE),
    "204": Fault(status=204),
    "304": Fault(status=304),
    "no length": Fault(raw=b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
    "chunked": Fault(chunked=True),
    "length 0": Fault(headers={"Content-Length": "0"}),
    "a length that is no number": Fault(raw=b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"),
    "a length below 0": Fault(raw=b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
    "two lengths": Fault(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    "no answer": Fault(raw=b""),
    "no HTTP": Fault(raw=b"405\r\n\r\n"),
    "a redirect to nowhere": Fault(status=307),
}
WRONG_LENGTHS: Final[dict[str, Fault]] = {
    "another length": Fault(headers={"Content-Length": "1234"}),
    "the length of a page": Fault(body=b"<p>Please log in", headers={"Content-Length": "16"}),
}


@pytest.fixture
def upstream(upstream: ScriptedUpstream) -> ScriptedUpstream:
    for name in ("library/cargo", "library/other"):
        upstream.add_blob(name, LAYER)
    return upstream


def _asked(upstream: ScriptedUpstream) -> list[str]:
    """The methods, without what aiohttp sends again where a connection breaks."""
    methods = [request.method for request in upstream.requests]
    assert methods.count("HEAD") <= 2
    return list(dict.fromkeys(methods))


def _path(name: str, digest: str = BLOB) -> str:
    return f"/v2/library/{name}/blobs/{digest}"


@pytest.mark.parametrize("head", HEADS)
async def test_what_nobody_knows_of_is_settled_by_the_head_of_one_get(
    proxy: Proxy, upstream: ScriptedUpstream, head: str
) -> None:
    upstream.fault("HEAD", "*/blobs/*", HEADS[head])
    answer = await proxy.head(_path("cargo"))
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(LAYER)))
    assert _asked(upstream) == ["HEAD", "GET"]
    assert not list((proxy.settings.data / "blobs").rglob(BLOB.hex))
    await until(lambda: upstream.open_connections <= 1)
    assert (await proxy.get(_path("cargo"))).body == LAYER


@pytest.mark.parametrize("head", HEADS | WRONG_LENGTHS)
@pytest.mark.parametrize("client", CLIENTS)
async def test_what_a_manifest_names_has_the_length_of_its_descriptor(
    proxy: Proxy, upstream: ScriptedUpstream, head: str, client: str
) -> None:
    digest, content = CLAIMED
    pulled = await proxy.get("/v2/library/cargo/manifests/docker", **CLIENTS[client])
    assert pulled.status == 200
    upstream.requests.clear()
    upstream.fault("HEAD", "*/blobs/*", (HEADS | WRONG_LENGTHS)[head])
    answer = await proxy.head(_path("cargo", digest))
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(content)))
    assert _asked(upstream)[:1] == ["HEAD"]
    assert upstream.count("GET") <= 1
    assert (await proxy.get(_path("cargo", digest))).body == content


@pytest.mark.parametrize("head", HEADS | WRONG_LENGTHS)
async def test_what_is_cached_is_served_to_a_second_repository_that_has_it(
    proxy: Proxy, upstream: ScriptedUpstream, head: str
) -> None:
    assert (await proxy.get(_path("cargo"))).status == 200
    upstream.requests.clear()
    upstream.fault("HEAD", "*/blobs/*", (HEADS | WRONG_LENGTHS)[head])
    answer = await proxy.get(_path("other"))
    assert (answer.status, answer.body) == (200, LAYER)
    assert "hit" in answer.cache
    assert _asked(upstream) == ["HEAD", "GET"]
    assert upstream.count("GET") == 1
    upstream.requests.clear()
    assert (await proxy.head(_path("other"))).headers["Content-Length"] == str(len(LAYER))
    assert not upstream.requests


async def test_a_login_page_grants_nothing_that_is_cached(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Neither its HEAD nor the head of its GET has the stored length."""
    assert (await proxy.get(_path("cargo"))).status == 200
    page = b"<p>Please log in" * 20
    upstream.fault("*", "/v2/library/thief/*", Fault(status=200, body=page))
    for _ in range(2):
        answer = await proxy.get(_path("thief"))
        assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")
        assert (await proxy.head(_path("thief"))).status == 404


@pytest.mark.parametrize("client", CLIENTS)
async def test_with_a_grant_nobody_is_asked(
    proxy: Proxy, upstream: ScriptedUpstream, client: str
) -> None:
    digest, content = CLAIMED
    await proxy.get("/v2/library/cargo/manifests/docker", **CLIENTS[client])
    assert (await proxy.get(_path("cargo", digest))).status == 200
    await upstream.stop()
    stored = await proxy.head(_path("cargo", digest))
    assert (stored.status, stored.headers["Content-Length"]) == (200, str(len(content)))
    # Evicted: the grant stays, and the manifest knows the length.
    for file in (proxy.settings.data / "blobs").rglob(Digest(digest).hex):
        file.unlink()
    evicted = await proxy.head(_path("cargo", digest))
    assert (evicted.status, evicted.headers["Content-Length"]) == (200, str(len(content)))


@pytest.mark.parametrize("claimed", [True, False])
async def test_a_404_is_the_answer(
    proxy: Proxy, upstream: ScriptedUpstream, *, claimed: bool
) -> None:
    digest = CLAIMED[0]
    if claimed:
        await proxy.get("/v2/library/cargo/manifests/docker", Accept=MODERN)
    upstream.remove("library/cargo", digest)
    upstream.requests.clear()
    assert (await proxy.head(_path("cargo", digest))).status == 404
    assert [request.method for request in upstream.requests] == ["HEAD"]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_failure_that_passes_is_the_answer(
    proxy: Proxy, upstream: ScriptedUpstream, status: int
) -> None:
    upstream.fault("HEAD", "*/blobs/*", Fault(status=status))
    assert (await proxy.head(_path("cargo"))).status == (429 if status == 429 else 502)
    assert [request.method for request in upstream.requests] == ["HEAD"]


async def test_no_connection_is_the_answer(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    await upstream.stop()
    assert (await proxy.head(_path("cargo"))).status == 502


async def test_what_get_refuses_too_is_refused(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.fault("*", "*/blobs/*", Fault(status=403))
    answer = await proxy.head(_path("cargo"))
    assert answer.status == 404
    assert [request.method for request in upstream.requests] == ["HEAD", "GET"]


async def test_a_store_that_signs_for_get(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    async with ScriptedUpstream() as storage:
        upstream.fault("*", "*/blobs/*", redirect(storage.serve("/signed", LAYER)))
        storage.fault("HEAD", "*", Fault(status=403))
        answer = await proxy.head(_path("cargo"))
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(LAYER)))
        assert [request.method for request in storage.requests] == ["HEAD", "GET"]


async def test_the_empty_blob_has_no_bytes(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    """A length of 0 is right for the digest of nothing."""
    digest = upstream.add_blob("library/cargo", b"")
    answer = await proxy.head(_path("cargo", digest))
    assert (answer.status, answer.headers["Content-Length"]) == (200, "0")
    assert [request.method for request in upstream.requests] == ["HEAD"]


async def test_many_heads_at_once_are_one_question(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("HEAD", "*/blobs/*", Fault(status=405, delay=0.2))
    answers = await asyncio.gather(*(proxy.head(_path("cargo")) for _ in range(10)))
    assert {answer.status for answer in answers} == {200}
    assert [request.method for request in upstream.requests] == ["HEAD", "GET"]
