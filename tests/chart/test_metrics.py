"""What the dashboard and the alerts ask Prometheus for exists: names, labels, and values."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from proxy.telemetry import metrics
from tests import tools
from tests.chart.chart import CHART, render
from tests.kit import images
from tests.kit.processes import LOOPBACK, Program, Proxy, free_port
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

SERIES: Final = r"lighterage_[a-z_]+"
# What Prometheus and the operator add to what is scraped.
ADDED: Final = {"job", "namespace", "pod", "instance", "le"}
# Panels about what a healthy proxy does not do.
QUIET: Final = {
    *("Access decisions", "Logins"),
    "Errors",
    "Rate limit: pulls left",
    "Stale answers, by reason",
    "Not stored, turned away",
    "Cache errors, evicted bytes",
    "Bytes between replicas",
    "Replicas passed over",
    "Other replicas, as each sees them",
}
# Seconds: until Prometheus has two samples of everything, on a busy machine.
SCRAPED: Final = 60.0
CARGO: Final = "library/cargo"


def panels() -> dict[str, list[str]]:
    """The expressions of the dashboard, by title."""
    dashboard = json.loads((CHART / "dashboards/lighterage.json").read_text())
    return {
        panel["title"]: [target["expr"] for target in panel["targets"]]
        for panel in dashboard["panels"]
    }


def alerts() -> dict[str, str]:
    """The expressions of the alerts, as they are installed."""
    rule = render(metrics__prometheusRule__enabled="true").one("PrometheusRule")
    return {each["alert"]: each["expr"] for each in rule["spec"]["groups"][0]["rules"]}


def expressions() -> list[str]:
    """All of them."""
    return [*alerts().values(), *(expr for exprs in panels().values() for expr in exprs)]


def labels() -> dict[str, set[str]]:
    """The labels of every metric that the proxy declares."""
    return {
        metric._name: set(metric._labelnames)
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
    }


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that has answered old clients and new ones."""
    directory = tmp_path_factory.mktemp("metrics")
    with Registry(directory / "registry") as registry:
        registry.push(CARGO, "1", images.oci_index())
        with Proxy(directory / "proxy", upstream=registry.url) as proxy:
            pull(proxy)
            yield proxy


def pull(proxy: Proxy) -> None:
    """An index, a schema 1, a blob, and something that is not there."""
    content = images.oci_index()
    (blob, *_) = content.children[0].blobs
    for path, accept in (
        ("manifests/1", [("Accept", "*/*")]),
        ("manifests/1", []),
        (f"blobs/{blob}", []),
        ("manifests/absent", [("Accept", "*/*")]),
    ):
        ask(f"{proxy.url}/v2/{CARGO}/{path}", headers=accept)


def test_every_metric_exists_with_its_labels(proxy: Proxy) -> None:
    exposed = ask(f"{proxy.admin_url}/metrics").body.decode()
    types = dict(re.findall(rf"^# TYPE ({SERIES}) (\w+)$", exposed, re.MULTILINE))
    suffixes = {"histogram": ("_bucket", "_count", "_sum")}
    series = {
        f"{name}{suffix}": name
        for name, kind in types.items()
        for suffix in suffixes.get(kind, ("",))
    }
    declared = labels()
    for expression in expressions():
        names = set(re.findall(rf"\b{SERIES}\b", expression))
        assert names <= series.keys()
        known = set(ADDED)
        for name in names:
            base = series[name]
            known |= declared.get(base, set()) | declared.get(base.removesuffix("_total"), set())
        selected = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression))
        grouped = {
            label for by in re.findall(r"by \(([^)]+)\)", expression) for label in by.split(", ")
        }
        assert selected | grouped <= known, expression
    assert not declared.keys() - {name.removesuffix("_total") for name in types}


def test_every_metric_of_the_proxy_is_on_the_dashboard_or_in_an_alert(proxy: Proxy) -> None:
    """Nothing is counted that nobody sees."""
    exposed = ask(f"{proxy.admin_url}/metrics").body.decode()
    names = set(re.findall(rf"^# TYPE ({SERIES}) (?:counter|histogram)$", exposed, re.MULTILINE))
    seen = " ".join(expressions())
    unseen = {name for name in names if not re.search(rf"\b{name}", seen)}
    assert unseen <= {"lighterage_mixed_images_total"}


def test_prometheus_answers_every_expression(proxy: Proxy, tmp_path: Path) -> None:
    port = free_port()
    job = {
        "job_name": "harbour-lighterage-admin",
        "static_configs": [
            {
                "targets": [f"{LOOPBACK}:{proxy.admin_port}"],
                "labels": {"namespace": "ops", "pod": "p"},
            }
        ],
    }
    settings = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"}}
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump({**settings, "scrape_configs": [job]}))
    command: list[str | Path] = [
        tools.require("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={LOOPBACK}:{port}",
    ]
    with Program(command, directory=tmp_path, listens=(port,)):

        def query(expression: str) -> list[Any]:
            for variable, value in (
                ("$job", ".*"),
                ("$namespace", ".*"),
                ("$__rate_interval", "1m"),
            ):
                expression = expression.replace(variable, value)
            answer = ask(f"http://{LOOPBACK}:{port}/api/v1/query?query={quote(expression)}")
            if answer.status == 503:  # it listens before it has opened its files
                return []
            assert answer.status == 200, (expression, answer.body)
            found: list[Any] = json.loads(answer.body)["data"]["result"]
            return found

        deadline = time.monotonic() + SCRAPED
        busy = [
            expr for title, exprs in panels().items() if title not in QUIET for expr in exprs[:1]
        ]
        while not all(map(query, busy)):
            assert time.monotonic() < deadline, [expr for expr in busy if not query(expr)]
            pull(proxy)
            time.sleep(0.5)
        firing = {name for name, expression in alerts().items() if query(expression)}
        for expression in expressions():
            query(expression)
    assert firing <= {"LighterageLoopLags"}  # which a busy machine may do for a moment
