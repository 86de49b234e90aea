"""docs/quirks.md and the table of quirks name the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.integration.quirks.test_quirks import SECTIONS

PAGE: Final = (Path(__file__).parents[3] / "docs" / "quirks.md").read_text()


def test_the_page_names_each_quirk_once_in_its_section() -> None:
    sections = PAGE.split("\n## ")[1:]
    named = [
        [name for cell in _first_cells(section) for name in re.findall(r"`([^`]+)`", cell)]
        for section in sections
    ]
    assert [sorted(names) for names in named] == [sorted(each.QUIRKS) for each in SECTIONS]


def test_no_quirk_is_in_two_sections() -> None:
    names = [name for section in SECTIONS for name in section.QUIRKS]
    assert len(names) == len(set(names))


def test_the_page_is_where_people_look() -> None:
    root = Path(__file__).parents[3]
    for page in ("README.md", "docs/architecture.md", "docs/upstreams.md"):
        assert "quirks.md" in (root / page).read_text(), page


def _first_cells(section: str) -> list[str]:
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    assert rows
    return rows
