"""What the end-to-end tests share."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e import oracle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.e2e.oracle import Oracle


@dataclass(frozen=True, slots=True)
class Store:
    """Where manifests are kept: `redis` is its URL, or empty for SQLite."""

    redis: str = ""


@contextmanager
def _sqlite(_directory: Path) -> Iterator[Store]:
    yield Store()


# Every test with a `store` runs once for each of them.
_STORES: Final[dict[str, Callable[[Path], AbstractContextManager[Store]]]] = {"sqlite": _sqlite}


@pytest.fixture(scope="module", params=_STORES)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """A running store for manifests: `Proxy(..., redis=store.redis)`."""
    with _STORES[request.param](tmp_path_factory.mktemp(request.param)) as store:
        yield store


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    """The oracle, compiled once."""
    return oracle.build(tmp_path_factory.mktemp("oracle"))
