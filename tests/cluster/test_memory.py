"""Little memory is enough: a proxy with it is not killed, whatever is pulled through it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.cluster.addresses import NODE_PORT
from tests.cluster.clients import under_load, wait
from tests.cluster.freight import IMAGES
from tests.cluster.release import Release, values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

pytestmark = pytest.mark.slow

_NAME: Final = "lighterage"
_URL: Final = f"http://127.0.0.1:{NODE_PORT}"
_SMALL_IMAGES: Final = tuple(f"library/cargo:{number}" for number in range(20))
# Of clients, each of which is at another image: twice what the proxy has memory for.
_THREADS: Final = 8
_PULLS: Final = 200
_WITHIN: Final = 180.0


@pytest.fixture(scope="module")
def freight(cluster: Cluster) -> None:
    """Push the large images."""
    cluster.run(sys.executable, "-m", "tests.cluster.freight")


@pytest.fixture
def release(cluster: Cluster) -> Iterator[Release]:
    """A release that is not installed yet."""
    with Release(cluster, _NAME, "memory").in_namespace() as made:
        yield made


@pytest.mark.usefixtures("freight")
@pytest.mark.parametrize("limit", ["128Mi", "256Mi"])
def test_a_small_proxy_is_not_killed(release: Release, cluster: Cluster, limit: str) -> None:
    resources = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": limit}}
    release.install({**values(), "resources": resources})
    with under_load(cluster, _URL, *IMAGES, *_SMALL_IMAGES, threads=_THREADS) as load:
        wait(lambda: requests(release) > _PULLS * 3, "enough is pulled", _WITHIN)
    (pod,) = release.pods()
    (state,) = pod["status"]["containerStatuses"]
    resident = memory(cluster, release.process(pod))
    sys.stderr.write(
        f"\n          {limit}: {load.pulls} pulls, {len(load.failed)} failed, the slowest took"
        f" {load.slowest:.2f} s; the proxy had {resident} MiB resident at most\n"
    )
    assert load.failed == ()
    assert load.pulls >= _PULLS
    assert state["restartCount"] == 0
    assert "terminated" not in state["lastState"]


def requests(release: Release) -> int:
    """How many requests clients have sent."""
    return sum(
        release.kubectl("logs", pod["metadata"]["name"]).count("request.served")
        for pod in release.pods()
    )


def memory(cluster: Cluster, pid: int) -> int:
    """The largest resident size of a process so far, in MiB."""
    status = cluster.run("cat", Path("/proc", str(pid), "status"))
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024
