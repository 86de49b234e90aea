"""What each workload must show: what is promised, and what the guard in CI tolerates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Final, TypeAlias

from tests.bench import (
    blobs,
    cold_images,
    cold_manifests,
    conversions,
    growth,
    manifests,
    replicas,
    trace,
)
from tests.bench.measure import (
    DISTRIBUTION,
    NGINX,
    NGINX_UNLOGGED,
    OURS,
    UPSTREAM,
    Results,
    better,
    cheaper,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

Reached: TypeAlias = Callable[[Results], "float | None"]


@dataclass(frozen=True, slots=True)
class Promise:
    """`reached` must be at least `wanted`, or at most, if it `is_limit`.

    The guard fails what misses `guarded`: far enough from what is reached that noise does not, and
    a regression does. Without it the guard does not look. Where it can it compares the CPU that
    requests take (`by_cpu`), which a busy machine changes less than rates.
    """

    text: str
    reached: Reached
    wanted: float
    guarded: float | None = None
    is_limit: bool = False
    by_cpu: Reached | None = None

    def is_kept(self, reached: float) -> bool:
        """Whether that is enough."""
        return reached <= self.wanted if self.is_limit else reached >= self.wanted

    def for_guard(self) -> Promise | None:
        """What the guard wants instead; None if it does not look."""
        if self.guarded is None:
            return None
        return replace(self, wanted=self.guarded, reached=self.by_cpu or self.reached)


def _ratio(workload: str, case: str, server: str) -> Reached:
    return lambda results: results.ratio(workload, case, server)


def _of_servers(
    workload: str, case: str, server: str, wanted: float, guarded: float | None = None
) -> Promise:
    """How many times better we are than `server`."""
    return Promise(
        f"{case}, times {server}",
        _ratio(workload, case, server),
        wanted,
        guarded,
        by_cpu=_cpu_ratio(workload, case, server),
    )


def _to_by_tag(case: str, by_tag_too: str = manifests.BY_TAG.title) -> Reached:
    """The CPU of a request by tag as a part of a case's, by the same client."""

    def reached(results: Results) -> float | None:
        one = results.find(manifests.WORKLOAD, case)
        by_tag = results.find(manifests.WORKLOAD, by_tag_too)
        return None if one is None or by_tag is None else cheaper(one, by_tag)

    return reached


def _cpu_ratio(workload: str, case: str, server: str) -> Reached:
    def reached(results: Results) -> float | None:
        ours, other = results.find(workload, case), results.find(workload, case, server)
        return None if ours is None or other is None else cheaper(ours, other)

    return reached


def _value(workload: str, case: str, server: str = OURS) -> Reached:
    def reached(results: Results) -> float | None:
        found = results.find(workload, case, server)
        return None if found is None else found.value

    return reached


def _growth(workload: str, case: str, small: str, large: str) -> Reached:
    """How many times as much the large one takes, round by round."""

    def reached(results: Results) -> float | None:
        one, other = results.find(workload, case, small), results.find(workload, case, large)
        return None if one is None or other is None else better(one, other)

    return reached


def _memory(results: Results) -> float | None:
    """The most that any process of ours had, in MiB."""
    peaks = [each.memory for each in results.all if each.server.startswith(OURS) and each.memory]
    return max(peaks) if peaks else None


def _first_byte(results: Results) -> float | None:
    return results.ratio(cold_images.BLOB, cold_images.FIRST, NGINX)


def _egress(results: Results) -> float | None:
    found = results.find(cold_images.BLOB, cold_images.EGRESS)
    return None if found is None else median(found.values)


_BY_TAG: Final = manifests.BY_TAG.title
_WARM: Final = manifests.WORKLOAD


