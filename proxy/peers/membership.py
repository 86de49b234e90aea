"""The replicas that there are, and how each of them is doing. PURE: the time is an argument.

Health comes from use. A replica that failed a question is left out until a probe succeeds, which
is tried at growing intervals; one that lied or is of another release is left out for a while in
any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from proxy.kit.backoff import Backoff
from proxy.report.replicas import LIVE, PeerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# Between two probes of a replica that is left out, in seconds.
_PROBES: Final = Backoff(first=1.0, longest=15.0)
# How long a replica that sent something wrong is left out at least, in seconds.
_DISTANCE: Final = 60.0
# So many others are probed in each round, besides those that are left out.
_PROBED_AT_ONCE: Final = 3
_LEFT_OUT_AT_ONCE: Final = 16
# One that was left out more often without an answer between may ask us what it likes.
_RELAPSES: Final = 2


class Reason(StrEnum):
    """Why a replica is passed over. Labels of a metric, which docs/replicas.md explains."""

    REFUSED = "refused"
    SILENT = "silent"
    DRAINING = "draining"
    LYING = "lying"
    FORMAT = "format"
    # It sends nothing but signs of life, and is no owner: it may wait for us. It is not left out.
    STALLED = "stalled"


@dataclass(slots=True)
class _Member:
    # When it was found, left out, or taken back.
    since: float
    reason: Reason | None = None
    failures: int = 0
    # How often it was left out since it has last answered anything but a probe.
    relapses: int = 0
    # While it is left out: no probe before this moment.
    not_before: float = 0.0
    # What it says of itself.
    name: str = ""
    zone: str = ""
    # Bytes from it, and to it.
    received: int = 0
    sent: int = 0


class Membership:
    """The replicas by address, `HOST:PORT`."""

    def __init__(self) -> None:
        self.own: str | None = None
        self._members: dict[str, _Member] = {}

    def discover(self, addresses: Iterable[str], own: str | None, now: float) -> None:
        """Set the replicas, from `now` on; `own` is the address of this one."""
        found = {address: self._members.get(address) or _Member(now) for address in addresses}
        if own is not None:
            found[own] = _Member(now)
        self._members, self.own = found, own

    def live(self) -> list[str]:
        """The replicas that are not left out; this one is among them if it is a member."""
        return [address for address, member in self._members.items() if member.reason is None]

    def introduce(self, address: str, name: str, zone: str) -> None:
        """Note the replica's name and zone."""
        if (member := self._members.get(address)) is not None:
            member.name, member.zone = name, zone

    def count(self, address: str, *, received: int = 0, sent: int = 0) -> None:
        """Count bytes received from the replica, and sent to it."""
        if (member := self._members.get(address)) is not None:
            member.received += received
            member.sent += sent

    def report(self) -> list[PeerState]:
        """How each of the others is doing."""
        return [
            PeerState(
                address,
                member.name,
                member.zone,
                member.reason or LIVE,
                member.since,
                member.received,
                member.sent,
            )
            for address, member in self._members.items()
            if address != self.own
        ]

    def zone_of(self, address: str) -> str:
        """The replica's zone; "" if it has none, or that is not known yet."""
        member = self._members.get(address)
        return "" if member is None else member.zone

    def present(self) -> list[str]:
        """Return the live replicas, and the draining ones, which still serve what they have."""
        return [
            address
            for address, member in self._members.items()
            if member.reason in {None, Reason.DRAINING}
        ]

    def states(self) -> dict[str, Reason | None]:
        """Why each of the others is left out; None for one that is not."""
        return {
            address: member.reason
            for address, member in self._members.items()
            if address != self.own
        }

    def leave_out(self, address: str, reason: Reason, now: float) -> bool:
        """Leave a replica out from `now` on; whether it was not left out before."""
        member = self._members.get(address)
        if member is None or address == self.own or reason is Reason.STALLED:
            return False
        is_new = member.reason is None
        if is_new:
            member.since = now
            member.relapses += 1
        member.failures += 1
        pause = _PROBES.pause(max(member.failures, member.relapses))
        if reason in {Reason.LYING, Reason.FORMAT}:
            pause = max(pause, _DISTANCE)
        # What is known to be worse stays: a liar that is also slow is a liar.
        member.not_before = max(member.not_before, now + pause)
        member.reason = reason
        return is_new

    def confirm(self, address: str, now: float) -> bool:
        """Note that a replica has answered; return whether it was left out until now."""
        member = self._members.get(address)
        if member is None or member.reason is None or now < member.not_before:
            return False
        member.reason, member.failures, member.not_before = None, 0, 0.0
        member.since = now
        return True

    def succeed(self, address: str) -> None:
        """A replica has answered a question as it should."""
        if (member := self._members.get(address)) is not None:
            member.relapses = 0

    def hasten(self, address: str) -> bool:
        """Probe a replica that is left out at once; return whether there is one to probe.

        It has asked us something, so it is running. One that sent something wrong has to wait all
        the same, and so has one that answers probes only.
        """
        member = self._members.get(address)
        if member is None or member.reason not in {Reason.REFUSED, Reason.SILENT, Reason.DRAINING}:
            return False
        if member.relapses > _RELAPSES:
            return False
        member.not_before = 0.0
        return True

    def due(self, now: float, sample: Callable[[Sequence[str], int], Iterable[str]]) -> list[str]:
        """The replicas to probe now: those left out that are due, and a few others.

        `sample` chooses so many of a sequence.
        """
        left_out, others = [], []
        for address, member in self._members.items():
            if address == self.own:
                continue
            if member.reason is None:
                others.append(address)
            elif now >= member.not_before:
                left_out.append(address)
        chosen = sample(others, min(_PROBED_AT_ONCE, len(others)))
        return [*left_out[:_LEFT_OUT_AT_ONCE], *chosen]
