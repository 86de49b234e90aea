"""Requests to a bucket: with a timeout and a circuit breaker, and never cancelled midway.

obstore uses its own threads. A thread that outlives the interpreter crashes or hangs the process.
So requests are not cancelled, and `close` waits for them.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from proxy.kit.circuit_breaker import CircuitBreaker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")

_log = structlog.get_logger()

# A failing operation is logged at most once per interval, in seconds.
_LOG_INTERVAL: Final = 60.0
# How long `close` waits for requests in flight, and for threads to exit, in seconds.
_CLOSE_TIMEOUT: Final = 3.0
_THREAD_EXIT_PAUSE: Final = 0.05

_MISSING: Final = "there is no such bucket; create it, or name another one"
_CODE: Final = re.compile(r"<Code>(\w{1,60})</Code>")
_SECRET: Final = re.compile(r"SecretError: (.{1,300})")
_STATUS: Final = re.compile(r"status code: (\d{3}[\w ]{0,40})")
_CAUSES: Final = (
    ("UnknownIssuer", "its certificate is signed by an untrusted authority; see ca_file"),
    ("InvalidCertificate", "its certificate is invalid"),
    ("dns error", "its host name cannot be resolved"),
    ("ConnectError", "the connection failed"),
    ("TimedOut", "the request timed out"),
)


class BucketError(OSError):
    """The bucket failed, or its circuit is open."""


class UnsupportedError(BucketError):
    """The server does not support the request."""


class TooShortError(BucketError):
    """The object ends before the requested range."""


class BucketCalls:
    """Sends requests to one bucket; `on_error` gets the operation of each that fails."""

    def __init__(
        self,
        name: str,
        *,
        on_error: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name` is for messages."""
        self.name = name
        self.last_error: str | None = None
        self.has_failed = asyncio.Event()
        self._on_error = on_error
        self._clock = clock
        self._breaker = CircuitBreaker(clock=clock)
        self._logged_at: dict[str, float] = {}
        self._is_missing = False
        self._running: set[asyncio.Future[Any]] = set()

    async def run(
        self,
        operation: str,
        work: Callable[[], Awaitable[T]],
        *,
        limit: float | None,
        affects_circuit: bool = True,
    ) -> T:
        """Run `work` and return its result; FileNotFoundError for a missing object, BucketError.

        `limit` is in seconds; None if `work` has its own. `affects_circuit` is false for an
        operation that may succeed or fail without contacting the bucket.
        """
        if not (self._breaker.allows() if affects_circuit else not self._breaker.is_open):
            self._on_error(operation)
            raise BucketError(f"{self.name} is not contacted: its circuit is open")
        try:
            async with asyncio.timeout(limit):
                result = await work()
        except FileNotFoundError as error:
            if not self._means_missing_bucket(error):
                self._record_success()
                raise
            failure: Exception = error
        # obstore raises its own errors, ValueError, and any error of our callbacks.
        except Exception as error:  # noqa: BLE001 -- all of them are outages of the bucket
            failure = error
        else:
            if affects_circuit:
                self._record_success()
            return result
        raise self._record_failure(operation, failure, affects_circuit=affects_circuit) from None

    def start(self, call: Awaitable[T]) -> asyncio.Future[T]:
        """Start a request, which runs to its end even if its caller is cancelled."""
        # obstore declares coroutines, but its functions return futures that run already.
        assert isinstance(call, asyncio.Future)  # noqa: S101 -- a contract of obstore's
        self._running.add(call)
        call.add_done_callback(self._on_done)
        return call

    def chain(
        self, call: Awaitable[T], then: Callable[[T], Awaitable[U]], combine: Callable[[T, U], V]
    ) -> asyncio.Future[V]:
        """Start a request, and `then` what follows from its result; both results, combined.

        As with `start`, nothing has to be awaited for it to go on.
        """
        combined: asyncio.Future[V] = asyncio.get_running_loop().create_future()

        def fails(done: asyncio.Future[Any]) -> bool:
            if combined.done():
                return True
            if done.cancelled():
                combined.cancel()
            elif (error := done.exception()) is not None:
                combined.set_exception(error)
            return combined.done()

        def on_first(first: asyncio.Future[T]) -> None:
            def on_second(second: asyncio.Future[U]) -> None:
                if not fails(second):
                    combined.set_result(combine(first.result(), second.result()))

            if not fails(first):
                self.start(then(first.result())).add_done_callback(on_second)

        self.start(call).add_done_callback(on_first)
        return self.start(combined)

    async def result(self, call: Awaitable[T]) -> T:
        """Start a request and await its result; cancellation leaves it running."""
        return await asyncio.shield(self.start(call))

    async def close(self) -> None:
        """Wait briefly for requests in flight."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=_CLOSE_TIMEOUT)
        for call in self._running:
            call.cancel()
        await asyncio.sleep(_THREAD_EXIT_PAUSE)

    def _on_done(self, call: asyncio.Future[Any]) -> None:
        self._running.discard(call)
        if not call.cancelled():
            # Mark the exception of an abandoned request as retrieved.
            call.exception()

    def _means_missing_bucket(self, error: FileNotFoundError) -> bool:
        """Whether the bucket is missing, and not only the object.

        The 404 of a HEAD does not say which, so a bucket that was missing stays so until a GET or
        a write says otherwise.
        """
        text = str(error)
        if "NoSuchBucket" in text:
            self._is_missing = True
        elif "NoSuchKey" in text:
            self._is_missing = False
        return self._is_missing

    def _record_success(self) -> None:
        self._is_missing = False
        if self._breaker.record_success():
            self._logged_at.clear()
            _log.info("bucket.circuit_closed", bucket=self.name)

    def _record_failure(
        self, operation: str, error: Exception, *, affects_circuit: bool
    ) -> BucketError:
        is_missing = isinstance(error, FileNotFoundError) and self._is_missing
        reason = _MISSING if is_missing else _reason(error)
        # The server responded, so this is not an outage.
        if reason.startswith("501") or reason.endswith("NotImplemented"):
            return UnsupportedError(f"{self.name}: {reason}")
        if reason.startswith("416"):
            return TooShortError(f"{self.name}: {reason}")
        self.last_error = reason
        self.has_failed.set()
        self._on_error(operation)
        now = self._clock()
        if now - self._logged_at.get(operation, -_LOG_INTERVAL) >= _LOG_INTERVAL:
            self._logged_at[operation] = now
            _log.error(
                "bucket.circuit_opened", bucket=self.name, operation=operation, reason=reason
            )
        if affects_circuit:
            self._breaker.record_failure()
        return BucketError(f"{self.name}: {reason}")


def _reason(error: Exception) -> str:
    """The reason of a failure, without the server's text, which may contain signatures."""
    if isinstance(error, TimeoutError):
        return "the request timed out"
    if isinstance(error, BucketError):
        return str(error)
    text = str(error)
    if secret := _SECRET.search(text):
        return secret[1]
    code, status = _CODE.search(text), _STATUS.search(text)
    if code or status:
        return " ".join(found[1].strip() for found in (status, code) if found)
    for mark, cause in _CAUSES:
        if mark in text:
            return cause
    line = (text.splitlines() or [""])[0]
    return re.sub(r"\?\S*", "", line)[:200] or type(error).__name__
