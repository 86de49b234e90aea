"""Tables that can be scrolled by keyboard where they are wider than the screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.web.admin.pages.markup import Child, Markup, tag

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, and the class of its cells (`number` is aligned to the right)."""

    heading: str
    kind: str = ""


def table(
    caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Child]], *, nothing: str
) -> Markup:
    """A table whose first column has the headings of its rows; `nothing` if there are no rows."""
    if not rows:
        return tag("p", nothing, class_="nothing")
    head = tag(
        "tr",
        [tag("th", each.heading, scope="col", class_=each.kind or None) for each in columns],
    )
    body = [_row(columns, row) for row in rows]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption, class_="unseen"),
            tag("thead", head),
            tag("tbody", body),
        ),
        class_="scroll",
        role="region",
        tabindex=0,
        aria_label=caption,
    )


def _row(columns: Sequence[Column], row: Sequence[Child]) -> Markup:
    cells = []
    for place, (column, cell) in enumerate(zip(columns, row, strict=True)):
        kind = column.kind or None
        if place == 0:
            cells.append(tag("th", cell, scope="row", class_=kind))
        else:
            cells.append(tag("td", cell, class_=kind))
    return tag("tr", cells)
