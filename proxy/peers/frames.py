"""How a replica answers a peer: a series of frames, each with its kind and its length. PURE.

The head of an answer is sent before its content is known, and a heartbeat each second until there
is some: silence means that the replica is gone. All frames are sealed, except those with the bytes
of a blob, which are what its digest says or are thrown away.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from proxy.peers.signing import SEAL_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.peers.signing import AnswerSeal

_HEAD: Final = struct.Struct(">BI")
_EXTENT: Final = struct.Struct(">QQ")
_UNKNOWN: Final = 2**64 - 1
# A page of a listing has at most 32 MiB, and something is said about it.
_MAX_VALUE: Final = 33 * 2**20
_MAX_SHORT: Final = 64 * 2**10


class FrameInvalid(Exception):  # noqa: N818 -- as the domain's errors
    """The bytes are no frame of a holder of the secret; the message is half a sentence."""


class Kind(IntEnum):
    """What a frame has: see `Frame`."""

    HEARTBEAT = 0
    EXTENT = 1
    DATA = 2
    END = 3
    VALUE = 4
    ERROR = 5


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of an answer.

    HEARTBEAT: the replica waits, too. EXTENT: which bytes of a blob follow. DATA: some of them.
    END: there are no more. VALUE: the whole answer, and ERROR: why there is none, in JSON; after
    that of a VALUE there are a line feed and the bytes of what was asked for.
    """

    kind: Kind
    payload: bytes = b""

    @classmethod
    def of_extent(cls, start: int, total: int | None) -> Frame:
        """Bytes from `start` on follow, of a blob of `total` bytes; None if that is unknown."""
        return cls(Kind.EXTENT, _EXTENT.pack(start, _UNKNOWN if total is None else total))

    @property
    def extent(self) -> tuple[int, int | None]:
        """The offset of the first byte that follows, and the blob's size if it is known."""
        if self.kind is not Kind.EXTENT or len(self.payload) != _EXTENT.size:
            raise FrameInvalid(f"it is a {self.kind.name} where an EXTENT is due")
        start, total = _EXTENT.unpack(self.payload)
        return start, None if total == _UNKNOWN else total

    def encode(self, seal: AnswerSeal) -> bytes:
        """The frame, sealed unless it has bytes of a blob."""
        if self.kind is Kind.DATA:
            return encode_data(self.payload)
        head = _HEAD.pack(self.kind, len(self.payload))
        return head + self.payload + seal.next(head + self.payload)


def encode_data(payload: bytes | memoryview) -> bytes:
    """The frame with these bytes of a blob."""
    return b"".join((_HEAD.pack(Kind.DATA, len(payload)), payload))


class FrameReader:
    """Reads frames from bytes as they arrive."""

    def __init__(self, seal: AnswerSeal) -> None:
        """`seal` is that of the answer to our request."""
        self._seal = seal
        self._buffer = bytearray()
        # Bytes of a blob that are still to come in the current frame.
        self._data_left = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now, and of one with bytes of a blob what is there.

        FrameInvalid for what is no frame, or is not sealed.
        """
        if self._data_left and not self._buffer:
            # Most of a blob arrives alone, and is not copied.
            piece, data = data[: self._data_left], data[self._data_left :]
            self._data_left -= len(piece)
            yield Frame(Kind.DATA, piece)
        self._buffer += data
        while self._buffer:
            if self._data_left:
                piece = bytes(memoryview(self._buffer)[: self._data_left])
                self._data_left -= len(piece)
                del self._buffer[: len(piece)]
                yield Frame(Kind.DATA, piece)
                continue
            if len(self._buffer) < _HEAD.size:
                return
            kind, length = self._read_head()
            if kind is Kind.DATA:
                self._data_left = length
                del self._buffer[: _HEAD.size]
                continue
            end = _HEAD.size + length
            if len(self._buffer) < end + SEAL_LENGTH:
                return
            sealed, seal = bytes(self._buffer[:end]), bytes(self._buffer[end : end + SEAL_LENGTH])
            del self._buffer[: end + SEAL_LENGTH]
            if not hmac.compare_digest(self._seal.next(sealed), seal):
                raise FrameInvalid("its signature is wrong")
            yield Frame(kind, sealed[_HEAD.size :])

    def _read_head(self) -> tuple[Kind, int]:
        number, length = _HEAD.unpack_from(self._buffer)
        try:
            kind = Kind(number)
        except ValueError:
            raise FrameInvalid("it is of an unknown kind") from None
        if kind is not Kind.DATA and length > (_MAX_VALUE if kind is Kind.VALUE else _MAX_SHORT):
            raise FrameInvalid(f"it has {length} bytes")
        return kind, length
