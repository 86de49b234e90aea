"""Losing Redis is a slow hour, not an outage: whatever befalls it, all is served, and soon."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import statistics
import time
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.pulls import Cargo, Pulls
from tests.e2e.redis_outages import OUTAGES
from tests.kit import images, load
from tests.kit.processes import START, Proxy
from tests.kit.redis import RedisServer, eventually
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from tests.e2e.redis_outages import Outage

pytestmark = pytest.mark.e2e

PAGE: Final = Path(__file__).parents[2] / "docs" / "redis.md"
CLIENTS: Final = 6
KINDS: Final = (images.docker, images.oci, images.docker_list, images.oci_index)
# What the slowest answer may take, in seconds. One for a new image needs a dozen operations and
# more, and would take half a minute if each waited for 2 s. The proxy waits for three, for none of
# them more than a second, and then for none; a busy machine may make that three times as long.
SLOWEST: Final = 30.0 / 3
# How many times longer than beside a healthy Redis the usual answer may take.
USUAL: Final = 5.0
# What ends a test that hangs until Redis is used again, in seconds: it is tried every 5 s, or more
# often.
USED_AGAIN: Final = 60.0
# And until /readyz says that something is wrong: it looks every 2 s.
WARNED: Final = 60.0
DOCUMENTED: Final = set(
    re.findall(r"`([a-z]+)[:`]", "".join(re.findall(r"^\| `.*?\|", PAGE.read_text(), re.MULTILINE)))
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The upstream."""
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def cargo(registry: Registry) -> dict[str, list[Cargo]]:
    """Images for each part of a test, of every kind."""
    found = {
        part: [Cargo(f"{part}/{kind.__name__}", kind(part)) for kind in KINDS]
        for part in ("cached", "outage", "restarted", "over")
    }
    for each in itertools.chain.from_iterable(found.values()):
        registry.push(each.repository, "1", each.content)
    return found


@asynccontextmanager
async def running(proxy: Proxy) -> AsyncIterator[Proxy]:
    """Without stopping what runs in this process meanwhile."""
    await asyncio.to_thread(proxy.start)
    try:
        yield proxy
    finally:
        await asyncio.to_thread(proxy.stop)


@asynccontextmanager
async def ready_throughout(proxy: Proxy) -> AsyncIterator[None]:
    """Ask /readyz again and again; once it said yes it must do so each time."""
    statuses: list[int] = []

    async def ask() -> int:
        return (await load.get(proxy.admin_port, "/readyz")).status

    async def watch() -> None:
        while True:
            statuses.append(await ask())
            await asyncio.sleep(0.1)

    async with asyncio.timeout(START):
        while await ask() != 200:  # noqa: ASYNC110 -- of another process
            await asyncio.sleep(0.05)
    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    assert set(statuses) == {200}


async def warning(proxy: Proxy) -> str | None:
    """What /readyz says of Redis."""
    answer = await load.get(proxy.admin_port, "/readyz")
    assert answer.status == 200
    said: str | None = json.loads(answer.body)["warnings"].get("redis")
    return said


async def errors(proxy: Proxy) -> float:
    """How many operations failed so far."""
    metrics = (await load.get(proxy.admin_port, "/metrics")).body.decode()
    return sum(
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith("lighterage_cache_errors_total{")
    )


async def nothing_fails(proxy: Proxy) -> None:
    """Each process looks at the epoch once a second, if nobody else asks Redis for anything."""
    async with asyncio.timeout(USED_AGAIN):
        before = -1.0
        while before != (now := await errors(proxy)):
            before = now
            await asyncio.sleep(2.5)


async def is_used_again(proxy: Proxy, outage: Outage, repository: str) -> None:
    """Every listing that is asked for in another way is a key of its own."""
    keys = await asyncio.to_thread(outage.struck.ask, "DBSIZE")
    deadline = time.monotonic() + USED_AGAIN
    for number in range(1, 1000):
        assert time.monotonic() < deadline, "Redis is not used again"
        path = f"/v2/{repository}/tags/list?n={number}"
        assert (await load.get(proxy.port, path)).status == 200
        if await asyncio.to_thread(outage.struck.ask, "DBSIZE") > keys:
            return
        await asyncio.sleep(0.05)


async def is_warned_of(proxy: Proxy, outage: Outage) -> None:
    """/readyz names the trouble, soon; or no trouble, if there is none for the proxy."""
    deadline = time.monotonic() + WARNED
    said = await warning(proxy)
    if outage.warning is None:
        assert said is None
        return
    while not re.search(outage.warning, said or ""):
        assert time.monotonic() < deadline, said
        await asyncio.sleep(0.1)
        said = await warning(proxy)


