"""The sections of the status page, each from its key of the document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from proxy.web.admin.pages import figures, plots
from proxy.web.admin.pages.markup import Child, Markup, join, tag
from proxy.web.admin.pages.tables import Column, table
from proxy.web.admin.pages.upstreams import upstreams

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PLOTTED: Final = 60
# The kinds of answers in the plot, by the class of each.
_LEGEND: Final = (("here", "from the cache"), ("stale", "stale"), ("fetched", "fetched"))


def section(name: str, title: str, *content: Child, note: str = "") -> Markup:
    """One section of a page, with its heading."""
    return tag(
        "section",
        tag("h2", title, id=f"{name}-title"),
        tag("p", note, class_="note") if note else None,
        content,
        id=name,
        aria_labelledby=f"{name}-title",
    )


def render(name: str, document: Mapping[str, Any], now: float) -> Markup:
    """The section for one key of the document."""
    title, note, content = SECTIONS[name]
    return section(name, title, content(document[name], now), note=note)


def _health(health: Mapping[str, Any], now: float) -> Child:
    state = str(health["status"])
    facts: list[tuple[str, Child]] = [
        ("State", tag("strong", state, class_=f"state {'good' if health['ready'] else 'bad'}")),
        ("Version", health["version"]),
        ("Started", figures.moment(health["started"], now)),
        ("Workers", health["workers"]),
    ]
    for key, words in (
        ("logins", "Logins"),
        ("access", "Closed repositories"),
        ("turned_away", "Turned away, by limit"),
        ("withheld", "Requests kept from upstreams, by limit"),
    ):
        if health[key]:
            facts.append((words, figures.counts(health[key])))
    warnings = [
        tag("li", tag("strong", each["message"]), tag("span", each["remedy"], class_="remedy"))
        for each in health["warnings"]
    ]
    listed = tag("ul", warnings, class_="warnings") if warnings else tag("p", "No warnings.")
    return [_facts(facts), listed]


def _hits(hits: Mapping[str, Any], _now: float) -> Child:
    big = [
        _figure(
            f"answered from the cache in {words}",
            figures.share(hits[key]["share"]),
            f"{figures.number(hits[key]['answers'] - hits[key]['fetched'])} of "
            f"{figures.number(hits[key]['answers'])}, "
            f"{figures.number(hits[key]['stale'])} stale",
        )
        for key, words in (("hour", "1 h"), ("day", "24 h"))
    ]
    minutes = hits["minutes"]
    layers = [(name, _last(minutes[name])) for name in ("here", "stale", "fetched")]
    totals = {name: sum(values) for name, values in layers}
    text = (
        f"Answers by minute in the last hour: {totals['here']} from the cache, "
        f"{totals['stale']} stale, {totals['fetched']} fetched"
    )
    legend = tag(
        "ul",
        [
            tag("li", tag("span", class_=f"key {name}", aria_hidden="true"), words)
            for name, words in (
                ("here", "from the cache"),
                ("stale", "stale"),
                ("fetched", "fetched"),
            )
        ],
        class_="legend",
    )
    plot = tag("figure", plots.bars("minutes", text, layers), tag("figcaption", legend))
    reasons = hits["stale_reasons"]
    why = tag("p", f"Stale because: {figures.counts(reasons)}.") if reasons else None
    return [tag("div", big, class_="figures"), plot, why]


def _savings(saved: Mapping[str, Any], _now: float) -> Child:
    return tag(
        "div",
        _figure("not fetched again", figures.size(saved["bytes"]), "since the start"),
        _figure(
            "of it in 24 h", figures.size(saved["day"]), f"{figures.size(saved['hour'])} in 1 h"
        ),
        _figure("sent to clients", figures.size(saved["sent"]), "content since the start"),
        _figure("fetched", figures.size(saved["received"]), "from upstreams since the start"),
        class_="figures",
    )


def _store(store: Mapping[str, Any], now: float) -> Child:
    rows: list[tuple[str, Child]] = []
    for key, words in (("blobs", "Blobs"), ("index", "Index")):
        taken, limit = store[key]["bytes"], store[key]["limit"]
        if taken is None:
            rows.append((words, "not counted here: the bucket's provider knows"))
            continue
        text = figures.size(taken)
        bar = None
        if limit:
            text = f"{text} of {figures.size(limit)}"
            bar = plots.gauge(f"{words}: {text}", taken / limit)
        rows.append((words, [tag("span", text), bar]))
    facts: list[tuple[str, Child]] = [
        *rows,
        ("Kind", store["kind"]),
        ("Oldest use", figures.moment(store["oldest_use"], now)),
        ("Evicted in 24 h", figures.size(store["evicted"]["day"])),
    ]
    return _facts(facts)


def _transfers(transfers: Sequence[Mapping[str, Any]], _now: float) -> Child:
    rows = []
    for each in transfers:
        total = each["size"]
        progress = figures.size(each["bytes"])
        bar = None
        if total:
            progress = f"{progress} of {figures.size(total)}"
            bar = plots.gauge(f"{each['image']}: {progress}", each["bytes"] / total)
        rows.append(
            (
                [each["image"], tag("small", str(each["digest"])[:19])],
                [tag("span", progress), bar],
                f"{figures.size(each['speed'])}/s",
                each["readers"],
                each["source"],
            )
        )
    return table(
        "Transfers",
        (
            Column("Image", "name"),
            Column("Bytes"),
            Column("Speed", "number"),
            Column("Readers", "number"),
            Column("From"),
        ),
        rows,
        nothing="Nothing is being fetched.",
    )


def _images(images: Sequence[Mapping[str, Any]], now: float) -> Child:
    rows = [
        (
            _image_link(str(each["image"])),
            figures.number(each["pulls"]),
            figures.counts(each["forms"]),
            # Of an index, what was pulled of its images: nothing yet.
            figures.size(each["size"] or None),
            figures.moment(each["last_pull"], now),
        )
        for each in images
    ]
    return table(
        "Images pulled in 24 h",
        (
            Column("Image", "name"),
            Column("Pulls", "number"),
            Column("Handed out as"),
            Column("Size", "number"),
            Column("Last pull"),
        ),
        rows,
        nothing="No image has been pulled by a tag.",
    )


def _clients(clients: Sequence[Mapping[str, Any]], now: float) -> Child:
    rows = []
    for each in clients:
        addresses = list(each["addresses"])
        more = each["address_count"] - len(addresses)
        listed = ", ".join(addresses)
        if more or each["more_addresses"]:
            listed += f" and {'at least ' if each['more_addresses'] else ''}{more} more"
        rows.append(
            (
                [each["generation"], tag("small", each["agent"]) if each["agent"] else None],
                listed,
                figures.number(each["requests"]),
                figures.counts(each["forms"]),
                figures.moment(each["last_seen"], now),
            )
        )
    return table(
        "Clients by generation",
        (
            Column("Generation", "name"),
            Column("Addresses", "long"),
            Column("Requests", "number"),
            Column("Got"),
            Column("Last seen"),
        ),
        rows,
        nothing="No client has asked for anything.",
    )


def _errors(errors: Sequence[Mapping[str, Any]], now: float) -> Child:
    rows = [
        (
            figures.moment(each["time"], now),
            each["status"],
            each["image"] or figures.NONE,
            each["client"],
            each["message"],
            tag("code", each["id"]),
        )
        for each in errors
    ]
    return table(
        "Error answers",
        (
            Column("Time"),
            Column("Status", "number"),
            Column("Image", "name"),
            Column("Client"),
            Column("Message", "long"),
            Column("Request"),
        ),
        rows,
        nothing="No error answers.",
    )


def _peers(peers: Sequence[Mapping[str, Any]], now: float) -> Child:
    rows = [
        (
            [each["name"] or each["address"], tag("small", each["address"])],
            each["state"],
            figures.moment(each["since"], now),
            each["zone"] or figures.NONE,
            figures.size(each["received"]),
            figures.size(each["sent"]),
        )
        for each in peers
    ]
    return table(
        "Other replicas",
        (
            Column("Replica", "name"),
            Column("State"),
            Column("Since"),
            Column("Zone"),
            Column("Received", "number"),
            Column("Sent", "number"),
        ),
        rows,
        nothing="There are no other replicas.",
    )


def _image_link(image: str) -> Markup:
    return tag("a", image, href=f"inspect?{urlencode({'image': image})}")


def _figure(words: str, value: str, detail: str) -> Markup:
    return tag(
        "div",
        tag("span", value, class_="value"),
        tag("span", words, class_="words"),
        tag("small", detail),
        class_="figure",
    )


def _facts(facts: Sequence[tuple[str, Child]]) -> Markup:
    return tag("dl", [tag("div", tag("dt", name), tag("dd", join(value))) for name, value in facts])


def _last(values: Sequence[int]) -> list[int]:
    """The last hour, filled up with zeros before the start."""
    known = list(values[-_PLOTTED:])
    return [0] * (_PLOTTED - len(known)) + known


# By key: the heading, a sentence on what it counts, and what makes its content.
SECTIONS: Final[dict[str, tuple[str, str, Callable[[Any, float], Child]]]] = {
    "health": ("Health", "", _health),
    "hits": ("Hits", "Counted since the start.", _hits),
    "saved": ("Saved", "", _savings),
    "store": ("Store", "", _store),
    "transfers": ("Transfers", "", _transfers),
    "upstreams": ("Upstreams", "", upstreams),
    "images": ("Images", "The 100 tags pulled most in 24 h, counted since the start.", _images),
    "clients": ("Clients", "By generation, the oldest first, counted since the start.", _clients),
    "errors": ("Errors", "The last 200 error answers since the start.", _errors),
    "peers": ("Replicas", "", _peers),
}
