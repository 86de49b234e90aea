"""What only the processes of one supervisor share, and what becomes of it when that is killed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.runtime.shared_memory import private_directory, private_memory

if TYPE_CHECKING:
    import pytest

_HOLDER = """
import sys, time
from pathlib import Path
from proxy.runtime import shared_memory
shared_memory._SHARED_MEMORY = Path(sys.argv[1])
with shared_memory.private_directory(Path(sys.argv[1])) as directory:
    print(directory, flush=True)
    time.sleep(60)
"""


def test_it_is_empty_private_and_gone_afterwards(tmp_path: Path) -> None:
    with private_directory(tmp_path) as directory:
        (directory / "counter_1.db").write_bytes(b"x")
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        with private_directory(tmp_path) as other:
            assert other != directory
        assert (directory / "counter_1.db").exists()
    assert not directory.exists()


def test_it_is_below_the_data_where_there_is_no_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.runtime.shared_memory._SHARED_MEMORY", tmp_path / "none")
    with private_directory(tmp_path / "data") as directory:
        assert directory.parent == tmp_path / "data"


def test_that_of_a_killed_supervisor_goes_and_that_of_a_living_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.runtime.shared_memory._SHARED_MEMORY", tmp_path)
    (tmp_path / "lighterage-somebody-elses").mkdir()
    command = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        theirs = Path(holder.stdout.readline().strip())
        with private_directory(tmp_path):
            assert theirs.is_dir()
        holder.kill()
    assert theirs.is_dir()
    with private_directory(tmp_path):
        assert not theirs.exists()
    assert (tmp_path / "lighterage-somebody-elses").is_dir()


def test_memory_is_shared_by_its_descriptor_alone() -> None:
    with private_memory() as descriptor:
        assert descriptor is not None
        assert not os.get_inheritable(descriptor)
        os.pwrite(descriptor, b"token", 0)
        assert os.pread(descriptor, 5, 0) == b"token"
