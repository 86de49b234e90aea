"""Which questions an upstream is not asked for a while, because it has failed at them.

One bad image stops only itself, and one bad repository only itself:

- The registry's circuit opens when connections to it fail, three times in a row.
- A question that is answered by a server error, or not in time, three times in a row is held.
- Five such questions within ten seconds, with no success between, hold that kind of question in
  their repository; five repositories open the registry's circuit.
- `Retry-After` holds what it answered. Three repositories that are answered 429, or a 429 that
  says that nothing is left, hold that kind of question for our account.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, assert_never

import structlog

from proxy.errors import FailedAt
from proxy.kit.circuit_breaker import CircuitBreaker
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.failure_spread import FailureSpread
from proxy.kit.lru import LruCache
from proxy.telemetry import metrics
from proxy.upstream.health.blame import Blame, blame_for
from proxy.upstream.operation import Kind

if TYPE_CHECKING:
    from proxy.errors import UpstreamFailure
    from proxy.kit.clock import Clock
    from proxy.upstream.operation import Operation

_log = structlog.get_logger()

# A longer `Retry-After` is cut to so many seconds: some registries send a date, or a day.
MAX_HOLD: Final = 300.0
# How many different things must fail within how many seconds before what they share is held.
SPREAD: Final = 5
WINDOW: Final = 10.0
THROTTLED_REPOSITORIES: Final = 3
# For how long an account is held whose registry does not say how long, in seconds.
_ACCOUNT_HOLD: Final = 10.0
# Seconds until a held question is tried again, and at most between two attempts.
_FIRST_INTERVAL: Final = 1.0
_MAX_INTERVAL: Final = 10.0
# The memory for what is held of one upstream, in bytes, and for each entry.
_MEMORY: Final = 2**20
_COST: Final = 1024


@dataclass(frozen=True, slots=True)
class OpenCircuit:
    """An open circuit: since when (seconds since 1970), why, and seconds until it is tried."""

    since: float
    why: str
    next_try: float


@dataclass(slots=True)
class _Held:
    """A breaker, why it opened, and what has failed behind it lately."""

    breaker: CircuitBreaker
    failure: UpstreamFailure | None = None
    spread: FailureSpread = field(default_factory=lambda: FailureSpread(SPREAD, WINDOW))

    def current_failure(self) -> UpstreamFailure | None:
        """Why no attempt is allowed now; None if one is."""
        wait = self.breaker.retry_in
        if wait <= 0 or self.failure is None:
            return None
        # A new one, because raising one error many times makes its traceback longer and longer.
        return type(self.failure)(f"{self.failure.message}; its circuit is open", retry_after=wait)


class Circuits:
    """The circuits of one upstream: its own, and those of its repositories and questions."""

    def __init__(
        self,
        *,
        name: str,
        first_interval: float = _FIRST_INTERVAL,
        max_interval: float = _MAX_INTERVAL,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`name` is what people call the registry; probes are those intervals apart, in seconds."""
        self._name = name
        self._clock = clock
        self._intervals = first_interval, max_interval
        # The registry cannot be reached; it can be, and fails at whatever it is asked.
        self._reach, self._service = self._new(), self._new()
        self._accounts: dict[Kind, _Held] = {kind: self._new_account() for kind in Kind}
        self._held: LruCache[tuple[str, ...], _Held] = LruCache(_MEMORY)
        self._gauge = metrics.CIRCUIT_OPEN.labels(name)
        self._gauge.set(0)
        self._is_open = False
        self._opened_at = 0.0

    @property
    def open_circuit(self) -> OpenCircuit | None:
        """How the registry's circuit is open; None while it is closed."""
        for circuit in (self._reach, self._service):
            if circuit.breaker.is_open and circuit.failure is not None:
                return OpenCircuit(
                    self._opened_at, circuit.failure.message, circuit.breaker.retry_in
                )
        return None

    @property
    def trouble(self) -> UpstreamFailure | None:
        """Why nothing useful is to be expected of the registry; None if it can be asked."""
        for circuit in (self._reach, self._service):
            if circuit.breaker.is_open:
                return circuit.failure
        return None

    @property
    def remembered(self) -> int:
        """How many questions and repositories have failed lately; it is bounded."""
        return len(self._held)

    def check(self, operation: Operation, *, claims: bool = True) -> None:
        """Raise what the operation would fail with, if it is held.

        Without `claims` nothing is asked after it.
        """
        known = [self._held.get(key) for key in _keys(operation)]
        shared = self._reach, self._service, self._accounts[operation.kind]
        held = [each for each in (*shared, *known) if each is not None]
        for circuit in held:
            if (failure := circuit.current_failure()) is not None:
                raise failure
        if not claims:
            return
        # Claimed only when all allow it: an attempt that another one forbids would be lost.
        for circuit in held:
            circuit.breaker.allows()

    def record_success(self, operation: Operation) -> None:
        """Note that the registry has answered the question, even if by a 404."""
        self.record_answer()
        if operation.is_listing:
            # A registry that lists may still fail at its content.
            self._forget(operation)
            return
        self._accounts[operation.kind].breaker.record_success()
        self._accounts[operation.kind].spread.clear()
        self._close(self._service)
        self._forget(operation)

    def record_answer(self) -> None:
        """Note that the registry can be reached: it has answered something over HTTP."""
        self._close(self._reach)

    def record_failure(self, operation: Operation, failure: UpstreamFailure) -> None:
        """Hold what the failure of this operation shows to be broken."""
        match blame_for(operation, failure):
            case Blame.REGISTRY:
                self._fail_registry(failure)
            case Blame.SERVICE:
                self._fail_question(operation, failure)
                if self._service.spread.add(operation.repository, self._clock.monotonic()):
                    self._open(self._service, failure)
            case Blame.QUESTION:
                self._fail_question(operation, failure)
            case Blame.ACCOUNT:
                self._throttle(operation, failure)
            case Blame.NOTHING:
                pass
            case never:
                assert_never(never)
        # One that redirects has answered, too.
        if failure.status is not None or failure.context.at is FailedAt.REDIRECT:
            self.record_answer()

    def _fail_registry(self, failure: UpstreamFailure) -> None:
        self._reach.failure = failure
        if self._reach.breaker.record_failure():
            self._say_opened(failure)

    def _fail_question(self, operation: Operation, failure: UpstreamFailure) -> None:
        scope, question = _keys(operation)
        held = self._hold_for(question)
        held.failure = failure
        if failure.retry_after is not None:
            held.breaker.hold(min(failure.retry_after, MAX_HOLD))
        else:
            held.breaker.record_failure()
        repository = self._hold_for(scope)
        if repository.spread.add(operation.subject, self._clock.monotonic()):
            repository.failure = failure
            if repository.breaker.open():
                self._say_held("upstream.repository_held", operation, failure)

    def _throttle(self, operation: Operation, failure: UpstreamFailure) -> None:
        seconds = min(failure.retry_after or 0.0, MAX_HOLD)
        scope, _ = _keys(operation)
        if seconds:
            held = self._hold_for(scope)
            held.failure = failure
            held.breaker.hold(seconds)
        account = self._accounts[operation.kind]
        spread = account.spread.add(operation.repository, self._clock.monotonic())
        if spread or failure.context.exhausted:
            account.failure = failure
            if account.breaker.hold(seconds or _ACCOUNT_HOLD):
                self._say_held("upstream.account_held", operation, failure)

    def _open(self, circuit: _Held, failure: UpstreamFailure) -> None:
        circuit.failure = failure
        if circuit.breaker.open():
            self._say_opened(failure)

    def _close(self, circuit: _Held) -> None:
        circuit.spread.clear()
        if circuit.breaker.record_success() and self.trouble is None:
            self._is_open = False
            self._gauge.set(0)
            _log.info("upstream.circuit_closed", upstream=self._name)

    def _forget(self, operation: Operation) -> None:
        """A success ends what its question and repository are held for, but no `Retry-After`."""
        for key in _keys(operation):
            held = self._held.get(key)
            if held is None:
                continue
            held.spread.clear()
            held.breaker.record_success()
            if not held.breaker.is_open:
                self._held.delete(key)

    def _say_opened(self, failure: UpstreamFailure) -> None:
        if not self._is_open:
            self._opened_at = self._clock.wall()
        self._is_open = True
        self._gauge.set(1)
        _log.warning("upstream.circuit_opened", upstream=self._name, reason=failure.message)

    def _say_held(self, event: str, operation: Operation, failure: UpstreamFailure) -> None:
        _log.warning(
            event,
            upstream=self._name,
            repository=operation.repository,
            kind=operation.kind,
            reason=failure.message,
        )

    def _hold_for(self, key: tuple[str, ...]) -> _Held:
        held = self._held.get(key)
        if held is None:
            held = self._new()
            self._held.put(key, held, _COST)
        return held

    def _new(self) -> _Held:
        first, longest = self._intervals
        return _Held(
            CircuitBreaker(first_interval=first, max_interval=longest, clock=self._clock.monotonic)
        )

    def _new_account(self) -> _Held:
        account = self._new()
        account.spread = FailureSpread(THROTTLED_REPOSITORIES, WINDOW)
        return account


def _keys(operation: Operation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the breakers of the repository's questions of this kind, and of this question."""
    scope = operation.scope
    return scope, (*scope, operation.subject)
