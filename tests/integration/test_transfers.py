"""One transfer from upstream for everybody who wants a blob, whatever becomes of it."""

from __future__ import annotations

import asyncio
import gzip
import os
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import StorageFailure
from proxy.kit.backoff import Backoff
from proxy.oci.reference import Digest, Repository
from tests.kit import images
from tests.kit.proxy import Proxy, metric, settings, until
from tests.kit.scripted_upstream import Fault, ScriptedUpstream, redirect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp

CONTENT: Final = images.noise("transfer", 1_000_000)
SIZE: Final = len(CONTENT)
BLOB: Final = Digest.of(CONTENT)
REPOSITORY: Final = Repository("docker.io", "library/cargo", "library/cargo")
PATH: Final = f"/v2/library/cargo/blobs/{BLOB}"
SMALL: Final = images.noise("small", 1000)
SMALL_PATH: Final = f"/v2/library/cargo/blobs/{Digest.of(SMALL)}"
# 16 pieces: a fifth of a second in which everybody else can come and go.
SLOWLY: Final = Fault(pace=0.0125)
_ABANDONED: Final = {"upstream": "docker.io", "kind": "blob", "outcome": "abandoned"}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        upstream.add_blob("library/cargo", CONTENT)
        upstream.add_blob("library/cargo", SMALL)
        yield upstream


