"""A known fault's mark, as pytest takes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT: Final = Path(__file__).parents[2]
_TEST: Final = """\
from tests.cluster.faults import known_fault

@known_fault("1.1", "for a test")
def test_it():
    {body}
"""


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        ("assert False", 0, "1 xfailed"),
        ("assert True", 1, "XPASS(strict)"),
        ("raise OSError", 1, "1 failed"),
    ],
    ids=["still-there", "mended", "something-else"],
)
def test_only_the_fault_itself_is_expected(
    tmp_path: Path, body: str, status: int, outcome: str
) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(_TEST.format(body=body))
    done = run(["-c", str(_ROOT / "pyproject.toml"), str(file)])
    assert done.returncode == status, done.stdout
    assert outcome in done.stdout


def run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
