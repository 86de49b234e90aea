"""Ranges of what is not here yet: what clients that pull lazily ask for first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from proxy.kit.backoff import Backoff
from proxy.oci.reference import Digest
from tests.kit import images
from tests.kit.proxy import Proxy, settings, until
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# Well beyond what a range waits for.
SIZE: Final = 8 * 2**20
CONTENT: Final = images.noise("lazy", SIZE)
BLOB: Final = Digest.of(CONTENT)
PATH: Final = f"/v2/library/cargo/blobs/{BLOB}"
UNVERIFIED: Final = "Lighterage; fwd=miss; detail=unverified-range"
# Nothing moves any more after so many bytes.
STALLED: Final = Fault(cut=2 * 2**20, stall=True)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        upstream.add_blob("library/cargo", CONTENT)
        yield upstream


def kept(data: Path) -> bool:
    return (data / "blobs/sha256" / BLOB.hex[:2] / BLOB.hex).exists()


def asked(upstream: ScriptedUpstream) -> list[str | None]:
    """The ranges of all requests, in their order."""
    return [request.headers.get("Range") for request in upstream.requests]


@pytest.mark.parametrize(
    ("wanted", "first", "last", "sent"),
    [
        (
            f"bytes={SIZE - 1000}-{SIZE - 1}",
            SIZE - 1000,
            SIZE - 1,
            f"bytes={SIZE - 1000}-{SIZE - 1}",
        ),
        (
            f"bytes={SIZE - 1000}-{SIZE + 7}",
            SIZE - 1000,
            SIZE - 1,
            f"bytes={SIZE - 1000}-{SIZE + 7}",
        ),
        (f"bytes={SIZE - 1000}-", SIZE - 1000, SIZE - 1, f"bytes={SIZE - 1000}-"),
        ("bytes=-1000", SIZE - 1000, SIZE - 1, "bytes=-1000"),
        (f"bytes=-{SIZE + 1}", 0, SIZE - 1, f"bytes=-{SIZE + 1}"),
        ("bytes=1000-1999", 1000, 1999, "bytes=1000-1999"),
        ("bytes=0-9", 0, 9, "bytes=0-9"),
    ],
)
async def test_it_costs_one_request_and_the_whole_follows_the_second_or_a_large_one(
    proxy: Proxy,
    upstream: ScriptedUpstream,
    data_dir: Path,
    *,
    wanted: str,
    first: int,
    last: int,
    sent: str,
) -> None:
    """No HEAD before it: that would double the time until a container starts."""
    ranges = 1 if 2 * (last + 1 - first) >= SIZE else 2
    for _ in range(ranges):
        answer = await proxy.get(PATH, Range=wanted)
        assert (answer.status, answer.body) == (206, CONTENT[first : last + 1])
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
        assert answer.cache == UNVERIFIED
    await until(lambda: kept(data_dir) and not len(proxy.services.transfers))
    assert asked(upstream) == [*[sent] * ranges, None]
    assert upstream.count("HEAD") == 0
    assert (await proxy.get(PATH, Range=wanted)).cache == "Lighterage; hit"
    assert len(upstream.requests) == ranges + 1


async def test_where_only_whole_ranges_are_known_the_last_bytes_are_found_by_the_size(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", PATH, Fault(ignore_range=True), times=1)
    answer = await proxy.get(PATH, Range="bytes=-100")
    assert (answer.status, answer.body, answer.cache) == (206, CONTENT[-100:], UNVERIFIED)
    assert asked(upstream)[:2] == ["bytes=-100", f"bytes={SIZE - 100}-{SIZE - 1}"]


async def test_the_last_no_bytes_are_no_range(proxy: Proxy) -> None:
    answer = await proxy.get(PATH, Range="bytes=-0")
    assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{SIZE}")


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [("bytes=1000000-1999999", 1_000_000, 1_999_999), ("bytes=-1000000", SIZE - 1_000_000, "")],
)
async def test_one_that_breaks_off_goes_on(
    proxy: Proxy,
    upstream: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
    *,
    wanted: str,
    first: int,
    last: int | str,
) -> None:
    monkeypatch.setattr("proxy.blobs.retry_budget._PAUSE", Backoff(first=0.01, longest=0.01))
    upstream.fault("GET", PATH, Fault(cut=200_000), times=3)
    answer = await proxy.get(PATH, Range=wanted)
    assert (answer.status, answer.body) == (206, CONTENT[first : first + 1_000_000])
    assert asked(upstream)[:4] == [
        wanted,
        *(f"bytes={first + n * 200_000}-{last}" for n in (1, 2, 3)),
    ]


async def test_the_beginning_is_cut_out_of_the_whole_where_there_are_no_ranges(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", PATH, Fault(ignore_range=True))
    upstream.fault("GET", PATH, Fault(ignore_range=True, cut=100_000, stall=True), times=1)
    answer = await proxy.get(PATH, Range="bytes=0-9999")
    assert (answer.status, answer.body) == (206, CONTENT[:10_000])
    line = await proxy.line(status=206)
    assert line["bytes"] == 10_000


async def test_many_ranges_are_followed_by_one_transfer(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    step = SIZE // 8
    answers = await asyncio.gather(
        *(proxy.get(PATH, Range=f"bytes={step * n}-{step * n + 99}") for n in range(1, 8))
    )
    assert [answer.body for answer in answers] == [
        CONTENT[step * n : step * n + 100] for n in range(1, 8)
    ]
    await until(lambda: kept(data_dir))
    assert asked(upstream).count(None) == 1


async def test_what_was_sent_wrong_is_never_kept(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """A range cannot be verified, the whole can: only the client knows what it asked for."""
    upstream.fault("GET", PATH, Fault(corrupt=True), times=1)
    assert (await proxy.get(PATH, Range="bytes=1000-1999")).body != CONTENT[1000:2000]
    await proxy.get(PATH, Range="bytes=1000-1999")
    await until(lambda: kept(data_dir))
    assert (await proxy.get(PATH)).body == CONTENT


async def test_what_has_come_of_a_running_transfer_is_read_there(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", PATH, STALLED, times=1)
    async with proxy.open("GET", PATH) as running:
        assert await running.content.readexactly(1_500_000) == CONTENT[:1_500_000]
        answer = await proxy.get(PATH, Range="bytes=1000000-1000099")
        assert (answer.body, answer.cache) == (
            CONTENT[1_000_000:1_000_100],
            "Lighterage; fwd=miss; collapsed",
        )
        assert asked(upstream) == [None]
        # What is far ahead is not waited for.
        answer = await proxy.get(PATH, Range=f"bytes={SIZE - 100}-")
        assert (answer.body, answer.cache) == (CONTENT[-100:], UNVERIFIED)
        running.close()


async def test_its_last_bytes_are_held_back_until_it_is_verified(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.fault("GET", PATH, Fault(corrupt=True), times=1)
    near = 200_000
    tail = SIZE - near
    async with proxy.open("GET", PATH) as running:
        await running.content.readexactly(SIZE - 2 * near)
        answer = await proxy.get(PATH, Range=f"bytes={tail}-")
        assert not answer.whole or answer.body == CONTENT[tail:]
        running.close()
    assert (await proxy.get(PATH)).body == CONTENT
    assert kept(data_dir)


async def test_a_client_that_comes_back_goes_on_where_the_transfer_stopped(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """Its connection broke with the proxy: nothing that is in the spool is asked for again."""
    upstream.fault("GET", PATH, STALLED, times=1)
    async with Proxy(settings(upstream, data_dir)) as proxy:
        async with proxy.open("GET", PATH) as running:
            await running.content.readexactly(1_900_000)
            running.close()
        await proxy.restart()
        answer = await proxy.get(PATH, Range="bytes=1900000-")
        assert answer.body == CONTENT[1_900_000:]
        assert asked(upstream) == [None, f"bytes={2 * 2**20}-"]


async def test_an_upstream_that_knows_no_ranges_costs_one_whole_transfer(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", "*/blobs/*", Fault(ignore_range=True))
    answer = await proxy.get(PATH, Range="bytes=1000-1999")
    assert (answer.status, answer.body) == (206, CONTENT[1000:2000])
    assert answer.cache == "Lighterage; fwd=miss; stored"
    assert (await proxy.get(PATH)).body == CONTENT
    assert asked(upstream) == ["bytes=1000-1999", None]


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_what_the_upstream_refuses_is_not_fetched_whole(
    proxy: Proxy, upstream: ScriptedUpstream, status: int
) -> None:
    upstream.fault("*", PATH, Fault(status=status))
    answer = await proxy.get(PATH, Range="bytes=1000-1999")
    assert answer.status == {403: 404, 404: 404, 500: 502}[status]
    # A server error may pass: it is tried again.
    assert asked(upstream) == ["bytes=1000-1999"] * (4 if status == 500 else 1)


@pytest.mark.parametrize(
    ("blobs", "requests"),
    [
        ({"range_on_miss": False}, [None]),
        ({"finish_abandoned": False}, ["bytes=1000-1999"]),
    ],
    ids=["cut out of the whole", "the whole is not wanted"],
)
async def test_the_operator_decides(
    upstream: ScriptedUpstream, data_dir: Path, blobs: dict[str, bool], requests: list[str | None]
) -> None:
    async with Proxy(settings(upstream, data_dir, blobs=blobs)) as proxy:
        answer = await proxy.get(PATH, Range="bytes=1000-1999")
        assert (answer.status, answer.body) == (206, CONTENT[1000:2000])
    assert asked(upstream) == requests


async def test_the_whole_is_not_fetched_where_there_is_no_room_for_it(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    async with Proxy(settings(upstream, data_dir, blobs={"max_size": SIZE - 1})) as proxy:
        for _ in range(2):
            answer = await proxy.get(PATH, Range="bytes=1000-1999")
            assert (answer.body, answer.cache) == (CONTENT[1000:2000], UNVERIFIED)
    assert not kept(data_dir)
    assert list((data_dir / "spool").glob("*/*")) == []
