"""What is pulled for the first time costs here and in distribution's proxy mode.

A server under load is the only one on its core, so the CPU that a request takes says how many
requests the core could take; it is the measure, because a rate also shows what else the machine did
meanwhile. Where the disk is slow, rates are compared: there the waiting counts.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Final

from tests.bench import servers, synthetic, usage
from tests.bench.bench import plain
from tests.bench.measure import DISTRIBUTION, DISTRIBUTION_3, OURS
from tests.kit import fsyncs, images, load
from tests.kit.accept_lines import EVERYTHING
from tests.kit.processes import Proxy, free_port
from tests.kit.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.bench import Bench
    from tests.bench.measure import Series
    from tests.bench.servers import Server

WORKLOAD: Final = "cold, one by one"
WITH_REDIS: Final = "lighterage, Redis"
MANIFESTS: Final = "manifests"
BLOBS: Final = "blobs of 1 KiB"
SLOW: Final = "manifests, slow fsync"
DISK: Final = "manifests, on a disk"
FSYNCS: Final = "fsyncs a pull"

_REQUESTS: Final = 400  # in a round, to each server
_CLIENTS: Final = 8
_CLIENTS_OF_SLOW: Final = 32
_SLOWER: Final = 0.005  # seconds more for each fsync
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- a file system in memory, below which we make a directory
_ACCEPT: Final = ", ".join(value for _, value in EVERYTHING)


@dataclass(frozen=True, slots=True)
class Case:
    """The same requests to several servers. `measures_rate` where the disk is slow."""

    title: str
    servers: dict[str, Server]
    clients: int = _CLIENTS
    measures_rate: bool = False
    fsyncs: dict[str, Path] = field(default_factory=dict)


def measure(bench: Bench, *, whole: bool = True) -> None:
    """A round of each server in turn, after one that does not count.

    What is not the `whole` is manifests alone, without Redis.
    """
    with ExitStack() as stack:
        memory = _directory(stack, _MEMORY if _MEMORY.is_dir() else None)
        port = free_port()
        upstream = f"http://127.0.0.1:{port}"
        others = servers.available([DISTRIBUTION, DISTRIBUTION_3])
        cases = [Case(MANIFESTS, servers.made(memory / MANIFESTS, [OURS, *others], upstream))]
        if whole:
            disk = _directory(stack, None)
            with bench.on_load_core():
                redis = stack.enter_context(RedisServer(memory / "redis"))
            cases[0].servers[WITH_REDIS] = Proxy(
                memory / "with-redis", upstream=upstream, redis=redis.url
            )
            cases += [
                Case(BLOBS, servers.made(memory / "blobs", [OURS, DISTRIBUTION], upstream)),
                Case(DISK, servers.made(disk, [OURS, DISTRIBUTION], upstream)),
                _slow(memory / "slow", upstream),
            ]
        asyncio.run(_measure(bench, cases, port))


def _directory(stack: ExitStack, parent: Path | None) -> Path:
    return Path(stack.enter_context(TemporaryDirectory(prefix="lighterage-", dir=parent)))


def _slow(folder: Path, upstream: str) -> Case:
    made = servers.made(folder, [OURS, DISTRIBUTION], upstream)
    case = Case(SLOW, made, clients=_CLIENTS_OF_SLOW, measures_rate=True)
    for name, server in made.items():
        case.fsyncs[name] = folder / f"{plain(name)}.fsyncs"
        server.command = fsyncs.command(server.command, delay=_SLOWER, count=case.fsyncs[name])
    return case


async def _measure(bench: Bench, cases: list[Case], port: int) -> None:
    """This loop is the load and the upstream, on the core that the servers do not use."""
    numbers = count()
    with bench.on_load_core():
        async with synthetic.upstream(port) as upstream:
            for case in cases:
                with ExitStack() as stack:
                    # In a thread: distribution asks the upstream before it listens.
                    await asyncio.to_thread(_start, bench, case, stack)
                    for number in range(bench.rounds + 1):
                        for name in case.servers:
                            paths = list(_paths(case, numbers, upstream.blobs))
                            asked = upstream.requests
                            series = await _round(bench, case, name, paths)
                            if number == 0:
                                series.values.clear()
                                series.cpu.clear()
                            series.upstream = (upstream.requests - asked) / len(paths)
                for name, file in case.fsyncs.items():
                    pulls = _REQUESTS * (bench.rounds + 1)
                    series = bench.results.series(WORKLOAD, FSYNCS, name, "times")
                    series.values.append(int(file.read_text()) / pulls)


def _start(bench: Bench, case: Case, stack: ExitStack) -> None:
    with bench.on_server_core():
        for server in case.servers.values():
            stack.enter_context(server)
    if case.fsyncs:
        for server in case.servers.values():
            # What delays a server's calls does not take its time.
            os.sched_setaffinity(server.pid, {bench.load_core})


def _paths(case: Case, numbers: Iterator[int], blobs: dict[str, bytes]) -> Iterator[str]:
    """Of what no server has been asked for before."""
    for _, number in zip(range(_REQUESTS), numbers, strict=False):
        if case.title == BLOBS:
            content = synthetic.blob(number)
            digest = images.digest(content)
            blobs[digest] = content
            yield f"/v2/library/cargo/blobs/{digest}"
        else:
            yield f"/v2/library/cargo-{number}/manifests/latest"


async def _round(bench: Bench, case: Case, name: str, paths: list[str]) -> Series:
    server = case.servers[name]
    left = iter(paths)

    async def client() -> None:
        async with load.Connection(server.port) as connection:
            for path in left:
                answer = await connection.get(path, _ACCEPT)
                if answer.status != 200:
                    raise ValueError(f"{path} was answered {answer.status}")

    used, began = usage.cpu_seconds(server.pid), perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(case.clients):
            group.create_task(client())
    took = perf_counter() - began
    cost = (usage.cpu_seconds(server.pid) - used) / len(paths) * 1000
    unit = "a second" if case.measures_rate else "ms of CPU"
    series = bench.results.series(WORKLOAD, case.title, name, unit)
    series.values.append(len(paths) / took if case.measures_rate else cost)
    series.cpu.append(cost)
    series.memory = usage.peak_memory(server.pid)
    return series
