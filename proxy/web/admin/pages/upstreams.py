"""The section of upstreams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxy.web.admin.pages import figures, plots
from proxy.web.admin.pages.markup import Child, Markup, tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HOURS: Final = 6
_MINUTES: Final = _HOURS * 60
_CIRCUITS: Final = {
    "closed": ("works", "good"),
    "open": ("fails: its circuit is open", "bad"),
    "offline": ("offline", "bad"),
}
_LOGINS: Final = {
    "none": "none in the settings",
    "unused": "not tried yet",
    "accepted": "accepted",
    "refused": "refused",
    "unreadable": "cannot be read",
}


def upstreams(found: Sequence[Mapping[str, Any]], now: float) -> Child:
    """A card for each."""
    return tag("div", [_upstream(each, now) for each in found], class_="cards")


def _upstream(each: Mapping[str, Any], now: float) -> Markup:
    words, kind = _CIRCUITS[each["circuit"]]
    facts: list[tuple[str, Child]] = [("Circuit", tag("strong", words, class_=f"state {kind}"))]
    if each["why"]:
        facts.append(("Why", each["why"]))
    if each["since"] is not None:
        facts.append(("Since", figures.moment(each["since"], now)))
    if each["next_try"] is not None:
        facts.append(("Next try", f"in {figures.duration(each['next_try'])}"))
    latency = each["latency"]
    if latency["of"]:
        timing = f"p50 {_milliseconds(latency['p50'])}, p99 {_milliseconds(latency['p99'])}"
    else:
        timing = figures.NONE
    facts += [
        ("Login", _LOGINS[each["login"]]),
        ("Requests", figures.counts(each["requests"])),
        ("Answers begin", timing),
        ("Received", figures.size(each["received"])),
    ]
    return tag(
        "article",
        tag("h3", each["name"]),
        tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts]),
        _pulls(each["pulls"], now),
        class_="card",
    )


def _pulls(pulls: Mapping[str, Any] | None, now: float) -> Child:
    if pulls is None:
        return None
    until = now // 60
    points = [
        (1 - (until - minute) / _MINUTES, float(left))
        for minute, left in pulls["readings"]
        if until - minute <= _MINUTES
    ]
    left = f"{figures.number(pulls['remaining'])} of {figures.number(pulls['limit'])} pulls left"
    text = f"Pulls left in the last {_HOURS} hours; now {left}"
    return tag(
        "figure",
        tag("figcaption", tag("strong", left), f", {_HOURS} h"),
        plots.line("pulls", text, points, float(pulls["limit"])),
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
