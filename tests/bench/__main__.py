"""What warm and cold content costs here, in distribution and in nginx, in one run.

Each server has a core that it shares with none that is under load at the same time; the load and
the upstream have another one. All is on the loopback address, and ends when it was said to.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

from tests import tools
from tests.bench import (
    blobs,
    cold_images,
    cold_manifests,
    conversions,
    growth,
    manifests,
    plots,
    replicas,
    report,
    trace,
)
from tests.bench.bench import Bench

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT: Final = Path(__file__).parents[2]
_BUILD: Final = _ROOT / "build/bench"
_PLOTS: Final = _ROOT / "docs/plots"
WORKLOADS: Final[dict[str, Callable[[Bench], None]]] = {
    "manifests": manifests.measure,
    "blobs": blobs.measure,
    "cold": cold_manifests.measure,
    "images": cold_images.measure,
    "trace": trace.measure,
    "conversions": conversions.measure,
    "growth": growth.measure,
    "replicas": replicas.measure,
}
# Of the guard: what it needs is what CI has anyway.
_GUARDED: Final = (manifests.BY_TAG, manifests.BY_DIGEST, manifests.LEGACY, manifests.CONVERTED)


def main() -> int:
    """Measure, print, and say by the exit status whether it was good."""
    options = _options()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        _say("two cores are needed: one for the server, one for the load")
        return 2
    needed = set(tools.SUITES["bench"]) - {"registry"}
    if missing := sorted(name for name in needed if not tools.find(name)):
        _say(f"these are missing: {', '.join(missing)}")
        return 2
    began = perf_counter()
    with tempfile.TemporaryDirectory(prefix="lighterage-") as folder:
        bench = Bench(Path(folder), cores[0], cores[1], options.rounds, options.seconds)
        if options.guard:
            _guard(bench)
        else:
            for name in options.only or WORKLOADS:
                _say(f"measuring {name}")
                WORKLOADS[name](bench)
    took = perf_counter() - began
    _BUILD.mkdir(parents=True, exist_ok=True)
    about = {"rounds": options.rounds, "seconds": round(took)}
    (_BUILD / "results.json").write_text(report.as_json(bench.results, **about))
    for line in report.tables(bench.results):
        _say(line)
    _say(f"{options.rounds} rounds of each server in turn; all in {took:.0f} s")
    if options.write:
        _write(bench)
    found = list(report.complaints(bench.results, guard=options.guard))
    for line in found:
        _say(line)
    return 1 if found and (options.guard or options.check) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast warm and cold content is served.")
    parser.add_argument("--rounds", type=int, default=5, help="of all servers in turn")
    parser.add_argument("--seconds", type=float, default=1, help="of load on each in a round")
    parser.add_argument("--only", action="append", choices=WORKLOADS, help="this workload")
    parser.add_argument("--check", action="store_true", help="fail below what is wanted")
    parser.add_argument("--guard", action="store_true", help="a short run that a regression fails")
    parser.add_argument("--write", action="store_true", help="fill README.md and docs/ with it")
    return parser.parse_args()


def _guard(bench: Bench) -> None:
    manifests.measure(bench, _GUARDED)
    blobs.measure(bench, ("20 KiB", "1 MiB"))
    cold_manifests.measure(bench, whole=False)
    conversions.measure(bench)


def _write(bench: Bench) -> None:
    """Have README and docs say what was measured."""
    report.fill(_ROOT / "README.md", report.summary(bench.results))
    report.fill(_ROOT / "docs/performance.md", report.tables(bench.results))
    _PLOTS.mkdir(parents=True, exist_ok=True)
    for workload in (manifests.WORKLOAD, blobs.WORKLOAD, cold_images.WORKLOAD, trace.WORKLOAD):
        series = [each for each in bench.results.all if each.workload == workload]
        if series:
            file = _PLOTS / f"{workload.replace(' ', '-')}.svg"
            file.write_text(plots.bars(f"{workload[0].upper()}{workload[1:]}", series))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
