"""Stored blobs from the page cache to the client's socket, by the kernel and without a copy here.

A thread calls sendfile(2) as long as the client keeps up. For a client that does not, for TLS and
for a file that cannot be read, it sends nothing more: then the caller goes on by ordinary writes,
which wait for the client without a thread.
"""

from __future__ import annotations

import asyncio
import os
import select
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from proxy.blobs.self_healing import StoredBlob
from proxy.kit.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from proxy.blobs.source import Source

# Of less than that, a thread costs more than the copy.
MIN_SIZE: Final = 256 * 1024
_THREADS: Final = 16
# The bytes that one turn of a thread sends, so that clients take turns.
_TURN: Final = 16 * 2**20
# How long a thread waits for a client that takes nothing, in milliseconds.
_WAIT: Final = 20


class FileSender:
    """A few threads for all connections; a client that finds none free is served without."""

    def __init__(self) -> None:
        """Start no thread yet."""
        self._threads = ThreadPoolExecutor(_THREADS, "send")
        self._busy = 0

    async def send(
        self,
        request: web.BaseRequest,
        source: Source,
        first: int,
        last: int,
        *,
        count_sent: Callable[[int], object],
    ) -> int:
        """Send bytes of a file from `first` to `last`, as many as can be sent now; their number.

        0 if `source` is no file, or the client has to be waited for. `count_sent` gets the number,
        too, also if the client disconnects as soon as it has them, which cancels this. The response
        has been prepared. ConnectionError if the client has disconnected.
        """
        file = source.file if isinstance(source, StoredBlob) else None
        count = min(_TURN, last + 1 - first)
        if file is None or count < MIN_SIZE or self._busy == _THREADS:
            return 0
        if (descriptor := await _socket_of(request)) is None:
            return 0
        self._busy += 1
        try:
            sent = await self._send(descriptor, file, first, count, count_sent)
        finally:
            self._busy -= 1
        # As if they had been written.
        writer = request.writer
        writer.output_size += sent
        if writer.length is not None:
            writer.length -= sent
        return sent

    async def _send(
        self,
        descriptor: int,
        file: int,
        offset: int,
        count: int,
        count_sent: Callable[[int], object],
    ) -> int:
        # The connection may be closed meanwhile, and its number given to another one.
        own = os.dup(descriptor)
        try:
            sent = await in_thread(
                lambda: _send_file(own, file, offset, count),
                cleanup=count_sent,
                executor=self._threads,
            )
            count_sent(sent)
            return sent
        finally:
            os.close(own)


async def _socket_of(request: web.BaseRequest) -> int | None:
    """The socket, once everything before is sent; None if it cannot be written to directly."""
    request.writer.send_headers()
    transport = request.transport
    if transport is None or transport.get_extra_info("sslcontext") is not None:
        return None
    if transport.get_write_buffer_size():
        # What was written in this turn of the loop is sent at its end.
        await asyncio.sleep(0)
    if transport.is_closing() or transport.get_write_buffer_size():
        return None
    descriptor: int = transport.get_extra_info("socket").fileno()
    return descriptor if descriptor >= 0 else None


def _send_file(target: int, file: int, offset: int, count: int) -> int:
    """Send until the client does not keep up or the file ends; the number of bytes."""
    poll, sent = select.poll(), 0
    poll.register(target, select.POLLOUT)
    while sent < count:
        try:
            done = os.sendfile(target, file, offset + sent, count - sent)
        except BlockingIOError:
            if poll.poll(_WAIT):
                continue
            break
        except ConnectionError:
            if sent:
                break
            raise
        except OSError:
            # A file system that cannot, or a disk that fails: reading it says so.
            break
        if not done:
            break
        sent += done
    return sent
