"""Sending blobs: whole, a range, or only the headers; from the store or while they arrive."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from proxy.errors import RegistryError
from proxy.telemetry import trace
from proxy.web.conditions import not_modified, range_applies
from proxy.web.headers import cache_status, content_headers
from proxy.web.ranges import ByteRange, parse_range

if TYPE_CHECKING:
    from multidict import CIMultiDict

    from proxy.blobs.serve import Blobs
    from proxy.blobs.source import Source
    from proxy.oci.reference import Digest
    from proxy.web.access_log import AccessLogLine
    from proxy.web.paths import BlobTarget

_log = structlog.get_logger()

# What is read and sent at a time, in bytes: large enough that it costs little, and where many read
# at once as much less as keeps all of it together within bounds.
_PIECE: Final = 256 * 1024
_SMALLEST_PIECE: Final = 64 * 1024
_PIECES: Final = 8 * 2**20
# What the log says of an answer whose client did not wait for its end.
GONE: Final = "the client left"
# A client that asks for schema 1 names blobs by digest only: nobody knows their type any more.
_TYPE: Final = "application/octet-stream"


class BlobResponder:
    """Answers to GET and HEAD of blobs."""

    def __init__(self, blobs: Blobs, *, range_on_miss: bool) -> None:
        """`range_on_miss`: pass a range of what is not here yet on to the upstream."""
        self._blobs = blobs
        self._range_on_miss = range_on_miss
        self._sending = 0

    async def answer(
        self, request: web.BaseRequest, target: BlobTarget, line: AccessLogLine
    ) -> web.StreamResponse:
        """Send the blob; `line` learns how much of it the client got."""
        headers = content_headers(target.digest, _TYPE, target.ns)
        headers["Accept-Ranges"] = "bytes"
        # Content-addressed: whoever has it needs never ask again.
        headers["Cache-Control"] = "max-age=31536000, immutable"
        line.media_type = _TYPE
        wanted = None
        if range_applies(request.headers.get("If-Range"), target.digest):
            wanted = parse_range(request.headers.get("Range"))
        known = not_modified(request.headers.getall("If-None-Match", ()), target.digest)
        if request.method == "HEAD" or known:
            size = await self._blobs.size(target.repository, target.digest)
            return _head(headers, size, known=known)
        source = await self._blobs.find(target.repository, target.digest)
        try:
            if (
                wanted is not None
                and self._range_on_miss
                and not await self._is_near(source, target.digest, wanted)
            ):
                passed = await self._passed_on(request, target, headers, wanted, line)
                if passed is not None:
                    return passed
            if source is None:
                source = await self._blobs.fetch(target.repository, target.digest)
            if (url := await self._blobs.url(target.digest)) is not None:
                return _redirect(headers, url)
            return await self._send(request, source, headers, wanted, line)
        finally:
            if source is not None:
                source.close()

    async def _send(
        self,
        request: web.BaseRequest,
        source: Source,
        headers: CIMultiDict[str],
        wanted: ByteRange | None,
        line: AccessLogLine,
    ) -> web.StreamResponse:
        if wanted is None:
            first, last = 0, source.size - 1
            response = web.StreamResponse(headers=headers)
            response.content_length = source.size
            response.headers["Cache-Status"] = cache_status(trace.current())
        else:
            first, last = wanted.within(source.size)
            response = _partial(headers, first, last, source.size)
        self._sending += 1
        try:
            line.status = response.status
            await response.prepare(request)
            while first <= last:
                length = max(_SMALLEST_PIECE, min(_PIECE, _PIECES // self._sending))
                piece = await source.read(first, min(length, last - first + 1))
                await response.write(piece)
                first += len(piece)
                line.sent += len(piece)
                # What the system takes at once makes nobody wait; others want their turn, too.
                await asyncio.sleep(0)
            await response.write_eof()
        except (RegistryError, OSError) as error:
            _cut(request, line, error)
        finally:
            self._sending -= 1
        return response

    async def _is_near(self, source: Source | None, digest: Digest, wanted: ByteRange) -> bool:
        """Whether the range is here or soon will be, or is the whole blob."""
        if source is not None:
            return source.is_near(wanted.within(source.size)[0])
        if wanted.first == 0 and wanted.last is None:
            return True
        return wanted.first is not None and await self._blobs.has_begun(digest, wanted.first)

    async def _passed_on(
        self,
        request: web.BaseRequest,
        target: BlobTarget,
        headers: CIMultiDict[str],
        wanted: ByteRange,
        line: AccessLogLine,
    ) -> web.StreamResponse | None:
        """The range from upstream, while the whole blob is fetched for whoever asks next.

        None where the upstream does not send ranges, and only the whole blob will do.
        """
        repository, digest = target.repository, target.digest
        if wanted.first is None and not wanted.last:
            wanted.within(await self._blobs.size(repository, digest))
        async with self._blobs.open_range(repository, digest, wanted.first, wanted.last) as part:
            if part.total is None:
                return None
            first, last = wanted.within(part.total)
            if part.start != first:
                return None
            response = _partial(headers, first, last, part.total)
            try:
                line.status = response.status
                await response.prepare(request)
                async with aclosing(part.chunks()) as chunks:
                    async for chunk in chunks:
                        # More comes where the upstream begins with the whole.
                        piece = chunk[: last + 1 - first]
                        await response.write(piece)
                        first += len(piece)
                        line.sent += len(piece)
                        if first > last:
                            break
                await response.write_eof()
            except (RegistryError, OSError) as error:
                _cut(request, line, error)
            finally:
                # Now, and not before: the client's bytes come first.
                self._blobs.prefetch(repository, digest)
            return response


def _partial(headers: CIMultiDict[str], first: int, last: int, size: int) -> web.StreamResponse:
    """A 206 that is still to be sent."""
    response = web.StreamResponse(status=HTTPStatus.PARTIAL_CONTENT, headers=headers)
    response.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    response.content_length = last - first + 1
    response.headers["Cache-Status"] = cache_status(trace.current())
    return response


def _head(headers: CIMultiDict[str], size: int, *, known: bool) -> web.Response:
    headers["Cache-Status"] = cache_status(trace.current())
    if known:
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    headers["Content-Length"] = str(size)
    return web.Response(headers=headers)


def _redirect(headers: CIMultiDict[str], url: str) -> web.Response:
    """To the same bytes in a bucket; a range is asked for there."""
    del headers["ETag"], headers["Accept-Ranges"], headers["Content-Type"]
    # The URL is good for minutes only, and for whoever has it.
    headers["Cache-Control"] = "no-store"
    headers["Cache-Status"] = cache_status(trace.current())
    headers["Location"] = url
    headers["Content-Length"] = "0"
    return web.Response(status=HTTPStatus.TEMPORARY_REDIRECT, headers=headers)


def _cut(request: web.BaseRequest, line: AccessLogLine, error: Exception) -> None:
    """Close the connection short of Content-Length: the only way left to say that it failed."""
    gone = isinstance(error, ConnectionError)
    line.error = GONE if gone else str(error)
    if request.transport is not None:
        request.transport.abort()
