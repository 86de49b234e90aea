"""What happens to a release in its life, for each number of replicas and each place for blobs.

The steps are tests in the order of this file, on one release for each shape. Clients on the node
pull meanwhile, and never try twice.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.cluster.addresses import NODE_PORT
from tests.cluster.clients import answers, pull, repositories_served, serves, under_load, wait
from tests.cluster.hosts import write_hosts
from tests.cluster.release import (
    Release,
    values,
    values_on_nodes,
    values_with_bucket,
    values_with_replicas,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.clients import Load
    from tests.cluster.cluster import Cluster

pytestmark = pytest.mark.slow

_SHAPES: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "one": values,
    "replicas": values_with_replicas,
    # The smoke test has the chart's own Redis beside it.
    "bucket": lambda: {**values_with_bucket(), "redis": {}},
    "nodes": values_on_nodes,
}
_REPLICAS: Final = {"one": 1, "replicas": 3, "bucket": 3, "nodes": 1}
_WORKLOAD: Final = {"bucket": "deployment", "nodes": "daemonset"}
_IMAGES: Final = {shape: f"library/cargo:{2 + number}" for number, shape in enumerate(_SHAPES)}
_LOAD: Final = tuple(f"library/cargo:{number}" for number in range(10, 20))
_NAME: Final = "lighterage"
_URL: Final = f"http://127.0.0.1:{NODE_PORT}"
_STEP: Final = "life-step"
# Seconds until a frozen proxy must have been replaced, and until a client of the test gives up.
_FROZEN: Final = 90.0
_CLIENT: Final = 5.0
_ROLLED_OUT: Final = "--timeout=5m"

shapes: Final = pytest.mark.parametrize("shape", _SHAPES, scope="module")


@pytest.fixture(scope="module")
def release(cluster: Cluster, shape: str) -> Iterator[Release]:
    """A release that the first step installs."""
    with Release(cluster, _NAME, f"life-{shape}").in_namespace() as made:
        yield made


@shapes
def test_it_is_installed(release: Release, shape: str) -> None:
    release.install(_SHAPES[shape]())
    assert len(ready(release)) == _REPLICAS[shape]


@shapes
def test_it_passes_its_own_test_and_shows_logs(release: Release, shape: str) -> None:  # noqa: ARG001
    done = release.test("--logs", "--filter", f"name={_NAME}-test-hit", timeout="2m")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed: hit" in done.stdout
    done = release.test(timeout="4m")
    assert done.returncode == 0, done.stdout + done.stderr


@shapes
def test_a_node_pulls_through_it(release: Release, shape: str) -> None:
    write_hosts(release.cluster, _URL)
    pull(release, "pulled", f"docker.io/{_IMAGES[shape]}")
    assert "docker.io/library/cargo" in repositories_served(release)


@shapes
def test_it_is_upgraded_and_rolled_back_under_load(release: Release, shape: str) -> None:
    with under_load(release.cluster, _URL, *_LOAD) as load:
        release.upgrade({**_SHAPES[shape](), "podAnnotations": {_STEP: "upgraded"}})
        assert steps(release) == ["upgraded"] * _REPLICAS[shape]
        release.rollback()
        assert steps(release) == [None] * _REPLICAS[shape]
    expect(load, shape)


@shapes
def test_an_upgrade_that_fails_is_rolled_back_under_load(release: Release, shape: str) -> None:
    """Pods of an image that there is not do not start; those from before go on."""
    broken = _SHAPES[shape]()
    broken["image"] = {**broken["image"], "tag": "absent"}
    with under_load(release.cluster, _URL, *_LOAD) as load:
        done = release.attempt_upgrade(broken, timeout="20s")
        assert done.returncode != 0
        release.rollback()
        assert len(ready(release)) == _REPLICAS[shape]
    expect(load, shape)


@shapes
def test_all_pods_are_replaced_under_load(release: Release, shape: str) -> None:
    workload = f"{_WORKLOAD.get(shape, 'statefulset')}/{_NAME}"
    with under_load(release.cluster, _URL, *_LOAD) as load:
        release.kubectl("rollout", "restart", workload)
        release.kubectl("rollout", "status", workload, _ROLLED_OUT)
    expect(load, shape)


@shapes
def test_it_serves_again_after_a_pod_is_deleted_by_force(release: Release, shape: str) -> None:
    name = ready(release)[0]
    release.kubectl("delete", "pod", name, "--force", "--grace-period=0")
    seconds = wait(lambda: all_are_served(release), "it serves again", within=60)
    say(f"{shape}: deleted by force: every client is served again after {seconds:.1f} s")
    wait(lambda: len(ready(release)) == _REPLICAS[shape], "all pods are ready", within=120)
    assert all_are_served(release)


@shapes
def test_it_serves_again_after_a_proxy_froze(release: Release, shape: str) -> None:
    pod = next(pod for pod in release.pods() if pod["metadata"]["name"] == ready(release)[0])
    before = restarts(release)
    release.cluster.run("kill", "-STOP", str(release.process(pod)))
    seconds = wait(lambda: all_are_served(release), "it serves again", within=_FROZEN)
    whole = seconds + wait(
        lambda: restarts(release) > before and len(ready(release)) == _REPLICAS[shape],
        "the frozen proxy is replaced",
        within=_FROZEN,
    )
    say(
        f"{shape}: frozen: every client is served again after {seconds:.1f} s, "
        f"all pods are ready after {whole:.1f} s"
    )
    assert whole < _FROZEN


@shapes
def test_what_it_had_is_there_after_it_was_installed_again(release: Release, shape: str) -> None:
    url = f"{_URL}/v2/{_IMAGES[shape].replace(':', '/manifests/')}"
    assert answers(release.cluster, url)
    release.uninstall()
    assert release.pods() == []
    assert not answers(release.cluster, url)
    chosen = _SHAPES[shape]()
    # What is there is enough: the registry is never asked.
    chosen["config"]["upstreams"]["docker.io"]["offline"] = True
    release.install(chosen)
    if shape == "nodes":
        assert not answers(release.cluster, url)
    else:
        serves(release.cluster, url)
    release.uninstall()


def expect(load: Load, shape: str) -> None:
    """No pull failed, unless there was nobody else to answer."""
    say(
        f"{shape}: {load.pulls} pulls, {len(load.failed)} failed, "
        f"the slowest took {load.slowest:.2f} s"
    )
    assert load.pulls > len(load.failed)
    if shape == "one":
        # Nobody listens for some seconds; what is answered is right.
        assert not [reason for reason in load.failed if "PullError" in reason]
    else:
        assert load.failed == ()


def all_are_served(release: Release) -> bool:
    """Whether clients are served, whichever pod they are sent to."""
    url = f"{_URL}/v2/{_LOAD[0].replace(':', '/manifests/')}"
    return all(answers(release.cluster, url, _CLIENT) for _ in range(12))


def ready(release: Release) -> list[str]:
    """The names of the proxy's pods that are ready and are to stay."""
    return [
        pod["metadata"]["name"]
        for pod in release.pods()
        if "deletionTimestamp" not in pod["metadata"]
        for condition in pod["status"].get("conditions", [])
        if condition["type"] == "Ready" and condition["status"] == "True"
    ]


def restarts(release: Release) -> int:
    """Of all containers of the proxy's pods."""
    return sum(
        each["restartCount"]
        for pod in release.pods()
        for each in pod["status"].get("containerStatuses", [])
    )


def steps(release: Release) -> list[str | None]:
    """What the proxy's pods that are to stay say of the step that has made them."""
    metadata = [pod["metadata"] for pod in release.pods()]
    return [
        each.get("annotations", {}).get(_STEP)
        for each in metadata
        if "deletionTimestamp" not in each
    ]


def say(line: str) -> None:
    """Print a figure, which -s shows."""
    sys.stderr.write(f"\n          {line}\n")
