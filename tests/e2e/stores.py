"""The stores for manifests that a proxy can be started with, and how they lose things."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from tests.kit.catalog_files import remove_index
from tests.kit.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


class Store(Protocol):
    """A running one: `Proxy(..., redis=store.redis)`. No proxy may run when something is lost."""

    redis: str

    def lose_everything(self, data: Path) -> None:
        """Be as when it was new; `data` is the proxy's directory."""
        ...


class _Sqlite:
    redis = ""

    def lose_everything(self, data: Path) -> None:
        remove_index(data)


class _Redis:
    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.redis = server.url

    def lose_everything(self, data: Path) -> None:  # noqa: ARG002 -- as the protocol has it
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
