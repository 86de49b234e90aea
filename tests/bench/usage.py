"""What a running program and all that it has started use."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICK: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")


def cpu_seconds(session: int) -> float:
    """Of all processes in the session that the program `session` leads, since they began."""
    return sum(int(fields[11]) + int(fields[12]) for _, fields in _processes(session)) / _TICK


def peak_memory(session: int) -> float:
    """The most that the largest of these processes has had in memory, in MiB."""
    peaks = [0.0]
    for process, _ in _processes(session):
        with suppress(OSError):
            status = (process / "status").read_text()
            peaks += [int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line]
    return max(peaks) / 1024


def _processes(session: int) -> Iterator[tuple[Path, list[str]]]:
    """Each process's directory, and what /proc says of it after its name (proc(5), stat)."""
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                yield entry, fields
