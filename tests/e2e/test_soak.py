"""Ten thousand pulls: memory, descriptors and connections are what they were after two thousand."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import MediaType
from tests.e2e import inside
from tests.kit import load
from tests.kit.processes import LOOPBACK, Program, Proxy, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

IMAGES: Final = 1000
CLIENTS: Final = 16
_ROOT: Final = Path(__file__).parents[2]


async def test_memory_does_not_grow_with_pulls(tmp_path: Path) -> None:
    port = free_port()
    registry = Program(
        [sys.executable, "-m", "tests.e2e.many_images", str(port), str(IMAGES)],
        directory=tmp_path / "registry",
        listens=(port,),
        environment={"PYTHONPATH": str(_ROOT)},
    )
    # Tags go stale while it runs, so that they are asked for again.
    settings = {"tags": {"ttl": "5s"}}
    url = f"http://{LOOPBACK}:{port}"
    with registry, Proxy(tmp_path, upstream=url, settings=settings) as proxy:
        numbers = itertools.cycle(range(IMAGES))
        # Until all that is kept in memory is as much as may be kept.
        await _pull(proxy, itertools.islice(numbers, 4 * IMAGES))
        warm, files = _memory(proxy), _files(proxy)
        await _pull(proxy, itertools.islice(numbers, 8 * IMAGES))
        assert _memory(proxy) <= 1.1 * warm
        assert _files(proxy) <= files
        assert _connections(proxy) == 0
        assert not list((proxy.data / "spool").glob("*/*"))


async def _pull(proxy: Proxy, numbers: Iterator[int]) -> None:
    async def client() -> None:
        async with load.Connection(proxy.port) as connection:
            for number in numbers:
                name = f"/v2/cargo/{number}"
                answer = await connection.get(f"{name}/manifests/1", MediaType.V2S2)
                manifest = json.loads(answer.body)
                for blob in (manifest["config"], *manifest["layers"]):
                    answer = await connection.get(f"{name}/blobs/{blob['digest']}")
                    assert len(answer.body) == blob["size"]

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    async with asyncio.timeout(60):
        while _connections(proxy):  # noqa: ASYNC110 -- the proxy's ends of them
            await asyncio.sleep(0.01)


def _memory(proxy: Proxy) -> int:
    """What the process has of it, in KiB."""
    lines = Path(f"/proc/{proxy.pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmRSS:"))
    return int(line.split()[1])


def _files(proxy: Proxy) -> int:
    """How many descriptors it has that are no sockets: some of those may be kept for the next."""
    return sum(not name.startswith("socket:") for name in inside.descriptors(proxy.pid))


def _connections(proxy: Proxy) -> int:
    """How many of clients it has, in whatever state."""
    return len(inside.sockets(proxy) & set(inside.descriptors(proxy.pid)))
