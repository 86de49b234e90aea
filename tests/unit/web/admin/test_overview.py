"""The status overview, derived from metrics."""

from __future__ import annotations

from proxy.cli.admin_client import describe
from proxy.web.admin.overview import overview

METRICS = """
# TYPE lighterage_stored_bytes gauge
lighterage_stored_bytes 3.145728e+07
# TYPE lighterage_requests_total counter
lighterage_requests_total{cache="hit",route="manifests",status="200"} 5.0
lighterage_requests_total{cache="hit",route="blobs",status="206"} 2.0
lighterage_requests_total{cache="miss",route="blobs",status="200"} 1.0
# TYPE lighterage_stale_served_total counter
lighterage_stale_served_total{reason="throttled"} 3.0
# TYPE lighterage_access_decisions_total counter
lighterage_access_decisions_total{decision="admitted",mode="basic",principal="basic"} 5.0
lighterage_access_decisions_total{decision="admitted",mode="basic",principal="jwt"} 1.0
lighterage_access_decisions_total{decision="denied",mode="deny",principal="anonymous"} 2.0
# TYPE lighterage_logins_total counter
lighterage_logins_total{outcome="wrong"} 4.0
# TYPE lighterage_peers gauge
lighterage_peers{state="live"} 2.0
lighterage_peers{state="left_out"} 0.0
# TYPE lighterage_peer_passed_over_total counter
lighterage_peer_passed_over_total{reason="silent"} 6.0
# TYPE lighterage_upstream_requests_total counter
lighterage_upstream_requests_total{kind="manifest",outcome="ok",upstream="docker.io"} 4.0
lighterage_upstream_requests_total{kind="blob",outcome="ok",upstream="docker.io"} 1.0
lighterage_upstream_requests_total{kind="blob",outcome="throttled",upstream="docker.io"} 9.0
# TYPE lighterage_upstream_circuit_open gauge
lighterage_upstream_circuit_open{upstream="docker.io"} 1.0
lighterage_upstream_circuit_open{upstream="quay.io"} 0.0
# TYPE lighterage_upstream_pull_limit gauge
lighterage_upstream_pull_limit{upstream="docker.io"} 100.0
lighterage_upstream_pull_limit{upstream="quay.io"} 0.0
# TYPE lighterage_upstream_pulls_remaining gauge
lighterage_upstream_pulls_remaining{upstream="docker.io"} 0.0
lighterage_upstream_pulls_remaining{upstream="quay.io"} 0.0
"""


def test_counts_are_summed_and_only_reported_budgets_are_shown() -> None:
    assert overview(METRICS) == {
        "stored_bytes": 31457280,
        "requests": {"hit": 7, "miss": 1},
        "stale": {"throttled": 3},
        "access": {"admitted": 6, "denied": 2},
        "logins": {"wrong": 4},
        "replicas": {"live": 2, "left_out": 0},
        "passed_over": {"silent": 6},
        "upstreams": {
            "docker.io": {
                "breaker": "open",
                "requests": {"ok": 5, "throttled": 9},
                "budget": {"limit": 100, "remaining": 0},
            },
            "quay.io": {"breaker": "closed", "requests": {}, "budget": None},
        },
    }


def test_the_status_is_printed_in_sentences() -> None:
    status = {"status": "ready", "warnings": {"redis": "it is away"}, **overview(METRICS)}
    assert list(describe(status)) == [
        "the proxy is ready",
        "  warning: it is away",
        "blobs take 30.0 MiB",
        "answers: 7 hit, 1 miss",
        "  stale: 3 throttled",
        "closed repositories: 6 admitted, 2 denied",
        "logins: 4 wrong",
        "other replicas: 0 left_out, 2 live",
        "  passed over: 6 silent",
        "docker.io fails, its circuit is open: 5 ok, 9 throttled",
        "  pulls left: 0 of 100",
        "quay.io works: none yet",
    ]


def test_a_proxy_that_has_done_nothing_has_a_status_too() -> None:
    nothing: dict[str, object] = {
        "requests": {},
        "stale": {},
        "access": {},
        "logins": {},
        "replicas": {},
        "passed_over": {},
        "upstreams": {},
    }
    assert overview("") == {"stored_bytes": 0, **nothing}
