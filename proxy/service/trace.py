"""What happened on the way to one answer, for its log line and its `Cache-Status`."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum


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
