"""What a supervisor and a worker say to each other, over a pair of connected sockets.

The worker's end is its standard input. It is given its assignment first, and told to drain later;
the end of the stream is the end of the supervisor, and so the worker's. Back comes a line for each
change of its readiness.
"""

from __future__ import annotations

import json
import pickle
import struct
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from proxy.web.admin.app import Readiness

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from proxy.config import ServeArguments, Settings

DRAIN: Final = b"drain\n"
_LENGTH: Final = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is to be.

    `number` counts from 1, and is also its successor's. `directory` is where the workers have
    their metrics and take turns at the log; `tokens` is a descriptor of memory that they share.
    `given` is where the settings came from.
    """

    number: int
    settings: Settings
    directory: Path
    tokens: int | None
    given: ServeArguments

    def encode(self) -> bytes:
        """For the worker's end of the channel."""
        content = pickle.dumps(self)
        return _LENGTH.pack(len(content)) + content

    @classmethod
    def receive(cls, channel: socket.socket) -> Assignment:
        """What the other end sends first; blocks. EOFError if it is not there any more."""
        (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
        assignment = pickle.loads(_exactly(channel, length))  # noqa: S301 -- from who started us
        if not isinstance(assignment, cls):
            raise TypeError(assignment)
        return assignment


def encode(readiness: Readiness) -> bytes:
    """A line for the supervisor."""
    return json.dumps(asdict(readiness)).encode() + b"\n"


def decode(line: bytes) -> Readiness:
    """The readiness in a worker's line."""
    return Readiness(**json.loads(line))


def _exactly(channel: socket.socket, length: int) -> bytes:
    received = bytearray()
    while len(received) < length:
        piece = channel.recv(length - len(received))
        if not piece:
            raise EOFError("the supervisor has ended")
        received += piece
    return bytes(received)
