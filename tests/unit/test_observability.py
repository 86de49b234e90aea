"""The operators' page names every metric with its labels, and none that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import REGISTRY

from proxy.blobs.limits import Reason
from proxy.errors import RefusalReason
from proxy.oci.negotiation import Rule
from proxy.runtime.chores import ChoreName
from proxy.telemetry import metrics
from proxy.telemetry.trace import Outcome
from proxy.web.access_log import AccessLogLine

PAGE = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
ROW = re.compile(r"^\| `(lighterage_\w+)` \|([^|]*)\|", re.MULTILINE)


def documented() -> dict[str, set[str]]:
    """The labels of each metric that the page has a row for."""
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in ROW.findall(PAGE)}


def declared() -> dict[str, set[str]]:
    """The labels of each metric that `telemetry.metrics` declares."""
    found = [each for each in vars(metrics).values() if hasattr(each, "_labelnames")]
    return {
        metric._name + ("_total" if metric._type == "counter" else ""): set(metric._labelnames)
        for metric in found
    }


def test_every_metric_is_documented_with_its_labels() -> None:
    """And no row is left behind by a metric that has gone."""
    assert documented() == declared()


def test_every_metric_of_ours_is_declared_in_one_file() -> None:
    """Whatever the whole proxy registers under our prefix is in `telemetry.metrics`."""
    import proxy.wiring.services  # noqa: F401, PLC0415 -- for all that it imports

    ours = {each.name for each in REGISTRY.collect() if each.name.startswith("lighterage_")}
    assert ours == {name.removesuffix("_total") for name in declared()}


def test_every_value_of_a_closed_set_is_documented() -> None:
    """Why conversions are refused and blobs not kept, the rules, caches and background tasks."""
    for value in (*RefusalReason, *Reason, *Rule, *Outcome, *ChoreName):
        assert f"`{value}`" in PAGE, value


def test_every_field_of_the_log_line_is_documented() -> None:
    """What a line knows is what the page lists."""
    table = PAGE[PAGE.index("## The log") :]
    hidden = {"began", "target", "media_type", "outcome", "sent", "repeated", "private"}
    hidden |= {"admission", "answer", "collapsed", "expected"}
    for field in set(AccessLogLine.__dataclass_fields__) - hidden:
        assert f"`{field}`" in table, field
