"""Where nodes find a proxy: the Service, their own port, or nowhere; and what tells them."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.cluster.addresses import NODE_PORT
from tests.cluster.addresses import REGISTRY as UPSTREAM
from tests.cluster.clients import answers, pull, repositories_served, serves, wait
from tests.cluster.hosts import write_hosts
from tests.cluster.release import Release, values, values_on_nodes
from tests.cluster.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cluster.cluster import Cluster

pytestmark = pytest.mark.slow

_NAME: Final = "lighterage"
_HOST_PORT: Final = 30550
_URL: Final = f"http://127.0.0.1:{NODE_PORT}"
_OWN_URL: Final = f"http://127.0.0.1:{_HOST_PORT}"
_IMAGE: Final = "library/cargo:6"
_MANIFEST: Final = f"/v2/{_IMAGE.replace(':', '/manifests/')}"
_FOREIGN: Final = 'server = "https://mine.example"\n'
# Seconds for a pod to come or go, on a loaded machine.
_SOON: Final = 90.0


@pytest.fixture
def release(cluster: Cluster) -> Iterator[Release]:
    """A release in a namespace that takes every pod."""
    with Release(cluster, _NAME, "nodes", level="privileged").in_namespace() as made:
        yield made


@pytest.fixture
def hosts(cluster: Cluster) -> Iterator[Path]:
    """The directory of containerd's files, without any."""
    directory = Spec.read(cluster.state).hosts
    for file in directory.glob("*/hosts.toml"):
        file.unlink()
    yield directory
    for file in directory.glob("*/hosts.toml"):
        file.unlink()


def test_a_node_pulls_through_its_own_port_and_keeps_what_it_has(
    release: Release, cluster: Cluster, hosts: Path, tmp_path: Path
) -> None:
    """`hostPort` and `storage.hostPath`; the next release finds the directory as it was."""
    chosen = values_on_nodes()
    chosen["service"] = {"type": "ClusterIP"}
    chosen["hostPort"] = _HOST_PORT
    chosen["storage"]["hostPath"] = str(tmp_path / "cache")
    rolled_out(release, release.install, chosen)
    write_hosts(cluster, _OWN_URL)
    assert hosts.exists()
    pull(release, "pulled", f"docker.io/{_IMAGE}")
    assert "docker.io/library/cargo" in repositories_served(release)
    # Two pods cannot have the port, so the last one ends first.
    rolled_out(release, release.upgrade, {**chosen, "podAnnotations": {"a": "b"}})
    serves(cluster, f"{_OWN_URL}{_MANIFEST}")
    release.uninstall()
    assert not answers(cluster, f"{_OWN_URL}{_MANIFEST}")
    chosen["config"]["upstreams"]["docker.io"]["offline"] = True
    rolled_out(release, release.install, chosen)
    serves(cluster, f"{_OWN_URL}{_MANIFEST}")


def test_a_node_without_any_pod_pulls_from_the_registry(release: Release, hosts: Path) -> None:
    """Then containerd goes on to `server`, which the file names."""
    release.install(values())
    directory = hosts / "docker.io"
    directory.mkdir(parents=True, exist_ok=True)
    host = f'[host."{_URL}"]\n  capabilities = ["pull", "resolve"]\n  dial_timeout = "2s"\n'
    (directory / "hosts.toml").write_text(f'server = "http://{UPSTREAM}"\n\n{host}')
    pull(release, "through", f"docker.io/{_IMAGE}")
    assert repositories_served(release)
    release.kubectl("scale", f"statefulset/{_NAME}", "--replicas=0")
    wait(lambda: not release.pods(), "no pod", _SOON)
    pull(release, "past", f"docker.io/{_IMAGE}")


