"""The status page, and its changes as server-sent events."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from proxy.web.admin.pages.frame import HEADERS, answer, page
from proxy.web.admin.pages.markup import tag
from proxy.web.admin.pages.sections import SECTIONS, render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.web.admin.status import Status

# Browsers that are kept up to date at once; others reload by hand.
_STREAMS: Final = 16
# The interval at which the state is looked at for them, in seconds.
_LOOK_EVERY: Final = 0.5
# A proxy in between closes a stream on which nothing is sent, in seconds.
_SIGN_OF_LIFE: Final = 15.0
# A browser that takes nothing for so long is left, in seconds.
_WRITE_WITHIN: Final = 10.0


class LivePage:
    """Renders the status, at once and whenever it changes."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._streams = 0

    def routes(self) -> list[web.RouteDef]:
        """The page and its events."""
        return [web.get("/", self.show), web.get("/events", self.follow)]

    async def show(self, _request: web.Request) -> web.Response:
        """The whole page."""
        document = await self._status.document()
        now = self._status.clock.wall()
        live = tag(
            "p",
            "Reload the page to see what has changed.",
            id="live",
            class_="live",
            role="status",
        )
        sections = [render(name, document, now) for name in SECTIONS]
        heading = tag("div", tag("h1", "Status"), live, class_="heading")
        return answer(page("Status", heading, tag("div", sections, class_="grid"), live=True))

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """The sections that change, as long as the browser listens."""
        if self._streams >= _STREAMS:
            return web.Response(
                status=HTTPStatus.SERVICE_UNAVAILABLE,
                text=f"{_STREAMS} pages are kept up to date already\n",
                headers={"Retry-After": "60"},
            )
        self._streams += 1
        try:
            return await self._follow(request)
        finally:
            self._streams -= 1

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        seen: dict[str, object] = {}
        quiet = 0.0
        await _write(response, b"retry: 2000\n\n")
        while not self._status.readiness.draining:
            document = await self._status.document()
            changed = [name for name in SECTIONS if seen.get(name) != _lasting(name, document)]
            if changed:
                now = self._status.clock.wall()
                rendered = {name: render(name, document, now) for name in changed}
                event = f"event: sections\ndata: {json.dumps(rendered)}\n\n"
                await _write(response, event.encode())
                seen |= {name: _lasting(name, document) for name in changed}
                quiet = 0.0
            elif quiet >= _SIGN_OF_LIFE:
                await _write(response, b": quiet\n\n")
                quiet = 0.0
            await self._status.clock.sleep(_LOOK_EVERY)
            quiet += _LOOK_EVERY
        return response


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Send to the browser; TimeoutError if it does not read."""
    async with asyncio.timeout(_WRITE_WITHIN):
        await response.write(data)


def _lasting(name: str, document: Mapping[str, Any]) -> object:
    """Return what makes a section change; the browser shows the passage of time itself."""
    content = document[name]
    if name == "health":
        return {key: value for key, value in content.items() if key != "uptime"}
    return content
