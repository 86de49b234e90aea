"""The report of one process, and the sum of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from proxy.kit.clock import SYSTEM_CLOCK
from proxy.report.activity import ActivityReport, Counts
from proxy.report.census import merge_census
from proxy.report.failures import merge_failures
from proxy.report.images import merge_images
from proxy.report.series import DAY, Series, add_up, extend, minute_of
from proxy.report.tally import add_counts
from proxy.report.transfers import TransferReport, merge_transfers
from proxy.report.upstreams import UpstreamReport, merge_upstreams

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.kit.clock import Clock
    from proxy.report.activity import Activity
    from proxy.report.transfers import TransferSpeeds
    from proxy.report.upstreams import WatchedUpstream


class ProcessReport(TypedDict):
    """What one process knows: plain values, so that JSON carries it."""

    activity: ActivityReport
    upstreams: list[UpstreamReport]
    transfers: list[TransferReport]
    evicted: list[int]


class Reporter:
    """Reports what this process does."""

    def __init__(
        self,
        *,
        activity: Activity,
        upstreams: Sequence[WatchedUpstream],
        transfers: TransferSpeeds,
        evicted: Callable[[], float],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`evicted` is a total in bytes."""
        self.activity = activity
        self._upstreams = upstreams
        self._transfers = transfers
        self._evicted = evicted
        self._clock = clock
        self._evicted_before = evicted()
        self._evictions = Series()

    async def sample(self) -> None:
        """Note what would be forgotten: call it a few times a minute."""
        for feed in self.activity.feeds:
            feed()
        for upstream in self._upstreams:
            upstream.sample()
        self._sample_evicted()

    def report(self) -> ProcessReport:
        """All that there is to say."""
        self._sample_evicted()
        activity = self.activity.report()
        until = activity["counts"]["until"]
        return ProcessReport(
            activity=activity,
            upstreams=[each.report() for each in self._upstreams],
            transfers=self._transfers.report(),
            evicted=self._evictions.last(until, len(activity["counts"]["minutes"]["here"])),
        )

    def _sample_evicted(self) -> None:
        evicted = self._evicted()
        self._evictions.add(
            minute_of(self._clock.wall()), max(0, int(evicted - self._evicted_before))
        )
        self._evicted_before = evicted


def merge(reports: Sequence[ProcessReport]) -> ProcessReport:
    """Add up the reports of several processes."""
    counts = [each["activity"]["counts"] for each in reports]
    until = max((each["until"] for each in counts), default=0)
    evicted: list[int] = []
    for each in reports:
        ended = each["activity"]["counts"]["until"]
        evicted = add_up(evicted, extend(each["evicted"], ended, until))[-DAY:]
    return ProcessReport(
        activity=ActivityReport(
            counts=_merge_counts(counts, until),
            images=merge_images([each["activity"]["images"] for each in reports]),
            clients=merge_census([each["activity"]["clients"] for each in reports]),
            errors=merge_failures([each["activity"]["errors"] for each in reports]),
        ),
        upstreams=merge_upstreams([each["upstreams"] for each in reports]),
        transfers=merge_transfers([each["transfers"] for each in reports]),
        evicted=evicted,
    )


def _merge_counts(counts: Sequence[Counts], until: int) -> Counts:
    totals: dict[str, int] = {}
    minutes: dict[str, list[int]] = {}
    for each in counts:
        add_counts(totals, each["totals"])
        for name, values in each["minutes"].items():
            continued = extend(values, each["until"], until)
            minutes[name] = add_up(minutes.get(name, []), continued)[-DAY:]
    return Counts(until=until, totals=totals, minutes=minutes)
