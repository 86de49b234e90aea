"""A registry client against a registry that answers well, badly, slowly, or not at all."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from errno import ENOSPC
from typing import TYPE_CHECKING, Final

import pytest

from proxy import __version__
from proxy.errors import (
    BlobUnknown,
    ManifestUnknown,
    RangeInvalid,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.oci.headers.ratelimit import RateLimit
from proxy.oci.mediatype import UPSTREAM_ACCEPT, MediaType
from proxy.oci.reference import Digest, Tag
from proxy.ports import Fetched, Head, Upstream
from proxy.upstream.client import MAX_MANIFEST, RegistryClient, Transport
from tests.kit.certificates import self_signed
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.upstream.observation import Observed

NAME: Final = "library/alpine"
TAG: Final = Tag("3.20")
RAW: Final = b'{"schemaVersion":2}'
MANIFEST: Final = f"/v2/{NAME}/manifests/{TAG}"
CONTENT: Final = bytes(range(256)) * 4096
QUICK: Final = Transport(connect_timeout=1.0, idle_timeout=0.3, answer_timeout=1.0)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        upstream.add_manifest(NAME, TAG, RAW, MediaType.OCI_MANIFEST)
        upstream.add_blob(NAME, CONTENT)
        yield upstream


@pytest.fixture
async def client(upstream: ScriptedUpstream) -> AsyncIterator[RegistryClient]:
    client = RegistryClient(name="docker.io", url=upstream.url, transport=QUICK)
    yield client
    await client.close()


async def read(
    client: Upstream, digest: Digest, *, start: int = 0, end: int | None = None
) -> tuple[int, int | None, bytes]:
    """Where the upstream started, the total it claims, and every byte."""
    async with client.blob(NAME, digest, start=start, end=end) as blob:
        return blob.start, blob.total, b"".join([chunk async for chunk in blob.chunks()])


BLOB: Final = Digest.of(CONTENT)


# What is asked


async def test_a_manifest_and_what_head_says_of_it(client: Upstream) -> None:
    digest = Digest.of(RAW)
    assert await client.head_manifest(NAME, TAG) == Head(digest, MediaType.OCI_MANIFEST, len(RAW))
    assert await client.manifest(NAME, digest) == Fetched(RAW, MediaType.OCI_MANIFEST, digest)


async def test_everything_is_asked_for_and_nothing_encoded(upstream: ScriptedUpstream) -> None:
    upstream.headers["Set-Cookie"] = "track=me"
    # By name, for nobody would send a cookie to an address.
    url = upstream.url.replace("127.0.0.1", "localhost")
    client = RegistryClient(name="docker.io", url=url, transport=QUICK)
    await client.head_manifest(NAME, TAG)
    await client.manifest(NAME, TAG)
    await client.blob_size(NAME, BLOB)
    await read(client, BLOB, start=7)
    assert [request.method for request in upstream.requests] == ["HEAD", "GET", "HEAD", "GET"]
    for request in upstream.requests:
        assert request.headers["Accept-Encoding"] == "identity"
        assert request.headers["User-Agent"] == f"lighterage/{__version__}"
        assert not {"Cookie", "Authorization"} & {*request.headers}
    accepts = [request.headers.get("Accept") for request in upstream.requests]
    assert accepts == [UPSTREAM_ACCEPT, UPSTREAM_ACCEPT, None, None]
    assert upstream.requests[-1].headers["Range"] == "bytes=7-"
    await client.close()


async def test_a_client_dials_nothing_by_itself_and_keeps_one_connection(
    upstream: ScriptedUpstream,
) -> None:
    client = RegistryClient(name="docker.io", url=upstream.url + "/")
    assert upstream.open_connections == 0
    for _ in range(3):
        await client.manifest(NAME, TAG)
    assert upstream.open_connections == 1
    await client.close()
    await client.close()


# Blobs


async def test_a_blob_and_its_parts(client: Upstream) -> None:
    size = len(CONTENT)
    assert await client.blob_size(NAME, BLOB) == size
    assert await read(client, BLOB) == (0, size, CONTENT)
    assert await read(client, BLOB, start=5) == (5, size, CONTENT[5:])
    assert await read(client, BLOB, start=5, end=9) == (5, size, CONTENT[5:10])
    assert await read(client, BLOB, end=0) == (0, size, CONTENT[:1])
    assert await read(client, BLOB, start=size - 1, end=size * 2) == (size - 1, size, CONTENT[-1:])


async def test_an_upstream_may_ignore_the_range(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    upstream.fault("GET", "*", Fault(ignore_range=True))
    assert await read(client, BLOB, start=5) == (0, len(CONTENT), CONTENT)


async def test_chunks_without_a_length(upstream: ScriptedUpstream, client: Upstream) -> None:
    upstream.fault("*", "*", Fault(chunked=True))
    assert await read(client, BLOB) == (0, None, CONTENT)
    assert await read(client, BLOB, start=5) == (5, len(CONTENT), CONTENT[5:])
    assert (await client.manifest(NAME, TAG)).raw == RAW
    upstream.requests.clear()
    assert await client.blob_size(NAME, BLOB, may_get=False) is None
    assert await client.blob_size(NAME, BLOB) is None
    assert [request.method for request in upstream.requests] == ["HEAD", "HEAD", "GET"]


@pytest.mark.parametrize("header", [f"bytes */{len(CONTENT)}", None, "nonsense"])
async def test_a_range_behind_the_end(
    upstream: ScriptedUpstream, client: Upstream, header: str | None
) -> None:
    upstream.fault("GET", "*", Fault(status=416, headers={"Content-Range": header}))
    with pytest.raises(RangeInvalid) as caught:
        await read(client, BLOB, start=len(CONTENT))
    assert caught.value.size == len(CONTENT)
    assert upstream.count("HEAD") == (header is None or header == "nonsense")


async def test_a_416_for_the_whole_blob_is_no_answer(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    upstream.fault("GET", "*", Fault(status=416))
    with pytest.raises(UpstreamInvalid):
        await read(client, BLOB)


@pytest.mark.parametrize(
    "content_range",
    [
        f"bytes 4-{len(CONTENT) - 1}/{len(CONTENT)}",
        f"bytes 6-{len(CONTENT) - 1}/{len(CONTENT)}",
        f"bytes 5-{len(CONTENT) - 2}/{len(CONTENT)}",
        f"bytes 5-{len(CONTENT)}/{len(CONTENT)}",
        f"bytes 5-{len(CONTENT)}/{len(CONTENT) + 1}",
        "bytes 5-4/3",
        "bytes 5-99999999999999999999/*",
        "bytes 5-9/*",
        "items 5-9/*",
        "",
        None,
    ],
)
async def test_a_part_that_is_not_the_one_asked_for(
    upstream: ScriptedUpstream, client: Upstream, content_range: str | None
) -> None:
    upstream.fault("GET", "*", Fault(headers={"Content-Range": content_range}))
    with pytest.raises(UpstreamInvalid, match=r"^docker\.io"):
        await read(client, BLOB, start=5)


async def test_a_part_that_nobody_asked_for_is_taken_if_it_is_the_whole(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    size = len(CONTENT)
    for said in (f"bytes 0-{size - 1}/{size}", f"bytes 0-{size - 1}/*", None):
        headers = {"Content-Range": said}
        upstream.fault("GET", "*", Fault(status=206, headers=headers, body=CONTENT))
        assert await read(client, BLOB) == (0, None if said and "*" in said else size, CONTENT)
    parts = {"Content-Range": f"bytes 0-{size - 2}/{size}"}
    upstream.fault("GET", "*", Fault(status=206, headers=parts, body=CONTENT[:-1]))
    with pytest.raises(UpstreamInvalid, match="another part"):
        await read(client, BLOB)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("start", [0, 5])
async def test_half_a_blob(
    upstream: ScriptedUpstream, client: Upstream, start: int, *, chunked: bool
) -> None:
    upstream.fault("GET", "*", Fault(cut=1000, chunked=chunked))
    received = 0
    async with client.blob(NAME, BLOB, start=start) as blob:
        with pytest.raises(UpstreamUnavailable, match=r"^docker\.io stopped"):  # noqa: PT012 -- it counts
            async for chunk in blob.chunks():
                received += len(chunk)
    assert received == 1000


async def test_a_part_that_ends_early_in_good_order(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    parts = {"Content-Range": f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"}
    upstream.fault("GET", "*", Fault(status=206, headers=parts, body=b"short", chunked=True))
    with pytest.raises(UpstreamUnavailable, match="in the middle"):
        await read(client, BLOB, start=5)
    upstream.fault("GET", "*", Fault(status=206, headers=parts, body=CONTENT, chunked=True))
    with pytest.raises(UpstreamInvalid, match="more of a blob"):
        await read(client, BLOB, start=5)


async def test_silence_in_the_middle_of_a_blob(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    upstream.fault("GET", "*", Fault(cut=1000, stall=True))
    with pytest.raises(UpstreamUnavailable, match="fell silent"):
        await read(client, BLOB)


async def test_a_slow_blob_takes_as_long_as_it_keeps_coming(upstream: ScriptedUpstream) -> None:
    transport = Transport(idle_timeout=0.3, answer_timeout=0.3)
    client = RegistryClient(name="docker.io", url=upstream.url, transport=transport)
    upstream.fault("GET", "*", Fault(pace=0.05))
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert (await read(client, BLOB))[2] == CONTENT
    assert loop.time() - began > 2 * transport.answer_timeout
    await client.close()


async def test_a_reader_that_leaves_early_closes_the_connection(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    big = upstream.add_blob(NAME, bytes(32 * 2**20))
    async with client.blob(NAME, big) as blob:
        async for _ in blob.chunks():
            break
        assert upstream.open_connections == 1
    async with asyncio.timeout(60):
        while upstream.open_connections:  # noqa: ASYNC110 -- the server has no event for it
            await asyncio.sleep(0.01)
    assert await client.blob_size(NAME, big) == 32 * 2**20


async def test_what_the_reader_raises_is_its_own(client: Upstream) -> None:
    full = OSError(ENOSPC, "disk full")
    with pytest.raises(OSError, match="disk full") as caught:  # noqa: PT012 -- it is the body
        async with client.blob(NAME, BLOB) as blob:
            async for _ in blob.chunks():
                raise full
    assert caught.value is full


# Answers without the content


async def test_what_is_not_there(client: Upstream) -> None:
    missing = Digest.of(b"missing")
    with pytest.raises(ManifestUnknown, match=f" has no manifest {NAME}:missing$"):
        await client.head_manifest(NAME, Tag("missing"))
    with pytest.raises(ManifestUnknown, match=f" has no manifest {NAME}@{missing}$"):
        await client.manifest(NAME, missing)
    with pytest.raises(BlobUnknown):
        await client.blob_size(NAME, missing)
    with pytest.raises(BlobUnknown):
        await read(client, missing)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamInvalid),
        (401, UpstreamDenied),
        (403, UpstreamDenied),
        (405, UpstreamUnavailable),
        (406, UpstreamInvalid),
        (410, UpstreamInvalid),
        (429, UpstreamThrottled),
        (500, UpstreamUnavailable),
        (503, UpstreamUnavailable),
        (204, UpstreamInvalid),
        (206, UpstreamInvalid),
        (304, UpstreamInvalid),
    ],
)
async def test_a_status_without_the_content(
    upstream: ScriptedUpstream, client: Upstream, status: int, kind: type[UpstreamFailure]
) -> None:
    upstream.fault("*", "*", Fault(status=status))
    for question in (client.head_manifest(NAME, TAG), client.manifest(NAME, TAG)):
        with pytest.raises(UpstreamFailure) as caught:
            await question
        assert type(caught.value) is kind
        assert caught.value.status == status
        assert caught.value.message.startswith(f"docker.io answered {status}")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7),
        (" 7 ", 7),
        ("-7", None),
        ("soon", None),
        ("\N{SUPERSCRIPT TWO}", None),
        ("9" * 4000, 86_400),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Fri, 99 Dec 9999 23:59:59 GMT", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_when_to_come_back(
    upstream: ScriptedUpstream,
    client: Upstream,
    header: str | None,
    seconds: float | None,
    status: int,
) -> None:
    body = b"<html>Too Many Requests</html>"
    upstream.fault("*", "*", Fault(status=status, headers={"Retry-After": header}, body=body))
    with pytest.raises(UpstreamFailure) as caught:
        await client.head_manifest(NAME, TAG)
    assert caught.value.retry_after == seconds


async def test_when_to_come_back_as_a_date(upstream: ScriptedUpstream, client: Upstream) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    upstream.fault("*", "*", Fault(status=429, headers={"Retry-After": date}))
    with pytest.raises(UpstreamThrottled) as caught:
        await client.manifest(NAME, TAG)
    assert caught.value.retry_after == pytest.approx(60, abs=2)


# Answers that cannot be used


@pytest.mark.parametrize(
    "value", [None, "", "sha256:abc", "sha256:" + "A" * 64, "md5:" + "a" * 32, "x" * 4000, "é"]
)
async def test_a_digest_that_is_none(
    upstream: ScriptedUpstream, client: Upstream, value: str | None
) -> None:
    upstream.fault("*", "*", Fault(headers={"Docker-Content-Digest": value}))
    assert (await client.head_manifest(NAME, TAG)).digest is None
    assert (await client.manifest(NAME, TAG)).digest is None


async def test_a_content_type_that_is_none(upstream: ScriptedUpstream, client: Upstream) -> None:
    upstream.fault("*", "*", Fault(headers={"Content-Type": "\N{SNOWMAN}"}))
    assert (await client.head_manifest(NAME, TAG)).content_type == ""
    upstream.fault("*", "*", Fault(headers={"Content-Type": None}))
    assert (await client.manifest(NAME, TAG)).content_type == "application/octet-stream"


@pytest.mark.parametrize("label", ["gzip", "x-gzip", "GZIP", "deflate", "identity, gzip"])
async def test_bytes_that_were_encoded_are_decoded_if_that_is_what_the_digest_names(
    upstream: ScriptedUpstream, client: Upstream, label: str
) -> None:
    compress = zlib.compress if label == "deflate" else gzip.compress
    encoded = Fault(headers={"Content-Encoding": label}, body=compress(RAW))
    upstream.fault("GET", "*/manifests/*", encoded)
    for reference in (TAG, Digest.of(RAW)):
        assert (await client.manifest(NAME, reference)).raw == RAW
    async with client.blob(NAME, BLOB) as blob:
        assert blob.coding is None
    upstream.fault("GET", "*/blobs/*", encoded)
    async with client.blob(NAME, BLOB) as blob:
        assert blob.coding == label.lower().removeprefix("identity, ")


@pytest.mark.parametrize("label", ["gzip", "aws-chunked", "x-gzip", "br", "none", "utf-8", "*"])
async def test_a_label_is_no_encoding(
    upstream: ScriptedUpstream, client: Upstream, label: str
) -> None:
    upstream.fault("*", "*", Fault(headers={"Content-Encoding": label}))
    assert (await client.manifest(NAME, TAG)).raw == RAW
    assert (await client.head_manifest(NAME, TAG)).digest == Digest.of(RAW)
    assert (await read(client, BLOB))[2] == CONTENT
    assert await client.blob_size(NAME, BLOB, expected=len(CONTENT)) == len(CONTENT)


async def test_an_encoding_that_cannot_be_undone_is_named(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    encoded = Fault(headers={"Content-Encoding": "br"}, body=b"\x0b\x02\x80")
    upstream.fault("GET", "*", encoded)
    with pytest.raises(UpstreamInvalid, match="Content-Encoding that was not requested"):
        await client.manifest(NAME, TAG)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_manifest_over_the_limit(
    upstream: ScriptedUpstream, client: Upstream, *, chunked: bool
) -> None:
    upstream.fault("GET", "*", Fault(body=bytes(MAX_MANIFEST), chunked=chunked))
    assert len((await client.manifest(NAME, TAG)).raw) == MAX_MANIFEST
    upstream.fault("GET", "*", Fault(body=bytes(MAX_MANIFEST + 1), chunked=chunked))
    with pytest.raises(UpstreamInvalid, match="more than 4194304 bytes"):
        await client.manifest(NAME, TAG)


async def test_half_a_manifest(upstream: ScriptedUpstream, client: Upstream) -> None:
    upstream.fault("GET", "*", Fault(cut=5))
    with pytest.raises(UpstreamUnavailable, match="stopped before the end"):
        await client.manifest(NAME, TAG)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", UpstreamInvalid),
        (b"HTTP/1.1 200 OK\r\nContent-Length: minus\r\n\r\n", UpstreamInvalid),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", UpstreamInvalid),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**20 + b"\r\n\r\n", UpstreamInvalid),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", UpstreamInvalid),
        (b"HTTP/1.1 99999 OK\r\n\r\n", UpstreamInvalid),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", UpstreamInvalid),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", UpstreamFailure),
        (b"HTTP/1.1 200", UpstreamUnavailable),
        (b"", UpstreamUnavailable),
    ],
)
async def test_something_that_is_not_http(
    upstream: ScriptedUpstream, client: Upstream, raw: bytes, kind: type[UpstreamFailure]
) -> None:
    upstream.fault("*", "*", Fault(raw=raw))
    with pytest.raises(kind, match=r"^docker\.io"):
        await client.manifest(NAME, TAG)
    upstream.heal()
    assert (await client.manifest(NAME, TAG)).raw == RAW


# No answer


async def test_an_upstream_that_is_down(upstream: ScriptedUpstream, client: Upstream) -> None:
    await upstream.stop()
    with pytest.raises(UpstreamUnavailable, match=r"cannot be reached: .*refused") as caught:
        await client.head_manifest(NAME, TAG)
    assert caught.value.status is None


async def test_a_name_that_does_not_resolve() -> None:
    client = RegistryClient(name="docker.io", url="https://registry.invalid", transport=QUICK)
    with pytest.raises(UpstreamUnavailable, match=r"^docker\.io cannot be reached"):
        await client.manifest(NAME, TAG)
    await client.close()


async def test_an_answer_that_does_not_come(upstream: ScriptedUpstream, client: Upstream) -> None:
    upstream.fault("*", "*", Fault(delay=5))
    for question in (client.manifest(NAME, TAG), client.blob_size(NAME, BLOB), read(client, BLOB)):
        with pytest.raises(UpstreamUnavailable, match="fell silent") as caught:
            await question
        assert caught.value.status is None


async def test_a_manifest_that_drips(upstream: ScriptedUpstream, client: Upstream) -> None:
    """Each piece comes in time, but the whole does not."""
    upstream.fault("GET", "*", Fault(body=bytes(MAX_MANIFEST), pace=0.1))
    with pytest.raises(UpstreamUnavailable, match="did not answer completely within 1 s"):
        await client.manifest(NAME, TAG)


async def test_a_certificate_that_nobody_signed() -> None:
    server, trusting = self_signed()
    async with ScriptedUpstream(tls=server) as upstream:
        upstream.add_manifest(NAME, TAG, RAW, MediaType.OCI_MANIFEST)
        wary = RegistryClient(name="docker.io", url=upstream.url)
        with pytest.raises(UpstreamUnavailable, match="certificate is not valid: self") as caught:
            await wary.manifest(NAME, TAG)
        assert caught.value.status is None
        trust = Transport(tls=trusting)
        friend = RegistryClient(name="docker.io", url=upstream.url, transport=trust)
        assert (await friend.manifest(NAME, TAG)).raw == RAW
        await wary.close()
        await friend.close()


async def test_plain_http_where_tls_is_spoken(upstream: ScriptedUpstream) -> None:
    url = upstream.url.replace("http:", "https:")
    client = RegistryClient(name="docker.io", url=url, transport=QUICK)
    with pytest.raises(UpstreamUnavailable, match="cannot be reached"):
        await client.manifest(NAME, TAG)
    await client.close()


# What is counted


async def test_every_operation_is_observed_with_its_end(upstream: ScriptedUpstream) -> None:
    seen: list[Observed] = []
    client = RegistryClient(name="docker.io", url=upstream.url, observe=seen.append)
    await client.head_manifest(NAME, TAG)
    await client.manifest(NAME, TAG)
    await client.blob_size(NAME, BLOB)
    await read(client, BLOB)
    with pytest.raises(ManifestUnknown):
        await client.manifest(NAME, Tag("missing"))
    async with client.blob(NAME, BLOB) as blob:
        first = await anext(aiter(blob.chunks()))
    upstream.fault("*", "*", Fault(status=429))
    with pytest.raises(UpstreamThrottled):
        await client.manifest(NAME, TAG)
    assert [(one.kind, one.outcome, one.received) for one in seen] == [
        ("manifest_head", "ok", 0),
        ("manifest", "ok", len(RAW)),
        ("blob_head", "ok", 0),
        ("blob", "ok", len(CONTENT)),
        ("manifest", "unknown", 0),
        ("blob", "abandoned", len(first)),
        ("manifest", "throttled", 0),
    ]
    await client.close()


async def test_the_time_until_an_answer_begins_does_not_count_its_body(
    upstream: ScriptedUpstream,
) -> None:
    seen: list[Observed] = []
    client = RegistryClient(name="docker.io", url=upstream.url, observe=seen.append)
    upstream.fault("HEAD", "*", Fault(delay=0.2))
    upstream.fault("GET", "*", Fault(pace=0.2))
    await client.head_manifest(NAME, TAG)
    await read(client, BLOB)
    late, slow = seen
    assert late.seconds >= 0.2 > slow.seconds
    await client.close()


async def test_the_rate_limit_is_read_from_whatever_answer_has_it(
    upstream: ScriptedUpstream,
) -> None:
    seen: list[Observed] = []
    client = RegistryClient(name="docker.io", url=upstream.url, observe=seen.append)
    await client.head_manifest(NAME, TAG)
    upstream.headers = {
        "ratelimit-limit": "100;w=21600",
        "ratelimit-remaining": "1;w=21600",
        "docker-ratelimit-source": "192.0.2.7",
    }
    await client.head_manifest(NAME, TAG)
    upstream.headers["ratelimit-remaining"] = "0;w=21600"
    upstream.fault("GET", "*", Fault(status=429, headers=upstream.headers))
    with pytest.raises(UpstreamThrottled):
        await client.manifest(NAME, TAG)
    assert [one.rate_limit for one in seen] == [
        None,
        RateLimit(100, 1, 21600, "192.0.2.7"),
        RateLimit(100, 0, 21600, "192.0.2.7"),
    ]
    await client.close()
