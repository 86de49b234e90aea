"""Who may know whom. The tables are the rule; `docs/architecture.md` gives the reasons."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]

# Each package of `proxy`, and the others that it may import, for types or at run time:
# cli → runtime → wiring → web → manifests, blobs → catalog, peers → ports ← stores, upstream.
_EVERYWHERE: Final = {"errors", "kit", "oci", "telemetry"}
MAY_IMPORT: Final = {
    "errors": set[str](),
    "oci": {"errors"},
    "ports": {"errors", "oci"},
    "kit": {"errors", "ports"},
    "telemetry": {"errors", "kit", "oci"},
    "report": {"errors", "kit", "oci", "telemetry"},
    "config": {"errors", "oci"},
    "stores": _EVERYWHERE | {"ports"},
    "upstream": _EVERYWHERE | {"ports"},
    "catalog": _EVERYWHERE | {"ports"},
    "peers": _EVERYWHERE | {"ports", "report"},
    "access": _EVERYWHERE | {"catalog", "ports"},
    "blobs": _EVERYWHERE | {"catalog", "ports"},
    "manifests": _EVERYWHERE | {"blobs", "catalog", "ports"},
    "web": _EVERYWHERE | {"access", "blobs", "catalog", "manifests", "peers", "report"},
    "wiring": _EVERYWHERE
    | {"access", "blobs", "catalog", "config", "manifests", "peers", "ports", "stores"}
    | {"report", "upstream", "web"},
    "runtime": _EVERYWHERE | {"access", "config", "manifests", "report", "stores", "web", "wiring"},
    "__main__": {"cli"},
    "demo": {"oci"},
    "cli": {"access", "config", "errors", "kit", "oci", "runtime", "stores", "wiring"},
}

# Who may know a library that is not the standard one. The domain knows none, but for the
# signatures of schema 1; what decides has no HTTP, no Redis and no settings in it.
_SERVES_HTTP: Final = {"peers", "runtime", "upstream", "web"}
MAY_KNOW: Final = {
    "aiohttp": _SERVES_HTTP,
    "argon2": {"access"},
    "bcrypt": {"access"},
    "click": {"cli"},
    "cryptography": {"oci"},
    "joserfc": {"access"},
    "multidict": _SERVES_HTTP,
    "orjson": {"telemetry"},
    "obstore": {"stores", "wiring"},
    "prometheus_client": {"access", "peers", "telemetry", "web"},
    "pydantic": {"config"},
    "pydantic_core": {"config"},
    "redis": {"stores"},
    "structlog": set(MAY_IMPORT) - {"errors", "oci", "ports"},
    "uvloop": {"runtime"},
    "yaml": {"config"},
    "publicsuffixlist": {"upstream"},
    "yarl": _SERVES_HTTP | {"wiring"},
}

# `oci` computes: no clock, no files, no network, no concurrency, no chance.
IMPURE: Final = {
    *("asyncio", "concurrent", "http.client", "http.server", "io", "multiprocessing", "os"),
    *("pathlib", "random", "secrets", "select", "shutil", "signal", "socket", "sqlite3", "ssl"),
    *("subprocess", "tempfile", "threading", "time", "urllib.request"),
}

# The file that may start a task, because it keeps it: elsewhere a task is lost to the garbage
# collector, unseen when it fails, and leaked on shutdown. A TaskGroup's own `create_task` is fine.
TASK_OWNERS: Final = {"proxy.kit.singleflight"}

# Directories of the data directory, and prefixes in a bucket, which the page names, too.
KEPT_ON_DISK: Final = {"again/", "blobs/", "damaged/", "derived/", "keep/", "kept/", "spool/"}

MODULES: Final = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "proxy").rglob("*.py"))
}

# What several suites use is in `tests/kit`; a suite's folder has its tests and what only they use.
_TESTS: Final = ROOT / "tests"
_SHARED: Final = {"go_tools", "kit", "tools"}
TEST_FILES: Final = {
    str(path.relative_to(_TESTS)): path for path in sorted(_TESTS.glob("*/**/*.py"))
}


def violations(module: str, source: str) -> list[str]:
    """What `source` does that `module` may not do, in sentences."""
    part = _part(module)
    tree = ast.parse(source)
    found = [
        f"{part} must not import {imported}"
        for imported in _imports(tree, module)
        if not _allowed(part, imported)
    ]
    if module not in TASK_OWNERS:
        found += [f"line {call.lineno} starts a task that nobody owns" for call in _tasks(tree)]
    return found


def _part(module: str) -> str:
    """The second name of `proxy.web.registry`; nothing for `proxy` itself and what is in it."""
    part = module.removeprefix("proxy").removeprefix(".").partition(".")[0]
    return part if part in MAY_IMPORT else ""


def _allowed(part: str, imported: str) -> bool:
    top = imported.partition(".")[0]
    if top == "proxy":
        return _part(imported) in MAY_IMPORT.get(part, set()) | {part, ""}
    if top in sys.stdlib_module_names:
        return part != "oci" or not any(f"{imported}.".startswith(f"{name}.") for name in IMPURE)
    return part in MAY_KNOW.get(top, set())


def _imports(tree: ast.AST, module: str) -> Iterator[str]:
    """The full name of everything imported, also in functions and for type checkers only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def foreign_imports(file: str, source: str) -> set[str]:
    """The other folders of `tests` that a file in one of them imports from."""
    module = f"tests.{file.removesuffix('.py').replace('/', '.')}"
    imported = (name.split(".") for name in _imports(ast.parse(source), module))
    return {parts[1] for parts in imported if parts[0] == "tests"} - {
        *_SHARED,
        file.partition("/")[0],
    }


