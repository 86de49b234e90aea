"""The cluster that the tests here share, and how long each of their steps takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests import tools
from tests.cluster import conditions
from tests.cluster.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE: Final = Path(__file__).parent
# Of Kubernetes, where it is not the pinned one.
_VERSION: Final = "KUBERNETES_VERSION"
# The state of a cluster that runs already, such as `.tools/cluster/state` after `make cluster`.
_RUNNING: Final = "CLUSTER_STATE"

# Seconds: a step that takes less is not worth a line.
_SHORTEST: Final = 0.05


@pytest.fixture(scope="session")
def machine() -> None:
    """Go on only on a machine that can run a cluster; with `CI=true` every machine must."""
    for name in tools.SUITES["cluster"]:
        tools.require(name)
    if reason := conditions.missing():
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster(machine: None) -> Iterator[Cluster]:  # noqa: ARG001 -- asked for its refusal
    """A cluster with a ready node."""
    if state := os.environ.get(_RUNNING):
        yield Cluster(Path(state).resolve())
        return
    with Cluster.start(os.environ.get(_VERSION, "")) as running:
        yield running


class _Times:
    """Writes how long each step takes, as soon as it is over, and what came before and after it."""

    def __init__(self, config: pytest.Config) -> None:
        self._reporter = config.pluginmanager.get_plugin("terminalreporter")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._reporter and report.duration >= _SHORTEST and _HERE.name in report.nodeid:
            name = report.nodeid.partition("::")[2]
            what = "" if report.when == "call" else f" ({report.when})"
            self._reporter.ensure_newline()
            self._reporter.write_line(f"{report.duration:7.1f} s  {name}{what}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests out unless their path is named: they want Kubernetes, built from source."""
    named = (Path(argument.partition("::")[0]).resolve() for argument in config.args)
    if any(path.is_relative_to(_HERE) for path in named):
        config.pluginmanager.register(_Times(config))
        return
    here = [item for item in items if item.path.is_relative_to(_HERE)]
    if here:
        config.hook.pytest_deselected(items=here)
        items[:] = [item for item in items if item not in here]
