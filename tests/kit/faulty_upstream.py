"""A registry without a socket that is down, slow, or sends something else, as it is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.errors import BlobUnknown, UpstreamInvalid, UpstreamUnavailable
from tests.kit.manifest_world import MonitoredMemoryUpstream
from tests.kit.memory_upstream import Script

if TYPE_CHECKING:
    from proxy.errors import RegistryError
    from proxy.oci.reference import Digest
    from tests.kit.manual_clock import ManualClock
    from tests.kit.memory_upstream import Question


@dataclass(slots=True)
class FaultyUpstream(MonitoredMemoryUpstream):
    """Each repository has all content but what is `absent` there.

    What it sends of a blob begins `slow` seconds late. `garbage`: it is something else; a manifest
    is, too, which the client for registries sees.
    """

    clock: ManualClock | None = None
    down: bool = False
    garbage: bool = False
    slow: float = 0.0
    absent: set[tuple[str, Digest]] = field(default_factory=set)
    gates: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def is_well(self) -> bool:
        """Whether every answer is right."""
        return not self.down and not self.garbage

    def heal(self) -> None:
        """Do everything right from now on."""
        self.down = self.garbage = False
        self.slow = 0.0

    def _next(self, question: Question) -> Script:
        self.asked.append(question)
        error: RegistryError | None = None
        if self.down:
            error = UpstreamUnavailable("the registry is down")
        elif self.garbage and question.kind.startswith("manifest"):
            error = UpstreamInvalid("the registry sends something else")
        if error is not None:
            raise error
        content = b"garbage" if self.garbage and question.kind == "blob" else None
        return Script(content=content, gate=self._gate() if self.slow else None)

    def _gate(self) -> asyncio.Event:
        gate = asyncio.Event()

        async def open_later() -> None:
            assert self.clock is not None
            await self.clock.sleep(self.slow)
            gate.set()

        opening = asyncio.create_task(open_later())
        self.gates.add(opening)
        opening.add_done_callback(self.gates.discard)
        return gate

    async def close(self) -> None:
        for opening in list(self.gates):
            opening.cancel()

    def _blob(self, name: str, digest: Digest, script: Script) -> bytes:
        if (name, digest) in self.absent:
            raise BlobUnknown(f"there is no blob {name} {digest}")
        return MonitoredMemoryUpstream._blob(self, name, digest, script)
