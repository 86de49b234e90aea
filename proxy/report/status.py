"""The data of the status page, from the sum of all processes: what `/status` answers.

All times are in seconds since 1970, sizes in bytes. Figures count from `health.started` on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict

from proxy.report.activity import ANSWERS
from proxy.report.census import latest
from proxy.report.remedies import remedy_for
from proxy.report.series import MINUTE
from proxy.report.upstreams import percentile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.report.activity import Counts
    from proxy.report.process import ProcessReport
    from proxy.report.upstreams import UpstreamReport

# The page's sections, in its order; the keys of the document.
SECTIONS: Final = (
    *("health", "hits", "saved", "store", "transfers"),
    *("upstreams", "images", "clients", "errors", "peers"),
)
_HOUR: Final = 60


class Health(TypedDict):
    """The state of all processes together. `warnings` are sentences by subject."""

    status: str
    version: str
    started: float
    workers: int
    warnings: Mapping[str, str]


class StoreReport(TypedDict):
    """What is stored, and its limits; None for what is not known, or not limited here.

    `kind` is `disk`, or the product of a bucket.
    """

    kind: str
    blobs: dict[str, int | None]
    index: dict[str, int | None]
    oldest_use: float | None


def status_document(
    report: ProcessReport,
    *,
    health: Health,
    counters: Mapping[str, Any],
    store: StoreReport,
    sizes: Mapping[str, int | None],
    peers: Sequence[Mapping[str, Any]],
    now: float,
) -> dict[str, Any]:
    """The whole of it.

    `counters` are those of `overview`, `sizes` are by image, and `peers` are rows.
    """
    activity = report["activity"]
    counts = activity["counts"]
    return {
        "health": {
            "status": health["status"],
            "ready": health["status"] == "ready",
            "version": health["version"],
            "started": health["started"],
            "uptime": round(now - health["started"], 1),
            "workers": health["workers"],
            "warnings": [
                {"subject": subject, "message": message, "remedy": remedy_for(subject)}
                for subject, message in sorted(health["warnings"].items())
            ],
            **{name: counters[name] for name in ("access", "logins", "turned_away", "withheld")},
        },
        "hits": _hits(counts, health["started"], counters["stale"]),
        "saved": _savings(report, health["started"]),
        "store": {**store, "evicted": {"day": sum(report["evicted"])}},
        "transfers": report["transfers"],
        "upstreams": [
            _upstream(each, counters["upstreams"].get(each["name"], {}))
            for each in report["upstreams"]
        ],
        "images": [{**each, "size": sizes.get(each["image"])} for each in activity["images"]],
        "clients": [
            {
                **each,
                "addresses": latest(each["addresses"]),
                "address_count": len(each["addresses"]),
            }
            for each in activity["clients"]
        ],
        "errors": activity["errors"],
        "peers": list(peers),
    }


def _hits(counts: Counts, started: float, reasons: Mapping[str, int]) -> dict[str, Any]:
    minutes = {name: counts["minutes"].get(name, []) for name in ANSWERS}
    length = max(map(len, minutes.values()))
    return {
        "since": started,
        "total": _shares({name: counts["totals"].get(name, 0) for name in ANSWERS}),
        "hour": _shares({name: sum(values[-_HOUR:]) for name, values in minutes.items()}),
        "day": _shares({name: sum(values) for name, values in minutes.items()}),
        "stale_reasons": dict(reasons),
        "minutes": {"first": (counts["until"] - length + 1) * MINUTE, **minutes},
    }


def _shares(answers: dict[str, int]) -> dict[str, Any]:
    """The answers, and the share of them for which nothing was fetched; None without any."""
    total = sum(answers.values())
    fetched = answers["fetched"]
    return {
        **answers,
        "answers": total,
        "share": None if not total else round((total - fetched) / total, 4),
    }


def _savings(report: ProcessReport, started: float) -> dict[str, Any]:
    counts = report["activity"]["counts"]
    received = sum(each["received"] for each in report["upstreams"])
    saved = counts["minutes"].get("saved", [])
    return {
        "since": started,
        "bytes": counts["totals"].get("saved", 0),
        "hour": sum(saved[-_HOUR:]),
        "day": sum(saved),
        "sent": counts["totals"].get("sent", 0),
        "received": received,
    }


def _upstream(each: UpstreamReport, counted: Mapping[str, Any]) -> dict[str, Any]:
    seconds = each["seconds"]
    circuit = each["circuit"]
    return {
        "name": each["name"],
        "circuit": circuit["state"],
        "since": circuit["since"],
        "why": circuit["why"],
        "next_try": circuit["next_try"],
        "login": each["login"],
        "requests": dict(counted.get("requests", {})),
        "latency": {
            "of": len(seconds),
            "p50": percentile(seconds, 0.5),
            "p99": percentile(seconds, 0.99),
        },
        "received": each["received"],
        "pulls": each["pulls"],
    }
