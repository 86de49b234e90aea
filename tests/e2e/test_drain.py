"""How it ends: what had begun is finished, nothing new begins, and everybody can see it coming."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import MediaType
from tests.e2e import inside
from tests.kit import images, load
from tests.kit.processes import Proxy
from tests.kit.proxy import push, until
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("workers", [1, 2])]

IMAGE: Final = images.big(1)
COLD: Final = images.noise("cold", 4 * images.MEBIBYTE)
WARM_PATHS: Final = (
    "/v2/cargo/manifests/1",
    *(f"/v2/cargo/blobs/{digest}" for digest in IMAGE.blobs),
)
COLD_PATH: Final = f"/v2/cargo/blobs/{images.digest(COLD)}"
# A second for all of it.
SLOWLY: Final = Fault(pace=0.015)
STALLED: Final = Fault(cut=2 * images.MEBIBYTE, stall=True)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        push(upstream, "cargo", "1", IMAGE)
        upstream.add_blob("cargo", COLD)
        yield upstream


@asynccontextmanager
async def running(
    directory: Path, upstream: ScriptedUpstream, workers: int, **shutdown: str
) -> AsyncIterator[Proxy]:
    """A proxy that has the image; stopped without blocking this process, where the upstream is."""
    settings = {"shutdown": {"grace": "120s", **shutdown}}
    proxy = Proxy(directory, upstream=upstream.url, workers=workers, settings=settings)
    try:
        await asyncio.to_thread(proxy.start)
        await inside.all_serve(proxy)
        for path in WARM_PATHS:
            assert (await load.get(proxy.port, path, MediaType.V2S2)).status == 200
        yield proxy
        assert await asyncio.to_thread(proxy.stop) == 0
    finally:
        proxy.kill()


class _Client:
    """Asks for one thing after another on one connection until the proxy takes no more."""

    def __init__(self) -> None:
        self.answers = 0
        self.lost = 0

    async def run(self, port: int, paths: Sequence[str]) -> None:
        async with load.Connection(port) as connection:
            while True:
                for path in paths:
                    try:
                        answer = await connection.get(path, MediaType.V2S2)
                    except load.NotBegunError:
                        return
                    except load.LostError:
                        self.lost += 1
                        return
                    assert answer.status == 200
                    self.answers += 1
                    if answer.is_last:
                        return


@pytest.mark.parametrize("everybody", [False, True], ids=["supervisor", "every-process"])
async def test_sigterm_under_load_loses_no_answer_that_had_begun(
    tmp_path: Path, upstream: ScriptedUpstream, workers: int, *, everybody: bool
) -> None:
    """Service managers may send it to every process; that is one signal, and not two."""
    upstream.fault("GET", COLD_PATH, SLOWLY)
    async with running(tmp_path, upstream, workers) as proxy:
        clients = [_Client() for _ in range(24)]
        loads = [asyncio.ensure_future(one.run(proxy.port, WARM_PATHS)) for one in clients]
        slow = [asyncio.ensure_future(load.get(proxy.port, COLD_PATH)) for _ in range(4)]
        await until(lambda: min(one.answers for one in clients) > 3 and upstream.count("GET") > 3)
        for process in (proxy.pid, *(inside.workers(proxy) if everybody else ())):
            os.kill(process, signal.SIGTERM)
        await _is_not_ready(proxy)
        await asyncio.gather(*loads)
        assert sum(one.lost for one in clients) == 0
        with pytest.raises(load.NotBegunError):
            await load.get(proxy.port, "/v2/")
        # The transfer goes on, and with it the process.
        assert [answer.body == COLD for answer in await asyncio.gather(*slow)] == [True] * 4
    stopped = inside.log(proxy, "proxy.stopped")
    assert [(line["cut_off"], line["unfinished"]) for line in stopped] == [(0, 0)] * workers


async def test_a_delay_lets_load_balancers_notice(
    tmp_path: Path, upstream: ScriptedUpstream, workers: int
) -> None:
    async with running(tmp_path, upstream, workers, delay="1s") as proxy:
        async with load.Connection(proxy.port) as kept:
            assert not (await kept.get("/v2/")).is_last
            os.kill(proxy.pid, signal.SIGTERM)
            await _is_not_ready(proxy)
            await asyncio.sleep(0.5)
            for connection in (kept, load.Connection(proxy.port)):
                answer = await connection.get(WARM_PATHS[0], MediaType.V2S2)
                assert (answer.status, answer.is_last) == (200, True)
        await asyncio.sleep(0.8)
        with pytest.raises(load.NotBegunError):
            await load.get(proxy.port, "/v2/")


async def test_what_takes_too_long_is_cut_and_taken_up_later(
    tmp_path: Path, upstream: ScriptedUpstream, workers: int
) -> None:
    upstream.fault("GET", COLD_PATH, STALLED, times=1)
    async with running(tmp_path, upstream, workers, grace="500ms") as proxy:
        cut = asyncio.ensure_future(load.get(proxy.port, COLD_PATH))
        await until(lambda: _spooled(proxy) == 2 * images.MEBIBYTE)
        assert await asyncio.to_thread(proxy.stop) == 0
        with pytest.raises(load.LostError):
            await cut
        stopped = inside.log(proxy, "proxy.stopped")
        assert sorted(line["unfinished"] for line in stopped) == [0] * (workers - 1) + [1]
        await asyncio.to_thread(proxy.start)
        assert (await load.get(proxy.port, COLD_PATH)).body == COLD
        assert upstream.requests[-1].headers["Range"] == f"bytes={2 * images.MEBIBYTE}-"


async def test_a_second_signal_ends_it_at_once(
    tmp_path: Path, upstream: ScriptedUpstream, workers: int
) -> None:
    upstream.fault("GET", COLD_PATH, STALLED)
    async with running(tmp_path, upstream, workers) as proxy:
        cut = asyncio.ensure_future(load.get(proxy.port, COLD_PATH))
        await until(lambda: _spooled(proxy) == 2 * images.MEBIBYTE)
        children = inside.workers(proxy)
        os.kill(proxy.pid, signal.SIGINT)
        await asyncio.sleep(0.3)
        assert await asyncio.to_thread(proxy.stop) == 0
        assert not any(map(inside.lives, children))
        with pytest.raises(load.LostError):
            await cut


async def _is_not_ready(proxy: Proxy) -> None:
    """Return when /readyz says so: at once, but a signal needs a moment to arrive."""
    async with asyncio.timeout(60):
        while (answer := await load.get(proxy.admin_port, "/readyz")).status == 200:
            pass
    assert (answer.status, json.loads(answer.body)["status"]) == (503, "draining")


def _spooled(proxy: Proxy) -> int:
    spools = list((proxy.data / "spool").glob(f"*/{images.digest(COLD)}"))
    return spools[0].stat().st_size if spools else 0
