"""What an upstream refused lately, so that it is not asked the same again at once.

In this process only, and briefly: who pushes an image after somebody looked for it, or mends a
login, must not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.errors import RegistryError, UpstreamDenied
from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

# For all refusals of one upstream, and what one costs, in bytes.
_MEMORY: Final = 2**20
_COST: Final = 512


@dataclass(frozen=True, slots=True)
class _NegativeEntry:
    error: RegistryError
    until: float
    login: object


class NegativeCache:
    """Errors by what was asked for; those of a login only while it is the same."""

    def __init__(
        self,
        *,
        not_found: float,
        denied: float,
        login: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`not_found` and `denied`: for how many seconds. `login` is what one logs in with now."""
        self._not_found = not_found
        self._denied = denied
        self._login = login
        self._clock = clock
        self._kept: LruCache[Hashable, _NegativeEntry] = LruCache(_MEMORY)

    def adopt(self, *, not_found: float, denied: float) -> None:
        """Remember for so many seconds from now on."""
        self._not_found = not_found
        self._denied = denied

    def add(self, asked: Hashable, error: RegistryError) -> None:
        """Remember that `asked` was answered so."""
        denied = isinstance(error, UpstreamDenied)
        life = self._denied if denied else self._not_found
        if life > 0:
            login = self._current_login() if denied else None
            self._kept.put(asked, _NegativeEntry(error, self._clock() + life, login), _COST)

    def check(self, asked: Hashable) -> None:
        """Raise again what `asked` was answered with lately, if it was."""
        refusal = self._kept.get(asked)
        if refusal is None:
            return
        if self._clock() >= refusal.until or (
            isinstance(refusal.error, UpstreamDenied) and self._current_login() != refusal.login
        ):
            self._kept.delete(asked)
            return
        # A new one: each raising of the same would add to its traceback.
        raise type(refusal.error)(refusal.error.message, detail=refusal.error.detail)

    def forget(self) -> None:
        """Ask for everything again."""
        self._kept.clear()

    def _current_login(self) -> object:
        try:
            return self._login()
        except (OSError, ValueError):
            # It cannot be read, and so is no reason to believe in yesterday's refusal.
            return object()
