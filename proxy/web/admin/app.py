"""The listener for operators: is it alive, is it ready, what does it measure; and purging."""

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

# A probe or a scrape that is being answered may take so many seconds to end.
_SHUTDOWN: Final = 1.0
_PURGED_BY: Final = ("repository", "tag", "digest")
_AT_MOST: Final = 2


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

    @property
    def state(self) -> str:
        """In a word."""
        return "draining" if self.draining else "ready" if self.ready else "starting"


class Purge(Protocol):
    """Forgets what is known of a repository, or of one tag of it; says which one was meant."""

    async def __call__(self, addressed: str, reference: Digest | Tag | None) -> object:
        """A RegistryError says why it cannot."""
        ...


def admin_app(
    readiness: Readiness, *, purge: Purge, metrics: Callable[[], bytes] = generate_latest
) -> web.Application:
    """`/healthz`, `/readyz`, `/metrics`, `/status` and `/purge`.

    `metrics` are those of this process if not given.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(body=b"ok\n", content_type="text/plain")

    async def readyz(_request: web.Request) -> web.Response:
        code = HTTPStatus.OK if readiness.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _json({"status": readiness.state, "warnings": readiness.warnings}, code)

    async def measured(_request: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def status(_request: web.Request) -> web.Response:
        state = {"status": readiness.state, "warnings": readiness.warnings}
        return _json(state | overview(metrics().decode()))

    async def purged(request: web.Request) -> web.Response:
        try:
            addressed, reference = await _what(request)
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
            web.get("/metrics", measured),
            web.get("/status", status),
            web.post("/purge", purged),
        ]
    )
    return app


async def _what(request: web.Request) -> tuple[str, Digest | Tag | None]:
    """`repository`, and `tag` or `digest` of it, from the query or a JSON object."""
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
    if "repository" not in words or len(words) > _AT_MOST:
        raise RequestInvalid("say which repository, and at most one of tag and digest")
    digest, tag = words.get("digest"), words.get("tag")
    reference = Digest(str(digest)) if digest else Tag(str(tag)) if tag else None
    return str(words["repository"]), reference


def _json(document: object, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    body = json.dumps(document).encode()
    return web.Response(status=status, body=body, content_type="application/json")


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
