"""What pulls from a release: the node's containerd for a pod, and clients that never try twice."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.cluster.cluster import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.cluster import Cluster
    from tests.cluster.release import Release

_POLL: Final = 0.25
_PULLED: Final = "60s"
_REACHED: Final = 30.0
RESTRICTED: Final = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod(name: str, image: str, *secrets: str) -> dict[str, Any]:
    """A pod whose image the node asks for again at each start."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Always",
        "securityContext": RESTRICTED,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "containers": [container],
            "terminationGracePeriodSeconds": 0,
            "imagePullSecrets": [{"name": secret} for secret in secrets],
        },
    }


def pull(release: Release, name: str, image: str) -> None:
    """Run a pod of an image that the node must pull, until it is ready, and delete it.

    containerd forgets the image then, so that the next pull fetches it again.
    """
    release.kubectl("apply", "--filename=-", text=json.dumps(pod(name, image)))
    release.kubectl("wait", f"pod/{name}", "--for=condition=Ready", f"--timeout={_PULLED}")
    release.kubectl("delete", "pod", name, "--wait")
    release.cluster.attempt("ctr", "images", "remove", "--sync", image)


def repositories_served(release: Release) -> list[str]:
    """Of every request that a client has sent to the proxy's pods, as their logs have it."""
    events = (
        json.loads(line)
        for each in release.pods()
        for line in release.kubectl("logs", each["metadata"]["name"]).splitlines()
        if line.startswith("{")
    )
    return [
        event["repository"]
        for event in events
        if event["event"] == "request.served" and "repository" in event
    ]


def answers(cluster: Cluster, url: str, within: float = 5.0) -> bool:
    """Whether a client on the node gets the manifest at `url`, in `within` seconds."""
    options = ("--silent", "--output", "/dev/null", "--fail", "--max-time", f"{within:g}")
    return cluster.attempt("curl", *options, url).returncode == 0


def serves(cluster: Cluster, url: str) -> None:
    """Wait until a client on the node gets the manifest at `url`.

    A pod that is ready is reached a moment later, when the node's rules have been written.
    """
    wait(lambda: answers(cluster, url), f"{url} is served", _REACHED)


def wait(condition: Callable[[], object], what: str, within: float) -> float:
    """The seconds until `condition` holds; ClusterError after `within` of them."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(ClusterError):
            if condition():
                return time.monotonic() - began
        if time.monotonic() - began > within:
            raise ClusterError(f"{what}: not within {within:g} s")
        time.sleep(_POLL)


@dataclass
class Load:
    """What the clients of `under_load` have seen, when they have ended."""

    pulls: int = 0
    failed: tuple[str, ...] = ()
    slowest: float = 0.0


@contextlib.contextmanager
def under_load(cluster: Cluster, url: str, *images: str, threads: int = 3) -> Iterator[Load]:
    """Clients on the node pull from `url` as long as the body runs."""
    program = (sys.executable, "-m", "tests.cluster.load")
    command = cluster.command(*program, url, str(threads), *images)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    load = Load()
    try:
        yield load
    finally:
        output, _ = process.communicate()
    found = json.loads(output)
    load.pulls, load.slowest = found["pulls"], found["slowest"]
    load.failed = tuple(found["failed"])
