"""Why each client was refused lately, for docker 1.6 to 1.13.

After a 404 they ask the v1 API and show only what that answers: "Error: Status 410 trying to pull
repository NAME: ...".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from proxy.errors import RegistryError
    from proxy.kit.clock import Clock
    from proxy.oci.reference import Repository

_RETIRED: Final = "the v1 API was retired, and this registry has the v2 API only"
_HOW_TO_ASK: Final = (
    "; to see why an image is refused, ask for its manifest: curl -H 'Accept: "
    "application/vnd.docker.distribution.manifest.v2+json' http://HOST/v2/NAME/manifests/TAG"
)
# docker asks at once.
_LIFE: Final = 60.0
_MEMORY: Final = 2**20
_COST: Final = 512
_MAX_REASON: Final = 1000


class RecentRefusals:
    """The last refusal of each client and repository, for a minute; bounded in bytes."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._entries: LruCache[tuple[str, str], tuple[float, str]] = LruCache(_MEMORY)

    def record(
        self, client: str | None, repository: Repository, reference: str, error: RegistryError
    ) -> None:
        """Keep the reason of a refusal; `reference` is a tag or a digest."""
        separator = "@" if ":" in reference else ":"
        reason = f"{repository.addressed}{separator}{reference}: {error.message}"[:_MAX_REASON]
        key = (client or "", str(repository))
        cost = _COST + len(reason) + len(key[1])
        self._entries.put(key, (self._clock.monotonic() + _LIFE, reason), cost)

    def explain(self, client: str | None, repository: Repository | None) -> str:
        """The reason of the client's last refusal, or how to ask for it."""
        entry = self._entries.get((client or "", str(repository)))
        if entry is None or self._clock.monotonic() >= entry[0]:
            return _RETIRED + _HOW_TO_ASK
        return f"{entry[1]} ({_RETIRED})"
