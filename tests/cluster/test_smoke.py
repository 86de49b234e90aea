"""A release from its installation to its end, once for each way to keep what it has.

The steps are tests in the order of this file, on one release for each layout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.cluster.addresses import NODE_PORT
from tests.cluster.clients import pull, repositories_served
from tests.cluster.cluster import ClusterError
from tests.cluster.hosts import write_hosts
from tests.cluster.release import Release, values, values_with_bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.cluster import Cluster

_LAYOUTS: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "claims": values,
    "bucket": values_with_bucket,
}
_REPLICAS: Final = {"claims": 1, "bucket": 3}
# Each image is pulled once: containerd keeps what it has.
_IMAGES: Final = {"claims": "library/cargo:0", "bucket": "library/cargo:1"}
_NAME: Final = "lighterage"
_STEP: Final = "smoke-step"


# A step for every layout.
layouts: Final = pytest.mark.parametrize("layout", _LAYOUTS, scope="module")
# A step that is the same for every layout.
with_claims: Final = pytest.mark.parametrize("layout", ["claims"], scope="module")


@pytest.fixture(scope="module")
def release(cluster: Cluster, layout: str) -> Iterator[Release]:
    """A release that the first step installs, in a namespace that goes with it."""
    with Release(cluster, _NAME, f"smoke-{layout}").in_namespace() as made:
        yield made


@layouts
def test_it_is_installed(release: Release, layout: str) -> None:
    release.install(_LAYOUTS[layout]())
    assert len(ready(release)) == _REPLICAS[layout]


@layouts
def test_its_namespace_takes_only_restricted_pods(release: Release, layout: str) -> None:  # noqa: ARG001
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        release.kubectl("run", "unrestricted", "--image=registry.test/pause:1")


@layouts
def test_it_passes_its_own_test(release: Release, layout: str) -> None:  # noqa: ARG001
    done = release.test(timeout="60s")
    assert done.returncode == 0, done.stdout + done.stderr


@with_claims
def test_its_own_test_shows_logs(release: Release, layout: str) -> None:  # noqa: ARG001
    done = release.test("--logs", timeout="60s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed: hit" in done.stdout


@with_claims
def test_one_of_its_own_tests_runs_alone(release: Release, layout: str) -> None:  # noqa: ARG001
    done = release.test("--filter", f"name={_NAME}-test-ping", timeout="20s")
    assert done.returncode == 0, done.stdout + done.stderr


@layouts
def test_a_node_pulls_through_it(release: Release, layout: str) -> None:
    write_hosts(release.cluster, f"http://127.0.0.1:{NODE_PORT}")
    image = _IMAGES[layout]
    pull(release, "pulled", f"docker.io/{image}")
    assert f"docker.io/{image.partition(':')[0]}" in repositories_served(release)


@layouts
def test_it_is_upgraded(release: Release, layout: str) -> None:
    release.upgrade({**_LAYOUTS[layout](), "podAnnotations": {_STEP: "upgraded"}})
    assert steps(release) == ["upgraded"] * _REPLICAS[layout]


@layouts
def test_it_is_rolled_back(release: Release, layout: str) -> None:
    release.rollback()
    assert steps(release) == [None] * _REPLICAS[layout]


@with_claims
def test_another_size_is_refused_before_anything_changes(release: Release, layout: str) -> None:
    before = settings(release)
    chosen = {**_LAYOUTS[layout](), "storage": {"size": "50Gi"}}
    done = release.attempt_upgrade(chosen)
    assert done.returncode != 0
    assert "a volume cannot shrink" in done.stderr
    assert settings(release) == before


@with_claims
def test_it_is_rolled_back_after_an_upgrade_that_failed(release: Release, layout: str) -> None:
    release.rollback()
    assert len(ready(release)) == _REPLICAS[layout]


@layouts
def test_it_is_uninstalled(release: Release, layout: str) -> None:
    release.uninstall()
    kinds = "deployments,statefulsets,services,configmaps,poddisruptionbudgets"
    selector = f"--selector=app.kubernetes.io/instance={_NAME}"
    assert release.objects(kinds, selector) == []
    assert release.pods() == []
    # The cache is for the next release of this name.
    claims = release.objects("persistentvolumeclaims")
    assert len(claims) == (_REPLICAS[layout] if layout == "claims" else 0)


def ready(release: Release) -> list[str]:
    """The names of the proxy's pods that are ready."""
    return [
        pod["metadata"]["name"]
        for pod in release.pods()
        for condition in pod["status"]["conditions"]
        if condition["type"] == "Ready" and condition["status"] == "True"
    ]


def steps(release: Release) -> list[str | None]:
    """What the proxy's pods that are to stay say of the step that has made them."""
    metadata = [pod["metadata"] for pod in release.pods()]
    return [
        each.get("annotations", {}).get(_STEP)
        for each in metadata
        if "deletionTimestamp" not in each
    ]


def settings(release: Release) -> dict[str, Any]:
    """The data of the release's ConfigMap."""
    (found,) = (
        each["data"] for each in release.objects("configmaps") if each["metadata"]["name"] == _NAME
    )
    data: dict[str, Any] = found
    return data