@pytest.mark.parametrize("befalls", OUTAGES.values(), ids=OUTAGES)
async def test_everything_is_served_whatever_befalls_redis(
    tmp_path: Path,
    registry: Registry,
    cargo: dict[str, list[Cargo]],
    befalls: Callable[[Path], AbstractAsyncContextManager[Outage]],
) -> None:
    async with befalls(tmp_path / "redis") as outage:
        settings = {"manifests": {"store": "redis", "redis": outage.redis}}
        proxy = Proxy(tmp_path / "proxy", upstream=registry.url, settings=settings)
        pulls = Pulls()
        async with running(proxy):
            async with ready_throughout(proxy):
                await pulls.all_of(proxy.port, cargo["cached"], clients=CLIENTS)
                assert await errors(proxy) == 0
                healthy = statistics.median(pulls.seconds)

                await pulls.all_of(
                    proxy.port,
                    [*cargo["cached"], *cargo["outage"], *cargo["cached"], *cargo["cached"]],
                    clients=CLIENTS,
                    meanwhile=lambda: asyncio.to_thread(outage.strike),
                )
                await is_warned_of(proxy, outage)
                assert (await errors(proxy) > 0) == (outage.warning is not None)

            await asyncio.to_thread(proxy.restart)
            async with ready_throughout(proxy):
                restarted = [*cargo["cached"], *cargo["restarted"]]
                await pulls.all_of(proxy.port, restarted, clients=CLIENTS)

                await asyncio.to_thread(outage.mend)
                await is_used_again(proxy, outage, cargo["cached"][0].repository)
                await pulls.all_of(proxy.port, cargo["over"], clients=CLIENTS)
                for each in cargo["over"]:
                    key = f"lighterage:2:manifest:{each.content.digest}"
                    written = partial(outage.owner(key).ask, "EXISTS", key)
                    await asyncio.to_thread(eventually, written, f"{key} was not written")
    assert pulls.bad == []
    assert max(pulls.seconds) < SLOWEST
    assert statistics.median(pulls.seconds) < USUAL * healthy


async def test_all_workers_use_redis_again(
    tmp_path: Path, registry: Registry, cargo: dict[str, list[Cargo]]
) -> None:
    """Each has to notice for itself, and loses nothing meanwhile."""
    with RedisServer(tmp_path / "redis") as server:
        proxy = Proxy(tmp_path / "proxy", upstream=registry.url, redis=server.url, workers=2)
        pulls = Pulls()
        async with running(proxy), ready_throughout(proxy):
            await pulls.all_of(
                proxy.port,
                [*cargo["cached"], *cargo["outage"], *cargo["cached"]],
                clients=CLIENTS,
                meanwhile=lambda: asyncio.to_thread(server.kill),
            )
            assert await errors(proxy) > 0
            await asyncio.to_thread(server.start)
            await nothing_fails(proxy)
            await pulls.all_of(proxy.port, cargo["over"], clients=CLIENTS)
            for each in cargo["over"]:
                assert server.ask("EXISTS", f"lighterage:2:manifest:{each.content.digest}")
            kinds = {key.decode().split(":")[2] for key in server.ask("KEYS", "lighterage:2:*")}
            assert {"tag", "manifest", "rep", "origin", "grant"} <= kinds <= DOCUMENTED
    assert pulls.bad == []
    assert max(pulls.seconds) < SLOWEST


@pytest.mark.parametrize("shared", ["everything", "blobs"])
async def test_two_proxies_serve_what_the_other_one_made(
    tmp_path: Path, registry: Registry, cargo: dict[str, list[Cargo]], shared: str
) -> None:
    """With one directory for all that they keep, or only for blobs: then each has its own key."""
    with RedisServer(tmp_path / "redis") as server:
        first, second = (
            Proxy(
                tmp_path / name,
                upstream=registry.url,
                redis=server.url,
                data=tmp_path / ("data" if shared == "everything" else f"data-{name}"),
                settings={"blobs": {"path": str(tmp_path / "data")}},
            )
            for name in ("first", "second")
        )
        async with running(first), running(second):
            handed_out: dict[str, load.Answer] = {}
            for maker, other, part, flushed in (
                (first, second, "cached", False),
                (second, first, "outage", False),
                (first, second, "restarted", True),
                (second, first, "over", True),
            ):
                pulls = Pulls()
                await pulls.all_of(maker.port, cargo[part], clients=2)
                # Of four images, schema 1; of each but the indexes, the other image; of each
                # index, the other index and its two children.
                assert len(pulls.derived) == 4 + 2 + 6
                handed_out |= pulls.derived
                if flushed:
                    server.ask("FLUSHALL")
                registry.forget()
                await are_served(other, pulls.derived)
                assert registry.requests() == []

                again = Pulls()
                await again.all_of(other.port, cargo[part], clients=2)
                assert again.derived.keys() == pulls.derived.keys()
                assert pulls.bad + again.bad == []
            # What they have in memory is not what they have.
            server.ask("FLUSHALL")
            await asyncio.to_thread(second.restart)
            await are_served(second, handed_out)
            await asyncio.to_thread(first.restart)
            await are_served(first, handed_out)


async def are_served(proxy: Proxy, handed_out: Mapping[str, load.Answer]) -> None:
    """Byte for byte, to somebody who asks for a digest."""
    for path, made in handed_out.items():
        answer = await load.get(proxy.port, path)
        assert (answer.status, answer.body) == (200, made.body), path
