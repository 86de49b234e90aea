"""Times, sizes and counts as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from proxy.kit.human import human
from proxy.web.admin.pages.markup import Markup, tag

if TYPE_CHECKING:
    from collections.abc import Mapping

NONE: Final = "\N{EN DASH}"
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float) -> str:
    """A length of time in its two largest units, such as 2 h 5 min."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, name in _UNITS:
        count, left = divmod(left, unit)
        if count or parts:
            parts.append(f"{count} {name}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 ")) or "0 s"


def moment(at: float | None, now: float) -> Markup:
    """A time, as how long ago it is; a script keeps that up to date."""
    if at is None:
        return Markup(NONE)
    when = datetime.fromtimestamp(at, UTC)
    stamp = when.strftime("%Y-%m-%dT%H:%M:%SZ")
    shown = when.strftime("%Y-%m-%d %H:%M:%S UTC")
    return tag("time", f"{duration(now - at)} ago", datetime=stamp, title=shown)


def size(count: float | None) -> str:
    """Bytes."""
    return NONE if count is None else human(count)


def number(count: float) -> str:
    """A count, with thin spaces between thousands."""
    return f"{count:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def share(part: float | None) -> str:
    """A percentage."""
    return NONE if part is None else f"{100 * part:.1f}".removesuffix(".0") + " %"


def counts(counted: Mapping[str, int]) -> str:
    """Counts by word, the largest first."""
    ranked = sorted(counted.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{word} {number(count)}" if count else word for word, count in ranked) or NONE
