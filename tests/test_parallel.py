"""What the suite promises of itself holds when pytest runs it in several processes, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[1]
_IN_PARALLEL: Final = ("--numprocesses=2", "--dist=loadfile")

# Files that run in two processes. Both first tests wait for each other; whatever comes after that
# writes down when it begins and ends.
_FILE: Final = """
import os, pathlib, time
import pytest

LOG = pathlib.Path(__file__).with_name("log")

def write(line):
    with LOG.open("a") as log:
        log.write(line + chr(10))

def test_both_at_once():
    write("begun")
    deadline = time.monotonic() + 60
    while LOG.read_text().count("begun") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)

@pytest.mark.parametrize("number", range(3))
def test_shared(number):
    write(f"shared {number}")

@pytest.mark.serial
@pytest.mark.parametrize("number", range(3))
def test_alone(number):
    write(f"alone {os.getpid()} {number}")
    time.sleep(0.05)
    write(f"over {os.getpid()} {number}")
"""
_LEAVES_A_PROGRAM: Final = """
import pathlib, subprocess

LEFT = []

def test_it():
    LEFT.append(subprocess.Popen(["sleep", "60"]))
    pathlib.Path(__file__).with_name("pid").write_text(str(LEFT[0].pid))
"""


def test_tests_run_at_once_and_a_serial_one_alone(tmp_path: Path) -> None:
    for name in ("test_a.py", "test_b.py"):
        (tmp_path / name).write_text(_FILE)
    done = run(tmp_path, *_IN_PARALLEL)
    assert done.returncode == 0, done.stdout
    lines = (tmp_path / "log").read_text().splitlines()
    alone = [number for number, line in enumerate(lines) if line.startswith("alone")]
    assert len(alone) == 6
    for number in alone:
        assert lines[number + 1] == lines[number].replace("alone", "over")


@pytest.mark.parametrize("options", [(), _IN_PARALLEL], ids=["serially", "in parallel"])
def test_a_program_that_is_left_running_fails_the_run(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "test_it.py").write_text(_LEAVES_A_PROGRAM)
    done = run(tmp_path, *options)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "1 passed" in done.stdout
    assert "Left running: " in done.stdout


def run(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in `directory` with the hooks of this suite."""
    outer = ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID")
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    (directory / "pytest.ini").write_text("[pytest]\nmarkers = serial\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", *options],
        cwd=directory,
        env={**environment, "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
