"""A server in front of the S3 gateway that answers some requests in its own way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import TYPE_CHECKING, TypeAlias

from aiohttp import ClientSession, DummyCookieJar, web
from yarl import URL

from tests.kit.processes import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.kit.s3_gateway import Gateway
# What the gateway answers.
Forward: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.Response]]


@asynccontextmanager
async def interceptor(
    gateway: Gateway, changed: Callable[[web.BaseRequest, Forward], Awaitable[web.Response]]
) -> AsyncIterator[str]:
    """The endpoint of a server that does with every request what `changed` does."""
    async with ClientSession(auto_decompress=False, cookie_jar=DummyCookieJar()) as session:

        async def forward(request: web.BaseRequest) -> web.Response:
            body = await request.content.read()
            # The signature is for the Host that the client sent.
            async with session.request(
                request.method,
                URL(gateway.endpoint + request.raw_path, encoded=True),
                headers=request.headers,
                data=BytesIO(body) if body else None,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            ) as answer:
                content = await answer.read()
                headers = answer.headers.copy()
                for name in ("Transfer-Encoding", "Connection", "Date"):
                    headers.popall(name, None)
                if request.method != "HEAD":
                    headers.popall("Content-Length", None)
                return web.Response(status=answer.status, headers=headers, body=content or None)

        async def handle(request: web.BaseRequest) -> web.Response:
            return await changed(request, forward)

        # A part of an upload is larger than aiohttp takes by default, so it is read as it comes.
        runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, LOOPBACK, 0)
            await site.start()
            yield f"http://{LOOPBACK}:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
