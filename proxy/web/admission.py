"""What was decided about a request, and for how long the same request needs no other decision.

This is the one place where such a decision is kept. `AccessControl` makes it, and every request
carries it as `AccessLogLine.admission`. Code that keeps a response, to send it again without asking
`AccessControl`, keeps the admission beside it, under a key that has all that it depends on: the
target, `Authorization`, `Lighterage-Authorization`, `X-Forwarded-Proto`, the connection's
certificate, and whether the connection is private. Before the response is sent again:

    if not admission.holds(monotonic()) or not admission.is_counted_on(connection):
        ...  # the request goes the whole way
    admission.apply(line)  # or admission.count(), if its line is written already

`until` is the earliest end of the right, of the credential, and of what it was checked by. Changed
users, keys or rules end an admission before that, which `holds` knows. One that is for a single
request only, because the audit log has a line for each, never holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxy.access.principals import ANONYMOUS

if TYPE_CHECKING:
    from prometheus_client import Counter

    from proxy.web.access_log import AccessLogLine
    from proxy.web.connection import Connection

_ANONYMOUS: Final = str(ANONYMOUS)


@dataclass(slots=True)
class Validity:
    """What ends all admissions at once that were made under it."""

    has_ended: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """A client that was let through; `principal` is "" where everybody is.

    `until` is in seconds of `time.monotonic`.
    """

    principal: str = ""
    until: float = math.inf
    counter: Counter | None = None
    validity: Validity = field(default_factory=Validity)

    @property
    def limited(self) -> str:
        """The principal, as limits count it: "" for clients that have shown none."""
        return "" if self.principal == _ANONYMOUS else self.principal

    @property
    def is_private(self) -> bool:
        """Whether the response is for nobody else."""
        return self.counter is not None

    def holds(self, now: float) -> bool:
        """Whether the same request needs no other decision at `now`."""
        return now < self.until and not self.validity.has_ended

    def is_counted_on(self, connection: Connection) -> bool:
        """Whether the connection counts for the principal already, as its limits want it."""
        return self.counter is None or connection.principal == self.principal

    def note(self, line: AccessLogLine) -> None:
        """Write the decision into the request's line."""
        line.admission = self
        if self.counter is not None:
            line.private, line.principal = True, self.principal

    def apply(self, line: AccessLogLine) -> None:
        """The same for one more request that it is good for, which is counted."""
        self.note(line)
        self.count()

    def count(self) -> None:
        """Count one more request that it is good for."""
        if self.counter is not None:
            self.counter.inc()
