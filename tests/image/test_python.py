"""The image's Python is a newer one than the oldest that is supported: the tests pass by both."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests import tools
from tests.image.root_for_tests import RootForTests

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_units_and_stores_work_by_the_image_s_python(tmp_path: Path) -> None:
    tools.require_root("chroot")
    tools.require("stand-in")
    tools.require("versitygw")
    root = tmp_path / "root"
    root.mkdir()
    done = RootForTests(root).test(["tests/unit", "tests/contract"])
    shutil.rmtree(root)
    assert done.returncode == 0, done.stdout[-20_000:]
    summary = done.stdout.splitlines()[-1]
    passed = re.search(r"(\d+) passed", summary)
    assert passed is not None, summary
    assert int(passed[1]) > 1000, summary
    assert "skipped" not in summary
