"""The results for a person: tables in Markdown, and the results whole, as JSON."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from tests.bench.measure import OURS, Results, Series, better
from tests.bench.promises import PROMISES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

BEGIN: Final = "<!-- bench:begin -->"
END: Final = "<!-- bench:end -->"
# The cases that a reader of the README wants first.
_FIRST: Final = (
    ("warm manifests", "by tag"),
    ("warm manifests", "schema 1 by tag"),
    ("warm blobs", "20 KiB in the clear"),
    ("warm blobs", "200 MiB in the clear"),
    ("cold images", "1 client"),
    ("cold images", "50 clients"),
    ("cold blob, 50 clients", "median first byte"),
)


def as_json(results: Results, **about: object) -> str:
    """Every value of every series."""
    series = [asdict(each) for each in results.all]
    return json.dumps({"python": platform.python_version(), **about, "series": series}, indent=1)


def tables(results: Results) -> Iterator[str]:
    """One table for each workload, a row for each case, and what was promised."""
    for workload in dict.fromkeys(each.workload for each in results.all):
        yield f"### {workload[0].upper()}{workload[1:]}\n"
        yield from _table([each for each in results.all if each.workload == workload])
        yield ""
    yield from promises(results)


def summary(results: Results) -> Iterator[str]:
    """The few rows that say most."""
    rows = [each for each in results.all if (each.workload, each.case) in _FIRST]
    rows.sort(key=lambda each: _FIRST.index((each.workload, each.case)))
    yield from _table(rows, with_workload=True)


def promises(results: Results) -> Iterator[str]:
    """What is wanted, what was reached, and whether that is enough."""
    yield "### What is wanted\n"
    yield "| | reached | wanted | |"
    yield "|---|---:|---:|---|"
    for promise in PROMISES:
        reached = promise.reached(results)
        if reached is not None:
            word = "at most" if promise.is_limit else "at least"
            kept = "yes" if promise.is_kept(reached) else "**no**"
            yield (
                f"| {promise.text} | {number(reached)} | {word} {number(promise.wanted)} | {kept} |"
            )


def complaints(results: Results, *, guard: bool) -> Iterator[str]:
    """What is not enough, of all that was measured."""
    for each in PROMISES:
        promise = each.for_guard() if guard else each
        if promise is None:
            continue
        reached = promise.reached(results)
        if reached is not None and not promise.is_kept(reached):
            yield f"{promise.text}: {number(reached)}, and {number(promise.wanted)} is wanted"


def fill(file: Path, lines: Iterable[str]) -> None:
    """Replace what is between the two markers in `file`; LookupError if it lacks them."""
    text = file.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise LookupError(f"{file.name} has no {BEGIN} … {END}")
    body = "\n".join(lines)
    file.write_text(f"{before}{begin}\n\n{body}\n\n{end}{after}")


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value < 0.1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _table(series: list[Series], *, with_workload: bool = False) -> Iterator[str]:
    servers = list(dict.fromkeys(each.server for each in series))
    yield f"| | | {' | '.join(servers)} |"
    yield f"|---|---|{'---:|' * len(servers)}"
    cells: dict[tuple[str, str], dict[str, Series]] = {}
    for each in series:
        cells.setdefault((each.workload, each.case), {})[each.server] = each
    for (workload, case), of_servers in cells.items():
        first = next(iter(of_servers.values()))
        title = f"{workload}: {case}" if with_workload else case
        row = " | ".join(_cell(of_servers.get(name), of_servers.get(OURS)) for name in servers)
        yield f"| {title} | {first.unit} | {row} |"


def _cell(series: Series | None, ours: Series | None) -> str:
    """The median, its spread, and how many times better we are; nothing if it was not measured."""
    if series is None:
        return ""
    text = number(series.value)
    if len(series.values) > 2:
        text += f" ±{series.spread:.0%}"
    if series.cpu and series.unit != "ms of CPU":
        text += f"; {_cpu(series)}"
    if series.upstream is not None:
        text += f"; {number(series.upstream)} upstream"
    if ours is None or series is ours:
        return text
    ratio = better(ours, series)
    return text if ratio is None else f"{text} ({number(ratio)} times)"


def _cpu(series: Series) -> str:
    middle: Any = sorted(series.cpu)[len(series.cpu) // 2]
    return f"{number(middle)} s CPU"
