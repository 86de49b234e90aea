"""One open file: what is in the page cache is read at once, all else in a thread."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, ClassVar, Final

from proxy.kit.threads import in_thread

if TYPE_CHECKING:
    from pathlib import Path

# File systems that do not know RWF_NOWAIT, and kernels that know no flags at all.
_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})


class OpenFile:
    """A file that stays readable whatever becomes of its name. Fits Blob."""

    __slots__ = ("_descriptor",)

    # Zero where the system has no such flag, and as soon as the file system says that it has not.
    _without_waiting: ClassVar[int] = getattr(os, "RWF_NOWAIT", 0)

    def __init__(self, descriptor: int) -> None:
        """Take over `descriptor`; `close` closes it."""
        self._descriptor = descriptor

    def fileno(self) -> int:
        """The descriptor, for the system calls of whoever owns this file."""
        return self._descriptor

    def duplicate(self) -> OpenFile:
        """The same file once more, to be closed by itself."""
        return OpenFile(os.dup(self._descriptor))

    @property
    def size(self) -> int:
        """In bytes, now."""
        return os.fstat(self._descriptor).st_size

    def is_at(self, path: Path) -> bool:
        """Whether `path` still names this file, and not another one or nothing."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), path.stat())
        except FileNotFoundError:
            return False

    async def read(self, offset: int, length: int) -> memoryview:
        """At most `length` bytes from `offset`, without a copy; empty only at the end."""
        buffer = bytearray(length)
        # preadv2(2), "BUGS": Linux 5.9 and 5.10 also answer 0 before the end; a thread knows.
        count = self._cached(buffer, offset) or await in_thread(
            lambda: os.preadv(self._descriptor, [buffer], offset)
        )
        return memoryview(buffer)[:count]

    def _cached(self, buffer: bytearray, offset: int) -> int:
        """Read what can be had without waiting for the disk; how many bytes that was."""
        if not OpenFile._without_waiting:
            return 0
        try:
            return os.preadv(self._descriptor, [buffer], offset, OpenFile._without_waiting)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            OpenFile._without_waiting = 0
            return 0

    def close(self) -> None:
        """Let go of the file."""
        # Never a number that the system has given to somebody else since.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class WholeFile(OpenFile):
    """One that was as long as it has to be when it was opened, and says so whatever happens."""

    __slots__ = ("_size",)

    def __init__(self, descriptor: int, size: int) -> None:
        """Take over `descriptor` of a file of `size` bytes."""
        super().__init__(descriptor)
        self._size = size

    @property
    def size(self) -> int:
        """In bytes, then: what has been cut off since is missed by whoever reads to the end."""
        return self._size
