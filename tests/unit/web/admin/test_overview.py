"""Counts for the status page, derived from metrics."""

from __future__ import annotations

from proxy.web.admin.overview import overview

METRICS = """
# TYPE lighterage_stale_served_total counter
lighterage_stale_served_total{reason="throttled"} 3.0
# TYPE lighterage_access_decisions_total counter
lighterage_access_decisions_total{decision="admitted",mode="basic",principal="basic"} 5.0
lighterage_access_decisions_total{decision="admitted",mode="basic",principal="jwt"} 1.0
lighterage_access_decisions_total{decision="denied",mode="deny",principal="anonymous"} 2.0
# TYPE lighterage_logins_total counter
lighterage_logins_total{outcome="wrong"} 4.0
# TYPE lighterage_turned_away_total counter
lighterage_turned_away_total{limit="connections"} 6.0
lighterage_turned_away_total{limit="principal_cold"} 1.0
# TYPE lighterage_upstream_requests_withheld_total counter
lighterage_upstream_requests_withheld_total{reason="principal",upstream="docker.io"} 1.0
lighterage_upstream_requests_withheld_total{reason="principal",upstream="quay.io"} 1.0
# TYPE lighterage_upstream_requests_total counter
lighterage_upstream_requests_total{kind="manifest",outcome="ok",upstream="docker.io"} 4.0
lighterage_upstream_requests_total{kind="blob",outcome="ok",upstream="docker.io"} 1.0
lighterage_upstream_requests_total{kind="blob",outcome="throttled",upstream="docker.io"} 9.0
"""


def test_counts_are_summed() -> None:
    assert overview(METRICS) == {
        "stale": {"throttled": 3},
        "access": {"admitted": 6, "denied": 2},
        "logins": {"wrong": 4},
        "turned_away": {"connections": 6, "principal_cold": 1},
        "withheld": {"principal": 2},
        "upstreams": {"docker.io": {"requests": {"ok": 5, "throttled": 9}}},
    }


def test_a_proxy_that_has_done_nothing_has_counts_too() -> None:
    assert overview("") == {
        "stale": {},
        "access": {},
        "logins": {},
        "turned_away": {},
        "withheld": {},
        "upstreams": {},
    }
