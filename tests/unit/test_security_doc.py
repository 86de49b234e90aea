"""docs/security.md names tests that exist, and every entry page links it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "docs" / "security.md").read_text()
NAMED: Final = re.findall(r"`([a-z_/]+\.py)::(test_[a-z0-9_]+)`", TEXT)


def test_every_test_that_it_names_exists() -> None:
    assert NAMED
    for file, name in NAMED:
        module = ast.parse((ROOT / "tests" / file).read_text())
        found = {
            node.name
            for node in module.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in found, f"{file}::{name}"


def test_every_promise_names_a_test() -> None:
    rows = re.findall(r"^\|.*\|$", TEXT, re.MULTILINE)[2:]
    assert rows
    for row in rows:
        assert re.search(r"`[a-z_/]+\.py::test_", row), row


def test_it_can_be_found() -> None:
    assert "(docs/security.md)" in (ROOT / "README.md").read_text()
    assert "(docs/security.md)" in (ROOT / "SECURITY.md").read_text()
    assert "(security.md)" in (ROOT / "docs/architecture.md").read_text()
    assert "(../SECURITY.md)" in TEXT
