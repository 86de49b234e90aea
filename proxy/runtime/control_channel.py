"""The protocol between supervisor and worker, over a pair of connected sockets.

The worker's end is its standard input. It receives its assignment first, and the order to drain
later. When the stream ends, the supervisor has ended, and so must the worker. The worker sends a
line for each change of its readiness, and one for each order to report.
"""

from __future__ import annotations

import json
import pickle
import struct
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from proxy.peers.membership import PeerState
from proxy.web.admin.readiness import Readiness

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from proxy.config import ServeArguments, Settings
    from proxy.report.process import ProcessReport

DRAIN: Final = b"drain\n"
# A line has what is known of thousands of replicas, in bytes.
MAX_LINE: Final = 8 * 2**20
REPORT: Final = b"report\n"
# How a line begins that has a report.
_REPORT: Final = b"report "
_LENGTH: Final = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Assignment:
    """A worker's number, settings and shared resources.

    `number` counts from 1; a replacement has the same one. `directory` has the workers' metrics and
    the log's lock; `tokens` is a descriptor of memory that they share.
    `arguments` has the sources of the settings.
    """

    number: int
    settings: Settings
    directory: Path
    tokens: int | None
    arguments: ServeArguments

    def encode(self) -> bytes:
        """The bytes to send to the worker."""
        content = pickle.dumps(self)
        return _LENGTH.pack(len(content)) + content

    @classmethod
    def receive(cls, channel: socket.socket) -> Assignment:
        """Receive an assignment, blocking; EOFError if the supervisor has ended."""
        (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
        assignment = pickle.loads(_exactly(channel, length))  # noqa: S301 -- from our parent process
        if not isinstance(assignment, cls):
            raise TypeError(assignment)
        return assignment


def encode(readiness: Readiness) -> bytes:
    """Format a line for the supervisor."""
    return json.dumps(asdict(readiness)).encode() + b"\n"


def decode(line: bytes) -> Readiness:
    """Parse a worker's line."""
    found = json.loads(line)
    return Readiness(**{**found, "peers": tuple(PeerState(**peer) for peer in found["peers"])})


def encode_report(report: ProcessReport) -> bytes:
    """Format a report for the supervisor."""
    return b"%b%b\n" % (_REPORT, json.dumps(report, separators=(",", ":")).encode())


def decode_report(line: bytes) -> ProcessReport | None:
    """Parse a worker's line; None if it is no report."""
    if not line.startswith(_REPORT):
        return None
    report: ProcessReport = json.loads(line.removeprefix(_REPORT))
    return report


def _exactly(channel: socket.socket, length: int) -> bytes:
    received = bytearray()
    while len(received) < length:
        piece = channel.recv(length - len(received))
        if not piece:
            raise EOFError("the supervisor has ended")
        received += piece
    return bytes(received)
