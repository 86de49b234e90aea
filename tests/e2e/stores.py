"""The stores for manifests that a proxy can be started with, and how they lose things."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from proxy.stores.sqlite.entries import SqliteManifests
from tests.kit.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


class Store(Protocol):
    """A running one: `Proxy(..., redis=store.redis)`. No proxy may run when something is lost."""

    redis: str

    def lose(self, key: str, data: Path) -> None:
        """Delete what is under `key`, which must be there; `data` is the proxy's directory."""
        ...

    def lose_everything(self, data: Path) -> None:
        """Be as when it was new."""
        ...


class _Sqlite:
    redis = ""

    def lose(self, key: str, data: Path) -> None:
        asyncio.run(self._lose(key, data))

    async def _lose(self, key: str, data: Path) -> None:
        cache = await SqliteManifests.open(data / "manifests.sqlite3")
        assert await cache.get(key) is not None
        await cache.delete(key)
        await cache.close()

    def lose_everything(self, data: Path) -> None:
        for file in data.glob("manifests.sqlite3*"):
            file.unlink()


class _Redis:
    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.redis = server.url

    def lose(self, key: str, data: Path) -> None:  # noqa: ARG002 -- as the protocol has it
        assert self._server.ask("DEL", f"lighterage:1:{key}") == 1

    def lose_everything(self, data: Path) -> None:  # noqa: ARG002 -- the same
        self._server.ask("FLUSHALL")


@contextmanager
def _sqlite(_directory: Path) -> Iterator[Store]:
    yield _Sqlite()


@contextmanager
def _redis(directory: Path) -> Iterator[Store]:
    with RedisServer(directory) as server:
        yield _Redis(server)


STORES: Final[dict[str, Callable[[Path], AbstractContextManager[Store]]]] = {
    "sqlite": _sqlite,
    "redis": _redis,
}
