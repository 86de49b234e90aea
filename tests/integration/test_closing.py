"""From when on nobody is let in any more, to the very turn of the event loop."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from proxy.config import ServeArguments
from proxy.runtime.serve import serve
from proxy.runtime.shutdown import Shutdown
from proxy.web.prepared_heads import PreparedHeads
from proxy.web.registry import Registry
from proxy.wiring.services import open_services
from tests.kit.load import Connection
from tests.kit.processes import LOOPBACK, free_port
from tests.kit.proxy import settings, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# A request takes fewer from its arrival to its answer.
TURNS: Final = 12
NOBODY: Final = {"docker.io": {"url": f"http://{LOOPBACK}:1", "default": True}}


class Watching(Registry):
    """Notes of each request whether its connection stays, and whether another one could be made.

    Its answers begin at once, and end when they may.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: list[tuple[bool, bool]] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        nothing: Any = None
        self.heads = PreparedHeads(
            0, fresh=nothing, usage=nothing, access_log=nothing, closure=None
        )

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        with closing(socket.socket()) as another:
            opened = another.connect_ex((LOOPBACK, self.port)) == 0
        response = web.StreamResponse(headers={"Content-Length": "2"})
        await response.prepare(request)
        self.seen.append((request.keep_alive, opened))
        await self.may_end.wait()
        await response.write(b"{}")
        return response


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[tuple[Watching, Shutdown]]:
    registry, ending, started = Watching(free_port()), Shutdown(), asyncio.Event()
    chosen = settings(NOBODY, directory).model_copy(update={"listen": (LOOPBACK, registry.port)})
    async with open_services(chosen) as services, asyncio.TaskGroup() as group:
        watched = replace(services, registry=registry)
        group.create_task(
            serve(chosen, watched, ending, arguments=ServeArguments(), started=started.set)
        )
        await started.wait()
        yield registry, ending
        ending.drain()


async def test_who_is_told_to_close_the_connection_finds_the_port_closed(tmp_path: Path) -> None:
    """Otherwise a client that asks again at once is let in once more."""
    async with serving(tmp_path) as (registry, ending), AsyncExitStack() as stack:
        clients = [Connection(registry.port) for _ in range(TURNS)]
        for client in clients:
            await stack.enter_async_context(client)
            await client.open()
        asking = []
        for client in clients:
            asking.append(asyncio.ensure_future(client.get("/v2/")))
            # A turn of the loop: each of them has come another step further when it ends.
            await asyncio.sleep(0)
        ending.drain()
        stayed = [not answer.is_last for answer in await asyncio.gather(*asking)]
    assert not all(stayed)
    assert [opened for stays, opened in registry.seen if not stays] == [False] * stayed.count(False)


async def test_what_had_been_sent_is_answered(tmp_path: Path) -> None:
    """A request that comes along with the signal is not met by a reset."""
    async with serving(tmp_path) as (registry, ending), Connection(registry.port) as client:
        assert not (await client.get("/v2/")).is_last
        asking = asyncio.ensure_future(client.get("/v2/"))
        # It has been sent, and nobody has read it.
        await asyncio.sleep(0)
        ending.drain()
        assert (await asking).is_last


async def test_who_was_not_told_may_ask_once_more(tmp_path: Path) -> None:
    """An answer that had begun says nothing of the end: the next one does."""
    async with serving(tmp_path) as (registry, ending), Connection(registry.port) as client:
        registry.may_end.clear()
        asking = asyncio.ensure_future(client.get("/v2/"))
        await until(lambda: len(registry.seen) == 1)
        ending.drain()
        await asyncio.sleep(0.2)
        registry.may_end.set()
        assert not (await asking).is_last
        assert (await client.get("/v2/")).is_last


async def test_who_asks_for_nothing_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(60), serving(tmp_path) as (registry, _):
        client = await stack.enter_async_context(Connection(registry.port))
        assert (await client.get("/v2/")).status == 200
