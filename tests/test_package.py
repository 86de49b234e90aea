"""What is in the wheel besides modules, and what is checked before a commit."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import yaml

ROOT: Final = Path(__file__).parents[1]


def test_the_wheel_has_the_settings_and_says_that_it_is_typed(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
        assert content.read("proxy/py.typed") == b""
        shipped = (ROOT / "config" / "lighterage.yaml").read_bytes()
        assert content.read("proxy/lighterage.yaml") == shipped
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "proxy").rglob("*.py")}
    assert modules <= names
    assert not any(name.startswith("tests/") for name in names)


def test_what_runs_before_a_commit_is_what_make_check_runs() -> None:
    """Nothing is fetched for it, and nothing is checked that the build does not check."""
    configuration = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repository["repo"] for repository in configuration["repos"]} == {"local"}
    hooks = [hook for repository in configuration["repos"] for hook in repository["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}
    makefile = (ROOT / "Makefile").read_text().replace("$(BIN)", ".venv/bin")
    recipe = makefile.partition("\ncheck: ")[2].partition("\n\n")[0].splitlines()[1:]
    assert [hook["entry"] for hook in hooks] == [line.strip() for line in recipe]
