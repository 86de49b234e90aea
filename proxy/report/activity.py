"""What clients were answered since the start of this process, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict

from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.oci.clients import generation_of
from proxy.oci.mediatype import manifest_type
from proxy.report.census import Census, Generation
from proxy.report.failures import Failure, Failures
from proxy.report.images import ImageCounts, ImagePulls
from proxy.report.series import DAY, Series, minute_of
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.kit.clock import Clock

# The memory for names of clients whose generation is known, and for each, in bytes.
_AGENTS_MEMORY: Final = 2**17
_AGENT_COST: Final = 256
# By outcome of the cache: in which series an answer is counted.
_SERIES: Final = {
    "hit": "here",
    "revalidated": "here",
    "stale": "stale",
    "miss": "fetched",
    "collapsed": "fetched",
}
# A miss whose bytes another request had asked for.
COLLAPSED: Final = "collapsed"
ANSWERS: Final = ("here", "stale", "fetched")
_UNNAMED_FORM: Final = "other"


class Answered(NamedTuple):
    """What answers have in common that are counted together.

    `image` is `REGISTRY/NAME` with a tag or digest; "" for a request that names none. `media_type`
    is that of a manifest, "" for anything else.
    """

    client: str
    agent: str
    method: str
    outcome: str
    image: str = ""
    tagged: bool = False
    media_type: str = ""
    has_accept: bool = True


class Counts(TypedDict):
    """Totals since the start, and by minute: lists that end in minute `until`."""

    until: int
    totals: dict[str, int]
    minutes: dict[str, list[int]]


class ActivityReport(TypedDict):
    """What one process has recorded."""

    counts: Counts
    images: list[ImagePulls]
    clients: list[Generation]
    errors: list[Failure]


class Activity:
    """The records of one process."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._started = minute_of(clock.wall())
        # What has answers that are not added yet adds them when it is called.
        self.feeds: list[Callable[[], None]] = []
        self._images = ImageCounts()
        self._census = Census()
        self._failures = Failures()
        self._generations: LruCache[tuple[str, bool], str] = LruCache(_AGENTS_MEMORY)
        self._series = {name: Series() for name in (*ANSWERS, "sent", "saved")}
        self._totals = dict.fromkeys(self._series, 0)

    def record_error(
        self, *, status: int, image: str, client: str, message: str, request: str
    ) -> None:
        """Remember an error answer; `request` is its `X-Request-Id`."""
        self._failures.add(
            at=self._clock.wall(),
            status=status,
            image=image,
            client=client,
            message=message,
            request=request,
        )

    def add(self, answered: Answered, count: int, sent: int) -> None:
        """Count `count` answers at once, of `sent` bytes of content together."""
        now = self._clock.wall()
        self._count_series(answered.outcome, minute_of(now), count, sent)
        kind = manifest_type(answered.media_type) if answered.media_type else None
        form = "" if not answered.media_type else kind.form if kind else _UNNAMED_FORM
        generation = self._generation(answered.agent, has_accept=answered.has_accept)
        self._census.add(generation, answered.client, answered.agent, form, count=count, at=now)
        metrics.CLIENT_REQUESTS.labels(generation).inc(count)
        if answered.tagged and form:
            by_head = answered.method == "HEAD"
            self._images.add(
                answered.image, form, answered.client, by_head=by_head, count=count, at=now
            )

    def report(self) -> ActivityReport:
        """All that was recorded so far."""
        for feed in self.feeds:
            feed()
        now = self._clock.wall()
        until = minute_of(now)
        length = min(DAY, until - self._started + 1)
        return ActivityReport(
            counts=Counts(
                until=until,
                totals=dict(self._totals),
                minutes={name: each.last(until, length) for name, each in self._series.items()},
            ),
            images=self._images.report(now),
            clients=self._census.report(),
            errors=self._failures.report(),
        )

    def _count_series(self, outcome: str, minute: int, count: int, sent: int) -> None:
        name = _SERIES.get(outcome)
        if name is None:
            return
        self._note(name, minute, count)
        self._note("sent", minute, sent)
        if outcome != "miss":
            self._note("saved", minute, sent)

    def _note(self, name: str, minute: int, amount: int) -> None:
        self._series[name].add(minute, amount)
        self._totals[name] += amount

    def _generation(self, agent: str, *, has_accept: bool) -> str:
        key = agent, has_accept
        known = self._generations.get(key)
        if known is None:
            known = generation_of(agent, has_accept=has_accept)
            self._generations.put(key, known, _AGENT_COST + len(agent))
        return known
