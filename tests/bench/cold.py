"""What is pulled for the first time costs here and in distribution's proxy mode.

A server under load is the only one on its core, so the seconds of CPU that a request takes say how
many requests the core could take; they are the measure, because a rate also shows what else the
machine did meanwhile. Where the disk is slow, rates are compared: there the waiting counts.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Final

from tests.bench import synthetic
from tests.bench.table import DISTRIBUTION, OURS
from tests.kit import fsyncs, images, load
from tests.kit.accept_lines import EVERYTHING
from tests.kit.processes import Proxy, free_port
from tests.kit.redis import RedisServer
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

WITH_REDIS: Final = "with Redis"
# What `--check` wants of each case, as a multiple of distribution's proxy mode.
MANIFESTS: Final = "manifests"
BLOBS: Final = "blobs of 1 KiB"
SLOW: Final = "manifests, slow fsync"
DISK: Final = "manifests, on a disk"
WANTED: Final = {
    (MANIFESTS, OURS): 2.0,
    (MANIFESTS, WITH_REDIS): 1.3,
    (BLOBS, OURS): 2.0,
    (SLOW, OURS): 0.8,
}
FSYNCS_WANTED: Final = 0.3  # a pull

_REQUESTS: Final = 400  # in a round, to each server
_CLIENTS: Final = 8
_CLIENTS_OF_SLOW: Final = 32
_SLOWER: Final = 0.005  # seconds more for each fsync
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- a file system in memory, below which we make a directory
_ACCEPT: Final = ", ".join(value for _, value in EVERYTHING)
_TICK: Final = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Cost:
    """Of each round: requests a second, and seconds of CPU a request."""

    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Case:
    """The same requests to several servers. `measures_rate` where the disk is slow."""

    title: str
    servers: dict[str, Proxy | Registry]
    clients: int = _CLIENTS
    measures_rate: bool = False
    costs: dict[str, Cost] = field(default_factory=dict)
    counts: dict[str, Path] = field(default_factory=dict)
    fsyncs: dict[str, float] = field(default_factory=dict)  # a pull

    def ratio(self, name: str) -> float:
        """How many times distribution's requests `name` could answer; the median of all rounds."""
        ours, theirs = self.costs[name], self.costs[DISTRIBUTION]
        if self.measures_rate:
            pairs = zip(ours.rates, theirs.rates, strict=True)
        else:
            pairs = zip(theirs.seconds, ours.seconds, strict=True)
        return median(one / other for one, other in pairs)


def compared(
    on_core: Callable[[int], AbstractContextManager[None]], cores: list[int], *, rounds: int
) -> list[Case]:
    """Measure every case, a round of each server in turn, after one that does not count."""
    with ExitStack() as stack:
        memory = _directory(stack, _MEMORY if _MEMORY.is_dir() else None)
        disk = _directory(stack, None)
        port = free_port()
        redis = stack.enter_context(RedisServer(memory / "redis"))
        cases = [
            Case(MANIFESTS, _servers(memory / "manifests", port, redis)),
            Case(BLOBS, _servers(memory / "blobs", port)),
            Case(DISK, _servers(disk, port)),
            _slow(memory / "slow", port),
        ]
        asyncio.run(_measure(cases, port, on_core, cores, rounds=rounds))
    return cases


def lines(cases: list[Case]) -> Iterator[str]:
    """The table for a person."""
    yield f"{'':26}{'':12}{'a second':>10}{'ms of CPU':>11}{'ratio':>8}{'fsyncs':>8}"
    for case in cases:
        for name, cost in case.costs.items():
            line = f"{case.title:26}{name:12}{median(cost.rates):>10,.0f}"
            line += (
                f"{median(cost.seconds) * 1000:>11.2f}" if not case.measures_rate else f"{'':11}"
            )
            line += f"{case.ratio(name):>8.2f}"
            calls = case.fsyncs.get(name)
            yield line + (f"{calls:>8.2f}" if calls is not None else "")


def complaints(cases: list[Case]) -> Iterator[str]:
    """What costs more than is wanted."""
    for case in cases:
        for name in case.costs:
            wanted = WANTED.get((case.title, name), 0.0)
            if case.ratio(name) < wanted:
                yield f"Cold {case.title}, {name}: {case.ratio(name):.2f} times, not {wanted}"
        calls = case.fsyncs.get(OURS, 0.0)
        if calls > FSYNCS_WANTED:
            yield f"Cold {case.title}: {calls:.2f} fsyncs a pull, not {FSYNCS_WANTED}"


def _directory(stack: ExitStack, parent: Path | None) -> Path:
    return Path(stack.enter_context(TemporaryDirectory(prefix="lighterage-", dir=parent)))


def _servers(
    folder: Path, port: int, redis: RedisServer | None = None
) -> dict[str, Proxy | Registry]:
    upstream = f"http://127.0.0.1:{port}"
    servers: dict[str, Proxy | Registry] = {OURS: Proxy(folder / "ours", upstream=upstream)}
    if redis is not None:
        servers[WITH_REDIS] = Proxy(folder / "redis", upstream=upstream, redis=redis.url)
    servers[DISTRIBUTION] = Registry(folder / "distribution", remote=upstream)
    return servers


def _slow(folder: Path, port: int) -> Case:
    case = Case(SLOW, _servers(folder, port), clients=_CLIENTS_OF_SLOW, measures_rate=True)
    for name, server in case.servers.items():
        case.counts[name] = folder / f"{name}.fsyncs"
        server.command = fsyncs.command(server.command, delay=_SLOWER, count=case.counts[name])
    return case


async def _measure(
    cases: list[Case],
    port: int,
    on_core: Callable[[int], AbstractContextManager[None]],
    cores: list[int],
    *,
    rounds: int,
) -> None:
    """This loop is the load and the upstream, on the core that the servers do not use."""
    blobs: dict[str, bytes] = {}
    numbers = count()
    async with synthetic.upstream(port, blobs):
        for case in cases:
            with ExitStack() as stack:
                # In a thread: distribution asks the upstream before it listens.
                await asyncio.to_thread(_start, case, stack, on_core(cores[0]))
                if case.counts:
                    for server in case.servers.values():
                        # What delays a server's calls does not take its time.
                        os.sched_setaffinity(server.pid, {cores[1]})
                for number in range(rounds + 1):
                    for name, server in case.servers.items():
                        cost = case.costs.setdefault(name, Cost())
                        paths = list(_paths(case, numbers, blobs))
                        rate, seconds = await _round(server, paths, case.clients)
                        if number:
                            cost.rates.append(rate)
                            cost.seconds.append(seconds)
            for name, file in case.counts.items():
                case.fsyncs[name] = int(file.read_text()) / (_REQUESTS * (rounds + 1))


def _start(case: Case, stack: ExitStack, on_core: AbstractContextManager[None]) -> None:
    with on_core:
        for server in case.servers.values():
            stack.enter_context(server)


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


async def _round(server: Proxy | Registry, paths: list[str], clients: int) -> tuple[float, float]:
    left = iter(paths)

    async def client() -> None:
        async with load.Connection(server.port) as connection:
            for path in left:
                answer = await connection.get(path, _ACCEPT)
                if answer.status != 200:
                    raise ValueError(f"{path} was answered {answer.status}")

    used, began = _cpu_seconds(server.pid), perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    took = perf_counter() - began
    return len(paths) / took, (_cpu_seconds(server.pid) - used) / len(paths)


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK
