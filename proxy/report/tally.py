"""Counts by name, added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def add_counts(total: dict[str, int], more: Mapping[str, int]) -> None:
    """Add `more` to `total`, name by name."""
    for name, count in more.items():
        total[name] = total.get(name, 0) + count
