"""What each upstream of one process does: its circuit, login, speed and rate limit."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final, TypedDict

from proxy.report.series import Readings, minute_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.kit.clock import Clock

# The latest requests whose durations are remembered.
_REQUESTS: Final = 256
# A rate limit is plotted for six hours, in steps of so many minutes.
_STEP: Final = 5
_STEPS: Final = 6 * 60 // _STEP


class Circuit(TypedDict):
    """`state` is `closed`, `open` or `offline`.

    While it is open, `since` when (seconds since 1970), `why`, and the seconds until it is tried.
    """

    state: str
    since: float | None
    why: str | None
    next_try: float | None


class Pulls(TypedDict):
    """A rate limit as it was last stated, and readings of what was left, by minute."""

    limit: int
    remaining: int
    at: float
    readings: list[list[int]]


class UpstreamReport(TypedDict):
    """One upstream. `login` is `accepted`, `refused`, `unreadable`, `unused` or `none`."""

    name: str
    circuit: Circuit
    login: str
    seconds: list[float]
    received: int
    pulls: Pulls | None


@dataclass(frozen=True, slots=True)
class Meter:
    """What an upstream stated of its rate limit, and when."""

    limit: int
    remaining: int
    at: float


class WatchedUpstream:
    """The records of one upstream."""

    def __init__(
        self,
        name: str,
        *,
        circuit: Callable[[], Circuit],
        login: Callable[[], str],
        meter: Callable[[], Meter | None],
        clock: Clock,
    ) -> None:
        """The functions tell of the upstream as it is now."""
        self._name = name
        self._circuit = circuit
        self._login = login
        self._meter = meter
        self._clock = clock
        self._seconds: deque[float] = deque(maxlen=_REQUESTS)
        self._received = 0
        self._left = Readings(_STEPS, step=_STEP)

    def record(self, seconds: float, received: int) -> None:
        """A request was answered after so many seconds, with so many bytes of content."""
        self._seconds.append(seconds)
        self._received += received

    def sample(self) -> None:
        """Note what is left of the rate limit."""
        meter = self._meter()
        if meter is not None:
            self._left.note(minute_of(self._clock.wall()), meter.remaining)

    def report(self) -> UpstreamReport:
        """How it is now."""
        meter = self._meter()
        pulls = None
        if meter is not None:
            self.sample()
            pulls = Pulls(
                limit=meter.limit,
                remaining=meter.remaining,
                at=meter.at,
                readings=self._left.list(minute_of(self._clock.wall())),
            )
        return UpstreamReport(
            name=self._name,
            circuit=self._circuit(),
            login=self._login(),
            seconds=[round(each, 6) for each in self._seconds],
            received=self._received,
            pulls=pulls,
        )


# The worst that a process knows counts for all.
_CIRCUITS: Final = ("closed", "open", "offline")
_LOGINS: Final = ("none", "unused", "accepted", "unreadable", "refused")


def merge_upstreams(reports: list[list[UpstreamReport]]) -> list[UpstreamReport]:
    """Add up what several processes report, in the order of the first."""
    merged: dict[str, UpstreamReport] = {}
    for each in (entry for report in reports for entry in report):
        known = merged.get(each["name"])
        merged[each["name"]] = each if known is None else _merge(known, each)
    return list(merged.values())


def _merge(one: UpstreamReport, other: UpstreamReport) -> UpstreamReport:
    worst = max(one, other, key=lambda each: _CIRCUITS.index(each["circuit"]["state"]))
    circuit = worst["circuit"].copy()
    same = [
        each["circuit"]
        for each in (one, other)
        if each["circuit"]["state"] == circuit["state"] and each["circuit"]["since"] is not None
    ]
    if same:
        circuit["since"] = min(each["since"] or 0.0 for each in same)
        circuit["next_try"] = min(each["next_try"] or 0.0 for each in same)
    return UpstreamReport(
        name=one["name"],
        circuit=circuit,
        login=max(one["login"], other["login"], key=_LOGINS.index),
        seconds=[*one["seconds"], *other["seconds"]],
        received=one["received"] + other["received"],
        pulls=_merge_pulls(one["pulls"], other["pulls"]),
    )


def _merge_pulls(one: Pulls | None, other: Pulls | None) -> Pulls | None:
    """The newer statement; of equal minutes its reading, because all share the account."""
    if one is None or other is None:
        return one or other
    older, newer = sorted((one, other), key=lambda each: each["at"])
    readings = {each[0]: each[1] for each in (*older["readings"], *newer["readings"])}
    return Pulls(
        limit=newer["limit"],
        remaining=newer["remaining"],
        at=newer["at"],
        readings=[[minute, readings[minute]] for minute in sorted(readings)],
    )


def percentile(seconds: list[float], share: float) -> float | None:
    """The value that `share` of them do not exceed (nearest rank); None without any."""
    if not seconds:
        return None
    ranked = sorted(seconds)
    return ranked[max(0, ceil(share * len(ranked)) - 1)]
