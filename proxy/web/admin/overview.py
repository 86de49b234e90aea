"""The status overview, derived from the merged metrics of all workers."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.samples import Sample

    from proxy.peers.membership import PeerState

# What is counted under which name, by which label.
_COUNTED: Final = {
    "lighterage_requests_total": ("requests", "cache"),
    "lighterage_stale_served_total": ("stale", "reason"),
    "lighterage_access_decisions_total": ("access", "decision"),
    "lighterage_logins_total": ("logins", "outcome"),
    "lighterage_peers": ("replicas", "state"),
    "lighterage_peer_passed_over_total": ("passed_over", "reason"),
}


def overview(exposition: str) -> dict[str, object]:
    """From metrics in prometheus' text format.

    `stored_bytes` are what the blobs take; `requests` are by where the content came from, `stale`
    by reason; `access` are decisions about repositories that are not open, and `logins` are by how
    they ended; `replicas` are the others by state, and `passed_over` their questions that another
    one had to answer, by reason; and for each upstream there is whether its `breaker` is open, its
    `requests` by outcome, and its `budget` if it ever told one.
    """
    stored_bytes = 0
    counted: dict[str, Counter[str]] = {name: Counter() for name, _ in _COUNTED.values()}
    breakers: dict[str, str] = {}
    upstream_requests: defaultdict[str, Counter[str]] = defaultdict(Counter)
    budgets: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for sample in _samples(exposition):
        labels, value = sample.labels, int(sample.value)
        match sample.name:
            case counter if counter in _COUNTED:
                name, label = _COUNTED[counter]
                counted[name][labels[label]] += value
            case "lighterage_stored_bytes":
                stored_bytes = value
            case "lighterage_upstream_circuit_open":
                breakers[labels["upstream"]] = "open" if value else "closed"
            case "lighterage_upstream_requests_total":
                upstream_requests[labels["upstream"]][labels["outcome"]] += value
            case "lighterage_upstream_pull_limit":
                budgets[labels["upstream"]]["limit"] = value
            case "lighterage_upstream_pulls_remaining":
                budgets[labels["upstream"]]["remaining"] = value
            case _:
                pass
    return {
        "stored_bytes": stored_bytes,
        **counted,
        "upstreams": {
            name: {
                "breaker": breaker,
                "requests": upstream_requests[name],
                "budget": _budget(budgets[name]),
            }
            for name, breaker in sorted(breakers.items())
        },
    }


def describe_peer(peer: PeerState) -> dict[str, object]:
    """One of the other replicas."""
    since = datetime.fromtimestamp(peer.since, UTC).isoformat(timespec="seconds")
    return asdict(peer) | {"since": since}


def _budget(budget: dict[str, int]) -> dict[str, int] | None:
    """The budget, or None if the upstream has never reported a limit."""
    return budget if budget.get("limit") else None


def _samples(exposition: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(exposition):
        yield from family.samples
