"""Small plots as inline SVG. Each has a text that says the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.web.admin.pages.markup import Markup, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH: Final = 600
_HEIGHT: Final = 96


def bars(name: str, text: str, layers: Sequence[tuple[str, Sequence[int]]]) -> Markup:
    """Stacked bars, one for each place of the lists; each layer has the name of its class."""
    count = max((len(values) for _, values in layers), default=0)
    totals = [sum(values[place] for _, values in layers) for place in range(count)]
    highest = max(totals, default=0) or 1
    width = _WIDTH / max(count, 1)
    drawn = []
    for place in range(count):
        base = float(_HEIGHT)
        for kind, values in layers:
            height = _HEIGHT * values[place] / highest
            if not height:
                continue
            base -= height
            drawn.append(
                tag(
                    "rect",
                    class_=kind,
                    x=f"{place * width:.1f}",
                    y=f"{base:.1f}",
                    width=f"{max(width - 1.5, 0.5):.1f}",
                    height=f"{height:.1f}",
                )
            )
    return _plot(name, text, [*drawn, _baseline()])


def line(name: str, text: str, points: Sequence[tuple[float, float]], highest: float) -> Markup:
    """A line through points (0 to 1, value); `highest` is the value at the top."""
    path = " ".join(
        f"{'M' if not place else 'L'}{x * _WIDTH:.1f} {_y(value, highest):.1f}"
        for place, (x, value) in enumerate(points)
    )
    drawn = [tag("path", class_="line", d=path)] if path else []
    if points:
        x, value = points[-1]
        drawn.append(
            tag("circle", class_="dot", cx=f"{x * _WIDTH:.1f}", cy=f"{_y(value, highest):.1f}", r=4)
        )
    return _plot(name, text, [*drawn, _baseline()])


def gauge(text: str, part: float) -> Markup:
    """How much of a limit is used, from 0 to 1."""
    filled = max(0.0, min(1.0, part))
    kind = "full" if filled > _NEARLY else "used"
    return tag(
        "svg",
        tag("rect", class_="limit", x=0, y=0, width=100, height=6, rx=3),
        tag("rect", class_=kind, x=0, y=0, width=f"{100 * filled:.1f}", height=6, rx=3),
        class_="gauge",
        viewBox="0 0 100 6",
        preserveAspectRatio="none",
        role="img",
        aria_label=text,
    )


_NEARLY: Final = 0.95


def _y(value: float, highest: float) -> float:
    return _HEIGHT - (_HEIGHT - 6) * min(1.0, value / (highest or 1)) - 2


def _baseline() -> Markup:
    return tag("line", class_="base", x1=0, y1=_HEIGHT, x2=_WIDTH, y2=_HEIGHT)


def _plot(name: str, text: str, drawn: Sequence[Markup]) -> Markup:
    return tag(
        "svg",
        drawn,
        class_=f"plot {name}",
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=text,
    )
