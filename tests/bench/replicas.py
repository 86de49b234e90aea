"""Three replicas, as one cache: what the upstream sends, and how long clients of any one wait."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Final

from tests.bench.client import fetch
from tests.kit import images
from tests.kit.accept_lines import EVERYTHING
from tests.kit.images import Layer, noise
from tests.kit.registry import Registry
from tests.kit.replicas import Replicas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.bench import Bench
    from tests.kit.images import Content
    from tests.kit.processes import Proxy

WORKLOAD: Final = "replicas"
TIME: Final = "30 clients, 5 cold images"
EGRESS: Final = "sent by the upstream, times its size"
_IMAGES: Final = 5  # a round
_CLIENTS: Final = 30
_LAYER: Final = 2**20
_ACCEPT: Final = ", ".join(value for _, value in EVERYTHING)


def name(count: int) -> str:
    """So many replicas of ours."""
    return "lighterage" if count == 1 else f"lighterage, {count} replicas"


def measure(bench: Bench) -> None:
    """The same images through one replica and through three, clients round robin."""
    folder = bench.directory(WORKLOAD)
    with bench.on_both(), Registry(folder / "upstream") as upstream:
        rounds = [_push(upstream, number) for number in range(bench.rounds)]
        for count in (1, 3):
            upstreams = {"docker.io": {"url": upstream.url}}
            with Replicas(folder / str(count), count, upstreams=upstreams) as replicas:
                for pushed in rounds:
                    upstream.forget()
                    began = perf_counter()
                    asyncio.run(_pull_all(replicas.running, pushed))
                    taken = perf_counter() - began
                    size = sum(
                        len(b) for content in pushed.values() for b in content.blobs.values()
                    )
                    sent = sum(
                        each.sent
                        for each in upstream.requests()
                        if each.method == "GET" and "/blobs/" in each.path
                    )
                    results = bench.results
                    results.series(WORKLOAD, TIME, name(count), "s").values.append(taken)
                    results.series(WORKLOAD, EGRESS, name(count), "times").values.append(
                        sent / size
                    )


def _push(upstream: Registry, number: int) -> dict[str, Content]:
    pushed = {}
    for image in range(_IMAGES):
        repository = f"cargo/replicated-{number}-{image}"
        layers = []
        for layer in range(6):
            blob = noise(f"{repository} {layer}", _LAYER)
            layers.append(Layer(blob, images.digest(blob)))
        pushed[repository] = images.image(images.DOCKER, layers)
        upstream.push(repository, "1", pushed[repository])
    return pushed


async def _pull_all(replicas: Sequence[Proxy], pushed: dict[str, Content]) -> None:
    async with asyncio.TaskGroup() as group:
        for client in range(_CLIENTS):
            group.create_task(_pull(client, replicas, pushed))


async def _pull(client: int, replicas: Sequence[Proxy], pushed: dict[str, Content]) -> None:
    asked = client
    for repository, content in pushed.items():
        paths = ["manifests/1", *(f"blobs/{digest}" for digest in content.blobs)]
        for path in paths:
            asked += 1
            port = replicas[asked % len(replicas)].port
            await fetch(port, f"/v2/{repository}/{path}", _ACCEPT)
