"""The supervisor's metrics and their documentation."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from proxy.telemetry.merge import MergedMetrics

PAGE = (Path(__file__).parents[3] / "docs" / "observability.md").read_text()


def test_the_supervisors_own_metrics_are_documented(tmp_path: Path) -> None:
    merged = MergedMetrics(tmp_path, workers=list)
    merged.serving.set(2)
    merged.ended.inc()
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(merged.generate().decode())
        for sample in family.samples
        if sample.name.startswith("lighterage_") and not sample.name.endswith("_created")
    }
    assert samples == {"lighterage_workers_serving": 2, "lighterage_worker_ends_total": 1}
    assert all(f"`{name}`" in PAGE for name in samples)


def test_process_metrics_are_summed_over_the_workers(tmp_path: Path) -> None:
    """So memory and descriptors are those of the whole proxy."""

    def measured(*workers: int) -> dict[str, float]:
        merged = MergedMetrics(tmp_path, workers=lambda: workers)
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(merged.generate().decode())
            for sample in family.samples
            if sample.name.startswith("process_")
        }

    alone, twice, ended = measured(), measured(os.getpid()), measured(2**22 + 1)
    assert alone.keys() == twice.keys() == ended.keys()
    for name in ("resident_memory_bytes", "open_fds", "cpu_seconds_total"):
        assert twice[f"process_{name}"] > 1.5 * alone[f"process_{name}"] > 0
        assert ended[f"process_{name}"] < 1.5 * alone[f"process_{name}"]
    assert twice["process_start_time_seconds"] == alone["process_start_time_seconds"]
