"""The supervisor's metrics, and their page."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from proxy.merged import MergedMetrics

PAGE = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()


def test_what_only_a_supervisor_measures_is_documented(tmp_path: Path) -> None:
    merged = MergedMetrics(tmp_path)
    merged.serving.set(2)
    merged.ended.inc()
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(merged.generate().decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    assert samples == {"lighterage_workers_serving": 2, "lighterage_worker_ends_total": 1}
    assert all(f"`{name}`" in PAGE for name in samples)
