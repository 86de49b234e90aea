"""What all tests share: a directory, a port, and the promise that nothing is left running."""

from __future__ import annotations

import asyncio
import inspect
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.kit import processes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# How long a cancelled task may take to unwind after its test, in seconds.
_UNWINDING: Final = 1.0


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


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that leaves child processes behind: a fixture forgot to stop its program."""
    children = _children()
    if children:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter:
            reporter.ensure_newline()
            reporter.write_line("Left running: " + "; ".join(children), red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _children() -> list[str]:
    """The command lines of this process's running children; empty where there is no /proc."""
    found = []
    for listing in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for pid in listing.read_text().split():
            command = Path("/proc", pid, "cmdline").read_bytes()  # empty for one that has ended
            if command:
                found.append(command.replace(b"\0", b" ").decode(errors="replace").strip())
    return found
