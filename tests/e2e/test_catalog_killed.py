"""Whatever becomes of the index or the power, a derived digest that was sent stays pullable."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e import inside
from tests.kit import fsyncs, images, load
from tests.kit.catalog_files import remove_index
from tests.kit.processes import Proxy
from tests.kit.proxy import push
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# More of them by hand: LIGHTERAGE_KILLS=100. Each data directory sees two.
KILLS: Final = int(os.environ.get("LIGHTERAGE_KILLS", "4"))
IMAGES: Final = 48
CLIENTS: Final = 8
LONGEST: Final = 0.8  # seconds until a kill

# What was sent: the digest and bytes of the schema 1 made of each image, by the image's number.
Sent = dict[int, tuple[str, bytes]]


@pytest.fixture(scope="module")
def contents() -> list[images.Content]:
    layers = [images.layer({"srv/cargo": images.noise(f"{n}", 512)}) for n in range(IMAGES)]
    return [images.image(images.DOCKER, [layer]) for layer in layers]


@pytest.fixture
async def upstream(contents: list[images.Content]) -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        for number, content in enumerate(contents):
            push(upstream, f"cargo/{number}", "1", content)
        yield upstream


async def pull(proxy: Proxy, numbers: list[int], sent: Sent) -> None:
    """By tag, as a docker that reads only schema 1, by several clients at once.

    What an image's schema 1 was before, it is again.
    """
    left = iter(numbers)

    async def client() -> None:
        async with load.Connection(proxy.port) as connection:
            for number in left:
                answer = await connection.get(f"/v2/cargo/{number}/manifests/1")
                assert answer.status == 200, answer
                digest = answer.headers["docker-content-digest"]
                assert sent.setdefault(number, (digest, answer.body))[0] == digest

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())


async def pull_until_killed(proxy: Proxy, seconds: float, sent: Sent) -> None:
    numbers = [number for number in range(IMAGES) if number not in sent]
    pulling = asyncio.ensure_future(pull(proxy, numbers, sent))
    await asyncio.wait({pulling}, timeout=seconds)
    proxy.kill()
    with suppress(*([ExceptionGroup] if not pulling.done() else [])):
        await pulling


async def all_is_as_it_was_sent(proxy: Proxy, upstream: ScriptedUpstream, sent: Sent) -> None:
    """By digest, of an upstream that is down; and then nothing fails by tag."""
    upstream.fault("*", "*", Fault(status=503))
    async with load.Connection(proxy.port) as connection:
        for number, (digest, body) in sent.items():
            answer = await connection.get(f"/v2/cargo/{number}/manifests/{digest}")
            assert (answer.status, answer.body == body) == (200, True), (number, answer)
    upstream.heal()
    await pull(proxy, list(range(IMAGES)), dict(sent))


def nothing_crashed(proxy: Proxy) -> bool:
    return not inside.log(proxy, "request.crashed") + inside.log(proxy, "task.failed")


@pytest.mark.parametrize("workers", [1, 2])
async def test_after_kill_9_at_any_moment_every_derived_digest_is_served(
    tmp_path: Path, upstream: ScriptedUpstream, workers: int
) -> None:
    chance = random.Random(workers)  # noqa: S311 -- moments, the same in every run
    derived = 0
    for kill in range(KILLS // 2):
        proxy, sent = Proxy(tmp_path / f"{kill}", upstream=upstream.url, workers=workers), Sent()
        for _ in range(2):
            with proxy:
                await inside.all_serve(proxy)
                await pull_until_killed(proxy, chance.uniform(0, LONGEST), sent)
        derived += len(sent)
        with proxy:
            await inside.all_serve(proxy)
            await all_is_as_it_was_sent(proxy, upstream, sent)
        assert nothing_crashed(proxy)
    assert derived > 0


async def test_after_a_power_loss_every_derived_digest_is_served(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    chance = random.Random(3)  # noqa: S311 -- moments, the same in every run
    derived = 0
    for kill in range(KILLS):
        directory, sent = tmp_path / f"{kill}", Sent()
        durable = fsyncs.Durable(directory / "copies", directory / "data")
        for each in (durable.copies, durable.data):
            each.mkdir(parents=True)
        proxy = Proxy(directory, upstream=upstream.url, data=durable.data)
        proxy.command = fsyncs.command(proxy.command, durable=durable)
        with proxy:
            await pull_until_killed(proxy, chance.uniform(0, 2 * LONGEST), sent)
        derived += len(sent)
        durable.restore(directory / "restored")
        after = Proxy(directory / "after", upstream=upstream.url, data=directory / "restored")
        with after:
            await all_is_as_it_was_sent(after, upstream, sent)
        assert nothing_crashed(after)
    assert derived > 0


def truncate(data: Path) -> None:
    # Not what SQLite maps (-shm): the kernel ends a process whose mapped file is made shorter.
    for file in (data / "index.sqlite3", data / "index.sqlite3-wal"):
        if file.exists():
            os.truncate(file, file.stat().st_size // 2)


def overwrite(data: Path) -> None:
    for file in data.glob("index.sqlite3*"):
        size = file.stat().st_size
        with file.open("r+b") as opened:
            opened.write((b"garbage " * (size // 8 + 1))[:size])


@pytest.mark.parametrize("lose", [remove_index, truncate, overwrite])
@pytest.mark.parametrize("running", [False, True])
async def test_a_lost_index_costs_no_derived_digest(
    tmp_path: Path, upstream: ScriptedUpstream, lose: Callable[[Path], None], *, running: bool
) -> None:
    proxy, sent = Proxy(tmp_path, upstream=upstream.url), Sent()
    with proxy:
        await pull(proxy, list(range(IMAGES // 2)), sent)
        if running:
            lose(proxy.data)
            # What was remembered, what was not, and what is learnt meanwhile.
            await pull(proxy, list(range(IMAGES)), sent)
            await all_is_as_it_was_sent(proxy, upstream, sent)
    if not running:
        lose(proxy.data)
    with proxy:
        await all_is_as_it_was_sent(proxy, upstream, sent)
    assert len(sent) >= IMAGES // 2
    assert nothing_crashed(proxy)
