"""A dependency's warning comes and goes, and a look that raises is repeated at once."""

from __future__ import annotations

import asyncio

import pytest

from proxy.runtime import dependency_watch
from proxy.runtime.dependency_watch import DependencyWatch


class Server:
    """A dependency as its test says it is."""

    def __init__(self) -> None:
        self.state: str | Exception | None = None
        self.troubled = asyncio.Event()

    async def warning(self) -> str | None:
        if isinstance(self.state, Exception):
            raise self.state
        return self.state

    async def trouble(self) -> None:
        await self.troubled.wait()


@pytest.fixture(autouse=True)
def _without_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependency_watch, "_LOOK_AGAIN", 0.0)


async def test_its_warning_comes_with_trouble_and_goes_with_the_next_look() -> None:
    server, warnings = Server(), dict[str, str]()
    watch = DependencyWatch("redis", server, warnings)
    await watch.look()
    assert warnings == {}
    server.state = "no connection"
    waiting = asyncio.create_task(watch.look())
    await asyncio.sleep(0.01)
    assert not waiting.done(), "nothing has gone wrong yet"
    server.troubled.set()
    await waiting
    assert warnings == {"redis": "no connection"}
    server.state = None
    await watch.look()
    assert warnings == {}


async def test_a_look_that_raises_is_repeated_without_waiting_for_trouble() -> None:
    server, warnings = Server(), dict[str, str]()
    watch = DependencyWatch("bucket", server, warnings)
    await watch.look()
    server.state = ValueError("a bug")
    server.troubled.set()
    with pytest.raises(ValueError, match="a bug"):
        await watch.look()
    server.state, server.troubled = None, asyncio.Event()
    async with asyncio.timeout(60):
        await watch.look()
