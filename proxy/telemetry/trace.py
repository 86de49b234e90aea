"""The trace of one request, for its log line and its `Cache-Status` header."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.kit.shares import Holder


class Outcome(StrEnum):
    """The cache outcome of a response, in the terms of RFC 9211 where it has one."""

    HIT = "hit"
    REVALIDATED = "revalidated"
    MISS = "miss"
    STALE = "stale"
    NONE = "none"


@dataclass(slots=True)
class Trace:
    """The record of one request, read by the listener when the response is ready.

    Work that several requests share is recorded in the trace of the request that started it.
    """

    outcome: Outcome = Outcome.NONE
    rule: str = ""
    detail: str = ""
    upstream_calls: int = 0
    # Answers of other replicas that were used.
    peer_calls: int = 0
    stored: bool = False
    # The mirror that has answered in the registry's place.
    via: str = ""
    # What the request takes of limited resources counts for it.
    holder: Holder | None = field(default=None, repr=False, compare=False)

    @property
    def parameter(self) -> str:
        """The detail as a `Cache-Status` parameter; `collapsed` has its own in RFC 9211."""
        if self.detail == "collapsed":
            return "; collapsed"
        detail = self.detail or self.answered_by
        return f"; detail={detail}" if detail else ""

    @property
    def answered_by(self) -> str:
        """Who has answered in the registry's place: a mirror, or another replica; "" if nobody."""
        return self.via or ("peer" if self.peer_calls and not self.upstream_calls else "")

    @property
    def source(self) -> str:
        """The mirror that has answered in the registry's place, as a `Cache-Status` parameter."""
        return f"; detail={self.via}" if self.via else ""


@dataclass(slots=True)
class Delivery:
    """Who delivers a blob: a mirror, or another replica; "" for the registry itself."""

    source: str = ""


_delivery: ContextVar[Delivery | None] = ContextVar("delivery", default=None)
_current: ContextVar[Trace | None] = ContextVar("trace", default=None)
_client: ContextVar[str] = ContextVar("client", default="")
_principal: ContextVar[str] = ContextVar("principal", default="")


def begin(holder: Holder | None = None, principal: str = "") -> Trace:
    """Begin the trace of the request that this task serves and of the work that it starts.

    `principal` has been let through to what is not for everybody.
    """
    trace = Trace(holder=holder)
    _current.set(trace)
    # As it is now: behind a load balancer the connection may be another client's afterwards.
    _client.set("" if holder is None else holder.client)
    _principal.set(principal)
    return trace


def current() -> Trace:
    """The trace of the current request; outside of requests one that is discarded."""
    return _current.get() or Trace()


def begin_delivery(delivery: Delivery) -> None:
    """Have the work of this task say in `delivery` who delivers."""
    _delivery.set(delivery)


def record_source(source: str) -> None:
    """Say who delivers the blob from now on, if anybody wants to know."""
    if (delivery := _delivery.get()) is not None:
        delivery.source = source


def client() -> str:
    """The client that the current work is for, as limits count it; "" if it is for nobody."""
    return _client.get()


def principal() -> str:
    """The principal that the current work is for, as limits count it; "" if it is for nobody."""
    return _principal.get()


@contextmanager
def for_nobody() -> Iterator[None]:
    """Count nothing within the block for the client: others depend on the work by now."""
    token, principal_token = _client.set(""), _principal.set("")
    try:
        yield
    finally:
        _client.reset(token)
        _principal.reset(principal_token)


@contextmanager
def keep_outcome() -> Iterator[None]:
    """Keep the outcome that is recorded so far, whatever is read within the block.

    The exception is a hit: if content has to be fetched within the block, it becomes a miss.
    """
    trace = current()
    before = replace(trace)
    try:
        yield
    finally:
        if before.outcome is not Outcome.HIT:
            trace.outcome, trace.detail, trace.stored = before.outcome, before.detail, before.stored
