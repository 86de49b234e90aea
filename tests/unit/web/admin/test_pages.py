"""HTML from pure functions: nothing that was not written here is markup."""

from __future__ import annotations

import pytest

from proxy.web.admin.pages import figures, plots
from proxy.web.admin.pages.markup import Markup, join, tag
from proxy.web.admin.pages.sections import SECTIONS, render
from proxy.web.admin.pages.tables import Column, table

NOW = 1_700_000_000.0


def test_text_and_attributes_are_escaped_and_markup_is_not_twice() -> None:
    inner = tag("b", "<i>", title="\"'<>&")
    assert inner == '<b title="&quot;&#x27;&lt;&gt;&amp;">&lt;i&gt;</b>'
    assert tag("p", [inner, None, 7, ["<", Markup("<br>")]]) == f"<p>{inner}7&lt;<br></p>"
    assert join(None) == ""


def test_attributes_are_named_as_in_html() -> None:
    made = tag("input", for_="x", aria_label="y", required=True, hidden=False, value=None)
    assert made == '<input for="x" aria-label="y" required>'


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3725, "1 h 2 min"),
        (90061, "1 d 1 h"),
    ],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert figures.duration(seconds) == text


def test_figures() -> None:
    assert figures.moment(None, NOW) == figures.NONE
    assert ">5 s ago</time>" in figures.moment(NOW - 5, NOW)
    assert (figures.share(None), figures.share(0.5), figures.share(0.9876)) == (
        figures.NONE,
        "50 %",
        "98.8 %",
    )
    assert figures.counts({"a": 1, "b": 20, "c": 0}) == "b 20, a 1, c"
    assert figures.number(1234567) == "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"


def test_plots_have_a_text_and_stay_in_their_frame() -> None:
    plot = plots.bars("hits", "2 <hits>", [("here", [0, 4, 2]), ("stale", [0, 4, 0])])
    assert 'aria-label="2 &lt;hits&gt;"' in plot
    assert plot.count("<rect") == 3
    assert 'height="48.0"' in plot
    assert plots.bars("hits", "nothing", []).count("<rect") == 0
    assert 'd="M0.0' in plots.line("left", "left", [(0.0, 100.0), (1.0, 50.0)], 100.0)
    assert 'width="100.0"' in plots.gauge("over", 7.5)
    assert 'class="full"' in plots.gauge("over", 7.5)


def test_a_table_says_when_it_is_empty() -> None:
    columns = (Column("Name", "name"), Column("Count", "number"))
    assert table("Names", columns, [], nothing="None.") == '<p class="nothing">None.</p>'
    assert '<th class="name" scope="row">x</th><td class="number">1</td>'.replace(
        ' class="name" scope="row"', ' scope="row" class="name"'
    ) in table("Names", columns, [("x", 1)], nothing="")


def test_what_limits_have_done_is_shown() -> None:
    health = {
        "status": "ready",
        "ready": True,
        "version": "1",
        "started": NOW,
        "workers": 1,
        "warnings": [],
        "logins": {},
        "access": {},
        "turned_away": {"principal_cold": 3},
        "withheld": {"principal": 7},
    }
    shown = render("health", {"health": health}, NOW)
    assert "principal_cold 3" in shown
    assert "<dt>Requests kept from upstreams, by limit</dt><dd>principal 7</dd>" in shown


def test_replicas_and_full_stores_are_shown() -> None:
    document = {
        "store": {
            "kind": "disk",
            "blobs": {"bytes": 99, "limit": 100},
            "index": {"bytes": None, "limit": None},
            "oldest_use": NOW - 60,
            "evicted": {"day": 5},
        },
        "peers": [
            {
                "address": "10.0.0.2:5001",
                "name": "<b>",
                "zone": "",
                "state": "silent",
                "since": NOW - 60,
                "received": 2048,
                "sent": 0,
            }
        ],
    }
    assert set(document) < set(SECTIONS)
    store, peers = (render(name, document, NOW) for name in ("store", "peers"))
    assert 'class="full"' in store
    assert "provider" in store
    assert "&lt;b&gt;" in peers
    assert "2.0 KiB" in peers
