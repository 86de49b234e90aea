"""Blobs that cannot be kept: every client still gets them, whole and right, or not at all."""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.reference import Digest
from tests.kit import images
from tests.kit.proxy import Proxy, metric, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

LARGE: Final = images.noise("large", 1_000_000)
OTHER: Final = images.noise("other", 700_000)
SMALL: Final = images.noise("small", 1000)
EMPTY: Final = b""
NOT_KEPT: Final = "Lighterage; fwd=miss; detail=not-stored"
SLOWLY: Final = Fault(pace=0.0125)


def path(content: bytes, name: str = "library/cargo") -> str:
    return f"/v2/{name}/blobs/{Digest.of(content)}"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        for content in (LARGE, OTHER, SMALL, EMPTY):
            upstream.add_blob("library/cargo", content)
        yield upstream


@asynccontextmanager
async def limited(upstream: ScriptedUpstream, data: Path, **limits: int) -> AsyncIterator[Proxy]:
    """A proxy with these limits; all others are out of the way."""
    async with Proxy(settings(upstream, data, limits=limits)) as proxy:
        yield proxy


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """This process cannot write beyond `size` bytes of any file: a full disk, by the kernel."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def kept(data: Path, content: bytes) -> bool:
    hexadecimal = Digest.of(content).hex
    return (data / "blobs" / "sha256" / hexadecimal[:2] / hexadecimal).exists()


def passed_through(reason: str) -> float:
    return metric("blobs_passed_through_total", reason=reason)


# -- the limit on downloads ----------------------------------------------------------------------


async def test_a_blob_beyond_the_downloads_is_passed_through(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.fault("GET", "*", SLOWLY)
    before = passed_through("downloads")
    async with limited(upstream, data_dir, downloads=1) as proxy:
        first, second = await asyncio.gather(proxy.get(path(LARGE)), proxy.get(path(OTHER)))
        assert (first.body, second.body) == (LARGE, OTHER)
        assert {first.cache, second.cache} == {"Lighterage; fwd=miss; stored", NOT_KEPT}
        assert kept(data_dir, LARGE) is (first.cache != NOT_KEPT)
        assert kept(data_dir, OTHER) is (second.cache != NOT_KEPT)
        assert upstream.count("GET") == 2
        assert passed_through("downloads") == before + 1
        line = await proxy.line("blob.passed_through")
        assert (line["level"], line["reason"]) == ("warning", "downloads")
        # With room again, it is kept.
        again = path(OTHER) if second.cache == NOT_KEPT else path(LARGE)
        assert (await proxy.get(again)).cache == "Lighterage; fwd=miss; stored"


async def test_readers_of_a_download_need_no_room(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.fault("GET", "*", SLOWLY)
    async with limited(upstream, data_dir, downloads=1, passed_through=0) as proxy:
        answers = await asyncio.gather(*(proxy.get(path(LARGE)) for _ in range(20)))
        assert [answer.body == LARGE for answer in answers] == [True] * 20
        assert upstream.count("GET") == 1


async def test_beyond_both_limits_the_client_is_told_to_come_back(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.fault("GET", "*", SLOWLY)
    before = metric("turned_away_total", limit="passed_through")
    async with limited(upstream, data_dir, downloads=1, passed_through=0) as proxy:
        answers = await asyncio.gather(proxy.get(path(LARGE)), proxy.get(path(OTHER)))
        (refused,) = (answer for answer in answers if answer.status != 200)
        assert (refused.status, refused.code) == (503, "TOOMANYREQUESTS")
        assert int(refused.headers["Retry-After"]) >= 1
        assert upstream.count("GET") == 1
        assert metric("turned_away_total", limit="passed_through") == before + 1
        for content in (LARGE, OTHER):
            assert (await proxy.get(path(content))).body == content


# -- the limit on the spool ----------------------------------------------------------------------


@pytest.mark.parametrize("content", [LARGE, SMALL, OTHER], ids=["large", "small", "other"])
async def test_a_blob_that_does_not_fit_is_passed_through(
    upstream: ScriptedUpstream, data_dir: Path, content: bytes
) -> None:
    async with limited(upstream, data_dir, spool=len(content) - 1) as proxy:
        answer = await proxy.get(path(content))
        assert (answer.status, answer.body, answer.cache) == (200, content, NOT_KEPT)
        assert answer.headers["Content-Length"] == str(len(content))
        assert not kept(data_dir, content)
        assert not list((data_dir / "spool").glob("*/*"))


async def test_of_an_unannounced_size_is_kept_as_far_as_there_is_room(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.fault("*", "*", Fault(chunked=True))
    async with limited(upstream, data_dir, spool=len(LARGE) - 1) as proxy:
        refused = await proxy.get(path(LARGE))
        assert (refused.status, refused.code) == (503, "UNAVAILABLE")
        assert (await proxy.get(path(OTHER))).body == OTHER


@pytest.mark.parametrize("first", [10, 400_000, 999_990])
async def test_a_range_of_it_is_verified_from_its_beginning(
    upstream: ScriptedUpstream, data_dir: Path, first: int
) -> None:
    """Where no range goes to the upstream."""
    chosen = settings(upstream, data_dir, limits={"spool": 1}, blobs={"range_on_miss": False})
    async with Proxy(chosen) as proxy:
        answer = await proxy.get(path(LARGE), Range=f"bytes={first}-")
        assert (answer.status, answer.body) == (206, LARGE[first:])
        assert answer.headers["Content-Range"] == f"bytes {first}-999999/1000000"
        assert "Range" not in upstream.requests[-1].headers


@pytest.mark.parametrize("max_size", [len(LARGE) - 1, len(LARGE)], ids=["bytes", "blocks"])
async def test_what_is_larger_than_the_store_may_be_is_passed_through(
    upstream: ScriptedUpstream, data_dir: Path, max_size: int
) -> None:
    before = passed_through("size")
    async with Proxy(settings(upstream, data_dir, blobs={"max_size": max_size})) as proxy:
        for _ in range(2):
            answer = await proxy.get(path(LARGE))
            assert (answer.status, answer.body, answer.cache) == (200, LARGE, NOT_KEPT)
        assert (await proxy.get(path(SMALL))).cache == "Lighterage; fwd=miss; stored"
        assert passed_through("size") == before + 2
        assert not kept(data_dir, LARGE)
        assert not list((data_dir / "spool").glob("*/*"))


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "unannounced"])
async def test_a_disk_with_too_little_room_is_not_filled(
    upstream: ScriptedUpstream, data_dir: Path, monkeypatch: pytest.MonkeyPatch, *, chunked: bool
) -> None:
    """Nothing is written of a blob that would not fit; others are kept meanwhile."""
    upstream.fault("*", "*", Fault(chunked=chunked))
    before = passed_through("disk")
    free = len(OTHER)
    status = os.statvfs(data_dir.parent)
    disk = (1, 1, free + 10**6 // 50, free, free, *status[5:])
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(disk))
    async with Proxy(settings(upstream, data_dir)) as proxy:
        large = await proxy.get(path(LARGE))
        assert (large.status, large.body) == (200, LARGE)
        assert kept(data_dir, LARGE) is chunked
        assert (await proxy.get(path(SMALL))).cache == "Lighterage; fwd=miss; stored"
        if not chunked:
            assert large.cache == NOT_KEPT
            assert passed_through("disk") == before + 1
            assert not list((data_dir / "spool").glob("*/*"))


# -- what is wrong reaches nobody ----------------------------------------------------------------


async def test_a_wrong_last_byte_reaches_nobody(upstream: ScriptedUpstream, data_dir: Path) -> None:
    upstream.fault("GET", path(LARGE), Fault(corrupt=True))
    upstream.fault("GET", path(SMALL), Fault(corrupt=True))
    async with limited(upstream, data_dir, spool=1) as proxy:
        large = await proxy.get(path(LARGE))
        assert (large.status, large.whole) == (200, False)
        assert LARGE.startswith(large.body)
        assert len(large.body) <= len(LARGE) - 64 * 1024
        small = await proxy.get(path(SMALL))
        assert (small.status, small.code) == (502, "UNAVAILABLE")
        assert "are not" in small.message


async def test_what_breaks_off_goes_on(upstream: ScriptedUpstream, data_dir: Path) -> None:
    upstream.fault("GET", "*", Fault(cut=250_000), times=3)
    async with limited(upstream, data_dir, spool=1) as proxy:
        answer = await proxy.get(path(LARGE))
        assert (answer.body, answer.cache) == (LARGE, NOT_KEPT)
        # The first one was the attempt to keep it.
        firsts = [_first(request.headers["Range"]) for request in upstream.requests[2:]]
        assert len(firsts) == 2
        assert 0 < firsts[0] <= 250_000 < firsts[1] <= 500_000


@pytest.mark.parametrize(
    "fault", [Fault(cut=50_000), Fault(body=LARGE[:-1]), Fault(body=LARGE + b"x")], ids=repr
)
async def test_another_length_is_never_a_whole_blob(
    upstream: ScriptedUpstream, data_dir: Path, fault: Fault
) -> None:
    upstream.fault("GET", "*", fault)
    async with limited(upstream, data_dir, spool=1) as proxy:
        answer = await proxy.get(path(LARGE))
        assert (answer.status, answer.whole) == (200, False)
        assert answer.body != LARGE


@pytest.mark.parametrize("status", [404, 429, 500])
async def test_an_upstream_that_refuses_is_an_error_answer(
    upstream: ScriptedUpstream, data_dir: Path, status: int
) -> None:
    async with limited(upstream, data_dir, spool=1) as proxy:
        upstream.fault("GET", "*", Fault(status=status))
        assert (await proxy.get(path(LARGE))).status == {500: 502}.get(status, status)


async def test_who_leaves_hangs_up_on_the_upstream(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.fault("GET", "*", Fault(cut=500_000, stall=True))
    async with limited(upstream, data_dir, spool=1, passed_through=1) as proxy:
        async with proxy.open("GET", path(LARGE)) as response:
            await response.content.readany()
            response.close()
        async with asyncio.timeout(60):
            while upstream.open_connections:  # noqa: ASYNC110 -- it is another program's
                await asyncio.sleep(0.01)
        upstream.heal()
        assert (await proxy.get(path(LARGE))).body == LARGE


# -- a full disk ---------------------------------------------------------------------------------


async def test_a_disk_that_is_full_midway_costs_no_reader_a_byte(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """The readers have had different parts of it; what came is not asked for again."""
    upstream.fault("GET", "*", SLOWLY)
    before = passed_through("disk")
    async with limited(upstream, data_dir) as proxy:
        with files_of_at_most(500_000):
            answers = await asyncio.gather(
                proxy.get(path(LARGE)),
                proxy.get(path(LARGE)),
                proxy.get(path(LARGE)),
            )
            assert [answer.body for answer in answers] == [LARGE] * 3
            ranges = [request.headers.get("Range") for request in upstream.requests]
            assert ranges[0] is None
            assert all(_first(line) > 200_000 for line in ranges[1:])
            assert passed_through("disk") == before + 3
            line = await proxy.line("blob.not_stored")
            assert (line["level"], line["digest"]) == ("error", Digest.of(LARGE))
            # For a while nobody tries the disk again.
            assert (await proxy.get(path(OTHER))).cache == NOT_KEPT
            assert len(await proxy.lines(1, "blob.not_stored")) == 1
        assert not kept(data_dir, LARGE)


async def test_a_disk_that_takes_nothing_at_all_still_lets_everybody_pull(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    async with limited(upstream, data_dir) as proxy:
        with files_of_at_most(0):
            # The first one's answer begins before the disk has been tried.
            assert (await proxy.get(path(LARGE))).body == LARGE
            for content in (OTHER, SMALL, EMPTY):
                answer = await proxy.get(path(content))
                assert (answer.status, answer.body, answer.cache) == (200, content, NOT_KEPT)


async def test_a_stopped_transfer_is_taken_up_when_the_disk_has_room(
    upstream: ScriptedUpstream, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.blobs.limits._DISK_PAUSE", 0.0)
    async with limited(upstream, data_dir) as proxy:
        with files_of_at_most(500_000):
            assert (await proxy.get(path(LARGE))).body == LARGE
        answer = await proxy.get(path(LARGE))
        assert (answer.body, answer.cache) == (LARGE, "Lighterage; fwd=miss; stored")
        assert _first(upstream.requests[-1].headers["Range"]) > 200_000
        assert kept(data_dir, LARGE)


async def test_a_changed_upstream_is_noticed_midway(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.fault("GET", "*", Fault(ignore_range=True, body=LARGE + b"x"))
    upstream.fault("GET", "*", SLOWLY, times=1)
    async with limited(upstream, data_dir) as proxy:
        with files_of_at_most(500_000):
            answer = await proxy.get(path(LARGE))
        assert not answer.whole


async def test_an_upstream_that_knows_no_ranges_begins_again(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.fault("GET", "*", Fault(ignore_range=True))
    async with limited(upstream, data_dir) as proxy:
        with files_of_at_most(500_000):
            assert (await proxy.get(path(LARGE))).body == LARGE


def _first(header: str | None) -> int:
    assert header is not None
    return int(header.removeprefix("bytes=").removesuffix("-"))
