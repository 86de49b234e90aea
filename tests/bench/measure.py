"""What was measured: each server's values, round by round, and how they compare."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Final

OURS: Final = "lighterage"
DISTRIBUTION: Final = "distribution 2"
DISTRIBUTION_3: Final = "distribution 3"
NGINX: Final = "nginx"
NGINX_UNLOGGED: Final = "nginx, no log"
UPSTREAM: Final = "upstream"

# Of these units, less is better.
_COSTS: Final = frozenset({"s", "ms", "ms of CPU", "MiB", "times"})


@dataclass(slots=True)
class Series:
    """One server's values for one case of a workload, one for each round.

    `unit` says what they are. Beside them, if they were taken: the CPU that its processes used for
    1 000 requests, in seconds; the peak of its largest process's memory, in MiB; and the requests
    to the upstream that came of one.
    """

    workload: str
    case: str
    server: str
    unit: str
    values: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: float | None = None
    upstream: float | None = None

    @property
    def value(self) -> float:
        """The median of all rounds."""
        return median(self.values)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a part of the median."""
        if len(self.values) < 2 or not self.value:
            return 0.0
        low, _, high = quantiles(self.values, n=4, method="inclusive")
        return (high - low) / 2 / self.value

    @property
    def is_cost(self) -> bool:
        """Whether less is better."""
        return self.unit in _COSTS


class Results:
    """All series of a run, in the order in which they were measured."""

    def __init__(self) -> None:
        self.all: list[Series] = []

    def series(self, workload: str, case: str, server: str, unit: str) -> Series:
        """The series of that name, made if there is none."""
        found = self.find(workload, case, server)
        if found is None:
            found = Series(workload, case, server, unit)
            self.all.append(found)
        return found

    def find(self, workload: str, case: str, server: str = OURS) -> Series | None:
        """The series of that name, or None if it was not measured."""
        for each in self.all:
            if (each.workload, each.case, each.server) == (workload, case, server):
                return each
        return None

    def ratio(self, workload: str, case: str, server: str) -> float | None:
        """How many times better we are than `server`; None if one was not measured."""
        ours, other = self.find(workload, case), self.find(workload, case, server)
        return None if ours is None or other is None else better(ours, other)


def better(one: Series, other: Series) -> float | None:
    """How many times better `one` is: of each round, and then the median.

    What disturbs a round disturbs both of its values.
    """
    pairs = zip(one.values, other.values, strict=False)
    if one.is_cost:
        ratios = [theirs / ours for ours, theirs in pairs if ours]
    else:
        ratios = [ours / theirs for ours, theirs in pairs if theirs]
    return median(ratios) if ratios else None


def cheaper(one: Series, other: Series) -> float | None:
    """How many times less CPU `one` takes for a request, in the same way."""
    ratios = [theirs / ours for ours, theirs in zip(one.cpu, other.cpu, strict=False) if ours]
    return median(ratios) if ratios else None
