"""The status page follows what happens, by a clock that the test holds."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest

from proxy.web.admin.app import admin_app, listening
from proxy.web.admin.status import Status
from proxy.wiring.stored import StoredHere
from tests.kit import images
from tests.kit.manual_clock import ManualClock
from tests.kit.processes import free_port
from tests.kit.proxy import push, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from proxy.report.process import ProcessReport
    from tests.kit.proxy import Proxy
    from tests.kit.scripted_upstream import ScriptedUpstream

NAME: Final = "library/cargo"
# What a reader of the page waits for at most, in seconds of the held clock.
PROMPT: Final = 1.0


class Page:
    """The events of a page that is open, and its clock."""

    def __init__(self, clock: ManualClock, stream: aiohttp.StreamReader) -> None:
        self.clock = clock
        self._stream = stream

    async def event(self) -> dict[str, Any]:
        """The sections that the next event has."""
        async with asyncio.timeout(60):
            event = await self._stream.readuntil(b"\n\n")
        kind, data = event.decode().splitlines()[:2]
        assert kind == "event: sections"
        sections: dict[str, Any] = json.loads(data.removeprefix("data: "))
        return sections

    async def asleep(self, times: int) -> None:
        """Return when it waits for the so-manieth time."""
        await until(lambda: len(self.clock.slept) >= times)


@pytest.fixture
async def live(proxy: Proxy) -> AsyncIterator[Page]:
    services, port, clock = proxy.services, free_port(), ManualClock()
    services.readiness.serving = True

    async def reports() -> Sequence[ProcessReport]:
        return [services.reporter.report()]

    status = Status(
        services.readiness,
        version="1",
        workers=1,
        reports=reports,
        stored=StoredHere(proxy.settings),
        clock=clock,
    )
    app = admin_app(status, purge=services.purges.purge, questions=services.questions)
    async with (
        listening(app, ("127.0.0.1", port)),
        aiohttp.ClientSession(read_bufsize=2**24) as client,
        client.get(f"http://127.0.0.1:{port}/events") as answer,
    ):
        assert await answer.content.readuntil(b"\n\n") == b"retry: 2000\n\n"
        yield Page(clock, answer.content)
        services.readiness.draining = True
        clock.advance(60)


async def test_a_pull_shows_within_a_second(
    live: Page, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """One that comes right after the page has looked, which waits for longest."""
    push(upstream, NAME, "1", images.oci())
    assert "images" in await live.event()
    for turn in range(1, 4):
        await live.asleep(turn)
        assert (await proxy.get(f"/v2/{NAME}/manifests/1", Accept="*/*")).status == 200
        await until(lambda turn=turn: _pulls(proxy) == turn)  # type: ignore[misc]
        live.clock.advance(PROMPT)
        sections = await live.event()
        assert {"hits", "images", "clients"} <= sections.keys()
        assert f"{NAME}:1" in sections["images"]


def _pulls(proxy: Proxy) -> int:
    return sum(each["pulls"] for each in proxy.services.reporter.report()["activity"]["images"])
