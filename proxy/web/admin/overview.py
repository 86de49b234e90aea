"""Counts for the status page, from the merged metrics of all workers."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.samples import Sample


# What is counted under which name, by which label.
_COUNTED: Final = {
    "lighterage_stale_served_total": ("stale", "reason"),
    "lighterage_access_decisions_total": ("access", "decision"),
    "lighterage_logins_total": ("logins", "outcome"),
    "lighterage_turned_away_total": ("turned_away", "limit"),
    "lighterage_upstream_requests_withheld_total": ("withheld", "reason"),
}


def overview(exposition: str) -> dict[str, Any]:
    """From metrics in prometheus' text format.

    `stale` are answers by reason; `access` are decisions about repositories that are not open;
    `logins` are by how they ended; `turned_away` are requests by the limit that was reached, and
    `withheld` those that it kept from an upstream; and for each upstream there are its `requests`
    by outcome.
    """
    counted: dict[str, Counter[str]] = {name: Counter() for name, _ in _COUNTED.values()}
    requests: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sample in _samples(exposition):
        labels, value = sample.labels, int(sample.value)
        if sample.name in _COUNTED:
            name, label = _COUNTED[sample.name]
            counted[name][labels[label]] += value
        elif sample.name == "lighterage_upstream_requests_total":
            requests[labels["upstream"]][labels["outcome"]] += value
    upstreams = {name: {"requests": outcomes} for name, outcomes in requests.items()}
    return {**counted, "upstreams": upstreams}


def _samples(exposition: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(exposition):
        yield from family.samples
