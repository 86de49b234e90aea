"""Ranges of blobs that are not cached, passed on from the upstream as they come."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from proxy.errors import RegistryError, StoreError, UpstreamFailure
from proxy.web.blob_body import abort, partial_response

if TYPE_CHECKING:
    from aiohttp import web
    from multidict import CIMultiDict

    from proxy.blobs.resumable import ResumableBody
    from proxy.blobs.serve import Blobs
    from proxy.web.access_log import AccessLogLine
    from proxy.web.paths import BlobTarget
    from proxy.web.ranges import ByteRange


class PassedRanges:
    """Passes ranges on; they cannot be verified, so none is stored."""

    def __init__(self, blobs: Blobs) -> None:
        """`blobs` counts them."""
        self._blobs = blobs

    async def send(
        self,
        request: web.BaseRequest,
        target: BlobTarget,
        headers: CIMultiDict[str],
        wanted: ByteRange,
        line: AccessLogLine,
    ) -> web.StreamResponse | None:
        """Send the range from the upstream; None if the client must wait for the whole blob."""
        with self._blobs.ranges.hold_place() as has_place:
            if not has_place:
                return None
            try:
                return await self._send_from_upstream(request, target, headers, wanted, line)
            except UpstreamFailure as failure:
                if not (failure.is_outage and self._blobs.ranges.has_mirrors(target.repository)):
                    raise
                return None

    async def _send_from_upstream(
        self,
        request: web.BaseRequest,
        target: BlobTarget,
        headers: CIMultiDict[str],
        wanted: ByteRange,
        line: AccessLogLine,
    ) -> web.StreamResponse | None:
        """Send the range from the upstream, unverified.

        None if the whole blob must be fetched: the upstream does not support ranges, or they may
        be ranges of something else, which the blob is encoded in.
        """
        repository, digest = target.repository, target.digest
        if wanted.first is None and not wanted.last:
            wanted.within(await self._blobs.size(repository, digest))
        async with self._blobs.ranges.open(repository, digest, wanted.first, wanted.last) as part:
            if part.total is None or part.coding is not None:
                return None
            first, last = wanted.within(part.total)
            if part.start != first:
                return None
            response = partial_response(headers, first, last, part.total)
            # Nobody may keep it, or take it for a part of what the digest names.
            del response.headers["ETag"]
            response.headers["Cache-Control"] = "no-store"
            length = last - first + 1
            try:
                line.status = response.status
                await response.prepare(request)
                await _copy(part, response, length, line)
                await response.write_eof()
            except (RegistryError, StoreError, OSError) as error:
                abort(request, line, error)
            finally:
                # Only now, because the client's bytes come first.
                self._blobs.ranges.record(repository, digest, length=length, total=part.total)
            return response


async def _copy(
    part: ResumableBody, response: web.StreamResponse, length: int, line: AccessLogLine
) -> None:
    """Send `length` bytes: an upstream may send more than the requested range."""
    async with aclosing(part.chunks()) as chunks:
        async for received in chunks:
            chunk = received[:length]
            await response.write(chunk)
            line.sent += len(chunk)
            length -= len(chunk)
            if length == 0:
                break
