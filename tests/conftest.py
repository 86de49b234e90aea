"""What all tests share: a directory, a port, and the promise that nothing is left running."""

from __future__ import annotations

import asyncio
import inspect
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.kit import machine, processes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

# How long a cancelled task may take to unwind after its test, in seconds.
_UNWINDING: Final = 10.0
# Where one of several processes of pytest (pytest-xdist) says which children it leaves, and where
# the one that controls them keeps that.
_LEFT_RUNNING: Final = "left_running"
_OF_WORKERS: Final = pytest.StashKey[list[str]]()


@pytest.fixture
def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on."""
    return processes.free_port()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty directory for whatever a proxy keeps."""
    directory = tmp_path / "data"
    directory.mkdir()
    return directory


@pytest.fixture
def short_path() -> Iterator[Path]:
    """An empty directory for a client: a Unix socket's path has 107 bytes, podman's runroot 50."""
    with tempfile.TemporaryDirectory(prefix="lighterage-") as directory:
        yield Path(directory)


@pytest.fixture
async def no_task_is_left() -> AsyncIterator[None]:
    """Fail an asynchronous test that leaves a task running behind it."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=_UNWINDING)
    assert not left, "the test left tasks running"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Watch every asynchronous test: first fixture up, so last down."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.insert(0, "no_task_is_left")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Beside other processes of pytest, give a test marked `serial` the machine alone."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    alone = item.get_closest_marker("serial") is not None
    assert item.config.cache is not None
    with machine.occupied(item.config.cache.mkdir("machine"), alone=alone):
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that leaves child processes behind: a fixture forgot to stop its program."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        session.config.workeroutput[_LEFT_RUNNING] = _children()  # type: ignore[attr-defined]
        return
    # The children of a run in several processes are those processes; they have told of theirs.
    children = session.config.stash.get(_OF_WORKERS, None)
    if children := _children() if children is None else children:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter:
            reporter.ensure_newline()
            reporter.write_line("Left running: " + "; ".join(children), red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Remember what child processes one of several processes of pytest leaves behind."""
    left = getattr(node, "workeroutput", {}).get(_LEFT_RUNNING, [])
    node.config.stash.setdefault(_OF_WORKERS, []).extend(left)


def _children() -> list[str]:
    """The command lines of this process's running children; empty where there is no /proc."""
    found = []
    for listing in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for pid in listing.read_text().split():
            process = Path("/proc", pid)
            name, _, rest = (process / "stat").read_text().rpartition(")")
            if rest.split()[0] not in {"Z", "X"}:  # what has ended is no harm
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                found.append(command.decode(errors="replace").strip() or name)
    return found
