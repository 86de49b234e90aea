"""Which repositories answer slowly about tags: other requests do not wait for them again."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.failure_spread import FailureSpread

if TYPE_CHECKING:
    from proxy.kit.clock import Clock
    from proxy.oci.reference import Repository, Tag

# So many repositories must be slow within so many seconds, with no answer between, before their
# registry is: as for its circuit.
_SPREAD: Final = 5
_WINDOW: Final = 10.0


@dataclass(slots=True)
class _Registry:
    """What has been slow lately; `is_slow` until it answers."""

    spread: FailureSpread = field(default_factory=lambda: FailureSpread(_SPREAD, _WINDOW))
    is_slow: bool = False


class Slowness:
    """The questions that wait for an answer, and what that means for others.

    A question that has waited too long makes its own repository count as slow. One image whose
    manifest is slow says nothing about the other repositories of its registry.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        # When each question was asked that has no answer yet, by repository, the oldest first.
        self._waiting: defaultdict[str, dict[str, float]] = defaultdict(dict)
        # By upstream, of which there are a few.
        self._registries: defaultdict[str, _Registry] = defaultdict(_Registry)

    def begin(self, repository: Repository, tag: Tag) -> None:
        """The upstream is asked what the tag names."""
        self._waiting[str(repository)][tag] = self._clock.monotonic()

    def end(self, repository: Repository, tag: Tag, *, is_answered: bool) -> None:
        """It has answered, or has failed without an answer."""
        name = str(repository)
        self._waiting[name].pop(tag, None)
        if not self._waiting[name]:
            del self._waiting[name]
        if is_answered:
            registry = self._registries[repository.registry]
            registry.spread.clear()
            registry.is_slow = False

    def add(self, repository: Repository) -> None:
        """Note that a request has waited as long as it may for an answer about the repository."""
        registry = self._registries[repository.registry]
        if registry.spread.add(repository.name, self._clock.monotonic()):
            registry.is_slow = True

    def is_slow(self, repository: Repository, timeout: float) -> bool:
        """Whether a request need not wait: another one has waited for `timeout` seconds already."""
        if self._registries[repository.registry].is_slow:
            return True
        waiting = self._waiting.get(str(repository))
        if not waiting:
            return False
        return self._clock.monotonic() > next(iter(waiting.values())) + timeout
