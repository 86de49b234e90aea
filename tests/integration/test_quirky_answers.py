"""Answers as registries, their storage and the proxies before them frame, label and redirect them.

The bytes decide: whatever has the digest is served and stored, cold and cached.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from tests.kit import images
from tests.kit.proxy import Proxy, metric, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream, redirect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

IMAGE: Final = images.docker_with_empty_steps()
MODERN: Final = (MediaType.V2S2, MediaType.DOCKER_LIST, MediaType.OCI_MANIFEST, MediaType.OCI_INDEX)
CLIENTS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "modern": {"Accept": MODERN},
    "docker 1.8": {},
}
# Larger than what is held back until it is verified.
LAYER: Final = images.noise("layer", 300_000)
BLOB: Final = Digest.of(LAYER)
LAYER_PATH: Final = f"/v2/library/cargo/blobs/{BLOB}"


def _framed(
    *lines: str, start: str = "HTTP/1.1 200 OK", body: Callable[[bytes], bytes] = bytes
) -> Callable[[bytes], bytes]:
    """An answer with these header lines, in which `{n}` is the length of the content."""

    def frame(content: bytes) -> bytes:
        head = "\r\n".join([start, *lines, "", ""]).replace("{n}", str(len(content)))
        return head.encode() + body(content)

    return frame


def _chunks(content: bytes, *, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    sizes = (content[:7], content[7:])
    pieces = [b"%X%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in sizes]
    return b"".join(pieces) + b"0%s\r\n%s\r\n" % (extension, trailer)


def _after(*interim: str) -> Callable[[bytes], bytes]:
    before = "".join(f"HTTP/1.1 {each}\r\nLink: </x>\r\n\r\n" for each in interim).encode()
    return lambda content: before + _framed("Content-Length: {n}")(content)


FRAMINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "no length, until the connection is closed": _framed("Connection: close"),
    "no length, and no word of closing": _framed(),
    "one length twice": _framed("Content-Length: {n}", "Content-Length: {n}"),
    "one length twice in a line": _framed("Content-Length: {n}, {n}"),
    "a length and a chunked body": _framed(
        "Content-Length: {n}", "Transfer-Encoding: chunked", body=_chunks
    ),
    "chunked": _framed("Transfer-Encoding: chunked", body=_chunks),
    "Chunked": _framed("TRANSFER-ENCODING:  Chunked ", body=_chunks),
    "chunked twice": _framed("Transfer-Encoding: identity, chunked", body=_chunks),
    "identity": _framed("Transfer-Encoding: identity", "Content-Length: {n}"),
    "chunks with extensions": _framed(
        "Transfer-Encoding: chunked", body=lambda content: _chunks(content, extension=b';s="a b"')
    ),
    "trailers": _framed(
        "Transfer-Encoding: chunked",
        "Trailer: X-Checksum",
        body=lambda content: _chunks(content, trailer=b"X-Checksum: abc\r\n"),
    ),
    "HTTP/1.0": _framed(start="HTTP/1.0 200 OK"),
    "HTTP/1.0 with a length": _framed("Content-Length: {n}", start="HTTP/1.0 200 OK"),
    "no reason": _framed("Content-Length: {n}", start="HTTP/1.1 200"),
    "another reason": _framed("Content-Length: {n}", start="HTTP/1.1 200 Très bien"),
    "a blank before a colon": _framed("Content-Length : {n}", "X-Powered-By : cargo"),
    "a header of two lines": _framed("X-Long: a\r\n  b", "Content-Length: {n}"),
    "one Content-Type twice": _framed(
        f"Content-Type: {IMAGE.media_type}",
        f"Content-Type: {IMAGE.media_type}",
        "Content-Length: {n}",
    ),
    "100 before it": _after("100 Continue"),
    "102 and 103 before it": _after("102 Processing", "103 Early Hints"),
    "more than its length": _framed(
        "Content-Length: {n}", body=lambda content: content + b"and a footer"
    ),
    "203": _framed("Content-Length: {n}", start="HTTP/1.1 203 Non-Authoritative"),
    "a label of aws-chunked": _framed("Content-Encoding: aws-chunked", "Content-Length: {n}"),
    "a label of x-gzip": _framed("Content-Encoding: x-gzip", "Content-Length: {n}"),
    "a label of gzip": _framed("Content-Encoding: gzip", "Content-Length: {n}"),
    "a label of deflate": _framed("Content-Encoding: deflate", "Content-Length: {n}"),
    "a label that is no coding": _framed("Content-Encoding: UTF-8", "Content-Length: {n}"),
    "gzip": lambda content: _framed("Content-Encoding: gzip", "Content-Length: {n}")(
        gzip.compress(content)
    ),
    "X-GZIP in chunks": _framed(
        "Content-Encoding: X-GZIP",
        "Transfer-Encoding: chunked",
        body=lambda content: _chunks(gzip.compress(content)),
    ),
    "deflate": lambda content: _framed("Content-Encoding: deflate", "Content-Length: {n}")(
        zlib.compress(content)
    ),
}
# What only blobs are answered with.
OF_BLOBS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "206 with all of it": _framed(
        "Content-Length: {n}",
        "Content-Range: bytes 0-{last}/{n}",
        start="HTTP/1.1 206 Partial Content",
    ),
    "206 that does not say of what": _framed(
        "Content-Length: {n}", start="HTTP/1.1 206 Partial Content"
    ),
}


def _frame(upstream: ScriptedUpstream, path: str, name: str, content: bytes) -> None:
    """Answer GET of one path so."""
    raw = (FRAMINGS | OF_BLOBS)[name](content)
    raw = raw.replace(b"{last}", str(len(content) - 1).encode())
    if path.endswith("/docker"):
        raw = raw.replace(b"\r\n", b"\r\nContent-Type: %s\r\n" % IMAGE.media_type.encode(), 1)
    upstream.fault("GET", path, Fault(raw=raw))


@pytest.fixture
async def proxy(upstream: ScriptedUpstream, data_dir: Path) -> AsyncIterator[Proxy]:
    upstream.add_blob("library/cargo", LAYER)
    chosen = settings(upstream, data_dir, tags={"ttl": "1h"})
    async with Proxy(chosen) as proxy:
        yield proxy


async def _pull(proxy: Proxy, client: str) -> list[bytes]:
    """All that a client gets of the image: the manifest and what it names."""
    manifest = await proxy.get("/v2/library/cargo/manifests/docker", **CLIENTS[client])
    assert manifest.status == 200, manifest.body
    document = json.loads(manifest.body)
    if client == "docker 1.8":
        digests = [layer["blobSum"] for layer in document["fsLayers"]]
    else:
        assert manifest.body == IMAGE.manifest
        digests = [each["digest"] for each in (document["config"], *document["layers"])]
    contents = [manifest.body]
    for digest in digests:
        answer = await proxy.get(f"/v2/library/cargo/blobs/{digest}")
        assert answer.status == 200, answer.body
        assert answer.whole
        assert images.digest(answer.body) == digest
        contents.append(answer.body)
    return contents


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", FRAMINGS)
async def test_an_image_is_pulled_however_its_answers_are_framed(
    proxy: Proxy, upstream: ScriptedUpstream, name: str, client: str
) -> None:
    for digest, content in IMAGE.blobs.items():
        _frame(upstream, f"*/blobs/{digest}", name, content)
    _frame(upstream, "*/manifests/docker", name, IMAGE.manifest)
    cold = await _pull(proxy, client)
    await upstream.stop()
    assert await _pull(proxy, client) == cold


@pytest.mark.parametrize("name", FRAMINGS | OF_BLOBS)
async def test_a_large_layer_is_pulled_and_stored_however_it_is_framed(
    proxy: Proxy, upstream: ScriptedUpstream, name: str
) -> None:
    _frame(upstream, LAYER_PATH, name, LAYER)
    for outcome in ("miss", "hit"):
        answer = await proxy.get(LAYER_PATH)
        assert (answer.status, answer.body, answer.whole) == (200, LAYER, True)
        assert outcome in answer.cache
        await upstream.stop()
    assert (await proxy.head(LAYER_PATH)).headers["Content-Length"] == str(len(LAYER))


async def test_what_a_label_means_is_learnt_once(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    """The first blob is fetched twice if it was encoded, and those after it once."""
    for number in range(3):
        content = images.noise(str(number), 100_000)
        digest = upstream.add_blob("library/cargo", content)
        path = f"/v2/library/cargo/blobs/{digest}"
        _frame(upstream, path, "gzip", content)
        assert (await proxy.get(path)).body == content
        assert upstream.count("GET", path) == (2 if number == 0 else 1)
    plain = upstream.add_blob("library/cargo", images.noise("label", 100_000))
    path = f"/v2/library/cargo/blobs/{plain}"
    _frame(upstream, path, "a label of gzip", images.noise("label", 100_000))
    assert (await proxy.get(path)).status == 200


async def test_a_blob_that_is_encoded_unlike_the_others_is_right_at_the_second_attempt(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Nobody ends up with a whole blob that is wrong: the first client is cut off."""
    _frame(upstream, LAYER_PATH, "a label of gzip", LAYER)
    assert (await proxy.get(LAYER_PATH)).body == LAYER
    content = images.noise("encoded", 200_000)
    digest = upstream.add_blob("library/cargo", content)
    path = f"/v2/library/cargo/blobs/{digest}"
    _frame(upstream, path, "gzip", content)
    first = await proxy.get(path)
    assert not first.whole
    second = await proxy.get(path)
    assert (second.status, second.body, second.whole) == (200, content, True)


