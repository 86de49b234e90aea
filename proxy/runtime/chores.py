"""Background tasks that are supervised: repeated, retried with back-off, counted and reported.

A chore is a coroutine function that does one round of its work. It is called again after a pause
for as long as the process lives. A round that raises is retried, so no error ends a chore.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from proxy.kit.backoff import Backoff, with_jitter
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from proxy.kit.singleflight import SingleFlight

_log = structlog.get_logger()

# A failed round is retried after one second, then after twice as long, and so on. The longest
# pause bounds how late a chore notices that its trouble is over.
_BACKOFF: Final = Backoff(first=1.0, longest=30.0)


class ChoreName(StrEnum):
    """Every background task; a label of a metric, so the set is closed."""

    ACCESS = "access"
    BUCKET = "bucket"
    CERTIFICATE = "certificate"
    DERIVED = "derived"
    DISK = "disk"
    GENERATION = "generation"
    INDEX = "index"
    JANITOR = "janitor"
    KEPT = "kept"
    LOOP_LAG = "loop_lag"
    PEER_DISCOVERY = "peer_discovery"
    PEER_PROBES = "peer_probes"
    REDIS = "redis"
    REPORT = "report"
    SCRUB = "scrub"
    SETTINGS = "settings"
    STATUS = "status"
    SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True)
class Chore:
    """One background task.

    `work` is one round; `every` is the pause between rounds in seconds, 0 for work that waits by
    itself.
    """

    name: ChoreName
    work: Callable[[], Awaitable[None]]
    every: float = 0.0


class Chores:
    """Runs the chores of one process."""

    def __init__(
        self,
        flights: SingleFlight,
        warnings: dict[str, str],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """The tasks belong to `flights` and end with it.

        `warnings` are those of /readyz: they name each chore whose last round failed. A test holds
        the time by `sleep`, and the jitter by `chance`.
        """
        self._flights = flights
        self._warnings = warnings
        self._sleep = sleep
        self._chance = chance

    def start(self, chores: Iterable[Chore]) -> None:
        """Run each of them until the process ends."""
        for chore in chores:
            # Bound now, so that the metric shows a zero before the first failure.
            metrics.BACKGROUND_TASK_FAILURES.labels(chore.name)
            self._flights.start(self._keep(chore))

    async def _keep(self, chore: Chore) -> NoReturn:
        failures = 0
        while True:
            try:
                await chore.work()
            except (Exception, asyncio.CancelledError) as error:
                # The end of the process cancels this task. A cancellation that was not meant for
                # it comes from something that the work awaited, and is a failure like any other.
                if _is_cancelled():
                    raise
                failures += 1
                pause = _BACKOFF.pause(failures, self._chance)
                self._report_failure(chore.name, error, failures, pause)
            else:
                if failures:
                    self._report_recovery(chore.name, failures)
                failures = 0
                pause = with_jitter(chore.every, self._chance)
            await self._sleep(pause)

    def _report_failure(
        self, name: ChoreName, error: BaseException, failures: int, pause: float
    ) -> None:
        metrics.BACKGROUND_TASK_FAILURES.labels(name).inc()
        # The error's own words stay in the log: /readyz is open to everyone who may probe.
        self._warnings[_subject(name)] = (
            f"the background task {name} failed {failures} times in a row, "
            f"last with {type(error).__name__}; the log says why"
        )
        _log.error(
            "background_task.failed",
            task=name,
            failures=failures,
            retry_in=round(pause, 3),
            error=str(error) or type(error).__name__,
            # A full or unreadable disk is no bug: where it was noticed is of no use.
            **({} if isinstance(error, OSError) else {"exc_info": error}),
        )

    def _report_recovery(self, name: ChoreName, failures: int) -> None:
        self._warnings.pop(_subject(name), None)
        _log.info("background_task.recovered", task=name, failures=failures)


def _subject(name: ChoreName) -> str:
    return f"background_task.{name}"


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
