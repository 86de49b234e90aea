"""The listener for operators: is it alive, is it ready, what does it measure."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

# A probe or a scrape that is being answered may take so many seconds to end.
_SHUTDOWN: Final = 1.0


@dataclass(slots=True)
class Readiness:
    """Whether to send traffic here, and what an operator may want to know besides.

    Neither the cache nor an upstream is in it: without them this proxy serves what it has, and
    taking it out of rotation would make a small outage a large one.
    """

    serving: bool = False
    draining: bool = False
    warnings: dict[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether new connections are welcome."""
        return self.serving and not self.draining


def admin_app(
    readiness: Readiness, metrics: Callable[[], bytes] = generate_latest
) -> web.Application:
    """`/healthz`, `/readyz` and `/metrics`, which are those of this process if not given."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(body=b"ok\n", content_type="text/plain")

    async def readyz(_request: web.Request) -> web.Response:
        state = "draining" if readiness.draining else "ready" if readiness.ready else "starting"
        status = HTTPStatus.OK if readiness.ready else HTTPStatus.SERVICE_UNAVAILABLE
        body = json.dumps({"status": state, "warnings": readiness.warnings}).encode()
        return web.Response(status=status, body=body, content_type="application/json")

    async def measured(_request: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes(
        [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", measured)]
    )
    return app


@asynccontextmanager
async def listening(app: web.Application, address: tuple[str, int]) -> AsyncIterator[None]:
    """Answer at `address` while the block runs; OSError if that cannot be done."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN)
    await runner.setup()
    try:
        await web.TCPSite(runner, *address).start()
        yield
    finally:
        await runner.cleanup()
