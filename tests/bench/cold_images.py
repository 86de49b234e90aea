"""A cold image of seven layers, for one client and for many, and a cold blob for fifty.

Only time counts here. Clients, upstream and server share both cores, as the harshest of cases: one
client is also measured with an upstream that is as far away as registries are.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Final

from tests.bench import servers, usage
from tests.bench.bench import plain
from tests.bench.client import Fetched, fetch
from tests.bench.link import Link
from tests.bench.measure import DISTRIBUTION, NGINX, OURS, UPSTREAM
from tests.kit import images
from tests.kit.accept_lines import EVERYTHING
from tests.kit.images import Content, Layer, noise
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.bench.bench import Bench
    from tests.bench.servers import Server

WORKLOAD: Final = "cold images"
FROM_AFAR: Final = "1 client, upstream at 32 MiB/s a connection"
BLOB: Final = "cold blob, 50 clients"
TOTAL: Final = "time to the last byte"
FIRST: Final = "median first byte"
EGRESS: Final = "sent by the upstream, times its size"
_CLIENTS_OF_BLOB: Final = 50
_ACCEPT: Final = ", ".join(value for _, value in EVERYTHING)
_AT_ONCE: Final = 3  # layers, as docker pulls them
# By the number of clients, the size of each of the seven layers.
_LAYERS: Final = {1: 8 * 2**20, 50: 2**20, 200: 2**18}
_BLOB_SIZE: Final = 32 * 2**20
_RATE: Final = 32 * 2**20
_NAMES: Final = (OURS, DISTRIBUTION, NGINX)


def title(clients: int) -> str:
    """The case of so many clients."""
    return "1 client" if clients == 1 else f"{clients} clients"


def measure(bench: Bench) -> None:
    """Each round has images of its own; the upstream itself is the measure."""
    folder = bench.directory(WORKLOAD)
    with bench.on_both(), Registry(folder / "upstream") as upstream:
        images_of = {
            clients: _push(bench, upstream, title(clients), clients) for clients in _LAYERS
        }
        from_afar = _push(bench, upstream, FROM_AFAR, 1)
        blobs = [_push_blob(upstream, number) for number in range(bench.rounds)]
        with servers.running(folder, _NAMES, upstream.url) as made:
            for clients, pushed in images_of.items():
                servers_in_turn = {UPSTREAM: upstream, **made}
                asyncio.run(_measure(bench, title(clients), servers_in_turn, pushed, clients))
            asyncio.run(_measure_blobs(bench, upstream, made, blobs))
            for name, server in made.items():
                for series in bench.results.all:
                    if (series.workload, series.server) == (WORKLOAD, name):
                        series.memory = usage.peak_memory(server.pid)
        with (
            Link(upstream.port, rate=_RATE) as link,
            servers.running(folder / "afar", _NAMES, link.url) as made,
        ):
            asyncio.run(_measure(bench, FROM_AFAR, {UPSTREAM: link, **made}, from_afar, 1))


def _push(bench: Bench, upstream: Registry, case: str, clients: int) -> list[tuple[str, Content]]:
    """An image for each round."""
    made = []
    for number in range(bench.rounds):
        name = f"cargo/{plain(case).lower()}-{number}"
        layers = []
        for layer in range(7):
            blob = noise(f"{name} {layer}", _LAYERS[clients])
            layers.append(Layer(blob, images.digest(blob)))
        content = images.image(images.DOCKER, layers)
        upstream.push(name, "1", content)
        made.append((name, content))
    return made


def _push_blob(upstream: Registry, number: int) -> str:
    blob = noise(f"cold blob {number}", _BLOB_SIZE)
    digest = images.digest(blob)
    content = images.docker()
    upstream.push(
        f"cargo/cold-{number}",
        "1",
        Content(content.media_type, content.manifest, {**content.blobs, digest: blob}),
    )
    return f"/v2/cargo/cold-{number}/blobs/{digest}"


async def _measure(
    bench: Bench,
    case: str,
    all_of_them: Mapping[str, Server | Link],
    pushed: list[tuple[str, Content]],
    clients: int,
) -> None:
    for number, (repository, content) in enumerate(pushed):
        names = list(all_of_them)
        for name in names if number % 2 else names[::-1]:
            began = perf_counter()
            async with asyncio.TaskGroup() as group:
                for _ in range(clients):
                    group.create_task(_pull(all_of_them[name].port, repository, content))
            series = bench.results.series(WORKLOAD, case, name, "s")
            series.values.append(perf_counter() - began)


async def _pull(port: int, repository: str, content: Content) -> None:
    """The manifest, and then its blobs, a few at once."""
    await fetch(port, f"/v2/{repository}/manifests/1", _ACCEPT)
    left = iter(content.blobs)

    async def puller() -> None:
        for digest in left:
            await fetch(port, f"/v2/{repository}/blobs/{digest}")

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(puller())


async def _measure_blobs(
    bench: Bench, upstream: Registry, made: dict[str, Server], paths: list[str]
) -> None:
    for number, path in enumerate(paths):
        names = list(made)
        for name in names if number % 2 else names[::-1]:
            upstream.forget()
            began = perf_counter()
            async with asyncio.TaskGroup() as group:
                clients = [
                    group.create_task(fetch(made[name].port, path)) for _ in range(_CLIENTS_OF_BLOB)
                ]
            total = perf_counter() - began
            fetched = sorted((each.result() for each in clients), key=_first_byte)
            sent = sum(each.sent for each in upstream.requests() if each.method == "GET")
            for case, unit, value in (
                (TOTAL, "s", total),
                (FIRST, "s", fetched[len(fetched) // 2].first_byte),
                (EGRESS, "times", sent / _BLOB_SIZE),
            ):
                bench.results.series(BLOB, case, name, unit).values.append(value)


def _first_byte(each: Fetched) -> float:
    return each.first_byte
