"""What all workloads share: a directory, the cores, and how often and how long to measure."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bench.measure import Results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bench:
    """The server under load has `server_core` alone; the load and the upstream have the other.

    `rounds` of all servers in turn count, after one that warms them. `seconds` is how long a
    server is under load in a round.
    """

    folder: Path
    server_core: int
    load_core: int
    rounds: int
    seconds: float
    results: Results = field(default_factory=Results)

    @contextmanager
    def on_server_core(self) -> Iterator[None]:
        """What is started here runs on that core, and Go on as many threads: GOMAXPROCS is 1."""
        with on_cores({self.server_core}):
            yield

    @contextmanager
    def on_load_core(self) -> Iterator[None]:
        """What is started here runs on the core of the load and the upstream."""
        with on_cores({self.load_core}):
            yield

    @contextmanager
    def on_both(self) -> Iterator[None]:
        """What is started here runs on either core: where only the time counts that it takes."""
        with on_cores({self.server_core, self.load_core}):
            yield

    def directory(self, name: str) -> Path:
        """An empty directory, named so that every program can read its path."""
        path = self.folder / plain(name)
        path.mkdir(parents=True)
        return path


def plain(name: str) -> str:
    """The name of a directory for what is called `name`."""
    return re.sub(r"\W+", "-", name)


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Run on these cores, and have what is started here run on them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
