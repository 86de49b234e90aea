"""Reads to a proxy and writes to its upstream, behind one address.

Clients that push what they pull can so be run against a proxy that takes no pushes.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

if TYPE_CHECKING:
    from types import TracebackType

    from multidict import CIMultiDictProxy

_READS: Final = {"GET", "HEAD"}
# The state of an upload is the upstream's, although it is read by GET.
_UPLOADS: Final = "/blobs/uploads/"
# What belongs to one connection, and what is computed anew for the next one.
_HOP: Final = ("Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Expect")


class Router:
    """Listens on a port of 127.0.0.1; `reads` and `writes` are URLs without a path."""

    def __init__(self, *, reads: str, writes: str) -> None:
        self._reads = reads
        self._writes = writes
        self.host = ""

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(
            auto_decompress=False, skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent")
        )
        self._runner = web.ServerRunner(web.Server(self._forward), shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.host = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()
        await self._client.close()

    async def _forward(self, request: web.BaseRequest) -> web.StreamResponse:
        read = request.method in _READS and _UPLOADS not in request.raw_path
        origin = self._reads if read else self._writes
        body = await request.content.read() if request.body_exists else None
        async with self._client.request(
            request.method,
            URL(origin + request.raw_path, encoded=True),
            # `Host` as it came: a registry's `Location` leads back here.
            headers=_without_hops(request.headers),
            data=None if body is None else io.BytesIO(body),
            allow_redirects=False,
        ) as answer:
            headers = _without_hops(answer.headers)
            if request.method == "HEAD" and "Content-Length" in answer.headers:
                headers["Content-Length"] = answer.headers["Content-Length"]
            return web.Response(
                status=answer.status, headers=headers, body=await answer.read() or None
            )


def _without_hops(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    for name in _HOP:
        kept.popall(name, None)
    return kept
