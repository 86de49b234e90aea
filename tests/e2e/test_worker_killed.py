"""kill -9 in the middle of a transfer: somebody else goes on where it was."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Self

import pytest

from tests.e2e import inside
from tests.kit import images, load
from tests.kit.processes import LOOPBACK, Proxy
from tests.kit.proxy import until
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

pytestmark = pytest.mark.e2e

SIZE: Final = 48 * images.MEBIBYTE
CLIENTS: Final = 8
# 64 KiB every millisecond, for every reader to keep up; and no end to it before the kill.
ENDLESS: Final = Fault(pace=0.001, cut=SIZE // 2, stall=True)


async def test_the_clients_of_the_other_worker_lose_nothing(tmp_path: Path) -> None:
    content = images.noise("cargo", SIZE)
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedUpstream())
        digest = upstream.add_blob("cargo", content)
        upstream.fault("GET", "*", ENDLESS, times=1)
        hop = await stack.enter_async_context(_Counting(upstream.port))
        proxy = stack.enter_context(Proxy(tmp_path, upstream=hop.url, workers=2))
        await inside.all_serve(proxy)
        clients = await _spread(stack, proxy)
        path = f"/v2/cargo/blobs/{digest}"
        answers = [asyncio.ensure_future(client.get(path)) for client in clients]
        await until(lambda: hop.passed > SIZE // 3)
        holder = inside.owner(inside.workers(proxy), local=hop.from_ports[-1], remote=hop.port)
        theirs = [_server_of(client, proxy) == holder for client in clients]
        os.kill(holder, signal.SIGKILL)
        ended = await asyncio.gather(*answers, return_exceptions=True)

        assert {True, False} == set(theirs), "both workers had clients"
        for answer, lost in zip(ended, theirs, strict=True):
            if lost:
                assert isinstance(answer, load.LostError)
            else:
                assert isinstance(answer, load.Answer)
                assert (answer.status, answer.body == content) == (200, True)
        # Beside them the worker that reads along may ask by HEAD whether it may.
        gets = [request for request in upstream.requests if request.method == "GET"]
        assert ["Range" in request.headers for request in gets] == [False, True]
        assert hop.passed <= 1.05 * SIZE

        # A client that was cut off comes again, and a worker is started again.
        again = await load.get(proxy.port, path)
        assert again.body == content
        assert upstream.count("GET") == 2
        await until(lambda: len(inside.workers(proxy)) == 2)


async def _spread(stack: AsyncExitStack, proxy: Proxy) -> list[load.Connection]:
    """Connections of which each worker has some: the system decides which."""
    while True:
        clients = [
            await stack.enter_async_context(load.Connection(proxy.port)) for _ in range(CLIENTS)
        ]
        owners = set()
        for client in clients:
            assert (await client.get("/v2/")).status == 200
            owners.add(
                inside.owner(inside.workers(proxy), local=proxy.port, remote=client.own_port)
            )
        if len(owners) == 2:
            return clients


def _server_of(client: load.Connection, proxy: Proxy) -> int:
    return inside.owner(inside.workers(proxy), local=proxy.port, remote=client.own_port)


class _Counting:
    """A port that passes everything on, and counts what comes back."""

    def __init__(self, behind: int) -> None:
        self.passed = 0
        self.from_ports: list[int] = []
        self._behind = behind
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass_on, LOOPBACK, 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for writer in tuple(self._open):
            writer.close()
        await self._server.wait_closed()
        await until(lambda: not self._open)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.from_ports.append(writer.get_extra_info("peername")[1])
        behind, there = await asyncio.open_connection(LOOPBACK, self._behind)
        self._open |= {writer, there}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump(reader, there))
            group.create_task(self._pump(behind, writer, count=True))
        self._open -= {writer, there}

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool = False
    ) -> None:
        try:
            while piece := await reader.read(64 * 1024):
                self.passed += len(piece) if count else 0
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
