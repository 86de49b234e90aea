"""What clients send that they should not: each gets one error in the spec's form, and no more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import StoreError
from proxy.oci.reference import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.proxy import Proxy
    from tests.kit.scripted_upstream import ScriptedUpstream

CARGO: Final = "/v2/library/cargo"
ABSENT: Final = Digest.of(b"nobody has this")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v2/Cargo/manifests/1", 400, "NAME_INVALID"),
        ("/v2/a//b/manifests/1", 400, "NAME_INVALID"),
        ("/v2/_/manifests/1", 400, "NAME_INVALID"),
        ("/v2/-a/manifests/1", 400, "NAME_INVALID"),
        (f"/v2/{'a' * 256}/manifests/1", 400, "NAME_INVALID"),
        ("/v2//manifests/1", 400, "NAME_INVALID"),
        ("/v2/manifests/1", 400, "NAME_INVALID"),
        ("/v2/library/cargo", 400, "NAME_INVALID"),
        ("/v2/..%2f..%2fetc/manifests/passwd", 400, "NAME_INVALID"),
        ("/v2/../../etc/manifests/passwd", 400, "NAME_INVALID"),
        ("/v2/library%2fcargo/manifests/1", 400, "NAME_INVALID"),
        ("/v2/library/cargo%00/manifests/1", 400, "NAME_INVALID"),
        ("/v2/caf%C3%A9/manifests/1", 400, "NAME_INVALID"),
        (f"{CARGO}/manifests/-dash", 400, "TAG_INVALID"),
        (f"{CARGO}/manifests/{'t' * 129}", 400, "TAG_INVALID"),
        (f"{CARGO}/manifests/{'t' * 30_000}", 400, "TAG_INVALID"),
        (f"{CARGO}/blobs/sha256:{'0' * 30_000}", 400, "DIGEST_INVALID"),
        (f"/v2/{'a/' * 15_000}b/manifests/1", 400, "NAME_INVALID"),
        (f"{CARGO}/manifests/", 400, "TAG_INVALID"),
        (f"{CARGO}/manifests/..", 400, "TAG_INVALID"),
        (f"{CARGO}/manifests/..%2f..%2fx", 400, "TAG_INVALID"),
        (f"{CARGO}/manifests/1%00", 400, "TAG_INVALID"),
        (f"{CARGO}/manifests/1%0a", 400, "TAG_INVALID"),
        (f"{CARGO}/manifests/%ff", 400, "TAG_INVALID"),
        (f"{CARGO}/manifests/oci/", 400, "TAG_INVALID"),
        (f"{CARGO}/manifests/sha256:abc", 400, "DIGEST_INVALID"),
        (f"{CARGO}/manifests/{ABSENT.upper()}", 400, "DIGEST_INVALID"),
        (f"{CARGO}/manifests/md5:{'0' * 32}", 400, "DIGEST_INVALID"),
        (f"{CARGO}/manifests/sha256:..%2f", 400, "DIGEST_INVALID"),
        (f"{CARGO}/blobs/oci", 400, "DIGEST_INVALID"),
        (f"{CARGO}/blobs/{ABSENT[:-1]}", 400, "DIGEST_INVALID"),
        (f"{CARGO}/blobs/{ABSENT}%00", 400, "DIGEST_INVALID"),
        (f"{CARGO}/blobs/{ABSENT}/x", 400, "DIGEST_INVALID"),
        ("/v2/_catalog", 405, "UNSUPPORTED"),
        ("/v1/_ping", 410, "UNSUPPORTED"),
        ("/v1/repositories/library/cargo/images", 410, "UNSUPPORTED"),
        ("/v1/repositories/../x/images", 410, "UNSUPPORTED"),
        ("/", 404, "NAME_UNKNOWN"),
        ("/v3/", 404, "NAME_UNKNOWN"),
        ("//v2/", 404, "NAME_UNKNOWN"),
        (f"{CARGO}/manifests/oci?ns=evil.example", 404, "NAME_UNKNOWN"),
        (f"{CARGO}/manifests/oci?{'&'.join(f'{n}=1' for n in range(20))}", 400, "NAME_INVALID"),
    ],
)
async def test_a_bad_path_is_an_error_without_a_request_upstream(
    proxy: Proxy, upstream: ScriptedUpstream, path: str, status: int, code: str
) -> None:
    answer = await proxy.get(path)
    assert (answer.status, answer.code) == (status, code)
    head = await proxy.head(path)
    assert (head.status, head.body) == (status, b"")
    assert head.headers["Content-Length"] == answer.headers["Content-Length"]
    assert upstream.requests == []


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
async def test_the_v1_api_is_declined_with_a_sentence(proxy: Proxy, method: str) -> None:
    answer = await proxy.ask(method, "/v1/repositories/library/cargo/")
    assert (answer.status, answer.code) == (410, "UNSUPPORTED")
    assert "the v1 API was retired" in answer.message
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize(
    ("path", "code", "asked"),
    [
        (f"{CARGO}/manifests/absent", "MANIFEST_UNKNOWN", 1),
        (f"{CARGO}/manifests/{ABSENT}", "MANIFEST_UNKNOWN", 1),
        (f"{CARGO}/blobs/{ABSENT}", "BLOB_UNKNOWN", 1),
        ("/v2/library/nothing/manifests/1", "MANIFEST_UNKNOWN", 1),
    ],
)
async def test_what_the_upstream_has_not_is_unknown(
    proxy: Proxy, upstream: ScriptedUpstream, path: str, code: str, asked: int
) -> None:
    answer = await proxy.get(path)
    assert (answer.status, answer.code) == (404, code)
    assert len(upstream.requests) == asked
    head = await proxy.head(path)
    assert (head.status, head.headers["Content-Length"]) == (404, answer.headers["Content-Length"])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    [
        f"{CARGO}/manifests/oci",
        f"{CARGO}/blobs/{ABSENT}",
        f"{CARGO}/blobs/uploads/",
        f"{CARGO}/blobs/uploads/4ec9b5b4-2c0d-4d1c",
        "/v2/",
        "/v2/_catalog",
    ],
)
async def test_a_push_is_not_allowed(
    proxy: Proxy, upstream: ScriptedUpstream, method: str, path: str
) -> None:
    answer = await proxy.ask(method, path)
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "GET, HEAD"
    assert upstream.requests == []


async def test_a_push_with_a_body_is_refused_and_the_connection_ends(proxy: Proxy) -> None:
    body = b"x" * 1000
    head = b"PUT /v2/a/blobs/uploads/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    ping = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answers = await proxy.raw(head + body + ping)
    assert answers.startswith(b"HTTP/1.1 405 ")
    assert b"HTTP/1.1 200 OK" not in answers


@pytest.mark.parametrize(
    "request_",
    [
        b"not HTTP\r\n\r\n",
        b"GET /v2/\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nAuth\x00orization: Basic c2VjcmV0\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nAccept: a\x00b\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: -1\r\n\r\n",
        b"GET /v2/ HTTP/9.9\r\n\r\n",
        b"BREW /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET ?x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"GET /v2/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
        b"G\xc3\x89T /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"get /v2/ HTTP/1.1\r\nHost: x\r\n: no name\r\n\r\n",
    ],
)
async def test_what_is_no_http_gets_an_error_in_the_same_form(
    proxy: Proxy, request_: bytes
) -> None:
    answer = await proxy.raw(request_)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"Content-Type: application/json" in head
    (error,) = json.loads(body)["errors"]
    assert error["message"] == "this is no HTTP request, or its head has too many lines"
    line = await proxy.line(status=400)
    assert (line["client"], line["error"]) == ("127.0.0.1", error["message"])
    assert "c2VjcmV0" not in json.dumps(proxy.log())


PING: Final = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
LINE: Final = b"X-Filler: " + b"x" * 30_000 + b"\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nAccept: " + b"a/b," * 50_000 + b"\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + LINE * 3 + b"\r\n",
        # The end of it never comes.
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + LINE * 3,
        PING + PING.replace(b"\r\n\r\n", b"\r\n") + LINE * 4 + b"\r\n",
    ],
    ids=["path", "line", "lines", "no end", "second request"],
)
async def test_a_head_that_is_too_long_is_refused_as_soon_as_it_is(
    proxy: Proxy, request_: bytes
) -> None:
    answer = await proxy.raw(request_)
    assert b" 431 " in answer
    head, _, body = answer[answer.rindex(b"HTTP/1.") :].partition(b"\r\n\r\n")
    assert b"Content-Type: application/json" in head
    (error,) = json.loads(body)["errors"]
    assert error["message"] == "the head of the request, or a line of it, is too long"
    assert (await proxy.line(status=431))["error"] == error["message"]


async def test_many_requests_in_one_piece_are_not_too_long_together(proxy: Proxy) -> None:
    one = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + LINE + b"\r\n"
    last = one.replace(b"Host: x", b"Host: x\r\nConnection: close")
    answers = await proxy.raw(one * 5 + last)
    assert answers.count(b"HTTP/1.1 200 OK") == 6


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET http://127.0.0.1:1/v2/ HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET http://[/v2/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET ftp://x HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /v2/%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /v2/library/cargo/manifests/%00%0d%0aX:%20y HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /v2/?a=%zz&&=;b HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /v2/ HTTP/1.0\r\n\r\n", 200),
        (b"GET /v2/ HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n", 400),
        (b'GET /v2/ HTTP/1.1\r\nHost: x\r\nUser-Agent: \xf0\x9f\x90\xb3\xff"\r\n\r\n', 200),
        (b"GET /v2/\xf0\x9f\x90\xb3/manifests/1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: " + b"a" * 20_000 + b"\r\n\r\n", 200),
        (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", 200),
        (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", 0),
    ],
)
async def test_what_is_odd_http_is_answered_like_any_other(
    proxy: Proxy, upstream: ScriptedUpstream, request_: bytes, status: int
) -> None:
    head, _, rest = request_.partition(b"\r\n")
    answer = await proxy.raw(head + b"\r\nConnection: close\r\n" + rest)
    assert answer.startswith(b"HTTP/1."), answer
    assert b"Traceback" not in answer
    assert int(answer.split(b" ")[1]) == status or not status, answer
    line = await proxy.line()
    assert line["status"] == int(answer.split(b" ")[1])
    assert upstream.requests == []


async def test_a_crash_is_told_to_the_log_and_not_to_the_client(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy.services.registry, "_blobs", None)
    answer = await proxy.get(f"{CARGO}/blobs/{ABSENT}")
    assert (answer.status, answer.code) == (500, "UNKNOWN")
    assert b"Traceback" not in answer.body
    assert b"NoneType" not in answer.body
    crash = await proxy.line("request.crashed")
    assert crash["exception"].startswith("Traceback")
    assert answer.headers["X-Request-Id"] == crash["id"]


async def test_a_disk_that_fails_is_told_apart_from_a_bug(
    proxy: Proxy, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is not a miss: no part of the proxy knows what to do without."""

    async def fail(*_: object, **__: object) -> None:
        raise StoreError(f"[Errno 5] Input/output error: '{data_dir}'")

    monkeypatch.setattr(proxy.services.registry._blobs, "answer", fail)
    answer = await proxy.get(f"{CARGO}/blobs/{ABSENT}")
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert str(data_dir).encode() not in answer.body
    assert "Input/output error" in (await proxy.line("storage.failed"))["error"]


async def test_a_blob_directory_that_is_none_is_a_miss(proxy: Proxy, data_dir: Path) -> None:
    (data_dir / "blobs" / "sha256").write_bytes(b"")
    answer = await proxy.get(f"{CARGO}/blobs/{ABSENT}")
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")
    assert "Not a directory" in (await proxy.line("disk.failed"))["error"]
