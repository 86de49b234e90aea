"""A cluster of one node: real Kubernetes in namespaces of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests import tools
from tests.cluster import archives, keeper, programs
from tests.cluster.components import SOCKET
from tests.cluster.spec import Spec
from tests.kit.images import DOCKER, image, layer
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from types import TracebackType

_ROOT: Final = Path(__file__).parents[2]
# Seconds: until the node must be ready, until everything must have gone, and for one command.
_START: Final = 300.0
_STOP: Final = 60.0
_COMMAND: Final = 600.0
_POLL: Final = 0.2
# What the registry outside has: what `helm test` pulls unless told otherwise, and images for nodes,
# each of which is pulled once, since containerd keeps what it has.
_IMAGES: Final = ("library/busybox:1.37", *(f"library/cargo:{number}" for number in range(20)))


class ClusterError(Exception):
    """The cluster does not start or stop; the message says what the node said."""


class Cluster:
    """One node, from `start` to `stop`. All of it is below `state` and in its namespaces."""

    def __init__(self, state: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        """A cluster whose keeper is `process`, or that has been started before."""
        self.state = state
        self._process = process

    @classmethod
    def start(cls, version: str = "") -> Self:
        """Build what is missing, start it, and wait until the node is ready.

        It ends with this process, even if that is killed, unless `keep` is called.
        """
        keeper.remove_leftovers()
        state = keeper.new_state()
        try:
            _spec(state, version).write()
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.keeper", state],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                # A pipe that this process writes to would not end as long as the keeper has it.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            shutil.rmtree(state)
            raise
        cluster = cls(state, process)
        try:
            cluster._wait()
        except BaseException:
            cluster.stop()
            raise
        return cluster

    def keep(self) -> None:
        """Let it stay when this process ends."""
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(b"stay\n")
        self._process.stdin.close()

    def stop(self) -> None:
        """End it, and wait until nothing is left; ClusterError if something is."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_STOP)
            if self._process.stdin:
                self._process.stdin.close()
        elif pid := keeper.keeper(self.state):
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + _STOP
            while keeper.keeper(self.state):
                if time.monotonic() > deadline:
                    raise ClusterError(f"the cluster does not end within {_STOP:g} s")
                time.sleep(_POLL)
        keeper.abandon(self.state)

    def command(self, *command: str | Path) -> list[str]:
        """`command` as a program outside the namespaces runs it inside."""
        node = keeper.node(self.state)
        if node is None:
            raise ClusterError("the cluster does not run")
        namespaces = (f"--{name}" for name in ("cgroup", "ipc", "mount", "net", "pid", "uts"))
        settings = {f"{name}={value}" for name, value in self.environment.items()}
        entered = ["nsenter", f"--target={node}", *namespaces, f"--wd={Path.cwd()}"]
        return [*entered, "env", *sorted(settings), *map(str, command)]

    @property
    def environment(self) -> dict[str, str]:
        """What kubectl, helm and ctr read."""
        spec = Spec.read(self.state)
        paths = (spec.kubernetes, spec.ctr.parent, tools.require("helm").parent, tools.SEARCH_PATH)
        return {
            "PATH": os.pathsep.join(map(str, paths)),
            "KUBECONFIG": str(spec.credentials / "admin.kubeconfig"),
            "CONTAINERD_ADDRESS": SOCKET,
            "CONTAINERD_NAMESPACE": "k8s.io",
            "HELM_CACHE_HOME": str(self.state / "helm"),
            "HELM_CONFIG_HOME": str(self.state / "helm"),
            "HELM_DATA_HOME": str(self.state / "helm"),
        }

    @property
    def failed(self) -> bool:
        """Whether it has ended without `stop`."""
        return self._process is not None and self._process.poll() is not None

    def attempt(self, *command: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run `command` inside, with `text` as its input, whether it succeeds or not."""
        return subprocess.run(
            self.command(*command),
            input=text,
            capture_output=True,
            text=True,
            timeout=_COMMAND,
            check=False,
        )

    def run(self, *command: str | Path, text: str = "") -> str:
        """What `command` writes; ClusterError if it fails."""
        done = self.attempt(*command, text=text)
        if done.returncode:
            said = f"{done.stdout}{done.stderr}"
            raise ClusterError(f"{' '.join(map(str, command))}: {done.returncode}\n{said}")
        return done.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _wait(self) -> None:
        deadline = time.monotonic() + _START
        spec = Spec.read(self.state)
        while not spec.ready.exists():
            if spec.failure.exists():
                raise ClusterError(spec.failure.read_text())
            if self._process and self._process.poll() is not None:
                raise ClusterError(f"the keeper has ended with status {self._process.returncode}")
            if time.monotonic() > deadline:
                raise ClusterError(f"the node is not ready after {_START:g} s")
            time.sleep(_POLL)


def _spec(state: Path, version: str) -> Spec:
    for name in ("ip", "iptables", "runc"):
        tools.require(name)
    built = programs.build(tools.require("go"), version)
    _fill_registry(state / "registry", built.pause / "pause")
    return Spec(
        state=state,
        version=built.version,
        kubernetes=built.kubernetes,
        etcd=built.etcd,
        cni=built.cni,
        containerd=tools.require("containerd"),
        ctr=tools.require("ctr"),
        registry=tools.require("docker-registry"),
        gateway=tools.require("versitygw"),
        archives=(archives.pause(built.pause / "pause"), archives.redis(), archives.proxy()),
    )


def _fill_registry(directory: Path, program: Path) -> None:
    """Push images that can be run, as long as the registry is within reach."""
    with Registry(directory) as registry:
        for name in _IMAGES:
            repository, _, tag = name.partition(":")
            files = {"etc/name": name.encode(), "usr/bin/hello": program.read_bytes()}
            registry.push(repository, tag, image(DOCKER, [layer(files)]))
