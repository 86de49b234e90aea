"""What the number of tags that are known costs: a tag that is asked for again after a start."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Final

from tests.bench import usage
from tests.kit import images
from tests.kit.accept_lines import EVERYTHING
from tests.kit.processes import Proxy
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.bench import Bench

WORKLOAD: Final = "growth"
LATENCY: Final = "first request for a tag"
MEMORY: Final = "memory"
COUNTS: Final = (10**2, 10**4, 10**6)
_REPOSITORY: Final = "cargo/many"
_ASKED: Final = 100  # tags, once each

# Each tag names what the first one does, in a repository that has a hundred of them.
_NUMBERS: Final = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
_REPOSITORIES: Final = f"""
{_NUMBERS} INSERT INTO repositories (name) SELECT r.name || '-' || i FROM n, repositories AS r
WHERE r.id = ?
"""  # noqa: S608 -- text of ours
_TAGS: Final = f"""
{_NUMBERS} INSERT INTO tags SELECT r.id, 'v' || i, t.digest, t.validated, t.used
FROM n, tags AS t, repositories AS r WHERE t.repository = ? AND t.name = '1' AND r.id != ?
"""  # noqa: S608 -- text of ours
_GRANTS: Final = """
INSERT INTO grants SELECT g.digest, r.id, g.proof, g.type, g.used
FROM grants AS g, repositories AS r WHERE g.repository = ? AND r.id != ?
"""


def name(tags: int) -> str:
    """A server of ours that knows so many tags."""
    return f"lighterage, {tags:,} tags"


def measure(bench: Bench, counts: tuple[int, ...] = COUNTS) -> None:
    """In each round all are started again, so that their memory has nothing of the tags."""
    folder = bench.directory(WORKLOAD)
    settings = {"tags": {"ttl": "30d"}, "catalog": {"max_size": "16GiB"}}
    with bench.on_load_core(), Registry(folder / "upstream") as upstream:
        upstream.push(_REPOSITORY, "1", images.docker())
        made = {
            tags: Proxy(folder / str(tags), upstream=upstream.url, settings=settings)
            for tags in counts
        }
        for tags, proxy in made.items():
            with proxy:
                _get(proxy, f"/v2/{_REPOSITORY}/manifests/1")
            _grow(proxy.data / "index.sqlite3", tags)
        for number in range(bench.rounds):
            for tags, proxy in made.items():
                chosen = random.Random(number).sample(range(tags), _ASKED)  # noqa: S311 -- an order
                with bench.on_server_core():
                    proxy.start()
                _get(proxy, f"/v2/{_REPOSITORY}/manifests/1")
                taken = [_get(proxy, _path(each)) for each in chosen]
                for case, unit, value in (
                    (LATENCY, "ms", median(taken) * 1000),
                    (MEMORY, "MiB", usage.peak_memory(proxy.pid)),
                ):
                    bench.results.series(WORKLOAD, case, name(tags), unit).values.append(value)
                proxy.stop()


def _grow(index: Path, tags: int) -> None:
    """Write rows of further tags and repositories, as so many pulls would have."""
    with closing(sqlite3.connect(index)) as database, database:
        (first,) = database.execute("SELECT repository FROM tags").fetchone()
        database.execute(_REPOSITORIES, (tags // 100, first))
        database.execute(_TAGS, (100, first, first))
        database.execute(_GRANTS, (first, first))


def _path(number: int) -> str:
    return f"/v2/{_REPOSITORY}-{number // 100 + 1}/manifests/v{number % 100 + 1}"


def _get(proxy: Proxy, path: str) -> float:
    """How long it took, in seconds; the answer is from what is known."""
    began = perf_counter()
    answer = ask(f"{proxy.url}{path}", headers=EVERYTHING)
    taken = perf_counter() - began
    if answer.status != 200:
        raise ValueError(f"{path} was answered {answer.status}")
    return taken
