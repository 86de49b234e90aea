"""What the end-to-end tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.stores import STORES
from tests.kit import oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.stores import Store
    from tests.kit.oracle import Oracle


@pytest.fixture(scope="module", params=STORES)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """Every one in turn: `Proxy(..., redis=store.redis)`."""
    with STORES[request.param](tmp_path_factory.mktemp(request.param)) as store:
        yield store


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    """The oracle, compiled once."""
    return oracle.build(tmp_path_factory.mktemp("oracle"))
