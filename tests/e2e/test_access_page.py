"""docs/access.md and the tests of clients say the same of client and identity."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.e2e import test_access_clients
from tests.e2e.access_square import IDENTITIES, SQUARE

PAGE: Final = (Path(__file__).parents[2] / "docs" / "access.md").read_text()


def _table() -> list[list[str]]:
    section = PAGE[PAGE.index("### Client and identity") :]
    rows = re.findall(r"^\|(.*)\|$", section.partition("\n\n###")[0], re.MULTILINE)
    return [[cell.strip() for cell in row.split(" | ")] for row in rows]


def test_the_page_has_exactly_this_square() -> None:
    head, _, *rows = _table()
    assert head == ["", *IDENTITIES]
    assert {row[0]: row[1:] for row in rows} == {
        client: [cell.said for cell in cells] for client, cells in SQUARE.items()
    }
    assert len(rows) == len(SQUARE)


def test_each_cell_that_says_so_without_reservation_is_run() -> None:
    for client, cells in SQUARE.items():
        assert len(cells) == len(IDENTITIES), client
        for cell in cells:
            assert (cell.said in {"yes", "no"}) is bool(cell.test), client
            if cell.test:
                assert callable(getattr(test_access_clients, cell.test)), cell.test
