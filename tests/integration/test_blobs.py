"""Blobs through the whole proxy: whole, in part, by condition, and only where they belong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.reference import Digest
from proxy.oci.schema1.build import EMPTY_LAYER, EMPTY_LAYER_BYTES
from tests.kit import images
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.kit.proxy import Answer, Proxy

CONTENT: Final = images.noise("blob", 300_000)
SIZE: Final = len(CONTENT)
BLOB: Final = Digest.of(CONTENT)
PATH: Final = f"/v2/library/cargo/blobs/{BLOB}"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        upstream.add_blob("library/cargo", CONTENT)
        yield upstream


@pytest.fixture(params=["hit", "miss"])
async def either(request: pytest.FixtureRequest, proxy: Proxy) -> Proxy:
    """A proxy that has the blob, and one that has not."""
    if request.param == "hit":
        assert (await proxy.get(PATH)).body == CONTENT
    return proxy


async def test_a_blob_is_stored_by_the_first_pull_and_head_says_the_same(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    head_of_nothing = await proxy.head(PATH)
    assert upstream.count("GET") == 0
    miss, hit = await proxy.get(PATH), await proxy.get(PATH)
    head_of_hit = await proxy.head(PATH)
    assert miss.body == hit.body == CONTENT
    assert (miss.cache, hit.cache) == ("Lighterage; fwd=miss; stored", "Lighterage; hit")
    for head in (head_of_nothing, head_of_hit):
        assert (head.status, head.body) == (200, b"")
    answers = [head_of_nothing, miss, hit, head_of_hit]
    assert [_lasting(answer) for answer in answers] == [_lasting(miss)] * 4
    assert _lasting(miss) == {
        "accept-ranges": "bytes",
        "cache-control": "max-age=31536000, immutable",
        "content-length": str(SIZE),
        "content-type": "application/octet-stream",
        "docker-content-digest": BLOB,
        "docker-distribution-api-version": "registry/2.0",
        "etag": f'"{BLOB}"',
        "server": "lighterage",
        "x-content-type-options": "nosniff",
    }
    assert upstream.count("GET") == 1


# Ranges


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=5-70000", 5, 70000),
        (f"bytes=0-{SIZE - 1}", 0, SIZE - 1),
        (f"bytes=7-{SIZE * 2}", 7, SIZE - 1),
        ("bytes=299000-", 299_000, SIZE - 1),
        ("bytes=-1", SIZE - 1, SIZE - 1),
        (f"bytes=-{SIZE * 2}", 0, SIZE - 1),
        ("Bytes = 1 - 2", 1, 2),
    ],
)
async def test_a_range_is_the_same_from_the_store_and_from_upstream(
    either: Proxy, asked: str, first: int, last: int
) -> None:
    answer = await either.get(PATH, Range=asked)
    assert (answer.status, answer.body) == (206, CONTENT[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert answer.headers["Content-Length"] == str(last - first + 1)
    assert answer.digest == BLOB


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0"])
async def test_a_range_without_a_byte_is_416(either: Proxy, asked: str) -> None:
    answer = await either.get(PATH, Range=asked)
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"
    assert answer.code == "UNKNOWN"


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,3-4", "bytes=5-4", "bytes=a-b", "bytes=-", "items=0-1", "bytes=0-1-2", ""]
)
async def test_a_range_that_must_be_ignored_is(either: Proxy, asked: str) -> None:
    answer = await either.get(PATH, Range=asked)
    assert (answer.status, answer.body) == (200, CONTENT)


async def test_head_knows_no_range(either: Proxy) -> None:
    answer = await either.head(PATH, Range="bytes=0-1")
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(SIZE))


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (f'"{BLOB}"', 206),
        (f'"{EMPTY_LAYER}"', 200),
        (f'W/"{BLOB}"', 200),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 200),
        ("", 200),
    ],
)
async def test_if_range_wants_the_strong_tag(either: Proxy, condition: str, status: int) -> None:
    answer = await either.get(PATH, Range="bytes=1-2", If_Range=condition)
    assert (answer.status, len(answer.body)) == (status, 2 if status == 206 else SIZE)


# Conditions


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("tag", [f'"{BLOB}"', f'W/"{BLOB}"', BLOB, "*", f'"x", "{BLOB}"'])
async def test_who_has_it_gets_no_body(either: Proxy, method: str, tag: str) -> None:
    answer = await either.ask(method, PATH, If_None_Match=tag, Range="bytes=0-1")
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["ETag"] == f'"{BLOB}"'
    assert "Content-Length" not in answer.headers


async def test_who_has_another_one_gets_this(either: Proxy) -> None:
    answer = await either.get(PATH, If_None_Match=f'"{EMPTY_LAYER}"')
    assert (answer.status, answer.body) == (200, CONTENT)


async def test_a_condition_proves_no_right_to_the_blob(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("*", "*", Fault(status=404))
    answer = await proxy.get(PATH, If_None_Match=f'"{BLOB}"')
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")


# The empty layer


@pytest.mark.parametrize("name", ["library/cargo", "no/such/repository"])
async def test_the_empty_layer_is_in_every_repository(
    proxy: Proxy, upstream: ScriptedUpstream, name: str
) -> None:
    path = f"/v2/{name}/blobs/{EMPTY_LAYER}"
    answer, head = await proxy.get(path), await proxy.head(path)
    assert (answer.status, answer.body, answer.digest) == (200, EMPTY_LAYER_BYTES, EMPTY_LAYER)
    assert _lasting(head) == _lasting(answer)
    part = await proxy.get(path, Range="bytes=0-1")
    assert (part.status, part.body) == (206, EMPTY_LAYER_BYTES[:2])
    assert (await proxy.get(path, If_None_Match=f'"{EMPTY_LAYER}"')).status == 304
    assert upstream.requests == []


# Whose it is


async def test_a_blob_is_served_only_through_a_repository_that_has_it(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    assert (await proxy.get(PATH)).status == 200
    upstream.add_blob("library/shared", CONTENT)
    for method in ("GET", "HEAD"):
        stolen = await proxy.ask(method, f"/v2/library/other/blobs/{BLOB}")
        assert stolen.status == 404
        ranged = await proxy.ask(method, f"/v2/library/other/blobs/{BLOB}", Range="bytes=0-9")
        assert ranged.status == 404
    assert (await proxy.get(f"/v2/library/other/blobs/{BLOB}")).code == "BLOB_UNKNOWN"

    upstream.requests.clear()
    for _ in range(2):
        shared = await proxy.get(f"/v2/library/shared/blobs/{BLOB}")
        assert (shared.status, shared.body) == (200, CONTENT)
    assert [(request.method, request.path) for request in upstream.requests] == [
        ("HEAD", f"/v2/library/shared/blobs/{BLOB}")
    ]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_blob_of_a_repository_that_denies_us_is_unknown(
    proxy: Proxy, upstream: ScriptedUpstream, status: int
) -> None:
    await proxy.get(PATH)
    upstream.fault("*", "/v2/library/private/*", Fault(status=status))
    answer = await proxy.get(f"/v2/library/private/blobs/{BLOB}")
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")
    assert "WWW-Authenticate" not in answer.headers


def _lasting(answer: Answer) -> dict[str, Any]:
    """The headers that do not differ from one answer to the next."""
    lower = {name.lower(): value for name, value in answer.headers.items()}
    return {name: lower[name] for name in lower if name not in {"cache-status", "date"}}


def _files(data: Path) -> list[Path]:
    return [
        path for part in ("blobs", "spool") for path in (data / part).rglob("*") if path.is_file()
    ]