async def test_fifty_clients_of_a_cold_blob_are_one_transfer(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", "*", SLOWLY)
    answers = await asyncio.gather(*(proxy.get(PATH) for _ in range(50)))
    assert [answer.body == CONTENT for answer in answers] == [True] * 50
    assert upstream.count("GET") == 1
    assert sorted(answer.cache for answer in answers) == [
        *["Lighterage; fwd=miss; collapsed"] * 49,
        "Lighterage; fwd=miss; stored",
    ]
    lines = await proxy.lines(50)
    assert sum(line["upstream_calls"] for line in lines) == 1


async def test_the_size_of_a_blob_that_arrives_is_known(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Docker 1.8 and 1.9 ask for it before each GET."""
    upstream.fault("GET", "*", SLOWLY)
    async with proxy.open("GET", PATH) as response:
        await response.content.readany()
        heads = await asyncio.gather(*(proxy.head(PATH) for _ in range(10)))
        assert {head.headers["Content-Length"] for head in heads} == {str(SIZE)}
    assert (upstream.count("HEAD"), upstream.count("GET")) == (0, 1)


@pytest.mark.parametrize("leaving", [0, 7])
async def test_a_client_that_leaves_stops_nobody(
    proxy: Proxy, upstream: ScriptedUpstream, leaving: int
) -> None:
    upstream.fault("GET", "*", SLOWLY)

    async def pull(number: int) -> bytes:
        async with proxy.open("GET", PATH) as response:
            if number == leaving:
                await response.content.readany()
                response.close()
                return b""
            return await response.read()

    bodies = await asyncio.gather(*(pull(number) for number in range(10)))
    assert [body == CONTENT for body in bodies].count(True) == 9
    assert upstream.count("GET") == 1
    left = await proxy.line(error="the client disconnected")
    assert (left["status"], left["reference"]) == (200, BLOB)
    assert left["bytes"] < SIZE


async def test_a_client_that_does_not_wait_is_no_crash(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("*", "*", Fault(delay=0.1))
    paths = (PATH, f"{PATH}?range", "/v2/library/cargo/manifests/1")
    for path in paths:
        part = "Range: bytes=0-9\r\n" if "?" in path else ""
        _, writer = await asyncio.open_connection(*proxy.address)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{part}\r\n".encode())
        await writer.drain()
        writer.transport.abort()
    lines = await proxy.lines(len(paths))
    assert all(line.get("error") == "the client disconnected" for line in lines)
    assert {line["status"] for line in lines} == {499}
    assert {line["event"] for line in proxy.log()} == {"request.served"}


async def test_a_transfer_that_everybody_has_left_is_finished(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.fault("GET", "*", SLOWLY)
    await _leave_early(proxy)
    stored = data_dir / "blobs" / "sha256" / BLOB.hex[:2] / BLOB.hex
    await until(lambda: stored.exists() and not len(proxy.services.transfers))
    assert (await proxy.get(PATH)).cache == "Lighterage; hit"
    assert upstream.count("GET") == 1


async def test_a_transfer_that_everybody_has_left_is_given_up_if_the_operator_wants_that(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.fault("GET", "*", Fault(pace=0.05), times=1)
    chosen = settings(upstream, data_dir, blobs={"finish_abandoned": False})
    async with Proxy(chosen) as proxy:
        given_up = metric("upstream_requests_total", **_ABANDONED)
        await _leave_early(proxy)
        await until(lambda: metric("upstream_requests_total", **_ABANDONED) > given_up)
        # What has arrived is not fetched again.
        answer = await proxy.get(PATH)
        assert (answer.status, answer.body) == (200, CONTENT)
    again = upstream.requests[-1].headers["Range"]
    assert 0 < int(again.removeprefix("bytes=").removesuffix("-")) < SIZE


async def test_who_comes_while_one_is_given_up_is_not_disappointed(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """Such as a client that has lost its connection, and tries again at once."""
    upstream.fault("GET", "*", SLOWLY, times=1)
    async with Proxy(settings(upstream, data_dir, blobs={"finish_abandoned": False})) as proxy:
        transfers = proxy.services.transfers
        leaving = transfers.join(REPOSITORY, BLOB)
        await leaving.wait_until_sendable()
        await leaving.read(0, 10)
        leaving.close()
        coming = transfers.join(REPOSITORY, BLOB)
        await coming.wait_until_sendable()
        assert await coming.read(SIZE - 10, 10) == CONTENT[-10:]
        coming.close()
        await until(lambda: len(transfers) == 0)


async def test_a_file_that_shrinks_under_the_readers_of_its_transfer_is_no_endless_answer(
    proxy: Proxy, data_dir: Path
) -> None:
    reader = proxy.services.transfers.join(REPOSITORY, BLOB)
    await reader.wait_until_sendable()
    await reader.read(SIZE - 10, 10)
    os.truncate(data_dir / "blobs/sha256" / BLOB.hex[:2] / BLOB.hex, 1000)
    with pytest.raises(StorageFailure):
        await reader.read(2000, 10)
    reader.close()


async def test_who_reads_along_goes_on_alone_where_the_spool_is_lost(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """Removed by hand, say, and its writer gone: what was read of it is still good."""
    upstream.fault("GET", "*", Fault(cut=500_000, stall=True), times=1)
    chosen = settings(upstream, data_dir, blobs={"finish_abandoned": False})
    async with (
        Proxy(chosen) as proxy,
        Proxy(chosen) as other,
        proxy.open("GET", PATH) as leaving,
        other.open("GET", PATH) as staying,
    ):
        await leaving.content.readexactly(500_000)
        assert await staying.content.readexactly(500_000) == CONTENT[:500_000]
        (data_dir / "spool" / "docker.io" / BLOB).unlink()
        leaving.close()
        assert await staying.content.read() == CONTENT[500_000:]
    assert upstream.requests[-1].headers["Range"] == "bytes=500000-"


async def test_a_range_is_read_from_a_transfer_that_runs(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", "*", SLOWLY)
    async with proxy.open("GET", PATH) as leader:
        await leader.content.readany()
        near, far, last, beyond = await asyncio.gather(
            proxy.get(PATH, Range="bytes=10-19"),
            proxy.get(PATH, Range=f"bytes={SIZE - 10}-"),
            proxy.get(PATH, Range="bytes=-1"),
            proxy.get(PATH, Range=f"bytes={SIZE}-"),
        )
    assert (near.status, near.body) == (206, CONTENT[10:20])
    assert (far.status, far.body) == (206, CONTENT[-10:])
    assert (last.status, last.body) == (206, CONTENT[-1:])
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{SIZE}")
    assert upstream.count("GET") == 1


async def test_a_transfer_that_runs_is_no_right_to_the_blob(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", PATH, SLOWLY)
    async with proxy.open("GET", PATH) as leader:
        await leader.content.readany()
        answer = await proxy.get(f"/v2/library/other/blobs/{BLOB}")
        assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")
        assert await leader.content.read()


async def test_two_processes_make_one_transfer_and_grant_no_rights_to_each_other(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", PATH, SLOWLY)
    async with Proxy(proxy.settings) as other, proxy.open("GET", PATH) as leader:
        await leader.content.readany()
        denied, *answers = await asyncio.gather(
            other.get(f"/v2/library/other/blobs/{BLOB}"), other.get(PATH), other.get(PATH)
        )
        assert (denied.status, denied.code) == (404, "BLOB_UNKNOWN")
        assert [answer.body == CONTENT for answer in answers] == [True, True]
    assert upstream.count("GET", PATH) == 1


# What is wrong is never whole, and never kept


async def test_a_wrong_last_byte_reaches_nobody_and_is_not_kept(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.fault("GET", "*", Fault(corrupt=True, pace=0.0125), times=1)
    answers = await asyncio.gather(*(proxy.get(PATH) for _ in range(5)))
    for answer in answers:
        assert (answer.status, answer.whole) == (200, False)
        assert len(answer.body) < SIZE
        assert CONTENT.startswith(answer.body)
    assert upstream.count("GET") == 1
    assert _files(data_dir) == []
    lines = await proxy.lines(5)
    assert all("that the upstream sent are not" in line["error"] for line in lines)

    right = await proxy.get(PATH)
    assert (right.body, right.cache) == (CONTENT, "Lighterage; fwd=miss; stored")


async def test_a_small_wrong_blob_is_an_error_answer(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.fault("GET", "*", Fault(corrupt=True), times=1)
    answers = await asyncio.gather(*(proxy.get(SMALL_PATH) for _ in range(5)))
    assert {(answer.status, answer.code) for answer in answers} == {(502, "UNAVAILABLE")}
    assert _files(data_dir) == []
    assert (await proxy.get(SMALL_PATH)).body == SMALL


@pytest.mark.parametrize(
    "fault",
    [
        Fault(headers={"Content-Length": str(SIZE - 1)}),
        Fault(headers={"Content-Length": str(SIZE + 1)}),
        Fault(body=CONTENT + b"x"),
        Fault(body=b"<html>please log in</html>"),
        Fault(body=b""),
        Fault(headers={"Content-Encoding": "gzip"}, body=gzip.compress(CONTENT[:-1])),
        Fault(status=206),
        Fault(raw=b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
        Fault(raw=b""),
        Fault(status=500),
        Fault(status=429),
    ],
    ids=lambda fault: repr(fault)[:60],
)
async def test_an_unusable_answer_is_an_error_and_leaves_nothing(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path, fault: Fault
) -> None:
    upstream.fault("GET", "*", fault)
    answer = await proxy.get(PATH)
    assert answer.status in {502, 429} or not answer.whole
    assert answer.body != CONTENT
    assert not (data_dir / "blobs" / "sha256" / BLOB.hex[:2] / BLOB.hex).exists()
    upstream.heal()
    assert (await proxy.get(PATH)).body == CONTENT


# What breaks off goes on


async def test_a_transfer_that_breaks_off_goes_on_where_it_was(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", "*", Fault(cut=400_000), times=1)
    answers = await asyncio.gather(*(proxy.get(PATH) for _ in range(3)))
    assert [answer.body == CONTENT for answer in answers] == [True] * 3
    first, second = upstream.requests
    assert "Range" not in first.headers
    start = int(second.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 400_000


async def test_three_cuts_in_one_transfer_are_not_noticed(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Nobody's connection breaks, and hardly a byte is sent twice."""
    before = metric("received_bytes_total", upstream="docker.io")
    upstream.fault("GET", "*", Fault(cut=200_000), times=3)
    answers = await asyncio.gather(*(proxy.get(PATH) for _ in range(5)))
    assert [answer.body == CONTENT for answer in answers] == [True] * 5
    assert upstream.count("GET") == 4
    received = metric("received_bytes_total", upstream="docker.io") - before
    assert SIZE <= received <= 1.05 * SIZE


@pytest.mark.parametrize(
    "fault",
    [
        Fault(cut=0),
        Fault(cut=5000),
        Fault(chunked=True, cut=200_000),
        Fault(raw=b""),
        Fault(raw=b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT[:200_000]),
    ],
    ids=["before the first byte", "one after the other", "chunked", "no answer", "no length"],
)
async def test_wherever_it_is_cut_nobody_notices(
    proxy: Proxy, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr("proxy.blobs.retry_budget._PAUSE", Backoff(first=0.01, longest=0.01))
    upstream.fault("GET", "*", fault, times=3)
    answers = await asyncio.gather(*(proxy.get(PATH) for _ in range(3)))
    assert [answer.body == CONTENT for answer in answers] == [True] * 3
    assert upstream.count("GET") == 4


@pytest.mark.parametrize(
    ("tag", "sent"), [('"strong"', '"strong"'), ('W/"weak"', None), ("bare", None), (None, None)]
)
async def test_the_rest_is_asked_for_of_the_same_content(
    proxy: Proxy, upstream: ScriptedUpstream, tag: str | None, sent: str | None
) -> None:
    headers = {} if tag is None else {"ETag": tag}
    upstream.fault("GET", "*", Fault(cut=400_000, headers=headers), times=1)
    assert (await proxy.get(PATH)).body == CONTENT
    assert upstream.requests[-1].headers.get("If-Range") == sent


async def test_where_a_blob_is_redirected_to_is_asked_for_anew(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Such addresses are good for minutes."""
    first, second = (upstream.serve(f"/signed/{n}", CONTENT) for n in "12")
    upstream.fault("GET", PATH, redirect(second))
    upstream.fault("GET", PATH, redirect(first), times=1)
    upstream.fault("GET", "/signed/1", Fault(status=403))
    upstream.fault("GET", "/signed/1", Fault(cut=400_000), times=1)
    assert (await proxy.get(PATH)).body == CONTENT
    assert [request.path for request in upstream.requests] == [PATH, "/signed/1", PATH, "/signed/2"]


async def test_an_upstream_that_trickles_is_given_up(
    proxy: Proxy, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could go on for ever, a few bytes with each request."""
    monkeypatch.setattr("proxy.blobs.retry_budget._PAUSE", Backoff(first=0.001, longest=0.001))
    upstream.fault("GET", "*", Fault(cut=1000))
    answer = await proxy.get(PATH)
    assert answer.body != CONTENT
    assert upstream.count("GET") <= 4


async def test_what_arrived_before_a_restart_is_not_fetched_again(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", "*", Fault(cut=600_000, stall=True), times=1)
    async with proxy.open("GET", PATH) as response:
        received = b""
        while len(received) < 500_000:
            received += await response.content.readany()
        await proxy.restart()
    answer = await proxy.get(PATH)
    assert answer.body == CONTENT
    assert upstream.requests[-1].headers["Range"] == "bytes=600000-"


async def test_a_stale_rest_is_replaced_where_the_upstream_knows_no_ranges(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", "*", Fault(ignore_range=True))
    upstream.fault("GET", "*", Fault(cut=400_000), times=1)
    answer = await proxy.get(PATH)
    assert answer.body == CONTENT
    assert upstream.count("GET") == 2


async def test_an_upstream_that_does_not_say_the_size_is_waited_for(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("*", "*", Fault(chunked=True))
    answer = await proxy.get(PATH)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["Content-Length"] == str(SIZE)


async def test_a_size_that_only_head_says_is_enough_to_begin_with(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", "*", Fault(chunked=True, cut=500_000, stall=True), times=1)
    async with proxy.open("GET", PATH) as response:
        assert await response.content.readexactly(500_000) == CONTENT[:500_000]
        assert await response.content.read() == CONTENT[500_000:]


async def test_a_head_that_does_not_know_the_size_says_nothing(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", "*", Fault(chunked=True))
    upstream.fault("HEAD", "*", Fault(headers={"Content-Length": "0"}))
    assert (await proxy.get(PATH)).body == CONTENT


async def test_a_follower_with_a_right_of_its_own_does_not_fail_with_the_leader(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """The first one's repository turns out not to have the blob; the second one's has."""
    upstream.add_blob("library/ballast", CONTENT)
    wrong = f"/v2/library/empty/blobs/{BLOB}"
    upstream.fault("GET", wrong, Fault(delay=0.1, status=404))
    async with asyncio.TaskGroup() as group:
        denied = group.create_task(proxy.get(wrong))
        await until(lambda: upstream.requests != [])
        answer = await proxy.get(f"/v2/library/ballast/blobs/{BLOB}")
    assert (answer.status, answer.body) == (200, CONTENT)
    assert denied.result().code == "BLOB_UNKNOWN"


async def _leave_early(proxy: Proxy) -> None:
    response: aiohttp.ClientResponse
    async with proxy.open("GET", PATH) as response:
        await response.content.readany()
        response.close()


def _files(data: Path) -> list[Path]:
    parts = ("blobs", "spool")
    return [path for part in parts for path in (data / part).rglob("*") if path.is_file()]
