"""What the benchmark says of what it has measured; measuring is not tested here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench import manifests, plots, report
from tests.bench.measure import NGINX, OURS, Results, better, cheaper
from tests.bench.promises import PROMISES

if TYPE_CHECKING:
    from pathlib import Path


def measured(ours: list[float], other: list[float], unit: str = "a second") -> Results:
    results = Results()
    for name, values in ((OURS, ours), (NGINX, other)):
        series = results.series(manifests.WORKLOAD, manifests.BY_TAG.title, name, unit)
        series.values += values
        series.cpu += [1000 / value for value in values]
    return results


def test_a_ratio_is_of_each_round() -> None:
    """A round in which both are slow says what the others say."""
    results = measured([200.0, 20.0, 210.0], [100.0, 10.0, 105.0])
    assert results.ratio(manifests.WORKLOAD, "by tag", NGINX) == 2.0
    ours, other = results.all
    assert cheaper(ours, other) == 2.0


def test_less_time_is_better() -> None:
    ours, other = measured([1.0], [3.0], unit="s").all
    assert better(ours, other) == 3.0


@pytest.mark.parametrize(("rate", "kept"), [(1500.0, True), (1100.0, False)])
def test_what_is_wanted_is_compared_with_what_was_reached(rate: float, *, kept: bool) -> None:
    complaints = list(report.complaints(measured([rate], [1000.0]), guard=False))
    assert complaints == ([] if kept else ["by tag, times nginx: 1.10, and 1.20 is wanted"])


def test_the_guard_fails_a_regression_and_tolerates_less_than_is_wanted() -> None:
    assert not list(report.complaints(measured([1100.0], [1000.0]), guard=True))
    assert list(report.complaints(measured([100.0], [1000.0]), guard=True))


def test_what_is_wanted_of_the_guard_is_never_more_than_what_is_wanted() -> None:
    for promise in PROMISES:
        guarded = promise.for_guard()
        assert guarded is None or guarded.is_limit or guarded.wanted <= promise.wanted


def test_a_page_is_filled_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.fill(page, report.tables(measured([1200.0], [1000.0])))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| by tag | a second | 1,200; 0.83 s CPU | 1,000; 1.00 s CPU (1.20 times) |" in text
    page.write_text("no markers")
    with pytest.raises(LookupError, match=r"page\.md"):
        report.fill(page, [])


def test_a_plot_has_a_bar_for_each_server() -> None:
    plot = plots.bars("Warm <manifests>", measured([1200.0], [1000.0]).all)
    assert plot.count("<rect") == 2
    assert "Warm &lt;manifests&gt;" in plot
