"""Each suite declares the tools that it requires, and a command installs no others."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests import tools

if TYPE_CHECKING:
    from collections.abc import Iterator

_TESTS: Final = Path(__file__).parent
_ALL: Final = {
    *(
        "browser",
        "chart",
        "conformance",
        "contract",
        "e2e",
        "hostile",
        "image",
        "integration",
        "replicas",
    ),
    "unit",
}
_STARTS: Final = ("test_*.py", "conftest.py", "__main__.py")


@pytest.mark.parametrize("suite", tools.SUITES)
def test_a_suite_declares_what_it_requires(suite: str) -> None:
    assert set(_required(suite)) <= set(tools.SUITES[suite])


def test_the_search_for_what_is_required_finds_it() -> None:
    assert {"nginx", "wrk", "docker-registry"} <= set(_required("bench"))
    assert "redis-server" in set(_required("contract"))


@pytest.mark.parametrize(
    ("arguments", "suites"),
    [
        (
            [],
            _ALL,
        ),
        (
            ["-k", "schema1", "-x"],
            _ALL,
        ),
        (
            ["tests"],
            _ALL,
        ),
        (["tests/unit", "-k", "schema1"], {"unit"}),
        (["tests/unit/", "tests/e2e/test_cache.py::test_it[a::b]"], {"unit", "e2e"}),
        (["tests/test_locks.py"], set()),
    ],
)
def test_the_paths_among_pytest_s_arguments_name_the_suites(
    arguments: list[str], suites: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(_TESTS.parent)
    assert tools.suites_of(arguments) == suites


def test_what_is_installed_is_named_or_declared_by_a_suite() -> None:
    assert tools.needed(["unit"]) == set()
    bench = {"docker-registry", "nginx", "redis-server", "registry", "wrk"}
    assert tools.needed(["bench", "helm"]) == {*bench, "helm"}


def test_a_name_that_is_neither_a_suite_nor_a_tool_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tools.main(["ngnix"]) == 2
    assert "ngnix is neither a tool nor one of bench, browser," in capsys.readouterr().out


def test_ci_runs_every_suite() -> None:
    """A step is `make TARGET`, whose recipe names suites, or names them by ARGS."""
    steps = (_TESTS.parent / ".ci/run").read_text()
    recipes = re.split(
        r"^(?=[a-z-]+:)", (_TESTS.parent / "Makefile").read_text(), flags=re.MULTILINE
    )
    targets = re.findall(r"^run make ([a-z-]+)", steps, re.MULTILINE)
    run = steps + "".join(each for each in recipes if each.partition(":")[0] in targets)
    suites = {path.parent.relative_to(_TESTS).parts[0] for path in _TESTS.glob("*/**/test_*.py")}
    assert suites == {suite for suite in suites if re.search(rf"tests/{suite}\b", run)}
    assert "tests/test_*.py" in run


class _WhatRuns(ast.NodeTransformer):
    """A module without what it imports for type checkers only."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


def _required(suite: str) -> Iterator[str]:
    """What the suite's tests and all that they import name in calls of `require`."""
    remaining = [path for start in _STARTS for path in (_TESTS / suite).rglob(start)]
    seen = {*remaining, _TESTS / "tools.py"}
    while remaining:
        tree = _WhatRuns().visit(ast.parse(remaining.pop().read_text()))
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Name("require") | ast.Attribute(attr="require"),
                    args=[ast.Constant(str(name))],
                ):
                    yield name
                case ast.ImportFrom(module=str(module), names=names):
                    imported = {module, *(f"{module}.{alias.name}" for alias in names)}
                    files = {_TESTS.parent / f"{name.replace('.', '/')}.py" for name in imported}
                    new = {file for file in files if file.is_file() and _TESTS in file.parents}
                    remaining += new - seen
                    seen |= new
