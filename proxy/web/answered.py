"""What was answered, handed to the status page's records in batches: a request costs an append."""

from __future__ import annotations

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
    from proxy.web.access_log import AccessLogLine
    from proxy.web.paths import Target

# Requests that wait. It bounds their memory.
_BATCH: Final = 1024


class AnsweredBatch:
    """The requests that were answered and are not in the records yet."""

    def __init__(self, activity: Activity) -> None:
        """`activity` takes what waits before it reports."""
        self._activity = activity
        self._waiting: list[tuple[AccessLogLine, str, str, str]] = []
        activity.feeds.append(self.flush)

    def record(self, line: AccessLogLine, method: str, client: str, agent: str) -> None:
        """Take a request that was answered; `line` may be shared by equal answers."""
        self._waiting.append((line, method, client, agent))
        if len(self._waiting) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Record what waits."""
        waiting, self._waiting = self._waiting, []
        # Answers that are sent repeatedly share an object, as long as they wait here.
        repeated: dict[tuple[int, str, str, str], list[AccessLogLine]] = {}
        for line, method, client, agent in waiting:
            if line.repeated is None:
                self._add([line], method, client, agent)
            else:
                repeated.setdefault((id(line.repeated), method, client, agent), []).append(line)
        for (_, method, client, agent), lines in repeated.items():
            self._add(lines, method, client, agent)

    def _add(self, lines: list[AccessLogLine], method: str, client: str, agent: str) -> None:
        line = lines[0]
        target = line.target
        if target is None or isinstance(target, TokenTarget | RetiredTarget):
            return
        is_manifest = isinstance(target, ManifestTarget)
        was_given = line.status < HTTPStatus.BAD_REQUEST
        answered = Answered(
            client=client,
            agent=agent,
            method=method,
            outcome=_outcome(line),
            image=image_of(target),
            tagged=isinstance(target, ManifestTarget) and not isinstance(target.reference, Digest),
            media_type=line.media_type if is_manifest and was_given else "",
            has_accept=line.rule != Rule.ABSENT,
        )
        self._activity.add(answered, len(lines), sum(each.sent for each in lines))


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
