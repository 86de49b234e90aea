"""How a bucket is asked: within a time, not while it fails, and never left in the middle.

obstore's work runs in threads of its own. One that finds no interpreter any more, because the
process is about to end, takes it down or hangs it: so nothing is cancelled, and `close` waits.
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

_log = structlog.get_logger()

# The same operation's failure is in the log again after this, in seconds.
_SAY_AGAIN: Final = 60.0
# How long the end waits for what is under way, and for threads that have just finished, in seconds.
_CLOSING: Final = 3.0
_SETTLING: Final = 0.05

_CODE: Final = re.compile(r"<Code>(\w{1,60})</Code>")
_SECRET: Final = re.compile(r"SecretError: (.{1,300})")
_STATUS: Final = re.compile(r"status code: (\d{3}[\w ]{0,40})")
_CAUSES: Final = (
    ("UnknownIssuer", "its certificate is signed by nobody that is trusted; see ca_file"),
    ("InvalidCertificate", "its certificate is not good"),
    ("dns error", "its name is not known"),
    ("ConnectError", "no connection"),
    ("TimedOut", "no answer in time"),
)


class BucketError(OSError):
    """The bucket failed, or was left alone because it does."""


class UnsupportedError(BucketError):
    """The server does not do this."""


class TooShortError(BucketError):
    """The object has no byte where one was asked for."""


class BucketCalls:
    """Requests to one bucket. `on_error` is called with the operation of each that fails."""

    def __init__(
        self,
        name: str,
        *,
        on_error: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name` is for people."""
        self.name = name
        self.last_error: str | None = None
        self.troubled = asyncio.Event()
        self._on_error = on_error
        self._clock = clock
        self._breaker = CircuitBreaker(clock=clock)
        self._said: dict[str, float] = {}
        self._running: set[asyncio.Future[Any]] = set()

    async def ask(
        self,
        operation: str,
        work: Callable[[], Awaitable[T]],
        *,
        within: float | None,
        telling: bool = True,
    ) -> T:
        """What `work` gives; FileNotFoundError if there is no such object, or a BucketError.

        `within` is in seconds; None where `work` itself bounds it. It is not `telling` of how the
        bucket is if it may succeed or fail without asking for it.
        """
        if not (self._breaker.allows() if telling else not self._breaker.is_open):
            self._on_error(operation)
            raise BucketError(f"{self.name} fails, and is left alone for the moment")
        try:
            async with asyncio.timeout(within):
                result = await work()
        except FileNotFoundError as error:
            if "NoSuchBucket" not in str(error):
                self._works()
                raise
            failure: Exception = error
        # obstore lets out its own errors, ValueError, and whatever a callback of ours raises.
        except Exception as error:  # noqa: BLE001 -- none of it is a fault of ours, all an outage
            failure = error
        else:
            if telling:
                self._works()
            return result
        raise self._failed(operation, failure, telling=telling) from None

    def started(self, call: Awaitable[T]) -> asyncio.Future[T]:
        """What obstore does from now on, to its end, whoever may still want the result."""
        # obstore says that its functions are coroutines; they return a future that runs already.
        assert isinstance(call, asyncio.Future)  # noqa: S101 -- a contract of obstore's
        self._running.add(call)
        call.add_done_callback(self._ended)
        return call

    async def done(self, call: Awaitable[T]) -> T:
        """What obstore finds; who is cancelled leaves it running."""
        return await asyncio.shield(self.started(call))

    async def close(self) -> None:
        """Wait for what is under way, for moments."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=_CLOSING)
        for call in self._running:
            call.cancel()
        await asyncio.sleep(_SETTLING)

    def _ended(self, call: asyncio.Future[Any]) -> None:
        self._running.discard(call)
        if not call.cancelled():
            # Of something that nobody waited for to the end.
            call.exception()

    def _works(self) -> None:
        if self._breaker.record_success():
            self._said.clear()
            _log.info("bucket.circuit_closed", bucket=self.name)

    def _failed(self, operation: str, error: Exception, *, telling: bool) -> BucketError:
        reason = _reason(error)
        # It answered: that is not what an outage looks like.
        if reason.startswith("501") or reason.endswith("NotImplemented"):
            return UnsupportedError(f"{self.name}: {reason}")
        if reason.startswith("416"):
            return TooShortError(f"{self.name}: {reason}")
        self.last_error = reason
        self.troubled.set()
        self._on_error(operation)
        now = self._clock()
        if now - self._said.get(operation, -_SAY_AGAIN) >= _SAY_AGAIN:
            self._said[operation] = now
            _log.error(
                "bucket.circuit_opened", bucket=self.name, operation=operation, reason=reason
            )
        if telling:
            self._breaker.record_failure()
        return BucketError(f"{self.name}: {reason}")


def _reason(error: Exception) -> str:
    """Why it failed, without the server's prose: there are signatures in that."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
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
