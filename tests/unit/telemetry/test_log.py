"""A log line is one JSON object in ASCII, whatever a client calls itself."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from proxy.telemetry.log import LogWriter, members

if TYPE_CHECKING:
    from collections.abc import Iterator

# What turns text around, begins a new line, or changes colours in a terminal.
STEERING = "h\u00e4fen \u2028 \u202e \x9b31m \x1b[0m \x7f\n"
DIGEST = Digest.of(b"cargo")


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that hides what it holds from those who print it."""

    password: str

    def __repr__(self) -> str:
        return "<hidden>"


def read(encoded: bytes) -> object:
    """What a reader of the log gets."""
    assert encoded.isascii()
    assert not any(byte < ord(" ") for byte in encoded)
    return json.loads(b"{%b}" % encoded)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("containerd/2.0", "containerd/2.0"),
        (STEERING, STEERING),
        ("half a pair \udc80", "half a pair \udc80"),
        (DIGEST, str(DIGEST)),
        (MediaType.V2S2, MediaType.V2S2.value),
        (Path("/data"), "/data"),
        (2**70, 2**70),
        (0.000001, 0.000001),
        (None, None),
        (["a", {"b": 1}], ["a", {"b": 1}]),
        ({1: "a key that is no string"}, {"1": "a key that is no string"}),
        (Secret("harbour"), "<hidden>"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        (OSError(5, "the disk"), "[Errno 5] the disk"),
    ],
    ids=repr,
)
def test_every_value_is_readable(value: object, expected: object) -> None:
    assert read(members(key=value)) == {"key": expected}


def test_members_follow_one_another_as_they_are_given() -> None:
    assert members(method="GET", status=200) == b'"method":"GET","status":200'


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_every_line_ends_with_a_newline(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1])
    writer.line(b'{"number":1}')
    writer.line(b'{"number":2}')
    writer.close()
    assert os.read(pipe[0], 2**16) == b'{"number":1}\n{"number":2}\n'
