"""Whether bytes are one whole tar archive, told by its headers alone, in bounded memory.

What `archive/tar` of Go reads is accepted, because docker and containerd unpack layers by it:
ustar, PAX, GNU and V7; an archive without its two blocks of zeros; a last file without its padding.
Unlike there, only zeros may follow the end.
"""

from __future__ import annotations

import re
from typing import Final

# POSIX.1-2017, pax, "ustar Interchange Format": a header, and the places of its fields.
_BLOCK: Final = 512
_SIZE: Final = slice(124, 136)
_CHECKSUM: Final = slice(148, 156)
_TYPE: Final = 156
_NAME: Final = slice(0, 100)
_OCTAL: Final = re.compile(rb"[0-7]{0,12}")
# GNU: a first bit that is set says that the rest is a big-endian number.
_BINARY: Final = 0x80
_NEGATIVE: Final = 0x40
# Links, devices, directories and pipes: no bytes follow, whatever size is stated.
_WITHOUT_BYTES: Final = frozenset(b"123456")
_DIRECTORY_OF_V7: Final = 0
_PAX: Final = ord("x")
# PAX records and GNU's long names, which readers hold in memory. Go's `maxSpecialFileSize`.
_HELD: Final = frozenset(b"xgLK")
_MAX_HELD: Final = 2**20
_PAX_SIZE: Final = re.compile(rb"(?:^|\n)\d+ size=(\d{1,19})\n")
# GNU's sparse files: where a header says that a block with more of the map follows.
_SPARSE: Final = ord("S")
_MORE_IN_HEADER: Final = 482
_MORE_IN_MAP: Final = 504
_NOTHING: Final = "is neither gzip nor a tar archive"
# Each takes time, and no layer of a real image has as many.
_MAX_HEADERS: Final = 2**22


class NotAnArchiveError(ValueError):
    """The bytes are no archive; the message says why, as what the layer does."""


class TooManyEntriesError(ValueError):
    """The archive has more entries than anybody should have to look at."""


class TarWalk:
    """Follows an archive that is fed to it in order."""

    def __init__(self) -> None:
        self._at = 0
        self._headers = 0
        # What has arrived of a header, a sparse file's map, or PAX records.
        self._block = bytearray()
        self._map_follows = False
        self._records: bytearray | None = None
        # Bytes of the current file that are still to come, and of its padding.
        self._data = self._padding = 0
        # The size that PAX records give to the next file.
        self._next_size: int | None = None
        self._zero_blocks = 0

    def feed(self, piece: bytes | memoryview) -> None:
        """Take the next bytes; NotAnArchiveError or TooManyEntriesError."""
        view = memoryview(piece)
        start = 0
        while start < len(view):
            if (self._data or self._padding) and not self._map_follows:
                start += self._skip(view[start:])
            elif self._zero_blocks > 1:
                self._require_zeros(view[start:])
                return
            else:
                wanted = _BLOCK - len(self._block)
                self._block += view[start : start + wanted]
                start += wanted
                if len(self._block) == _BLOCK:
                    self._at += _BLOCK
                    block, self._block = bytes(self._block), bytearray()
                    self._take(block)

    def finish(self) -> None:
        """Take the end of the bytes; NotAnArchiveError unless it may be there."""
        if self._data or self._map_follows or (self._block and self._zero_blocks < 1):
            raise NotAnArchiveError(
                "ends in the middle of a tar archive" if self._headers else _NOTHING
            )
        if self._block:
            self._require_zeros(memoryview(self._block))

    def _skip(self, view: memoryview) -> int:
        """Pass over the current file's bytes and its padding; how many bytes of `view`."""
        data = min(self._data, len(view))
        if data and self._records is not None:
            self._records += view[:data]
        self._data -= data
        padding = min(self._padding, len(view) - data) if not self._data else 0
        self._padding -= padding
        self._at += data + padding
        if not self._data and self._records is not None:
            found = _PAX_SIZE.findall(bytes(self._records))
            self._next_size = int(found[-1]) if found else self._next_size
            self._records = None
        return data + padding

    def _take(self, block: bytes) -> None:
        if self._map_follows:
            self._map_follows = bool(block[_MORE_IN_MAP])
        elif not any(block):
            self._zero_blocks += 1
        elif self._zero_blocks:
            self._refuse_what_follows_the_end()
        else:
            self._begin(block)

    def _begin(self, header: bytes) -> None:
        """Take a header: what follows it are a file's bytes, if it has any."""
        size = _number(header[_SIZE])
        if size is None or not _has_its_checksum(header):
            raise NotAnArchiveError(
                f"has no tar header at byte {self._at - _BLOCK}" if self._headers else _NOTHING
            )
        self._headers += 1
        if self._headers > _MAX_HEADERS:
            raise TooManyEntriesError(f"has over {_MAX_HEADERS} entries")
        kind = header[_TYPE]
        if kind in _HELD:
            if size > _MAX_HELD:
                raise NotAnArchiveError(f"has a tar header of {size} bytes")
            self._records = bytearray() if kind == _PAX and size else None
        else:
            if self._next_size is not None:
                size, self._next_size = self._next_size, None
            name = header[_NAME].rstrip(b"\0")
            if kind in _WITHOUT_BYTES or (kind == _DIRECTORY_OF_V7 and name.endswith(b"/")):
                size = 0
            self._map_follows = kind == _SPARSE and bool(header[_MORE_IN_HEADER])
        self._data, self._padding = size, -size % _BLOCK

    def _require_zeros(self, view: memoryview) -> None:
        if bytes(view).count(0) != len(view):
            self._refuse_what_follows_the_end()
        self._at += len(view)

    def _refuse_what_follows_the_end(self) -> None:
        raise NotAnArchiveError(
            "has other bytes after the end of its tar archive" if self._headers else _NOTHING
        )


def _number(field: bytes) -> int | None:
    """A size, octal or binary; None if it is neither."""
    if field[0] & _BINARY:
        rest = int.from_bytes(field, "big") & ~(_BINARY << 8 * (len(field) - 1))
        return None if field[0] & _NEGATIVE else rest
    digits = field.partition(b"\0")[0].strip(b" ")
    return int(digits or b"0", 8) if _OCTAL.fullmatch(digits) else None


def _has_its_checksum(header: bytes) -> bool:
    """Whether the stated checksum is that of the bytes, or of the signed bytes as once written.

    The checksum itself counts as spaces.
    """
    digits = header[_CHECKSUM].strip(b" \0")
    if not digits or not _OCTAL.fullmatch(digits):
        return False
    stated = int(digits, 8)
    total = sum(header) - sum(header[_CHECKSUM]) + 8 * ord(" ")
    if stated == total:
        return True
    blank = header[: _CHECKSUM.start] + b" " * 8 + header[_CHECKSUM.stop :]
    return stated == total - 256 * sum(byte > 127 for byte in blank)  # noqa: PLR2004