def _tasks(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls of asyncio's or a loop's `create_task`, and of `ensure_future`, however imported."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        receiver, _, name = called.rpartition(".")
        if name == "ensure_future" or (
            name == "create_task" and (receiver in {"", "asyncio"} or "loop" in receiver)
        ):
            yield node


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_it_may_know(module: str) -> None:
    assert violations(module, MODULES[module].read_text()) == []


def test_every_part_is_in_the_table() -> None:
    assert {_part(module) for module in MODULES if module != "proxy"} <= MAY_IMPORT.keys()


@pytest.mark.parametrize("file", TEST_FILES)
def test_a_suite_imports_no_other_suite(file: str) -> None:
    assert foreign_imports(file, TEST_FILES[file].read_text()) == set()


def test_an_import_of_another_suite_is_seen() -> None:
    assert foreign_imports("unit/test_it.py", "from tests.e2e.inside import Metrics") == {"e2e"}
    assert foreign_imports("kit/it.py", "from tests.unit import oci") == {"unit"}
    assert not foreign_imports("unit/test_it.py", "from tests.kit import images")


def test_the_page_names_every_package_and_only_modules_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    layout = page[page.index("```") :]
    for name in MAY_IMPORT:
        assert re.search(rf"^  {name}(/|\.py) ", layout, re.MULTILINE), name
    for module in re.findall(r"`([a-z_]+(?:/[a-z_0-9]+)*(?:\.py|/))`", page):
        places = (ROOT / module, ROOT / "proxy" / module)
        assert module in KEPT_ON_DISK or any(place.exists() for place in places), module


def test_the_table_has_no_circle() -> None:
    seen: set[str] = set()
    remaining = dict(MAY_IMPORT)
    while free := [part for part, may in remaining.items() if may <= seen]:
        seen.update(free)
        remaining = {part: may for part, may in remaining.items() if part not in seen}
    assert not remaining


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("proxy.oci.manifest", "import asyncio"),
        ("proxy.oci.manifest", "import os.path"),
        ("proxy.oci.manifest", "from urllib.request import urlopen"),
        ("proxy.oci.manifest", "from proxy.blobs import serve"),
        ("proxy.oci.manifest", "import yarl"),
        ("proxy.blobs.serve", "from proxy.stores.disk.blobs import DiskBlobs"),
        ("proxy.blobs.serve", "from proxy import upstream"),
        ("proxy.blobs.serve", "from ..upstream import client"),
        ("proxy.blobs.serve", "from proxy.config import Settings"),
        ("proxy.blobs.serve", "import aiohttp"),
        ("proxy.blobs.serve", "def late():\n    import proxy.web.registry"),
        ("proxy.web.registry", "if TYPE_CHECKING:\n    from proxy.stores import memory"),
        ("proxy.web.registry", "import redis.asyncio"),
        ("proxy.errors", "from proxy.oci import reference"),
        ("proxy.web.registry", "asyncio.create_task(work())"),
        ("proxy.web.registry", "asyncio.get_running_loop().create_task(work())"),
        ("proxy.web.registry", "from asyncio import create_task\ncreate_task(work())"),
        ("proxy.web.registry", "asyncio.ensure_future(work())"),
    ],
)
def test_a_violation_is_seen(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("proxy.oci.manifest", "from urllib.parse import urlsplit"),
        ("proxy.oci.manifest", "import json\nfrom proxy.errors import ManifestInvalid"),
        ("proxy.oci.schema1.libtrust", "from cryptography.hazmat.primitives import hashes"),
        ("proxy.blobs.serve", "from proxy import __version__, telemetry\nimport asyncio"),
        ("proxy.blobs.serve", "from . import trace"),
        ("proxy.blobs.serve", "async with TaskGroup() as group:\n    group.create_task(work())"),
        ("proxy.kit.singleflight", "asyncio.get_running_loop().create_task(work())"),
        ("proxy.runtime.serve", "from proxy.wiring.services import open_services\nimport uvloop"),
    ],
)
def test_what_is_allowed_is_not_a_violation(module: str, source: str) -> None:
    assert violations(module, source) == []
