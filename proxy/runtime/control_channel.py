"""The protocol between supervisor and worker, over a pair of connected sockets.

The worker's end is its standard input. It receives its assignment first, and the order to drain
later. When the stream ends, the supervisor has ended, and so must the worker. The worker sends a
line for each change of its readiness, and one for each order to report and for each question.
"""

from __future__ import annotations

import json
import pickle
import struct
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from proxy.report.replicas import PeerState
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
# How lines begin that have an operator's question, and its answer; then comes its number.
_QUESTION: Final = b"ask "
_ANSWER: Final = b"answer "
_LENGTH: Final = struct.Struct("!I")

Message: TypeAlias = "dict[str, Any]"


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


def encode_question(number: int, question: Message) -> bytes:
    """Format a question for a worker."""
    return b"%b%d %b\n" % (_QUESTION, number, json.dumps(question).encode())


def decode_question(line: bytes) -> tuple[int, Message] | None:
    """Parse a supervisor's line; None if it is no question."""
    return _split(line, _QUESTION)


def encode_answer(number: int, answer: Message) -> bytes:
    """Format the answer to a question."""
    return b"%b%d %b\n" % (_ANSWER, number, json.dumps(answer).encode())


def decode_answer(line: bytes) -> tuple[int, Message] | None:
    """Parse a worker's line; None if it is no answer."""
    return _split(line, _ANSWER)


def _split(line: bytes, beginning: bytes) -> tuple[int, Message] | None:
    if not line.startswith(beginning):
        return None
    number, _, content = line.removeprefix(beginning).partition(b" ")
    return int(number), json.loads(content)


def _exactly(channel: socket.socket, length: int) -> bytes:
    received = bytearray()
    while len(received) < length:
        piece = channel.recv(length - len(received))
        if not piece:
            raise EOFError("the supervisor has ended")
        received += piece
    return bytes(received)
