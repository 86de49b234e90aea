"""Leases: who does a piece of work, among the processes of one machine."""

from __future__ import annotations

from typing import Protocol


class Lease(Protocol):
    """The exclusive right to do a piece of work."""

    def release(self) -> None:
        """Let others claim it. The death of the process does the same."""
        ...


class Leases(Protocol):
    """At most one lease for each key at a time."""

    async def claim(self, key: str) -> Lease | None:
        """Return the lease, or None while another holder has it. Never waits.

        StoreError if there can be no leases, on a full disk.
        """
        ...
