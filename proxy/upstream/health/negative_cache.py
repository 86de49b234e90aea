"""What an upstream has refused lately, so that it is not asked the same again at once.

In this process only, and briefly: a person who pushes an image after somebody has looked for it, or
corrects a login, must not wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.errors import RegistryError, UpstreamDenied
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.kit.clock import Clock
    from proxy.upstream.operation import Operation

# The memory for the refusals of one upstream, and for each of them, in bytes.
_MEMORY: Final = 2**20
_COST: Final = 512


@dataclass(frozen=True, slots=True)
class _NegativeEntry:
    error: RegistryError
    until: float
    login: object


class NegativeCache:
    """Errors by the operation that they answered; those of a login only while it is the same."""

    def __init__(
        self,
        *,
        not_found: float,
        denied: float,
        login: Callable[[], object] = lambda: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`not_found` and `denied` are in seconds; `login` returns the current credentials."""
        self._not_found = not_found
        self._denied = denied
        self._login = login
        self._clock = clock
        self._entries: LruCache[Operation, _NegativeEntry] = LruCache(_MEMORY)

    def adopt(self, *, not_found: float, denied: float) -> None:
        """Remember refusals for so many seconds from now on."""
        self._not_found = not_found
        self._denied = denied

    def add(self, operation: Operation, error: RegistryError) -> None:
        """Remember that `operation` was answered by `error`."""
        denied = isinstance(error, UpstreamDenied)
        life = self._denied if denied else self._not_found
        if life > 0:
            login = self._current_login() if denied else None
            self._entries.put(
                operation, _NegativeEntry(error, self._clock.monotonic() + life, login), _COST
            )

    def check(self, operation: Operation) -> None:
        """Raise again what `operation` was answered with lately, if it was."""
        entry = self._entries.get(operation)
        if entry is None:
            return
        if self._clock.monotonic() >= entry.until or (
            isinstance(entry.error, UpstreamDenied) and self._current_login() != entry.login
        ):
            self._entries.delete(operation)
            return
        # A new one, because raising one error many times makes its traceback longer and longer.
        error = entry.error
        if isinstance(error, UpstreamDenied):
            raise UpstreamDenied(error.message, detail=error.detail, context=error.context)
        raise type(error)(error.message, detail=error.detail)

    def forget(self) -> None:
        """Ask for everything again."""
        self._entries.clear()

    def _current_login(self) -> object:
        try:
            return self._login()
        except (OSError, ValueError):
            # Equal to no login of before, so that the upstream is asked again.
            return object()