def _of_manifests() -> Iterator[Promise]:
    yield _of_servers(_WARM, _BY_TAG, NGINX, 1.2, 0.6)
    yield _of_servers(_WARM, _BY_TAG, NGINX_UNLOGGED, 1.0, 0.5)
    yield _of_servers(_WARM, _BY_TAG, DISTRIBUTION, 100.0, 40.0)
    for case in (manifests.BY_DIGEST, manifests.LEGACY, manifests.CONVERTED):
        yield Promise(f"{case.title}, times by tag", _to_by_tag(case.title), 0.9, 0.6)
    head = _to_by_tag(manifests.HEAD.title, manifests.SAME_CLIENT.title)
    yield Promise(f"{manifests.HEAD.title}, times by tag", head, 0.9)
    yield Promise(
        f"{manifests.FIFTY.title}, times by tag", _to_by_tag(manifests.FIFTY.title), 0.8, 0.5
    )
    cold = cold_manifests.WORKLOAD
    yield Promise(
        "cold manifests, times distribution 2",
        _cpu_ratio(cold, cold_manifests.MANIFESTS, DISTRIBUTION),
        2.0,
        1.4,
    )
    yield Promise(
        "cold blobs of 1 KiB, times distribution 2",
        _cpu_ratio(cold, cold_manifests.BLOBS, DISTRIBUTION),
        2.0,
    )
    yield Promise(
        "cold manifests on a slow disk, times distribution 2",
        _ratio(cold, cold_manifests.SLOW, DISTRIBUTION),
        0.8,
    )
    yield Promise(
        "fsyncs a cold pull", _value(cold, cold_manifests.FSYNCS), 0.3, None, is_limit=True
    )


def _of_blobs() -> Iterator[Promise]:
    wanted = {
        blobs.IN_THE_CLEAR: {"1 KiB": 0.8, "20 KiB": 0.8, "1 MiB": 0.95, "200 MiB": 0.95},
        blobs.OVER_TLS: {"1 KiB": 0.7, "20 KiB": 0.7, "1 MiB": 0.9, "200 MiB": 1.0},
    }
    for how, of_sizes in wanted.items():
        for size, part in of_sizes.items():
            title = blobs.title(size, how)
            yield _of_servers(blobs.WORKLOAD, title, NGINX, part, part / 2)
    images, blob = cold_images.WORKLOAD, cold_images.BLOB
    yield Promise(
        "cold blob, sent by the upstream, times its size", _egress, 1.0001, None, is_limit=True
    )
    yield Promise(
        "cold blob, time of nginx / ours", _ratio(blob, cold_images.TOTAL, NGINX), 1 / 1.1
    )
    yield Promise("cold blob, first byte of nginx / ours", _first_byte, 3.0)
    yield Promise(
        "cold image, 1 client, an upstream far away, its time / ours",
        _ratio(images, cold_images.FROM_AFAR, UPSTREAM),
        1 / 1.15,
    )


def _of_growth() -> Iterator[Promise]:
    one, two = trace.name("Redis", 1), trace.name("Redis", 2)
    yield Promise(
        "trace with Redis, CPU of 2 workers / 1",
        _growth(trace.WORKLOAD, trace.CPU, one, two),
        1.15,
        is_limit=True,
    )
    yield Promise(
        "trace with Redis, 2 workers, p99 / median",
        _value(trace.WORKLOAD, trace.SLOWEST, two),
        5.0,
        is_limit=True,
    )
    yield Promise(
        f"{conversions.TO_SIGNED}, a second",
        _value(conversions.WORKLOAD, conversions.TO_SIGNED),
        2000.0,
        800.0,
    )
    small, large = growth.name(min(growth.COUNTS)), growth.name(max(growth.COUNTS))
    for case in (growth.LATENCY, growth.MEMORY):
        yield Promise(
            f"{case}, {max(growth.COUNTS):,} tags / {min(growth.COUNTS)}",
            _growth(growth.WORKLOAD, case, small, large),
            1.2,
            is_limit=True,
        )
    yield Promise(
        "3 replicas, sent by the upstream, times its size",
        _value(replicas.WORKLOAD, replicas.EGRESS, replicas.name(3)),
        1.02,
        is_limit=True,
    )
    yield Promise("memory of a worker in any workload, MiB", _memory, 200.0, 200.0, is_limit=True)


PROMISES: Final = (*_of_manifests(), *_of_blobs(), *_of_growth())
