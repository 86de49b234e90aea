"""What the status page shows: a part of the composition root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.kit.clock import SYSTEM_CLOCK
from proxy.report.process import Reporter
from proxy.report.transfers import FOLLOWED, RunningTransfer, TransferSpeeds
from proxy.report.upstreams import Circuit, Meter, WatchedUpstream
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proxy.blobs.transfer import Transfer
    from proxy.blobs.transfers import Transfers
    from proxy.report.activity import Activity
    from proxy.upstream.auth.login_watch import LoginWatch
    from proxy.upstream.health.circuits import Circuits
    from proxy.upstream.health.rate_limit import UpstreamMeter


def watch_upstream(
    name: str,
    *,
    circuits: Circuits,
    login: LoginWatch | None,
    budget: UpstreamMeter,
    is_offline: Callable[[], bool],
) -> WatchedUpstream:
    """Records of an upstream. `login` is None where the settings name none."""

    def meter() -> Meter | None:
        newest = budget.newest
        if newest is None:
            return None
        return Meter(newest.rate.limit, newest.rate.remaining, newest.at)

    def circuit() -> Circuit:
        if is_offline():
            return Circuit(state="offline", since=None, why="the settings say so", next_try=None)
        opened = circuits.open_circuit
        if opened is None:
            return Circuit(state="closed", since=None, why=None, next_try=None)
        return Circuit(state="open", since=opened.since, why=opened.why, next_try=opened.next_try)

    return WatchedUpstream(
        name,
        circuit=circuit,
        login=lambda: "none" if login is None else login.state,
        meter=meter,
        clock=SYSTEM_CLOCK,
    )


def open_reporter(
    activity: Activity,
    upstreams: Sequence[WatchedUpstream],
    transfers: Transfers,
) -> Reporter:
    """What one process reports of itself."""
    return Reporter(
        activity=activity,
        upstreams=upstreams,
        transfers=TransferSpeeds(_running(transfers), SYSTEM_CLOCK),
        evicted=metrics.evicted_bytes,
    )


def _running(transfers: Transfers) -> Callable[[], Iterator[RunningTransfer]]:
    def running() -> Iterator[RunningTransfer]:
        for transfer in transfers.running:
            yield RunningTransfer(
                image=str(transfer.repository.official),
                digest=transfer.digest,
                received=transfer.progress.received,
                size=transfer.progress.total,
                readers=transfer.readers,
                source=FOLLOWED if transfer.is_follower else _source(transfer),
            )

    return running


def _source(transfer: Transfer) -> str:
    """The mirror or the replica that delivers, else the registry."""
    return transfer.delivery.source or transfer.repository.official.registry
