"""The latest error answers."""

from __future__ import annotations

from collections import deque
from typing import Final, TypedDict

_REMEMBERED: Final = 200
_LONGEST: Final = 300


class Failure(TypedDict):
    """An error answer: when (seconds since 1970), which image, to whom, and why."""

    time: float
    status: int
    image: str
    client: str
    message: str
    id: str


class Failures:
    """The last 200 error answers of this process."""

    def __init__(self) -> None:
        self._latest: deque[Failure] = deque(maxlen=_REMEMBERED)

    def add(
        self, *, at: float, status: int, image: str, client: str, message: str, request: str
    ) -> None:
        """Remember one; names and messages are cut."""
        self._latest.append(
            Failure(
                time=at,
                status=status,
                image=image[:_LONGEST],
                client=client,
                message=message[:_LONGEST],
                id=request,
            )
        )

    def report(self) -> list[Failure]:
        """The latest first."""
        return list(reversed(self._latest))


def merge_failures(reports: list[list[Failure]]) -> list[Failure]:
    """The latest of several processes."""
    found = [each for report in reports for each in report]
    return sorted(found, key=lambda each: -each["time"])[:_REMEMBERED]
