"""A release of the chart in a cluster, as its users install, test, change and remove it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.cluster.addresses import NODE_PORT
from tests.cluster.addresses import REGISTRY as UPSTREAM
from tests.cluster.archives import PROXY, REDIS, REGISTRY, TAG
from tests.cluster.components import ACCESS_KEY, SECRET_KEY, bucket

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

CHART: Final = Path(__file__).parents[2] / "helm"
_TIMEOUT: Final = "5m"
_LEVEL: Final = "pod-security.kubernetes.io/enforce"
_SECRET: Final = "bucket"


def values() -> dict[str, Any]:
    """The chart's defaults, and what they leave to the user: where images are, and an upstream."""
    return {
        "image": {"registry": REGISTRY, "repository": PROXY, "tag": TAG},
        "service": {"type": "NodePort", "nodePort": NODE_PORT},
        "config": {"upstreams": {"docker.io": {"url": f"http://{UPSTREAM}", "default": True}}},
    }


def values_with_bucket() -> dict[str, Any]:
    """Three replicas that keep everything in a bucket, beside the chart's own Redis."""
    common = values()
    image = {"registry": REGISTRY, "repository": REDIS, "tag": TAG}
    return {
        **common,
        "replicas": 3,
        "redis": {"bundled": {"enabled": True, "image": image}},
        "storage": {"layout": "bucket", "size": "4Gi", "bucket": {"existingSecret": _SECRET}},
        "config": {**common["config"], "blobs": {"store": "s3", "s3": bucket()}},
    }


def values_with_replicas() -> dict[str, Any]:
    """Three replicas with a claim each, which are one cache without a Redis."""
    return {**values(), "replicas": 3, "storage": {"size": "4Gi"}}


def values_on_nodes() -> dict[str, Any]:
    """A replica on each node."""
    return {**values(), "storage": {"layout": "nodes", "size": "4Gi"}}


class Release:
    """A release, in a namespace of its own that takes no other pods than those of its `level`."""

    def __init__(
        self, cluster: Cluster, name: str, namespace: str, *, level: str = "restricted"
    ) -> None:
        """Nothing is installed yet."""
        self.cluster = cluster
        self.name = name
        self._namespace = namespace
        self._level = level

    @contextmanager
    def in_namespace(self) -> Iterator[Self]:
        """Have its namespace while the block runs; all that is in it goes with it."""
        self.namespace()
        yield self
        self.remove_namespace()

    def namespace(self) -> None:
        """Make the namespace, and the Secret that `values_with_bucket` names."""
        self.kubectl("create", "namespace", self._namespace)
        self.kubectl("label", "namespace", self._namespace, f"{_LEVEL}={self._level}")
        login = {"access-key-id": ACCESS_KEY, "secret-access-key": SECRET_KEY}
        options = (f"--from-literal={key}={value}" for key, value in login.items())
        self.kubectl("create", "secret", "generic", _SECRET, *options)

    def remove_namespace(self) -> None:
        """Remove it and all that is in it, and wait until it has gone.

        Kubernetes deletes a namespace in two steps, and waits between them for half of the time
        that its pods may take to end. So they are ended before.
        """
        self.kubectl("delete", "statefulsets,deployments,daemonsets", "--all", "--wait")
        self.kubectl("delete", "pods", "--all", "--wait", f"--timeout={_TIMEOUT}")
        self.kubectl("delete", "namespace", self._namespace, "--wait", f"--timeout={_TIMEOUT}")

    def install(self, chosen: dict[str, Any], chart: Path = CHART) -> str:
        """`helm install`, until everything is ready."""
        return self.cluster.run(*self._applied("install", chart), text=json.dumps(chosen))

    def attempt_install(
        self, chosen: dict[str, Any], timeout: str = _TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """`helm install`, whether it succeeds or not."""
        command = self._applied("install", timeout=timeout)
        return self.cluster.attempt(*command, text=json.dumps(chosen))

    def upgrade(self, chosen: dict[str, Any], chart: Path = CHART) -> str:
        """`helm upgrade`, until everything is ready."""
        return self.cluster.run(*self._applied("upgrade", chart), text=json.dumps(chosen))

    def attempt_upgrade(
        self, chosen: dict[str, Any], timeout: str = _TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """`helm upgrade`, whether it succeeds or not."""
        command = self._applied("upgrade", timeout=timeout)
        return self.cluster.attempt(*command, text=json.dumps(chosen))

    def template(self, chosen: dict[str, Any]) -> str:
        """What `helm template` renders, without the tests."""
        command = (*self._helm("template"), "--no-hooks", self.name, str(CHART), "--values=-")
        return self.cluster.run(*command, text=json.dumps(chosen))

    def test(self, *options: str, timeout: str = _TIMEOUT) -> subprocess.CompletedProcess[str]:
        """`helm test`, whether it succeeds or not."""
        command = (*self._helm("test"), self.name, f"--timeout={timeout}", *options)
        return self.cluster.attempt(*command)

    def rollback(self) -> str:
        """`helm rollback` to the revision before, until everything is ready."""
        wait = ("--wait", f"--timeout={_TIMEOUT}")
        return self.cluster.run(*self._helm("rollback"), self.name, *wait)

    def uninstall(self) -> str:
        """`helm uninstall`, until everything has gone but pods of tests that failed.

        helm itself waits for no pods, and leaves it to its users to look at those of tests.
        """
        wait = ("--wait", f"--timeout={_TIMEOUT}")
        said = self.cluster.run(*self._helm("uninstall"), self.name, *wait)
        labels = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component!=test"
        self.kubectl(
            "wait", "pods", f"--selector={labels}", "--for=delete", f"--timeout={_TIMEOUT}"
        )
        return said

    def kubectl(self, *arguments: str, text: str = "") -> str:
        """What kubectl says, in the release's namespace."""
        return self.cluster.run(*self.command(*arguments), text=text)

    def command(self, *arguments: str) -> tuple[str, ...]:
        """kubectl, in the release's namespace."""
        return ("kubectl", f"--namespace={self._namespace}", *arguments)

    def process(self, pod: dict[str, Any], container: str = "lighterage") -> int:
        """The first process of a pod's container, as the node numbers it."""
        (found,) = (
            each["containerID"].removeprefix("containerd://")
            for each in pod["status"]["containerStatuses"]
            if each["name"] == container
        )
        lines = self.cluster.run("ctr", "tasks", "list").splitlines()
        (pid,) = (int(line.split()[1]) for line in lines if line.startswith(found))
        return pid

    def objects(self, kind: str, *options: str) -> list[dict[str, Any]]:
        """The objects of a kind in the namespace."""
        found: list[dict[str, Any]] = json.loads(
            self.kubectl("get", kind, "--output=json", *options)
        )["items"]
        return found

    def pods(self, component: str = "proxy") -> list[dict[str, Any]]:
        """The pods of one component."""
        return self.objects("pods", f"--selector=app.kubernetes.io/component={component}")

    def _helm(self, what: str) -> tuple[str, ...]:
        return ("helm", what, f"--namespace={self._namespace}")

    def _applied(self, what: str, chart: Path = CHART, timeout: str = _TIMEOUT) -> tuple[str, ...]:
        """The values are its standard input."""
        wait = ("--wait", f"--timeout={timeout}")
        return (*self._helm(what), self.name, str(chart), "--values=-", *wait)
