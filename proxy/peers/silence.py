"""How long one question may wait for replicas that are silent, whichever they are. PURE."""

from __future__ import annotations


class SilenceBudget:
    """Seconds, which replicas take up that send nothing. One that waits itself says so."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    @property
    def is_spent(self) -> bool:
        """Whether no further replica should be asked."""
        return self._left <= 0

    def spend(self, seconds: float) -> None:
        """A replica was silent for so long."""
        self._left -= seconds