@pytest.mark.parametrize("name", ["a label of gzip", "gzip", "deflate"])
async def test_a_label_makes_no_wrong_bytes_right(
    proxy: Proxy, upstream: ScriptedUpstream, name: str
) -> None:
    _frame(upstream, LAYER_PATH, name, LAYER[:-1] + b"\0")
    answer = await proxy.get(LAYER_PATH)
    assert answer.status == 502
    assert not list((proxy.settings.data / "blobs").rglob(BLOB.hex))


@pytest.mark.parametrize("name", ["a label of gzip", "gzip"])
async def test_a_range_with_a_label_comes_from_the_whole_blob(
    proxy: Proxy, upstream: ScriptedUpstream, name: str
) -> None:
    """It may be a range of what the blob is encoded in."""
    _frame(upstream, LAYER_PATH, name, LAYER)
    answer = await proxy.get(LAYER_PATH, Range="bytes=100-199")
    assert (answer.status, answer.body) == (206, LAYER[100:200])


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


async def test_a_bomb_is_bounded_by_what_a_blob_may_be(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    chosen = settings(upstream, data_dir, limits={"spool": "8MiB"}, blobs={"max_size": "16MiB"})
    async with Proxy(chosen) as proxy:
        path = "/v2/library/cargo/blobs/" + images.digest(b"bomb")
        bomb = gzip.compress(bytes(2**26), 9)
        upstream.fault("GET", path, Fault(raw=FRAMINGS["a label of gzip"](bomb)))
        answer = await proxy.get(path)
        assert answer.status >= 500 or not answer.whole
        assert _size(data_dir) < 16 * 2**20


# Redirects


@pytest.fixture
async def elsewhere() -> AsyncIterator[ScriptedUpstream]:
    """A registry on another origin, which wants a token of its own, from anybody."""
    async with ScriptedUpstream() as elsewhere:
        elsewhere.require_token()
        elsewhere.add_blob("mirrors/cargo", LAYER)
        for digest, content in IMAGE.blobs.items():
            assert elsewhere.add_blob("mirrors/cargo", content) == digest
        elsewhere.add_manifest("mirrors/cargo", "docker", IMAGE.manifest, IMAGE.media_type)
        yield elsewhere


@pytest.fixture
async def with_login(upstream: ScriptedUpstream, data_dir: Path) -> AsyncIterator[Proxy]:
    upstream.add_blob("library/cargo", LAYER)
    upstream.require_token("somebody", "secret")
    login = {"username": "somebody", "password": "secret"}
    chosen = {"docker.io": {"url": upstream.url, "default": True, "credentials": login}}
    async with Proxy(settings(chosen, data_dir)) as proxy:
        yield proxy


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_registry_that_is_redirected_to_gets_a_token_of_its_own(
    with_login: Proxy, upstream: ScriptedUpstream, elsewhere: ScriptedUpstream, client: str
) -> None:
    for digest in IMAGE.blobs:
        target = f"{elsewhere.url}/v2/mirrors/cargo/blobs/{digest}"
        upstream.fault("*", f"*/blobs/{digest}", redirect(target))
    upstream.fault(
        "*", "*/manifests/docker", redirect(f"{elsewhere.url}/v2/mirrors/cargo/manifests/docker")
    )
    cold = await _pull(with_login, client)
    tokens = [request for request in elsewhere.requests if request.path == "/token"]
    assert len(tokens) == 1
    assert "mirrors%2Fcargo" in tokens[0].query or "mirrors/cargo" in tokens[0].query
    assert "account" not in tokens[0].query
    assert (await with_login.get(LAYER_PATH)).status == 200
    own = {request.headers.get("Authorization") for request in upstream.requests} - {None}
    assert own
    for request in elsewhere.requests:
        assert request.headers.get("Authorization") not in own
        assert not request.headers.get("Authorization", "").startswith("Basic")
    await upstream.stop()
    await elsewhere.stop()
    assert await _pull(with_login, client) == cold


async def test_its_token_is_used_again_and_renewed(
    with_login: Proxy, upstream: ScriptedUpstream, elsewhere: ScriptedUpstream
) -> None:
    for number in range(3):
        content = images.noise(str(number), 1000)
        upstream.add_blob("library/cargo", content)
        digest = elsewhere.add_blob("mirrors/cargo", content)
        target = f"{elsewhere.url}/v2/mirrors/cargo/blobs/{digest}"
        upstream.fault("*", f"*/blobs/{digest}", redirect(target))
        if number == 2:
            elsewhere.revoke_tokens()
        answer = await with_login.get(f"/v2/library/cargo/blobs/{digest}")
        assert (answer.status, answer.body) == (200, content)
    assert elsewhere.count("GET", "/token") == 2


@pytest.mark.parametrize(
    ("challenge", "said"),
    [
        ('Basic realm="x"', "answered 401"),
        ("", "answered 401"),
        ('Bearer realm="http://127.0.0.2:1/token",scope="a"', "another site, 127.0.0.2"),
        ('Bearer realm="nonsense",scope="a"', "no plain http"),
    ],
)
async def test_a_challenge_that_is_not_answered_is_named(
    with_login: Proxy,
    upstream: ScriptedUpstream,
    elsewhere: ScriptedUpstream,
    challenge: str,
    said: str,
) -> None:
    upstream.fault("*", "*/blobs/*", redirect(f"{elsewhere.url}/v2/mirrors/cargo/blobs/{BLOB}"))
    elsewhere.fault("*", "*", Fault(status=401, headers={"WWW-Authenticate": challenge}))
    answer = await with_login.get(LAYER_PATH)
    assert answer.status == 502
    assert said in answer.message
    assert "which docker.io redirects to" in answer.message


async def test_a_registry_that_refuses_its_own_tokens_is_not_asked_for_ever(
    with_login: Proxy, upstream: ScriptedUpstream, elsewhere: ScriptedUpstream
) -> None:
    upstream.fault("*", "*/blobs/*", redirect(f"{elsewhere.url}/v2/mirrors/cargo/blobs/{BLOB}"))
    challenge = f'Bearer realm="{elsewhere.url}/token",scope="repository:mirrors/cargo:pull"'
    elsewhere.fault("*", "/v2/*", Fault(status=401, headers={"WWW-Authenticate": challenge}))
    answer = await with_login.get(LAYER_PATH)
    assert answer.status == 502
    assert elsewhere.count() < 30


@pytest.mark.parametrize("location", ["relative", "/v2/other/cargo/blobs/x", "//{host}/signed"])
async def test_a_redirect_may_be_relative(
    proxy: Proxy, upstream: ScriptedUpstream, location: str
) -> None:
    path = {
        "relative": f"/v2/library/cargo/blobs/{location}",
        "//{host}/signed": "/signed",
    }.get(location, location)
    upstream.serve(path, LAYER)
    upstream.fault("GET", LAYER_PATH, redirect(location.format(host=upstream.url[7:])))
    assert (await proxy.get(LAYER_PATH)).body == LAYER


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/token?{query}", "token?{query}", "//{host}/token?{query}"])
async def test_a_token_endpoint_may_redirect_within_its_origin(
    with_login: Proxy, upstream: ScriptedUpstream, status: int, location: str
) -> None:
    upstream.require_token("somebody", "secret", realm=f"{upstream.url}/auth")
    query = "service=scripted&scope=repository:library/cargo:pull"
    target = location.format(query=query, host=upstream.url.removeprefix("http://"))
    upstream.fault("GET", "/auth", redirect(target, status))
    assert (await with_login.get(LAYER_PATH)).body == LAYER
    assert upstream.requests[-2].path == "/token"
    assert upstream.requests[-2].headers["Authorization"].startswith("Basic ")


async def test_a_login_follows_no_redirect_to_another_origin(
    with_login: Proxy, upstream: ScriptedUpstream, elsewhere: ScriptedUpstream
) -> None:
    upstream.fault("GET", "/token", redirect(f"{elsewhere.url}/token"))
    answer = await with_login.get(LAYER_PATH)
    assert answer.status == 502
    assert "no setting allows it" in answer.message
    assert elsewhere.count() == 0


# HEAD with a body


async def test_a_head_with_a_body_does_not_break_the_next_request(data_dir: Path) -> None:
    """Whether the body comes with the head, after it, or after the next request."""
    connections = 0
    delay = 0.0
    heads = {"upstream": "docker.io", "kind": "manifest_head", "outcome": "ok"}
    before = metric("upstream_requests_total", **heads)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        length = b"Content-Length: %d\r\n" % len(IMAGE.manifest)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nDocker-Content-Digest: %s\r\n%s\r\n" % (
            IMAGE.media_type.encode(),
            IMAGE.digest.encode(),
            length,
        )
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                writer.write(head)
                if request.startswith(b"HEAD") and delay:
                    await asyncio.sleep(delay)
                writer.write(IMAGE.manifest)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        chosen = {"docker.io": {"url": url, "default": True}}
        async with Proxy(settings(chosen, data_dir, tags={"ttl": "0s"})) as proxy:
            for delay in (0.0, 0.02, 0.1):  # noqa: B007 -- `serve` reads it
                for _ in range(4):
                    answer = await proxy.get(
                        "/v2/library/cargo/manifests/docker", Accept=IMAGE.media_type
                    )
                    assert (answer.status, answer.body) == (200, IMAGE.manifest)
        server.close()
    # The first tag of a repository costs a GET alone.
    assert metric("upstream_requests_total", **heads) == before + 11
    assert connections > 1