def test_the_chart_configures_a_node_as_long_as_it_is_installed(
    release: Release, cluster: Cluster, hosts: Path
) -> None:
    """Also when its pod is deleted by force, its process killed, and the release upgraded."""
    other = hosts / "quay.io/hosts.toml"
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_text(_FOREIGN)
    own = hosts / "docker.io/hosts.toml"
    chosen = configuring(hosts)
    chosen["config"]["upstreams"]["quay.io"] = {"url": f"http://{UPSTREAM}"}
    release.install(chosen)
    # Everything is ready, so the file is there.
    first = own.read_text()
    assert first.startswith(f"# Written by Lighterage for nodes/{_NAME} (")
    assert other.read_text() == _FOREIGN
    pull(release, "pulled", f"docker.io/{_IMAGE}")
    assert "docker.io/library/cargo" in repositories_served(release)

    (pod,) = release.pods("configure")
    cluster.run("kill", f"-{signal.SIGKILL:d}", str(release.process(pod, "configure")))
    assert own.read_text() == first
    wait(lambda: own.read_text() != first, "a killed one's file is taken over", _SOON)

    before = own.read_text()
    name = pod["metadata"]["name"]
    release.kubectl("delete", "pod", name, "--force", "--grace-period=0")
    wait(lambda: own.exists() and own.read_text() != before, "it is written again", _SOON)

    own.unlink()
    wait(own.exists, "a file that is missing is written again", _SOON)

    # The next pod takes the file over before the last one ends: it is never missing.
    assert not missing(own, lambda: release.upgrade(with_registry(chosen, "ghcr.io")))
    assert (hosts / "ghcr.io/hosts.toml").exists()

    release.uninstall()
    wait(lambda: not release.pods("configure"), "its pods have ended", _SOON)
    assert not own.exists()
    assert not (hosts / "ghcr.io/hosts.toml").exists()
    assert other.read_text() == _FOREIGN


def test_what_is_deleted_by_force_in_the_end_removes_its_files(
    release: Release, hosts: Path
) -> None:
    own = hosts / "docker.io/hosts.toml"
    release.install(configuring(hosts))
    assert own.exists()
    release.kubectl("delete", f"daemonset/{_NAME}-configure", "--cascade=orphan")
    (pod,) = release.pods("configure")
    name = pod["metadata"]["name"]
    release.kubectl("delete", "pod", name, "--force", "--grace-period=0")
    wait(lambda: not own.exists(), "it is removed", _SOON)


@pytest.mark.parametrize(
    "more",
    [
        {"nodes": {"configure": {"enabled": True}}},
        {"hostPort": _HOST_PORT},
        {"storage": {"layout": "nodes", "hostPath": "/var/lib/lighterage"}},
    ],
    ids=["configure", "hostPort", "hostPath"],
)
def test_a_restricted_namespace_takes_no_pod_with_more_rights(
    cluster: Cluster, more: dict[str, Any]
) -> None:
    """And helm says so, as the release does not become ready."""
    restricted = Release(cluster, _NAME, "nodes-restricted")
    restricted.namespace()
    try:
        done = restricted.attempt_install({**values(), **more}, timeout="15s")
        assert done.returncode != 0
        reasons = [each["message"] for each in restricted.objects("events")]
        assert any("violates PodSecurity" in reason for reason in reasons), reasons
    finally:
        restricted.remove_namespace()


def rolled_out(
    release: Release, act: Callable[[dict[str, Any]], object], chosen: dict[str, Any]
) -> None:
    """Helm waits for all pods of a DaemonSet but as many as an update may take away: here one."""
    act(chosen)
    release.kubectl("rollout", "status", f"daemonset/{_NAME}", "--timeout=2m")


def configuring(hosts: Path) -> dict[str, Any]:
    """Values with which the chart writes containerd's files below `hosts`."""
    return {**values(), "nodes": {"configure": {"enabled": True, "directory": str(hosts)}}}


def with_registry(chosen: dict[str, Any], name: str) -> dict[str, Any]:
    """`chosen` with one more upstream."""
    config = chosen["config"]
    upstreams = {**config["upstreams"], name: {"url": f"http://{UPSTREAM}"}}
    return {**chosen, "config": {**config, "upstreams": upstreams}}


def missing(file: Path, act: Callable[[], object]) -> bool:
    """Whether the file is missing at some moment while `act` runs."""
    ended, found = threading.Event(), []

    def look() -> None:
        while not ended.wait(0.01):
            if not file.exists():
                found.append(file)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        act()
    finally:
        ended.set()
        looking.join()
    return bool(found)
