"""The bodies of blob responses, whole or a part, sent as a client takes them."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.errors import RegistryError, StoreError
from proxy.telemetry import trace
from proxy.web.file_sender import FileSender
from proxy.web.headers import cache_status
from proxy.web.request import departure

if TYPE_CHECKING:
    from multidict import CIMultiDict

    from proxy.blobs.source import Source
    from proxy.web.access_log import AccessLogLine
    from proxy.web.ranges import ByteRange

# The bytes that are read and sent at a time. Chunks shrink with the number of concurrent readers,
# so that all of them together stay within the budget.
_MAX_CHUNK: Final = 256 * 1024
_MIN_CHUNK: Final = 64 * 1024
_CHUNK_BUDGET: Final = 8 * 2**20


class BlobBodies:
    """Sends the bytes of blobs that are stored or arriving."""

    def __init__(self) -> None:
        """Nothing is being sent."""
        self._sending = 0
        self.files = FileSender()

    async def send(
        self,
        request: web.BaseRequest,
        source: Source,
        headers: CIMultiDict[str],
        wanted: ByteRange | None,
        line: AccessLogLine,
    ) -> web.StreamResponse:
        """Send all of it, or the part that is wanted; the connection ends early if that fails."""
        if wanted is None:
            first, last = 0, source.size - 1
            response = web.StreamResponse(headers=headers)
            response.content_length = source.size
            response.headers["Cache-Status"] = cache_status(trace.current())
        else:
            first, last = wanted.within(source.size)
            response = partial_response(headers, first, last, source.size)
        self._sending += 1
        try:
            line.status = response.status
            await response.prepare(request)
            line.expected = last + 1 - first
            while first <= last:
                if sent := await self.files.send(
                    request, source, first, last, count_sent=line.count_sent
                ):
                    first += sent
                    continue
                length = max(_MIN_CHUNK, min(_MAX_CHUNK, _CHUNK_BUDGET // self._sending))
                chunk = await source.read(first, min(length, last - first + 1))
                await response.write(chunk)
                first += len(chunk)
                line.sent += len(chunk)
                # A write that does not block does not yield, so give other requests a turn.
                await asyncio.sleep(0)
            await response.write_eof()
        except (RegistryError, StoreError, OSError) as error:
            abort(request, line, error)
        finally:
            self._sending -= 1
        return response


def partial_response(
    headers: CIMultiDict[str], first: int, last: int, size: int
) -> web.StreamResponse:
    """A 206 response to be sent."""
    response = web.StreamResponse(status=HTTPStatus.PARTIAL_CONTENT, headers=headers)
    response.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    response.content_length = last - first + 1
    response.headers["Cache-Status"] = cache_status(trace.current())
    return response


def abort(request: web.BaseRequest, line: AccessLogLine, error: Exception) -> None:
    """Close the connection before Content-Length: after the headers, the only error signal."""
    line.error = departure(request) if isinstance(error, ConnectionError) else str(error)
    if request.transport is not None:
        request.transport.abort()
