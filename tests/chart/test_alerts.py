"""Each alert fires when it should, and only then: promtool gives the rules made-up series."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests import tools
from tests.chart.chart import ROOT, render

if TYPE_CHECKING:
    from pathlib import Path

# What the operator's Prometheus adds to everything that it scrapes from this release.
TARGET: Final = 'job="harbour-lighterage-admin",namespace="ops",pod="p"'
# In promtool's notation, one value a minute.
GROWS: Final = "0+5x180"
RESTS: Final = "7x180"
# Alert; series that let it fire within two hours; series, as near as can be, that do not.
FIRES: Final[dict[str, tuple[dict[str, str], dict[str, str]]]] = {
    "LighterageDown": ({"up": "0x180"}, {"up": "1x180"}),
    "LighterageAnswersWithErrors": (
        {
            'lighterage_requests_total{status="200"}': "0+90x180",
            'lighterage_requests_total{status="502"}': "0+10x180",
        },
        {
            'lighterage_requests_total{status="200"}': "0+990x180",
            'lighterage_requests_total{status="502"}': "0+10x180",
        },
    ),
    "LighterageUpstreamCircuitOpen": (
        {'lighterage_upstream_circuit_open{upstream="docker.io"}': "1x180"},
        {'lighterage_upstream_circuit_open{upstream="docker.io"}': "0x180"},
    ),
    "LighterageUpstreamThrottles": (
        {'lighterage_upstream_requests_total{outcome="throttled"}': GROWS},
        {
            'lighterage_upstream_requests_total{outcome="throttled"}': RESTS,
            'lighterage_upstream_requests_total{outcome="ok"}': GROWS,
        },
    ),
    "LighteragePullsRunOut": (
        {
            "lighterage_upstream_pulls_remaining": "9x180",
            "lighterage_upstream_pull_limit": "100x180",
        },
        {"lighterage_upstream_pulls_remaining": "0x180", "lighterage_upstream_pull_limit": "0x180"},
    ),
    "LighterageUpstreamDenies": (
        {'lighterage_upstream_requests_total{outcome="denied"}': GROWS},
        {'lighterage_upstream_requests_total{outcome="denied"}': "0x60 1x120"},
    ),
    "LighterageServesStale": (
        {'lighterage_stale_served_total{reason="unavailable"}': GROWS},
        {'lighterage_stale_served_total{reason="revalidating"}': GROWS},
    ),
    "LighterageUpstreamSendsWrongContent": (
        {'lighterage_upstream_requests_total{outcome="invalid"}': "0x100 1x80"},
        {'lighterage_upstream_requests_total{outcome="unknown"}': GROWS},
    ),
    "LighterageDerivedDigestLost": (
        {"lighterage_rebuild_mismatches_total": "0x60 1x120"},
        {"lighterage_rebuild_mismatches_total": "0x180"},
    ),
    "LighterageCacheFails": (
        {'lighterage_cache_errors_total{operation="get"}': GROWS},
        {'lighterage_cache_errors_total{operation="get"}': RESTS},
    ),
    "LighterageBucketFails": (
        {'lighterage_bucket_errors_total{operation="look"}': GROWS},
        {'lighterage_bucket_errors_total{operation="look"}': RESTS},
    ),
    "LighterageDiskFails": (
        {'lighterage_disk_errors_total{operation="open"}': GROWS},
        {'lighterage_disk_errors_total{operation="open"}': RESTS},
    ),
    "LighterageHasNoRoom": (
        {'lighterage_blobs_passed_through_total{reason="disk"}': GROWS},
        {'lighterage_blobs_passed_through_total{reason="disk"}': RESTS},
    ),
    "LighterageDiskDamages": (
        {'lighterage_blobs_damaged_total{found_by="scrub"}': GROWS},
        {'lighterage_blobs_damaged_total{found_by="scrub"}': "0x60 1x120"},
    ),
    "LighterageTurnsAway": (
        {'lighterage_turned_away_total{limit="connections"}': GROWS},
        {'lighterage_turned_away_total{limit="connections"}': RESTS},
    ),
    "LighterageReplicaLeftOut": (
        {'lighterage_peers{state="left_out"}': "1x180"},
        {'lighterage_peers{state="left_out"}': "0x180"},
    ),
    "LighterageLoopLags": (
        {
            'lighterage_loop_lag_seconds_bucket{le="0.25"}': "0+90x180",
            'lighterage_loop_lag_seconds_bucket{le="0.5"}': "0+100x180",
            'lighterage_loop_lag_seconds_bucket{le="+Inf"}': "0+100x180",
        },
        {
            'lighterage_loop_lag_seconds_bucket{le="0.25"}': "0+100x180",
            'lighterage_loop_lag_seconds_bucket{le="0.5"}': "0+100x180",
            'lighterage_loop_lag_seconds_bucket{le="+Inf"}': "0+100x180",
        },
    ),
    "LighterageBackgroundTaskFails": (
        {'lighterage_background_task_failures_total{task="janitor"}': GROWS},
        {'lighterage_background_task_failures_total{task="janitor"}': RESTS},
    ),
    "LighterageSettingsRefused": (
        {"lighterage_settings_refused": "1x180"},
        {"lighterage_settings_refused": "0x180"},
    ),
    "LighterageLosesLogLines": (
        {"lighterage_log_lines_dropped_total": GROWS},
        {"lighterage_log_lines_dropped_total": RESTS},
    ),
}
HEALTHY: Final = {"up": "1x180"}


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rules, in a file as Prometheus reads it."""
    rule = render(metrics__prometheusRule__enabled="true").one("PrometheusRule")
    file = tmp_path_factory.mktemp("rules") / "rules.json"
    file.write_text(json.dumps(rule["spec"]))
    return file


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(
        [tools.require("promtool"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_reads_the_rules(rules: Path) -> None:
    promtool("check", "rules", rules)


def test_each_alert_fires_when_it_should_and_only_then(rules: Path) -> None:
    alerts = {rule["alert"] for rule in parsed(rules)}
    assert alerts == set(FIRES)
    tests = []
    for alert, (bad, good) in FIRES.items():
        tests.append(case(alert, {**HEALTHY, **bad}, fires=True))
        tests.append(case(alert, {**HEALTHY, **good}, fires=False))
    file = rules.with_name("tests.json")
    file.write_text(json.dumps({"rule_files": [str(rules)], "tests": tests}))
    promtool("test", "rules", file)


def test_each_alert_says_how_bad_it_is_and_what_to_do(rules: Path) -> None:
    """And names only pages, settings and fields that there are."""
    settings = (ROOT / "config/lighterage.yaml").read_text()
    observability = (ROOT / "docs/observability.md").read_text()
    for rule in parsed(rules):
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["annotations"]["summary"]
        runbook = rule["annotations"]["runbook"]
        assert len(runbook) > 60
        assert "\n" not in runbook
        for page in re.findall(r"docs/\w+\.md", runbook):
            assert (ROOT / page).exists()
        for word in re.findall(r"`(.+?)`", runbook):
            setting = word.rpartition(".")[2]
            assert word in observability or f"{setting}:" in settings, word


def parsed(rules: Path) -> list[dict[str, Any]]:
    """The rules of the only group."""
    (group,) = json.loads(rules.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def case(alert: str, series: dict[str, str], *, fires: bool) -> dict[str, Any]:
    """A test of one alert, after two hours."""
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    expected = [{"labels": "{}", "value": 1}] if fires else []
    return {
        "name": f"{alert} {'fires' if fires else 'does not fire'}",
        "interval": "1m",
        "input_series": [
            {"series": labelled(name), "values": values} for name, values in series.items()
        ],
        "promql_expr_test": [{"expr": firing, "eval_time": "2h", "exp_samples": expected}],
    }


def labelled(series: str) -> str:
    """With what Prometheus adds."""
    name, _, labels = series.partition("{")
    return f"{name}{{{TARGET},{labels or '}'}"
