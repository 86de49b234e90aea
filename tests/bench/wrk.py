"""Load on one address of this machine, by wrk."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests import tools

if TYPE_CHECKING:
    from collections.abc import Sequence

CONNECTIONS: Final = 16
_SUMMARY: Final = Path(__file__).with_name("summary.lua")
_GRACE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it: answers a second, and how many were errors or never came."""

    rate: float
    failures: int


def load(url: str, headers: Sequence[tuple[str, str]], *, seconds: int) -> Load:
    """As many requests as the server takes, on a few connections, for a few seconds."""
    command: list[str | Path] = [tools.require("wrk"), "--threads=1", f"--duration={seconds}s"]
    command += [f"--connections={CONNECTIONS}", f"--script={_SUMMARY}"]
    # wrk keeps the last one of several lines with one name; joined they mean the same.
    for name in dict.fromkeys(name for name, _ in headers):
        joined = ", ".join(value for other, value in headers if other == name)
        command += ["--header", f"{name}: {joined}"]
    done = subprocess.run(
        [*command, url], capture_output=True, check=True, timeout=seconds + _GRACE
    )
    requests, microseconds, failures = map(int, done.stdout.splitlines()[-1].split())
    return Load(requests / microseconds * 1e6, failures)
