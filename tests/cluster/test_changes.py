"""Changes of a running release: of settings that are live, and of what the chart refuses."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import pytest

from tests.cluster.addresses import NODE_PORT
from tests.cluster.clients import serves, under_load, wait
from tests.cluster.release import Release, values_with_replicas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

pytestmark = pytest.mark.slow

_NAME: Final = "lighterage"
_NAMESPACE: Final = "changes"
_URL: Final = f"http://127.0.0.1:{NODE_PORT}"
_IMAGE: Final = "library/cargo:9"
# Seconds until the kubelet must have written a changed ConfigMap, which it does each minute or so.
_WRITTEN: Final = 180.0


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Release]:
    """Three replicas with a claim each."""
    with Release(cluster, _NAME, _NAMESPACE).in_namespace() as made:
        made.install(values_with_replicas())
        yield made


def test_settings_of_tags_are_taken_over_without_another_pod(release: Release) -> None:
    before = pods(release)
    chosen = values_with_replicas()
    chosen["config"]["tags"] = {"ttl": "7s"}
    release.upgrade(chosen)
    wait(
        lambda: all(adopted(release, name) == ["tags"] for name in before),
        "they are taken over",
        _WRITTEN,
    )
    assert pods(release) == before


@pytest.mark.parametrize("size", ["6Gi", "3Gi"])
def test_claims_of_another_size_are_had_by_what_the_refusal_says(
    release: Release, cluster: Cluster, size: str
) -> None:
    """A volume of this cluster cannot grow, so both sizes need new claims. No pull fails."""
    chosen = values_with_replicas()
    chosen["storage"]["size"] = size
    refused = release.attempt_upgrade(chosen)
    assert refused.returncode != 0
    said = re.findall(r"^  (kubectl .*|for n in .*)$", refused.stderr, re.MULTILINE)
    if size == "6Gi":
        # For a class that can grow volumes. Without one, "go on as for a smaller size".
        patch, orphan = said
        assert " patch pvc data-lighterage-0 " in patch
        again = (
            f"for n in 0 1 2; do kubectl -n {_NAMESPACE} delete pvc data-{_NAME}-$n --wait=false;"
            f" kubectl -n {_NAMESPACE} delete pod {_NAME}-$n;"
            f" kubectl -n {_NAMESPACE} rollout status statefulset/{_NAME}; done"
        )
    else:
        orphan, again = said
    with under_load(cluster, _URL, _IMAGE) as load:
        cluster.run("sh", "-c", orphan)
        release.upgrade(chosen)
        cluster.run("sh", "-c", again)
    assert load.failed == ()
    assert load.pulls > 0
    claims = release.objects("persistentvolumeclaims")
    sizes = {each["spec"]["resources"]["requests"]["storage"] for each in claims}
    assert sizes == {size}
    serves(cluster, f"{_URL}/v2/{_IMAGE.replace(':', '/manifests/')}")


def pods(release: Release) -> dict[str, str]:
    """The identities of the proxy's pods, by name."""
    return {each["metadata"]["name"]: each["metadata"]["uid"] for each in release.pods()}


def adopted(release: Release, pod: str) -> list[str]:
    """The sections of the settings that the pod's proxy has taken over since its start."""
    events = map(json.loads, release.kubectl("logs", pod).splitlines())
    return [
        section
        for event in events
        if event["event"] == "settings.adopted"
        for section in event["sections"]
    ]
