"""What happened on the way to one answer, for its log line and its `Cache-Status`."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Outcome(StrEnum):
    """Where an answer came from, in the words of RFC 9211 as far as it has them."""

    HIT = "hit"
    REVALIDATED = "revalidated"
    MISS = "miss"
    STALE = "stale"
    NONE = "none"


@dataclass(slots=True)
class Trace:
    """Written by whoever does something, read by the listener when the answer is ready.

    Work that several requests share is in the trace of the one that started it.
    """

    outcome: Outcome = Outcome.NONE
    rule: str = ""
    detail: str = ""
    upstream_calls: int = 0
    stored: bool = False

    @property
    def parameter(self) -> str:
        """The detail as a parameter of `Cache-Status`; RFC 9211 has a word for collapsing."""
        if self.detail in {"", "collapsed"}:
            return "; collapsed" if self.detail else ""
        return f"; detail={self.detail}"


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin() -> Trace:
    """A fresh trace for the request that this task serves, and the work that it starts."""
    trace = Trace()
    _current.set(trace)
    return trace


def current() -> Trace:
    """The trace of the request being served; one that nobody reads outside of any."""
    return _current.get() or Trace()


@contextmanager
def known() -> Iterator[None]:
    """What is read from here on adds nothing to where the answer came from, which is known.

    Except where it was a hit until now: what has to be fetched after all makes it a miss.
    """
    trace = current()
    before = replace(trace)
    try:
        yield
    finally:
        if before.outcome is not Outcome.HIT:
            trace.outcome, trace.detail, trace.stored = before.outcome, before.detail, before.stored
