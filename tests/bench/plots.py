"""Bars in SVG, which a page shows in the light and in the dark."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from tests.bench.measure import OURS
from tests.bench.report import number

if TYPE_CHECKING:
    from tests.bench.measure import Series

_WIDTH: Final = 760
_LABEL: Final = 250
_BAR: Final = 16
_GAP: Final = 4
_GROUP: Final = 28
_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .value { font-variant-numeric: tabular-nums }
.ours { fill: #0969da } .other { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .ours { fill: #4493f8 } .other { fill: #6e7681 }
}
"""


def bars(title: str, series: list[Series]) -> str:
    """A group of bars for each case, one for each server; all of a case have one scale."""
    groups: dict[str, list[Series]] = {}
    for each in series:
        groups.setdefault(each.case, []).append(each)
    parts, top = [], 28
    for case, members in groups.items():
        better = "less is better" if members[0].is_cost else "more is better"
        heading = escape(f"{case}, {members[0].unit} ({better})")
        parts.append(f'<text class="title" x="0" y="{top + 12}">{heading}</text>')
        top += 20
        most = max(each.value for each in members) or 1.0
        for each in members:
            parts += _bar(each, top, most)
            top += _BAR + _GAP
        top += _GROUP - _GAP
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img" '
        f'aria-label="{escape(title)}">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n"
        f'<text class="title" x="0" y="14">{escape(title)}</text>\n{body}\n</svg>\n'
    )


def _bar(series: Series, top: int, most: float) -> list[str]:
    width = max(1.0, series.value / most * (_WIDTH - _LABEL - 80))
    kind = "ours" if series.server.startswith(OURS) else "other"
    return [
        f'<text x="12" y="{top + 12}">{escape(series.server)}</text>',
        f'<rect class="{kind}" x="{_LABEL}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2"/>',
        (
            f'<text class="value" x="{_LABEL + width + 6:.1f}" y="{top + 12}">'
            f"{number(series.value)}</text>"
        ),
    ]
