"""Reading files without making the loop wait for a disk."""

from __future__ import annotations

import asyncio
import errno
import os


class OpenFile:
    """A file open for reading at any offset. What is in the page cache costs no thread."""

    # Some file systems do not know the flag: then every read goes to a thread, in every file.
    _nowait = getattr(os, "RWF_NOWAIT", 0)

    def __init__(self, descriptor: int) -> None:
        """Take over `descriptor`."""
        self.descriptor = descriptor

    @property
    def size(self) -> int:
        """In bytes, as of now."""
        return os.fstat(self.descriptor).st_size

    async def read(self, offset: int, length: int) -> memoryview:
        """At most `length` bytes from `offset`; fewer at the end or where the cache ends."""
        buffer = bytearray(length)
        if OpenFile._nowait:
            try:
                count = os.preadv(self.descriptor, [buffer], offset, OpenFile._nowait)
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                OpenFile._nowait = 0
            else:
                return memoryview(buffer)[:count]
        count = await asyncio.to_thread(os.preadv, self.descriptor, [buffer], offset)
        return memoryview(buffer)[:count]

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)
