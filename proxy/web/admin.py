"""The listener for operators: is it alive, is it ready, what does it measure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


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


def admin_app(readiness: Readiness) -> web.Application:
    """`/healthz`, `/readyz` and `/metrics`."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(body=b"ok\n", content_type="text/plain")

    async def readyz(_request: web.Request) -> web.Response:
        state = "draining" if readiness.draining else "ready" if readiness.ready else "starting"
        status = HTTPStatus.OK if readiness.ready else HTTPStatus.SERVICE_UNAVAILABLE
        body = json.dumps({"status": state, "warnings": readiness.warnings}).encode()
        return web.Response(status=status, body=body, content_type="application/json")

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes(
        [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)]
    )
    return app
