"""The access log: one log line and one count in the metrics for each request."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Final

from proxy.telemetry.log import members
from proxy.telemetry.request_lines import RequestLines
from proxy.telemetry.request_metrics import REQUEST_METRICS, RequestKind
from proxy.web.answered import AnsweredBatch, image_of
from proxy.web.paths import BlobTarget, ManifestTarget, ReferrersTarget, TagsTarget

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.report.activity import Activity
    from proxy.telemetry.request_lines import RepeatedLine
    from proxy.telemetry.trace import Trace
    from proxy.web.admission import Admission
    from proxy.web.paths import Target, TokenTarget
    from proxy.web.prepared_answer import PreparedAnswer

# The maximum length of a client's header in the log.
_MAX_QUOTED: Final = 200
_REFUSED_LOGIN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_ids: Final = count(1)
_PROCESS: Final = secrets.token_hex(4)


@dataclass(slots=True)
class AccessLogLine:
    """The facts of one request that its log line and metrics need."""

    began: float
    status: int = 0
    target: Target | TokenTarget | None = None
    outcome: str = "none"
    rule: str = ""
    via: str = ""
    media_type: str = ""
    upstream_calls: int = 0
    peer_calls: int = 0
    sent: int = 0
    # The bytes of a body that is sent piece by piece; None if it is not.
    expected: int | None = None
    mixed: bool = False
    # The bytes came from a transfer that another request had started.
    collapsed: bool = False
    error: str = ""
    id: str = ""
    # Who a closed repository was opened for, whether the response is for nobody else, and the
    # decision, for how long it holds included; None if there was none to make, or none yet.
    principal: str = ""
    private: bool = False
    admission: Admission | None = None
    # The content in memory that it was answered from.
    answer: PreparedAnswer | None = None
    # The encoded members of a response that is sent repeatedly, by method.
    repeated: dict[str, bytes] | None = None

    @property
    def limited(self) -> str:
        """The principal that limits count the request for; "" if there is none."""
        return "" if self.admission is None else self.admission.limited

    @property
    def is_whole(self) -> bool:
        """Whether all pieces of the body were sent."""
        return self.sent == self.expected

    def count_sent(self, size: int) -> None:
        """Count bytes of the body that were sent."""
        self.sent += size

    @classmethod
    def begin(cls) -> AccessLogLine:
        """Begin the line of a request that has just arrived."""
        return cls(began=perf_counter(), id=_new_id())

    def record(self, trace: Trace) -> None:
        """Take the outcome of the request from its trace."""
        self.outcome, self.rule, self.via = trace.outcome, trace.rule, trace.answered_by
        self.collapsed = trace.detail == "collapsed"
        self.upstream_calls, self.peer_calls = trace.upstream_calls, trace.peer_calls


@dataclass(frozen=True, slots=True, eq=False)
class RepeatedRequest:
    """What the log line and the metrics of equal requests have in common."""

    line: AccessLogLine
    method: str
    event: RepeatedLine
    kind: RequestKind


class AccessLog:
    """Writes the lines. Metric children are bound once, because look-ups dominate the cost."""

    def __init__(self, activity: Activity) -> None:
        """Bind the log once. `activity` is what the status page shows of the requests."""
        self._activity = activity
        self._answers = AnsweredBatch(activity)
        activity.feeds.append(REQUEST_METRICS.write)
        self._lines = RequestLines()
        self._kinds: dict[tuple[str, int, str, str], RequestKind] = {}

    def write(self, request: web.BaseRequest, line: AccessLogLine) -> None:
        """Count the request, and log it."""
        route = line.target.route if line.target is not None else "other"
        seconds = perf_counter() - line.began
        REQUEST_METRICS.add(self._kind(route, line), seconds, line.sent)
        encoded = None if line.repeated is None else line.repeated.get(request.method)
        if encoded is None:
            encoded = _encode_request(request.method, route, line)
            if line.repeated is not None:
                line.repeated[request.method] = encoded
        client, agent, level = request.remote or "", _agent(request), "info"
        self._answers.record(line, request.method, client, agent)
        if line.status >= HTTPStatus.BAD_REQUEST:
            level = _level(line.status)
            self._record_error(request, line, client)
        self._lines.write(
            level,
            encoded,
            id=line.id,
            client=client,
            agent=agent,
            seconds=seconds,
            more=_more(line),
        )

    def prepare(self, request: web.BaseRequest, line: AccessLogLine) -> RepeatedRequest:
        """Return what equal requests have in common with this one, which has been logged."""
        assert line.target is not None and line.repeated is not None  # noqa: PT018,S101 -- a hit
        route = line.target.route
        return RepeatedRequest(
            line,
            request.method,
            self._lines.prepare(
                line.repeated[request.method], agent=_agent(request), more=_more(line)
            ),
            self._kind(route, line),
        )

    def repeat(self, request: RepeatedRequest, client: str, began: float) -> None:
        """Count and log a request as the one that was prepared, which began at `began`."""
        seconds = perf_counter() - began
        REQUEST_METRICS.add(request.kind, seconds, request.line.sent)
        self._answers.repeat(request, client)
        self._lines.repeat(request.event, id=_new_id().encode(), client=client, seconds=seconds)

    def _record_error(self, request: web.BaseRequest, line: AccessLogLine, client: str) -> None:
        """Record an error for the status page.

        A challenge is not an error: every client of a closed repository waits for one before it
        logs in.
        """
        if line.status == HTTPStatus.UNAUTHORIZED and "Authorization" not in request.headers:
            return
        self._activity.record_error(
            status=line.status,
            image=image_of(line.target),
            client=client,
            message=line.error,
            request=line.id,
        )

    def _kind(self, route: str, line: AccessLogLine) -> RequestKind:
        mixed = "" if not line.mixed else "converted" if line.rule == "converted" else "stored"
        key = route, line.status, line.outcome, mixed
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = RequestKind(*key)
        return kind


def _new_id() -> str:
    return f"{_PROCESS}-{next(_ids):x}"


def _agent(request: web.BaseRequest) -> str:
    return request.headers.get("User-Agent", "")[:_MAX_QUOTED]


def _more(line: AccessLogLine) -> dict[str, str]:
    return {"principal": line.principal} if line.principal else {}


def _level(status: int) -> str:
    """The level of an error: ours and the upstream's count more than the client's own."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "error"
    return "warning" if status in _REFUSED_LOGIN else "info"


def _encode_request(method: str, route: str, line: AccessLogLine) -> bytes:
    """The members of a line that depend on the request and response only, encoded as JSON."""
    repository = reference = ""
    if isinstance(line.target, ManifestTarget):
        repository, reference = str(line.target.repository), line.target.reference
    elif isinstance(line.target, BlobTarget | ReferrersTarget):
        repository, reference = str(line.target.repository), line.target.digest
    elif isinstance(line.target, TagsTarget):
        repository = str(line.target.repository)
    return members(
        method=method,
        route=route,
        repository=repository,
        reference=reference,
        status=line.status,
        type=line.media_type,
        rule=line.rule,
        cache=line.outcome,
        upstream_calls=line.upstream_calls,
        bytes=line.sent,
        **({"peer_calls": line.peer_calls} if line.peer_calls else {}),
        **({"via": line.via} if line.via else {}),
        **({"mixed": True} if line.mixed else {}),
        **({"error": line.error} if line.error else {}),
    )
