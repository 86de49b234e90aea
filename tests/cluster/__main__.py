"""A cluster by hand: `make cluster` and `make cluster-stop`.

python -m tests.cluster build [VERSION] | start [VERSION] | stop
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Final

from tests import tools
from tests.cluster import conditions, keeper, programs
from tests.cluster.cluster import Cluster, ClusterError
from tests.cluster.release import Release, values

_HERE: Final = Path(__file__).parents[2] / ".tools/cluster"
_STATE: Final = _HERE / "state"
_BIN: Final = _HERE / "bin"


def start(version: str) -> None:
    """Start a cluster that stays, in place of the one before, and install the proxy in it."""
    _check_machine()
    stop()
    began = time.monotonic()

    def say(what: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {what}\n")
        sys.stdout.flush()

    say(f"starting Kubernetes {version or programs.pinned()}; what is missing is built, once")
    try:
        cluster = Cluster.start(version)
    except (ClusterError, programs.BuildError) as error:
        sys.exit(str(error))
    say("the node is ready; installing the proxy")
    release = Release(cluster, "lighterage", "lighterage")
    try:
        release.namespace()
        release.install(values())
    except ClusterError as error:
        sys.stdout.write(
            cluster.attempt("kubectl", "get", "pods,events", "--all-namespaces").stdout
        )
        cluster.stop()
        sys.exit(str(error))
    _HERE.mkdir(parents=True, exist_ok=True)
    _STATE.symlink_to(cluster.state)
    _write_commands(cluster)
    cluster.keep()
    say("the proxy is ready")
    sys.stdout.write(cluster.run("kubectl", "get", "nodes"))
    sys.stdout.write(cluster.run("kubectl", "get", "pods", "--all-namespaces"))
    sys.stdout.write(
        f"\n  export PATH={shlex.quote(str(_BIN))}:$PATH\n\n"
        "gives you kubectl, helm and ctr inside the cluster's namespaces, and `enter COMMAND` for\n"
        "everything else, such as `enter curl http://127.0.0.1:30500/v2/`.\n"
        "`make cluster-stop` ends it.\n"
    )


def build(version: str) -> None:
    """Build what is missing, so that the first test does not wait for it in silence."""
    began = time.monotonic()
    go = tools.find("go")
    if go is None:
        sys.exit("Kubernetes is built by Go, which is missing: see what `make` said above")
    try:
        built = programs.build(go, version)
    except programs.BuildError as error:
        sys.exit(str(error))
    took = time.monotonic() - began
    sys.stdout.write(f"Kubernetes {built.version} is in {built.kubernetes}, after {took:.0f} s\n")


def stop() -> None:
    """End the cluster that `start` has left, and clear up after those that were killed."""
    if _STATE.is_symlink():
        Cluster(_STATE.readlink()).stop()
        _STATE.unlink()
    shutil.rmtree(_BIN, ignore_errors=True)
    keeper.remove_leftovers()


def _check_machine() -> None:
    """End with the reason if this machine cannot run a cluster."""
    missing = [name for name in tools.SUITES["cluster"] if not tools.find(name)]
    if missing:
        sys.exit(f"a cluster needs {', '.join(missing)}: see what `make` said above")
    if reason := conditions.missing():
        sys.exit(reason)


def _write_commands(cluster: Cluster) -> None:
    """Programs of the cluster for the user's own shell."""
    _BIN.mkdir(parents=True)
    for name in ("kubectl", "helm", "ctr", "enter"):
        inside = cluster.command(*([] if name == "enter" else [name]))
        entered = [word for word in inside if not word.startswith("--wd=")]
        position = entered.index("env")
        words = [*map(shlex.quote, entered[:position]), '--wd="$PWD"']
        words += map(shlex.quote, entered[position:])
        script = _BIN / name
        script.write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n')
        script.chmod(0o755)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["start", *version]:
            start(" ".join(version))
        case ["build", *version]:
            build(" ".join(version))
        case ["stop"]:
            stop()
        case _:
            sys.exit(__doc__)
