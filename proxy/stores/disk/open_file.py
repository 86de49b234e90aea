"""An open file: reads from the page cache are immediate, reads from the disk use a thread."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, ClassVar, Final

from proxy.errors import StoreError
from proxy.kit.threads import in_thread

if TYPE_CHECKING:
    from pathlib import Path

# The errors of file systems without RWF_NOWAIT and of kernels without preadv2.
_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})


class OpenFile:
    """A file that stays readable after it is renamed or unlinked. Fits Blob."""

    __slots__ = ("_descriptor",)

    # Zero if the system or the file system does not support RWF_NOWAIT.
    _nowait_flag: ClassVar[int] = getattr(os, "RWF_NOWAIT", 0)

    def __init__(self, descriptor: int) -> None:
        """Take ownership of `descriptor`; `close` closes it."""
        self._descriptor = descriptor

    def fileno(self) -> int:
        """The descriptor, for system calls by the owner of this object."""
        return self._descriptor

    def duplicate(self) -> OpenFile:
        """Duplicate the descriptor; both must be closed."""
        return OpenFile(os.dup(self._descriptor))

    @property
    def size(self) -> int:
        """The current size in bytes."""
        return os.fstat(self._descriptor).st_size

    def is_at(self, path: Path) -> bool:
        """Whether `path` still names this file."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), path.stat())
        except FileNotFoundError:
            return False

    async def verify(self) -> None:
        """Do nothing: what is in a file was verified before, and again by every scrub."""

    async def read(self, offset: int, length: int) -> memoryview:
        """Read at most `length` bytes from `offset`, without a copy; empty only at the end.

        StoreError if the file cannot be read.
        """
        buffer = bytearray(length)
        try:
            # preadv2(2), "BUGS": Linux 5.9 and 5.10 may return 0 before the end: a thread checks.
            count = self._read_cached(buffer, offset) or await in_thread(
                lambda: os.preadv(self._descriptor, [buffer], offset)
            )
        except OSError as error:
            raise StoreError(str(error)) from error
        return memoryview(buffer)[:count]

    def _read_cached(self, buffer: bytearray, offset: int) -> int:
        """Read from the page cache only; the number of bytes read."""
        if not OpenFile._nowait_flag:
            return 0
        try:
            return os.preadv(self._descriptor, [buffer], offset, OpenFile._nowait_flag)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            OpenFile._nowait_flag = 0
            return 0

    def close(self) -> None:
        """Close the descriptor; further calls do nothing."""
        # A second close could hit a descriptor that the system has reused.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class WholeFile(OpenFile):
    """A complete file, whose `size` is that at its opening."""

    __slots__ = ("_size",)

    def __init__(self, descriptor: int, size: int) -> None:
        """Take ownership of the `descriptor` of a file of `size` bytes."""
        super().__init__(descriptor)
        self._size = size

    @property
    def size(self) -> int:
        """The size at opening, in bytes: so a reader notices if the file is truncated later."""
        return self._size
