"""The audit log where its file takes little, or nothing, for a while."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from threading import Event
from typing import TYPE_CHECKING

import pytest

from proxy.access.audit import AuditLog
from proxy.errors import StorageFailure
from proxy.kit.singleflight import SingleFlight
from tests.kit.manual_clock import ManualClock
from tests.kit.proxy import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# What a pipe holds.
_PIPE = 4096


@pytest.fixture
async def flights() -> AsyncIterator[SingleFlight]:
    flights = SingleFlight()
    yield flights
    await flights.close()


def log_to(
    file: Path, flights: SingleFlight, *, refuses: bool = True, clock: ManualClock | None = None
) -> tuple[AuditLog, dict[str, str]]:
    """The log, and the warnings of it."""
    warnings: dict[str, str] = {}
    clock = clock or ManualClock()
    return AuditLog(
        file, refuses=refuses, warnings=warnings, flights=flights, clock=clock
    ), warnings


async def test_a_line_that_was_cut_does_not_spoil_the_next_one(
    tmp_path: Path, flights: SingleFlight
) -> None:
    """As on a full disk; a pipe that nobody reads is one at the right moment."""
    os.mkfifo(tmp_path / "audit")
    reader = os.open(tmp_path / "audit", os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, _PIPE)
        log, warnings = log_to(tmp_path / "audit", flights)
        with pytest.raises(StorageFailure):
            await log.write("first", text="x" * 2 * _PIPE)
        assert "audit" in warnings
        cut = os.read(reader, 3 * _PIPE)
        assert cut
        assert b"\n" not in cut
        for event in ("second", "third"):
            await log.write(event)
        assert warnings == {}
        empty, *lines = os.read(reader, _PIPE).splitlines()
        assert empty == b""
        assert [json.loads(line)["event"] for line in lines] == ["second", "third"]
    finally:
        os.close(reader)


async def test_a_new_file_begins_with_a_whole_line(tmp_path: Path, flights: SingleFlight) -> None:
    file = tmp_path / "audit"
    log, _ = log_to(file, flights)
    log._is_cut = True
    await log.write("first")
    assert json.loads(file.read_text())["event"] == "first"


async def test_a_pipe_without_a_reader_is_refused_at_once(
    tmp_path: Path, flights: SingleFlight
) -> None:
    os.mkfifo(tmp_path / "audit")
    log, _ = log_to(tmp_path / "audit", flights)
    with pytest.raises(OSError, match="audit"):
        log.open()


@pytest.mark.parametrize("refuses", [True, False])
async def test_a_file_that_hangs_is_one_that_cannot_be_written(
    tmp_path: Path, flights: SingleFlight, monkeypatch: pytest.MonkeyPatch, *, refuses: bool
) -> None:
    may_write, begun, clock = Event(), Event(), ManualClock()
    log, warnings = log_to(tmp_path / "audit", flights, refuses=refuses, clock=clock)
    append = log._append

    def hang(lines: bytes) -> None:
        begun.set()
        may_write.wait()
        append(lines)

    monkeypatch.setattr(log, "_append", hang)
    monkeypatch.setattr("proxy.access.audit._WRITE_TIMEOUT", 0.05)
    try:
        first = asyncio.create_task(log.write("first"))
        await until(begun.is_set)
        await asyncio.wait({first})
        assert isinstance(first.exception(), StorageFailure) == refuses
        clock.advance(10)
        second = asyncio.create_task(log.write("second"))
        await asyncio.wait({second})
        assert isinstance(second.exception(), StorageFailure) == refuses
        assert "too long" in warnings["audit"]
    finally:
        may_write.set()
    await until(lambda: "audit" not in warnings)
    await log.write("third")
    await log.flush()
    events = [json.loads(line)["event"] for line in (tmp_path / "audit").read_text().splitlines()]
    assert events == ["first", "third"]
