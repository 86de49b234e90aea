"""A registry of many small images as a program of its own: `many_images.py PORT COUNT`."""

from __future__ import annotations

import asyncio
import signal
import sys

from tests.kit import images
from tests.kit.proxy import push
from tests.kit.scripted_upstream import ScriptedUpstream


async def serve(port: int, count: int) -> None:
    """Serve `cargo/0:1`, `cargo/1:1` and so on until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    upstream = ScriptedUpstream()
    upstream.port = port
    for number in range(count):
        layer = images.layer({"srv/number": str(number).encode()})
        push(upstream, f"cargo/{number}", "1", images.image(images.DOCKER, [layer]))
    async with upstream:
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(serve(*map(int, sys.argv[1:])))
