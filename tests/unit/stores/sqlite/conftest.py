"""What the tests of the index share: its place, and the errors that it has counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kit.open_index import no_deadlines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite3"


@pytest.fixture
def errors() -> list[str]:
    return []


@pytest.fixture
def unhurried() -> Iterator[None]:
    """For tests of what is stored: a busy machine may take as long as it needs."""
    with no_deadlines():
        yield
