"""What a request costs: calls of the stores behind the proxy, counted as they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


class Costs:
    """What was called, by what; and how many ways there and back it took."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.round_trips = 0
        self._patch = patch
        self._running = 0

    def watch(self, kind: type, name: str, describe: Callable[..., str | None]) -> None:
        """Count the calls of an asynchronous method; those for which None is said do not count."""
        real = getattr(kind, name)

        async def counting(*arguments: Any, **more: Any) -> Any:
            said = describe(*arguments[1:])
            if said is None:
                return await real(*arguments, **more)
            self.calls.append(said)
            # Those that run at once are one way there and back.
            self.round_trips += self._running == 0
            self._running += 1
            try:
                return await real(*arguments, **more)
            finally:
                self._running -= 1

        self._patch.setattr(kind, name, counting)

    def watch_thread(self, kind: type, name: str, describe: Callable[..., str | None]) -> None:
        """The same for a method that blocks."""
        real = getattr(kind, name)

        def counting(*arguments: Any, **more: Any) -> Any:
            if (said := describe(*arguments[1:])) is not None:
                self.calls.append(said)
            return real(*arguments, **more)

        self._patch.setattr(kind, name, counting)

    def reset(self) -> None:
        self.calls.clear()
        self.round_trips = 0


def of_redis(_operation: str, command: str, key: str, *_arguments: object) -> str | None:
    """What is asked for the request; others are asked by the clock."""
    kind = key.partition(":")[0]
    return None if kind in {"generation", "budget"} else f"{command} {kind}"
