"""What manifests and blobs cost here, in distribution's proxy mode and in nginx, in one run.

Each server has a core that it shares with none that is under load at the same time; the load and
the upstream have another one. All is on the loopback address, and ends when it was said to.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from tests import tools
from tests.bench import cold, table, transfers
from tests.bench.nginx import Nginx
from tests.bench.table import BY_TAG, CONTENT, DISTRIBUTION, NGINX, OURS, ROWS, Cell, Table
from tests.bench.wrk import CONNECTIONS, load
from tests.kit.processes import Proxy
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

Server: TypeAlias = Nginx | Proxy | Registry

# What `--check` wants of a manifest by tag, as a multiple of distribution's proxy mode.
WANTED: Final = 20.0


def main() -> int:
    """Measure, print, and say by the exit status whether it was good."""
    parser = argparse.ArgumentParser(description="How fast warm content is served.")
    parser.add_argument("--rounds", type=int, default=5, help="of all servers in turn")
    parser.add_argument("--seconds", type=int, default=1, help="of load on each in a round")
    parser.add_argument("--check", action="store_true", help="fail below what is wanted")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        parser.error("two cores are needed: one for the server, one for the load")
    if missing := [name for name in tools.SUITES["bench"] if not tools.find(name)]:
        parser.error(f"these are missing: {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="lighterage-") as folder, ExitStack() as stack:
        stack.enter_context(_on_core(cores[1]))
        servers = _servers(Path(folder), cores[0], stack)
        measured = _measured(servers, rounds=options.rounds, seconds=options.seconds)
        stack.close()
        blobs = _blobs(Path(folder), cores, rounds=options.rounds)
        with _on_core(cores[1]):
            cases = cold.compared(_on_core, cores, rounds=options.rounds)
    heading = f"Warm manifests a second on one core, {CONNECTIONS} connections; medians of "
    heading += f"{options.rounds} rounds of {options.seconds} s\n"
    sys.stdout.writelines(f"{line}\n" for line in (heading, *table.lines(measured)))
    heading = f"\nA warm blob on one core, one client; medians of {options.rounds} rounds\n"
    sys.stdout.writelines(f"{line}\n" for line in (heading, *transfers.lines(blobs)))
    heading = f"\nCold, on one core; medians of {options.rounds} rounds, ratios to distribution\n"
    sys.stdout.writelines(f"{line}\n" for line in (heading, *cold.lines(cases)))
    complaints = list(_complaints(measured, check=options.check))
    if options.check:
        complaints += [*transfers.complaints(blobs), *cold.complaints(cases)]
    sys.stdout.writelines(f"{line}\n" for line in complaints)
    return 1 if complaints else 0


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    """What is started here runs on that core, and Go on as many threads: GOMAXPROCS is 1."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _servers(folder: Path, core: int, stack: ExitStack) -> dict[str, Server]:
    """All of them, running, with the same upstream."""
    upstream = stack.enter_context(Registry(folder / "upstream"))
    for repository, content in CONTENT.items():
        upstream.push(repository, "1", content)
    servers: dict[str, Server] = {
        OURS: Proxy(folder / OURS, upstream=upstream.url),
        DISTRIBUTION: Registry(folder / DISTRIBUTION, remote=upstream.url),
        NGINX: Nginx(folder / NGINX, upstream=upstream.url),
    }
    with _on_core(core):
        for server in servers.values():
            stack.enter_context(server)
    return servers


def _blobs(folder: Path, cores: list[int], *, rounds: int) -> list[transfers.Comparison]:
    with _on_core(cores[1]), Registry(folder / "large-upstream") as upstream:
        upstream.push(transfers.REPOSITORY, "1", transfers.CONTENT)
        return transfers.compared(folder, upstream, _on_core(cores[0]), rounds=rounds)


def _measured(servers: dict[str, Server], *, rounds: int, seconds: int) -> Table:
    """A round to warm everything, and then those that count, each server in turn."""
    measured = {row: _first(row, servers) for row in ROWS}
    for number in range(rounds + 1):
        # Forwards and backwards, so that none always comes after the same one.
        for row in ROWS if number % 2 else ROWS[::-1]:
            for name, cell in measured[row].items():
                if cell.status == HTTPStatus.OK:
                    done = load(servers[name].url + row.path, row.headers, seconds=seconds)
                    cell.failures += done.failures
                    cell.rates += [done.rate] if number else []
    return measured


def _first(row: table.Row, servers: dict[str, Server]) -> dict[str, Cell]:
    """What each server answers at first; all that answer well must mean the same manifest."""
    answers = {name: ask(servers[name].url + row.path, headers=row.headers) for name in row.servers}
    digests = {
        answer.headers["Docker-Content-Digest"]
        for answer in answers.values()
        if answer.status == HTTPStatus.OK
    }
    if answers[OURS].status != HTTPStatus.OK or len(digests) != 1:
        raise ValueError(f"{row.title}: the servers do not answer alike")
    return {name: Cell(answer.status, []) for name, answer in answers.items()}


def _complaints(measured: Table, *, check: bool) -> Iterator[str]:
    for row, cells in measured.items():
        for name, cell in cells.items():
            if cell.failures:
                yield f"{row.title}: {name} gave {cell.failures} errors, so this means nothing"
    ratio = measured[BY_TAG][OURS].rate / measured[BY_TAG][DISTRIBUTION].rate
    if check and ratio < WANTED:
        yield f"By tag it is {ratio:.1f} times distribution's proxy mode; {WANTED:g} are wanted"


if __name__ == "__main__":
    sys.exit(main())
