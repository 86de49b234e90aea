"""`make demo`: it shows what it promises, ends by itself, and leaves nothing."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

COMMAND: Final = (sys.executable, "-m", "proxy.demo")
# What ends a demo that hangs, in seconds; a person is promised two minutes with the installation.
WITHIN: Final = 120


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    """With a mark by which its processes are found, and a directory for what is temporary."""
    marked = {**os.environ, "TMPDIR": str(tmp_path), "TEST_MARK": str(tmp_path)}
    yield marked
    assert list(tmp_path.iterdir()) == [], "no file is left"
    wait_until_none(str(tmp_path))


def wait_until_none(mark: str) -> None:
    """Return when no process has the mark in its environment; fail if some stay."""
    end = time.monotonic() + 30
    while running := [process for process in processes(mark) if process != os.getpid()]:
        assert time.monotonic() < end, running
        time.sleep(0.05)


def processes(mark: str) -> list[int]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if f"TEST_MARK={mark}".encode() in (directory / "environ").read_bytes():
                found.append(int(directory.name))
        except OSError:
            continue
    return found


def test_it_ends_by_itself_without_a_terminal(environ: dict[str, str]) -> None:
    """Settings of the person who runs it make no difference."""
    done = subprocess.run(
        COMMAND,
        env={**environ, "LIGHTERAGE_WORKERS": "none", "HTTP_PROXY": "http://127.0.0.1:9"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    steps = re.split(r"\n\d\. ", done.stdout)
    assert len(steps) == 9
    _, _, _, cold, warm, legacy, stopped, explained, operator = steps
    asked = r"[1-9] requests to the registry\n   Cache-Status: Lighterage; fwd=miss; stored"
    assert re.search(asked, cold)
    assert "no requests to the registry\n   Cache-Status: Lighterage; hit" in warm
    assert "schema 1 sha256:" in legacy
    assert stopped.count("stale") == 2
    assert "schema 1 sha256:" in stopped
    assert "rule: absent" in explained
    assert re.search(r"http://127\.0\.0\.1:\d+/", operator)


def test_at_a_terminal_it_waits_for_enter(environ: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        COMMAND, env=environ, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as demo:
        os.close(theirs)
        assert demo.stdout is not None
        shown = b""
        while b"Press Enter" not in shown:
            piece = os.read(demo.stdout.fileno(), 4096)
            assert piece, shown
            shown += piece
        assert len(processes(environ["TEST_MARK"])) >= 2
        os.write(ours, b"\n")
        rest = demo.stdout.read()
        assert demo.wait(WITHIN) == 0
    os.close(ours)
    assert b"nothing of it is left" in rest


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_of_it(environ: dict[str, str], sent: signal.Signals) -> None:
    with subprocess.Popen(
        COMMAND,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # What runs these tests may ignore it, as a shell does for what it runs in the background.
        preexec_fn=partial(signal.signal, sent, signal.SIG_DFL),  # noqa: PLW1509 -- no threads
    ) as demo:
        assert demo.stdout is not None
        while b"3. a cold pull" not in demo.stdout.readline():
            assert demo.poll() is None
        demo.send_signal(sent)
        demo.communicate(timeout=WITHIN)
    assert demo.returncode == 130


def test_no_proxy_outlives_a_killed_demo(environ: dict[str, str], tmp_path: Path) -> None:
    with subprocess.Popen(
        COMMAND,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as demo:
        assert demo.stdout is not None
        while b"3. a cold pull" not in demo.stdout.readline():
            assert demo.poll() is None
        demo.kill()
        demo.wait()
    wait_until_none(environ["TEST_MARK"])
    # What is temporary stays, as after every kill.
    for directory in tmp_path.iterdir():
        subprocess.run(["rm", "-r", directory], check=True)
