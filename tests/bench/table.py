"""The questions, the answers a second that each server gave, and how they are printed."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final, TypeAlias

from tests.kit import images
from tests.kit.accept_lines import EVERYTHING, NOTHING, ONLY_V2S2, Lines

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS: Final = "lighterage"
DISTRIBUTION: Final = "distribution"
NGINX: Final = "nginx"


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One question to several servers."""

    title: str
    path: str
    headers: Lines
    servers: tuple[str, ...] = (OURS, DISTRIBUTION, NGINX)


@dataclass(slots=True)
class Cell:
    """A server's answers to a row's question: the rate of each round."""

    status: int
    rates: list[float]
    failures: int = 0

    @property
    def rate(self) -> float:
        """Answers a second; the median of all rounds."""
        return median(self.rates)

    def __str__(self) -> str:
        if not self.rates:
            return f"answers {self.status}"
        return f"{self.rate:,.0f}" + (f" ({self.failures} failed)" if self.failures else "")


Table: TypeAlias = dict[Row, dict[str, Cell]]

CONTENT: Final = {
    "cargo/docker": images.docker(),
    "cargo/legacy": images.docker_with_empty_steps(),
    "cargo/oci": images.oci("docker"),
}
BY_TAG: Final = Row("by tag", "/v2/cargo/docker/manifests/1", EVERYTHING)
SCHEMA1: Final = Row("schema 1 by tag", "/v2/cargo/legacy/manifests/1", NOTHING)
BY_DIGEST: Final = Row(
    "by digest", f"/v2/cargo/docker/manifests/{CONTENT['cargo/docker'].digest}", EVERYTHING
)
STORED: Final = Row("stored v2s2 by tag", BY_TAG.path, ONLY_V2S2, (OURS,))
DERIVED: Final = Row("v2s2 made of OCI by tag", "/v2/cargo/oci/manifests/1", ONLY_V2S2, (OURS,))
ROWS: Final = (BY_TAG, SCHEMA1, BY_DIGEST, STORED, DERIVED)


def lines(table: Table) -> Iterator[str]:
    """The table for a person: rates, and ours in relation to each other one."""
    yield f"{'':26}{OURS:>12}{DISTRIBUTION:>16}{'ratio':>8}{NGINX:>12}{'ratio':>8}"
    for row, cells in table.items():
        line = f"{row.title:26}{cells[OURS]!s:>12}"
        for name, width in ((DISTRIBUTION, 16), (NGINX, 12)):
            if name in cells:
                line += f"{cells[name]!s:>{width}}{_ratio(cells[OURS], cells[name]):>8}"
        yield line
    yield f"derived / stored: {derived_to_stored(table):.3f}"


def _ratio(ours: Cell, other: Cell) -> str:
    return f"{ours.rate / other.rate:.2f}" if ours.rates and other.rates else "-"


def derived_to_stored(table: Table) -> float:
    """Of each round, and then the median: what disturbs a round disturbs both."""
    derived, stored = table[DERIVED][OURS].rates, table[STORED][OURS].rates
    return median(one / other for one, other in zip(derived, stored, strict=True))
