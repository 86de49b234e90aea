"""Answers, handed to the status page's records in batches, so that a request costs one look-up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.oci.negotiation import Rule
from proxy.oci.reference import Digest
from proxy.report.activity import COLLAPSED, Answered
from proxy.telemetry.trace import Outcome
from proxy.web.paths import (
    BlobTarget,
    ManifestTarget,
    ReferrersTarget,
    RetiredTarget,
    TagsTarget,
    TokenTarget,
)

if TYPE_CHECKING:
    from proxy.report.activity import Activity
    from proxy.web.access_log import AccessLogLine, RepeatedRequest
    from proxy.web.paths import Target

# Different answers that wait. It bounds their memory.
_BATCH: Final = 256
# Requests like an earlier one that wait to be counted.
_REPEATED: Final = 32


@dataclass(slots=True)
class _Equal:
    """Answers that are counted together. `line` is the first one's."""

    line: AccessLogLine
    method: str
    client: str
    agent: str
    count: int = 0
    sent: int = 0


class AnsweredBatch:
    """The requests that were answered and are not in the records yet."""

    def __init__(self, activity: Activity) -> None:
        """`activity` takes the waiting answers before it reports."""
        self._activity = activity
        self._waiting: dict[tuple[object, ...], _Equal] = {}
        self._repeated: list[tuple[RepeatedRequest, str]] = []
        activity.feeds.append(self.flush)

    def repeat(self, request: RepeatedRequest, client: str) -> None:
        """Count a request that was answered as `request` was: what they share is taken later."""
        self._repeated.append((request, client))
        if len(self._repeated) >= _REPEATED:
            self._count_repeated()

    def record(
        self, line: AccessLogLine, method: str, client: str, agent: str, count: int = 1
    ) -> None:
        """Count requests that were answered; `line` may be shared by equal answers."""
        # Ids are good as keys, because what waits holds the objects.
        key: tuple[object, ...]
        if line.repeated is not None:
            key = id(line.repeated), method, client, agent
        else:
            kind = line.status, line.outcome, line.rule, line.media_type, line.collapsed
            key = id(line.target), kind, method, client, agent
        equal = self._waiting.get(key)
        if equal is None:
            if len(self._waiting) >= _BATCH:
                # One at a time: all of them would hold up other requests for milliseconds.
                self._add(self._waiting.pop(next(iter(self._waiting))))
            equal = self._waiting[key] = _Equal(line, method, client, agent)
        equal.count += count
        equal.sent += line.sent * count

    def flush(self) -> None:
        """Record what waits."""
        self._count_repeated()
        waiting, self._waiting = self._waiting, {}
        for equal in waiting.values():
            self._add(equal)

    def _count_repeated(self) -> None:
        repeated, self._repeated = self._repeated, []
        for (request, client), count in Counter(repeated).items():
            self.record(request.line, request.method, client, request.event.agent, count)

    def _add(self, equal: _Equal) -> None:
        line = equal.line
        target = line.target
        if target is None or isinstance(target, TokenTarget | RetiredTarget):
            return
        is_manifest = isinstance(target, ManifestTarget)
        was_given = line.status < HTTPStatus.BAD_REQUEST
        answered = Answered(
            client=equal.client,
            agent=equal.agent,
            method=equal.method,
            outcome=_outcome(line),
            image=image_of(target),
            tagged=isinstance(target, ManifestTarget) and not isinstance(target.reference, Digest),
            media_type=line.media_type if is_manifest and was_given else "",
            has_accept=line.rule != Rule.ABSENT,
        )
        self._activity.add(answered, equal.count, equal.sent)


def _outcome(line: AccessLogLine) -> str:
    if line.status >= HTTPStatus.BAD_REQUEST:
        return ""
    return COLLAPSED if line.collapsed and line.outcome == Outcome.MISS else line.outcome


def image_of(target: Target | TokenTarget | None) -> str:
    """The image that a request is about, with its tag or digest; "" if it names none."""
    if isinstance(target, ManifestTarget):
        mark = "@" if isinstance(target.reference, Digest) else ":"
        return f"{target.repository}{mark}{target.reference}"
    if isinstance(target, BlobTarget | ReferrersTarget):
        return f"{target.repository}@{target.digest}"
    if isinstance(target, TagsTarget):
        return str(target.repository)
    return ""
