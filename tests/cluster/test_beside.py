"""A release beside another one, as a part of another chart, and without helm."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.cluster.addresses import NODE_PORT
from tests.cluster.clients import answers, serves
from tests.cluster.release import (
    CHART,
    Release,
    values,
    values_with_bucket,
    values_with_replicas,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cluster.cluster import Cluster

pytestmark = pytest.mark.slow

_NAME: Final = "lighterage"
_MANIFEST: Final = "v2/library/cargo/manifests/8"
_OTHER_PORT: Final = NODE_PORT + 1
# What `kubectl diff` ends with where nothing differs.
_SAME: Final = 0
_KINDS: Final = "statefulsets,deployments,services,configmaps,serviceaccounts"
# Secrets that would be others at each rendering.
_PEERS: Final = {"peers": {"secret": {"existingSecret": "keys", "key": "peers"}}}
_REDIS: Final = {"redis": {"hmacKey": {"existingSecret": "keys", "key": "redis"}}}
_EXISTING: Final = {values: {}, values_with_replicas: _PEERS, values_with_bucket: _PEERS | _REDIS}


@pytest.fixture
def release(cluster: Cluster) -> Iterator[Release]:
    """A release that is not installed yet."""
    with Release(cluster, _NAME, "beside").in_namespace() as made:
        yield made


def test_two_releases_in_one_namespace(release: Release, cluster: Cluster) -> None:
    other = Release(cluster, "second", "beside")
    release.install(values())
    chosen = values()
    chosen["service"] = {"type": "NodePort", "nodePort": _OTHER_PORT}
    other.install(chosen)
    for each in (release, other):
        done = each.test(timeout="3m")
        assert done.returncode == 0, done.stdout + done.stderr
    release.uninstall()
    assert not answers(cluster, f"http://127.0.0.1:{NODE_PORT}/{_MANIFEST}")
    serves(cluster, f"http://127.0.0.1:{_OTHER_PORT}/{_MANIFEST}")
    other.uninstall()


def test_a_part_of_another_chart_on_a_condition(
    release: Release, cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "Chart.yaml").write_text(
        "{apiVersion: v2, name: platform, version: 1.0.0, dependencies:"
        " [{name: lighterage, version: '*', condition: lighterage.enabled}]}"
    )
    shutil.copytree(CHART, tmp_path / "charts/lighterage")
    release.install({"lighterage": {**values(), "enabled": True}}, tmp_path)
    serves(cluster, f"http://127.0.0.1:{NODE_PORT}/{_MANIFEST}")
    release.upgrade({"lighterage": {**values(), "enabled": False}}, tmp_path)
    selector = f"--selector=app.kubernetes.io/instance={_NAME}"
    assert release.objects(_KINDS, selector) == []


def test_what_the_cluster_lacks_is_named_before_anything_is_applied(release: Release) -> None:
    """The preset for production wants the Prometheus operator, which this cluster does not have."""
    preset = yaml.safe_load((CHART / "values-production.yaml").read_text())
    done = release.attempt_install({**preset, "image": values()["image"]}, timeout="15s")
    assert done.returncode != 0
    assert (
        "metrics.serviceMonitor.enabled: this cluster does not have"
        " monitoring.coreos.com/v1/ServiceMonitor. Install the Prometheus operator first, or set"
        " metrics.serviceMonitor.enabled to false." in done.stderr
    )
    assert release.objects(_KINDS, f"--selector=app.kubernetes.io/instance={_NAME}") == []


def test_the_preset_for_trials_passes_its_own_test(release: Release) -> None:
    preset = yaml.safe_load((CHART / "values-dev.yaml").read_text())
    upstreams = values()["config"]["upstreams"]
    config = {**preset["config"], "upstreams": upstreams}
    release.install({**preset, "image": values()["image"], "config": config})
    done = release.test(timeout="3m")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_status_page_is_where_the_notes_say(release: Release, cluster: Cluster) -> None:
    notes = release.install(values())
    (forward,) = re.findall(r"^  (kubectl .* port-forward .*)$", notes, re.MULTILINE)
    (url,) = re.findall(r"on the page at (http://\S+/):$", notes, re.MULTILINE)
    forwarding = subprocess.Popen(
        cluster.command(*forward.split()), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        serves(cluster, url)
        assert "Lighterage" in cluster.run("curl", "--silent", url)
    finally:
        forwarding.terminate()
        forwarding.wait()


@pytest.mark.parametrize("chosen", _EXISTING)
def test_what_is_applied_without_helm_does_not_change_by_itself(
    release: Release, cluster: Cluster, chosen: Callable[[], dict[str, Any]]
) -> None:
    """With the Secrets that the documentation tells such users to make."""
    keys = (
        "--from-literal=peers=0123456789abcdef0123456789abcdef",
        f"--from-literal=redis={'k' * 40}",
    )
    release.kubectl("create", "secret", "generic", "keys", *keys)
    wanted = merged(chosen(), _EXISTING[chosen])
    release.kubectl("apply", "--filename=-", text=release.template(wanted))
    workload = "deployment" if chosen is values_with_bucket else "statefulset"
    release.kubectl("rollout", "status", f"{workload}/{_NAME}", "--timeout=3m")
    serves(cluster, f"http://127.0.0.1:{NODE_PORT}/{_MANIFEST}")
    for _ in range(2):
        rendered = release.template(wanted)
        compared = cluster.attempt(*release.command("diff", "--filename=-"), text=rendered)
        assert compared.returncode == _SAME, compared.stdout + compared.stderr
        release.kubectl("apply", "--filename=-", text=rendered)
    generations = {
        each["metadata"]["name"]: each["metadata"]["generation"]
        for each in release.objects("statefulsets,deployments")
    }
    assert set(generations.values()) == {1}, json.dumps(generations)


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """`one` with the sections of `other`."""
    return {**one, **{name: {**one.get(name, {}), **other[name]} for name in other}}
