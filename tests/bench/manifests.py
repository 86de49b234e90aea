"""Warm manifests: by tag, by digest, by HEAD, for old clients, converted, for many clients."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tests.bench import servers, sockets, usage
from tests.bench.measure import (
    DISTRIBUTION,
    DISTRIBUTION_3,
    NGINX,
    NGINX_UNLOGGED,
    OURS,
)
from tests.bench.wrk import load
from tests.kit import images
from tests.kit.accept_lines import EVERYTHING, NOTHING, ONLY_V2S2
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.bench import Bench
    from tests.bench.servers import Server

WORKLOAD: Final = "warm manifests"
_UNIT: Final = "a second"
_ALL: Final = (OURS, DISTRIBUTION, DISTRIBUTION_3, NGINX, NGINX_UNLOGGED)
_EVERYTHING: Final = ", ".join(value for _, value in EVERYTHING)
_CONTENT: Final = {
    "cargo/docker": images.docker(),
    "cargo/legacy": images.docker_with_empty_steps(),
    "cargo/oci": images.oci("docker"),
}
_FIFTY: Final = 50


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One question to several servers; each request names the next one of `accepts`."""

    title: str
    path: str
    accepts: tuple[str | None, ...]
    servers: tuple[str, ...] = _ALL
    # By a loop of our own, if not by wrk.
    by_sockets: str | None = None


def _fifty() -> tuple[str, ...]:
    """What as many clients could name: the same types in other orders."""
    types = [value for _, value in EVERYTHING]
    return tuple(
        ", ".join(order) for order in itertools.islice(itertools.permutations(types), _FIFTY)
    )


BY_TAG: Final = Case("by tag", "/v2/cargo/docker/manifests/1", (_EVERYTHING,))
BY_DIGEST: Final = Case(
    "by digest",
    f"/v2/cargo/docker/manifests/{_CONTENT['cargo/docker'].digest}",
    (_EVERYTHING,),
    (OURS, NGINX),
)
HEAD: Final = Case("HEAD by tag", BY_TAG.path, (_EVERYTHING,), (OURS, NGINX), by_sockets="HEAD")
SAME_CLIENT: Final = Case(
    "by tag, the client of HEAD", BY_TAG.path, (_EVERYTHING,), (OURS, NGINX), by_sockets="GET"
)
LEGACY: Final = Case("schema 1 by tag", "/v2/cargo/legacy/manifests/1", (None,), (OURS,))
CONVERTED: Final = Case(
    "v2s2 made of OCI", "/v2/cargo/oci/manifests/1", (ONLY_V2S2[0][1],), (OURS,)
)
STORED: Final = Case("stored v2s2", BY_TAG.path, (ONLY_V2S2[0][1],), (OURS,))
FIFTY: Final = Case("fifty Accept headers in turn", BY_TAG.path, _fifty(), (OURS, NGINX))
CASES: Final = (BY_TAG, BY_DIGEST, SAME_CLIENT, HEAD, LEGACY, STORED, CONVERTED, FIFTY)


def measure(bench: Bench, cases: tuple[Case, ...] = CASES) -> None:
    """Each server in turn, forwards and backwards, so that none always follows the same one."""
    folder = bench.directory(WORKLOAD)
    names = servers.available(list(dict.fromkeys(n for case in cases for n in case.servers)))
    with bench.on_load_core(), Registry(folder / "upstream") as upstream:
        for repository, content in _CONTENT.items():
            upstream.push(repository, "1", content)
        running = servers.running(folder, names, upstream.url, on=bench.on_server_core)
        with running as made:
            _rounds(bench, made, cases)


def _rounds(bench: Bench, made: dict[str, Server], cases: tuple[Case, ...]) -> None:
    for case in cases:
        _check(case, made)
    for number in range(bench.rounds + 1):
        for case in cases if number % 2 else cases[::-1]:
            for name in _in_turn([name for name in case.servers if name in made], number):
                _load(bench, case, name, made[name], counts=number > 0)
    for case in cases:
        for name in case.servers:
            series = bench.results.find(WORKLOAD, case.title, name)
            if series is not None:
                series.memory = usage.peak_memory(made[name].pid)


def _load(bench: Bench, case: Case, name: str, server: Server, *, counts: bool) -> None:
    used = usage.cpu_seconds(server.pid)
    url = server.url + case.path
    if case.by_sockets is not None:
        accept = case.accepts[0] or ""
        done = sockets.load(
            server.port, case.path, accept, method=case.by_sockets, seconds=bench.seconds
        )
    else:
        done = load(url, case.accepts, seconds=bench.seconds)
    if done.failures:
        raise ValueError(f"{case.title}: {name} gave {done.failures} errors")
    if counts:
        series = bench.results.series(WORKLOAD, case.title, name, _UNIT)
        series.values.append(done.rate)
        series.cpu.append((usage.cpu_seconds(server.pid) - used) / max(done.requests, 1) * 1000)


def _check(case: Case, made: dict[str, Server]) -> None:
    """Have all servers answer, with the same manifest."""
    headers = [("Accept", case.accepts[0])] if case.accepts[0] else NOTHING
    answers = {
        name: ask(made[name].url + case.path, headers=headers)
        for name in case.servers
        if name in made
    }
    digests = {answer.headers["Docker-Content-Digest"] for answer in answers.values()}
    if len(digests) != 1 or {answer.status for answer in answers.values()} != {HTTPStatus.OK}:
        raise ValueError(f"{case.title}: the servers do not answer alike")


def _in_turn(names: list[str], number: int) -> Iterator[str]:
    yield from names if number % 2 else names[::-1]
