"""The application of the admin listener: health, metrics, status and purge."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from proxy.errors import RegistryError, RequestInvalid
from proxy.oci.reference import Digest, Tag
from proxy.web.admin.overview import overview
from proxy.web.errors import body_of, status_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

# How long a probe or scrape in progress may take at shutdown, in seconds.
_SHUTDOWN_TIMEOUT: Final = 1.0
_PURGED_BY: Final = ("repository", "tag", "digest")
_MAX_WORDS: Final = 2


@dataclass(slots=True)
class Readiness:
    """Whether this process accepts traffic, with warnings for the operator.

    It does not depend on the cache or an upstream: without them the proxy serves what is cached,
    and to take it out of rotation would make the outage worse.
    """

    serving: bool = False
    draining: bool = False
    warnings: dict[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether new connections are accepted."""
        return self.serving and not self.draining

    @property
    def state(self) -> str:
        """The state in one word."""
        return "draining" if self.draining else "ready" if self.ready else "starting"


class Purge(Protocol):
    """Purges a repository, or one tag or digest of it; returns the resolved repository."""

    async def __call__(self, addressed: str, reference: Digest | Tag | None) -> object:
        """Purge; RegistryError if the name or reference is invalid or unknown."""
        ...


def admin_app(
    readiness: Readiness, *, purge: Purge, metrics: Callable[[], bytes] = generate_latest
) -> web.Application:
    """`/healthz`, `/readyz`, `/metrics`, `/status` and `/purge`.

    `metrics` defaults to those of this process.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(body=b"ok\n", content_type="text/plain")

    async def readyz(_request: web.Request) -> web.Response:
        code = HTTPStatus.OK if readiness.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _json({"status": readiness.state, "warnings": readiness.warnings}, code)

    async def get_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def status(_request: web.Request) -> web.Response:
        state = {"status": readiness.state, "warnings": readiness.warnings}
        return _json(state | overview(metrics().decode()))

    async def post_purge(request: web.Request) -> web.Response:
        try:
            addressed, reference = await _parse_purge(request)
            repository = await purge(addressed, reference)
        except RegistryError as error:
            body = body_of(error)
            return web.Response(status=status_of(error), body=body, content_type="application/json")
        return _json({"purged": str(repository), "reference": reference})

    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", get_metrics),
            web.get("/status", status),
            web.post("/purge", post_purge),
        ]
    )
    return app


async def _parse_purge(request: web.Request) -> tuple[str, Digest | Tag | None]:
    """Parse `repository` and an optional `tag` or `digest` from the query or a JSON object."""
    given: dict[str, object] = dict(request.query)
    if request.can_read_body:
        try:
            body = await request.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise RequestInvalid("the body is no JSON object")
        given |= body
    unknown = given.keys() - _PURGED_BY
    if unknown:
        raise RequestInvalid(f"there is no {min(unknown)!r} here; say {', '.join(_PURGED_BY)}")
    words = {key: value for key, value in given.items() if value is not None}
    if not all(isinstance(value, str) for value in words.values()):
        raise RequestInvalid("repository, tag and digest are strings")
    if "repository" not in words or len(words) > _MAX_WORDS:
        raise RequestInvalid("say which repository, and at most one of tag and digest")
    digest, tag = words.get("digest"), words.get("tag")
    reference = Digest(str(digest)) if digest else Tag(str(tag)) if tag else None
    return str(words["repository"]), reference


def _json(document: object, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    body = json.dumps(document).encode()
    return web.Response(status=status, body=body, content_type="application/json")


@asynccontextmanager
async def listening(app: web.Application, address: tuple[str, int]) -> AsyncIterator[None]:
    """Listen on `address` while the block runs; OSError if that fails."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT)
    await runner.setup()
    try:
        await web.TCPSite(runner, *address).start()
        yield
    finally:
        await runner.cleanup()
