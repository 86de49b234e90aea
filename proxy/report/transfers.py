"""The running transfers of one process, and how fast they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.kit.clock import Clock

# Bytes are compared with those of so many seconds ago.
_WINDOW: Final = 1.0
_REPORTED: Final = 100
# The source of a process that reads what another one of this machine fetches.
FOLLOWED: Final = "another worker"


@dataclass(frozen=True, slots=True)
class RunningTransfer:
    """A blob that is being fetched: of which repository, how far, and from where.

    `size` is None until the upstream has stated it. `source` is a registry, a mirror or a replica.
    """

    image: str
    digest: str
    received: int
    size: int | None
    readers: int
    source: str


class TransferReport(TypedDict):
    """A running transfer; `speed` in bytes a second."""

    image: str
    digest: str
    bytes: int
    size: int | None
    speed: int
    readers: int
    source: str


class TransferSpeeds:
    """Measures the running transfers whenever it is asked."""

    def __init__(self, running: Callable[[], Iterable[RunningTransfer]], clock: Clock) -> None:
        self._running = running
        self._clock = clock
        # By transfer: when its bytes were counted, how many there were, and the speed before.
        self._seen: dict[tuple[str, str], tuple[float, int, int]] = {}

    def report(self) -> list[TransferReport]:
        """The running transfers, the largest first."""
        now = self._clock.monotonic()
        before, self._seen = self._seen, {}
        found = []
        for each in self._running():
            key = each.image, each.digest
            at, received, speed = before.get(key, (now, each.received, 0))
            if now - at >= _WINDOW:
                speed = max(0, int((each.received - received) / (now - at)))
                at, received = now, each.received
            elif not speed and now > at:
                speed = max(0, int((each.received - received) / (now - at)))
            self._seen[key] = at, received, speed
            found.append(
                TransferReport(
                    image=each.image,
                    digest=each.digest,
                    bytes=each.received,
                    size=each.size,
                    speed=speed,
                    readers=each.readers,
                    source=each.source,
                )
            )
        found.sort(key=lambda each: -(each["size"] or each["bytes"]))
        return found[:_REPORTED]


def merge_transfers(reports: list[list[TransferReport]]) -> list[TransferReport]:
    """What several processes report: one fetches a blob, and the others follow it."""
    merged: dict[tuple[str, str], TransferReport] = {}
    for each in (entry for report in reports for entry in report):
        key = each["image"], each["digest"]
        known = merged.get(key)
        if known is None:
            merged[key] = each.copy()
            continue
        known["readers"] += each["readers"]
        known["bytes"] = max(known["bytes"], each["bytes"])
        known["speed"] = max(known["speed"], each["speed"])
        known["size"] = known["size"] or each["size"]
        if known["source"] == FOLLOWED:
            known["source"] = each["source"]
    ranked = sorted(merged.values(), key=lambda each: -(each["size"] or each["bytes"]))
    return ranked[:_REPORTED]
