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
_SCRIPT: Final = Path(__file__).with_name("requests.lua")
_GRACE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it: requests, answers a second, and how many were errors or never came."""

    requests: int
    rate: float
    failures: int


def load(
    url: str,
    accepts: Sequence[str | None],
    *,
    seconds: float,
    connections: int = CONNECTIONS,
) -> Load:
    """As many requests as the server takes, on a few connections.

    Each names the next one of `accepts` in turn; None sends no `Accept`.
    """
    command: list[str | Path] = [tools.require("wrk"), "--threads=1", "--timeout=10s"]
    command += [f"--duration={max(1, round(seconds))}s", f"--connections={connections}"]
    command += [f"--script={_SCRIPT}", url, "--", *(each or "" for each in accepts)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=seconds + _GRACE)
    requests, microseconds, failures = map(int, done.stdout.splitlines()[-1].split())
    return Load(requests, requests / microseconds * 1e6, failures)
