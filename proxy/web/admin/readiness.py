"""Whether a process accepts traffic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.report.replicas import PeerState


@dataclass(slots=True)
class Readiness:
    """Whether this process accepts traffic, with warnings for the operator.

    It does not depend on the cache or an upstream: without them the proxy serves what is cached,
    and to take it out of rotation would make the outage worse.
    """

    serving: bool = False
    draining: bool = False
    warnings: dict[str, str] = field(default_factory=dict)
    # The other replicas, as they are seen from here.
    peers: tuple[PeerState, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether new connections are accepted."""
        return self.serving and not self.draining

    @property
    def state(self) -> str:
        """The state in one word."""
        return "draining" if self.draining else "ready" if self.ready else "starting"
