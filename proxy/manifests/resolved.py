"""What a tag was found to name, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from proxy.manifests.freshness import Reason
from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from proxy.oci.manifest import Manifest
    from proxy.ports.catalog import TagEntry


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a tag names, when the registry has last said so (since 1970), and why it is stale."""

    manifest: Manifest
    outcome: Outcome
    validated_at: float
    stale: Reason | None = None

    @classmethod
    def of_stale(cls, manifest: Manifest, entry: TagEntry, reason: Reason | str) -> Self:
        """Return a stale copy; the reason may come from another replica."""
        known = Reason(reason) if reason in set(Reason) else Reason.UNAVAILABLE
        return cls(manifest, Outcome.STALE, entry.validated_at, known)
