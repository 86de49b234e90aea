"""What is left of the report of a process that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.report.process import ProcessReport, merge

if TYPE_CHECKING:
    from collections.abc import Sequence


class WorkerReports:
    """The latest report of a worker, and those of the processes that it replaced."""

    def __init__(self) -> None:
        self._latest: ProcessReport | None = None
        self._past: ProcessReport | None = None

    def take(self, report: ProcessReport) -> None:
        """The process says this now."""
        self._latest = report

    def end(self) -> None:
        """The process has ended: what it counted stays, and what it did is over."""
        if self._latest is None:
            return
        ended = ProcessReport(
            activity=self._latest["activity"],
            upstreams=[],
            transfers=[],
            evicted=self._latest["evicted"],
        )
        self._past = ended if self._past is None else merge([self._past, ended])
        self._latest = None

    def all(self) -> Sequence[ProcessReport]:
        """What there is to add up."""
        return [each for each in (self._past, self._latest) if each is not None]
