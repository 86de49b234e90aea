"""A mixed trace, as a registry's clients make it: many tags, a few of them popular, old clients.

Each step is a tag out of ten thousand by Zipf's law. Most clients ask by HEAD for the tag and then
by GET for the digest that it names; one in twenty names no type, and gets schema 1. The steps begin
at random times, a thousand a second: a server that always had another request waiting would show
how the system shares a core between two workers.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect
from contextlib import ExitStack
from itertools import accumulate
from statistics import median, quantiles
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.bench import synthetic, usage
from tests.kit.accept_lines import CONTAINERD
from tests.kit.processes import LOOPBACK, Proxy, free_port
from tests.kit.redis import RedisServer

if TYPE_CHECKING:
    from tests.bench.bench import Bench

WORKLOAD: Final = "mixed trace"
CPU: Final = "CPU a request"
SLOWEST: Final = "p99 to median"
_TAGS: Final = 10_000
_STEPS: Final = 2_000
_STEPS_A_SECOND: Final = 1_000
_OLD: Final = 0.05
_CLIENTS: Final = 8
_WARMING: Final = 8  # rounds: each worker has a memory of its own
_ACCEPT: Final = f"Accept: {CONTAINERD[0][1]}\r\n"


class _Step(NamedTuple):
    """An image that is pulled, when, in seconds since the start, and whether by an old client."""

    at: float
    repository: str
    is_old: bool


def name(store: str, workers: int) -> str:
    """A server of ours, as the results name it."""
    return f"lighterage, {store}, {workers} worker{'s' * (workers > 1)}"


def measure(bench: Bench) -> None:
    """The same trace in every round, each of the four servers in turn, after some to warm them."""
    folder = bench.directory(WORKLOAD)
    port = free_port()
    upstream = f"http://{LOOPBACK}:{port}"
    settings = {"tags": {"ttl": "1h"}}
    with ExitStack() as stack:
        with bench.on_load_core():
            redis = stack.enter_context(RedisServer(folder / "redis"))
        made = {
            name(store, workers): Proxy(
                folder / f"{store}-{workers}",
                upstream=upstream,
                workers=workers,
                settings=settings,
                redis=redis.url if store == "Redis" else "",
            )
            for store in ("SQLite", "Redis")
            for workers in (1, 2)
        }
        with bench.on_load_core():
            asyncio.run(_measure(bench, stack, made, port))


async def _measure(bench: Bench, stack: ExitStack, made: dict[str, Proxy], port: int) -> None:
    steps = _steps(random.Random(9))  # noqa: S311 -- an order that nothing guesses
    async with synthetic.upstream(port):
        await asyncio.to_thread(_start, bench, stack, made)
        for number in range(-_WARMING, bench.rounds):
            for each, server in made.items():
                used = usage.cpu_seconds(server.pid)
                taken = await _run(server.port, steps)
                if number < 0:
                    continue
                cost = (usage.cpu_seconds(server.pid) - used) / len(taken) * 1000
                bench.results.series(WORKLOAD, CPU, each, "ms of CPU").values.append(cost)
                slowest = quantiles(taken, n=100)[98] / median(taken)
                series = bench.results.series(WORKLOAD, SLOWEST, each, "times")
                series.values.append(slowest)
                series.memory = usage.peak_memory(server.pid)


def _start(bench: Bench, stack: ExitStack, made: dict[str, Proxy]) -> None:
    with bench.on_server_core():
        for server in made.values():
            stack.enter_context(server)


def _steps(choice: random.Random) -> list[_Step]:
    weights = list(accumulate(1 / rank for rank in range(1, _TAGS + 1)))
    at, steps = 0.0, []
    for _ in range(_STEPS):
        at += choice.expovariate(_STEPS_A_SECOND)
        repository = f"library/cargo-{bisect(weights, choice.random() * weights[-1])}"
        steps.append(_Step(at, repository, choice.random() < _OLD))
    return steps


async def _run(port: int, steps: list[_Step]) -> list[float]:
    """How long each request took, in seconds."""
    left, taken, started = iter(steps), [], perf_counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=2**20)

        async def ask(method: str, path: str, accept: str) -> str:
            began = perf_counter()
            request = f"{method} {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n{accept}\r\n"
            writer.write(request.encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            if not head.startswith("HTTP/1.1 200 "):
                raise ValueError(f"{method} {path}: {head.splitlines()[0]}")
            fields = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
            if method == "GET":
                await reader.readexactly(int(fields["Content-Length"]))
            taken.append(perf_counter() - began)
            return fields["Docker-Content-Digest"]

        for step in left:
            await asyncio.sleep(started + step.at - perf_counter())
            path = f"/v2/{step.repository}/manifests/"
            if step.is_old:
                await ask("GET", f"{path}latest", "")
            else:
                digest = await ask("HEAD", f"{path}latest", _ACCEPT)
                await ask("GET", f"{path}{digest}", _ACCEPT)
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(_CLIENTS):
            group.create_task(client())
    return taken
