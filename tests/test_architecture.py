"""Who may know whom. The tables are the rule; `docs/architecture.md` gives the reasons."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]

# Each part of `proxy`, and the other parts that it may import, for types or at run time:
# cli → app → web → service → ports ← stores, upstream; everything → oci → errors.
_CORE: Final = {"errors", "oci"}
_BESIDE: Final = _CORE | {"breaker", "ports", "recent", "telemetry"}
MAY_IMPORT: Final = {
    "breaker": set[str](),
    "errors": set[str](),
    "oci": {"errors"},
    "ports": _CORE,
    "recent": set[str](),
    "telemetry": set[str](),
    "log": {"telemetry"},
    "config": _CORE,
    "service": _BESIDE,
    "stores": _BESIDE,
    "upstream": _BESIDE,
    "web": _BESIDE - {"ports"} | {"log", "service"},
    "places": {"config", "upstream"},
    "upstreams": _BESIDE | {"config", "places", "service", "upstream"},
    "buckets": {"config", "stores", "telemetry"},
    "caches": {"config", "stores", "telemetry"},
    "app": {
        *_BESIDE,
        *("buckets", "caches", "config", "service", "stores", "upstream", "upstreams", "web"),
    },
    "banner": {"clients", "config"},
    "clients": {"config"},
    "ending": set[str](),
    "nofile": {"config", "web"},
    "watched": set[str](),
    "live": {"config", "telemetry", "watched", "web"},
    "certificate": {"config", "watched", "web"},
    "serving": {
        *("app", "certificate", "config", "ending", "live", "log", "nofile", "stores"),
        *("telemetry", "web"),
    },
    "channel": {"config", "web"},
    "worker": {"app", "channel", "ending", "log", "serving", "web"},
    "merged": set[str](),
    "private": set[str](),
    "supervisor": {
        *("app", "channel", "config", "ending", "log", "merged", "oci", "private", "telemetry"),
        "web",
    },
    "offline": _CORE,
    "human": set[str](),
    "remote": {"human"},
    "upkeep": {"config", "human", "stores"},
    "progress": {"human", "upkeep"},
    "cli": {
        *("banner", "clients", "config", "errors", "offline", "remote", "serving", "supervisor"),
        *("progress", "upkeep", "worker"),
    },
}

# Who may know a library that is not the standard one. The domain knows none, but for the
# signatures of schema 1; the core of the service has no HTTP, no Redis and no settings in it.
_SERVES_HTTP: Final = {"serving", "upstream", "web"}
_LOGS: Final = set(MAY_IMPORT) - {"breaker", "errors", "oci", "ports", "recent"}
MAY_KNOW: Final = {
    "aiohttp": _SERVES_HTTP,
    "click": {"cli", "progress"},
    "cryptography": {"oci"},
    "multidict": _SERVES_HTTP,
    "obstore": {"buckets", "stores"},
    "prometheus_client": {"merged", "telemetry", "web"},
    "pydantic": {"config"},
    "pydantic_core": {"config"},
    "redis": {"stores"},
    "rich": {"banner", "cli", "progress"},
    "structlog": _LOGS,
    "uvloop": {"serving", "supervisor", "worker"},
    "yaml": {"config"},
    "yarl": _SERVES_HTTP | {"places"},
}

# `oci` computes: no clock, no files, no network, no concurrency, no chance.
IMPURE: Final = {
    *("asyncio", "concurrent", "http.client", "http.server", "io", "multiprocessing", "os"),
    *("pathlib", "random", "secrets", "select", "shutil", "signal", "socket", "sqlite3", "ssl"),
    *("subprocess", "tempfile", "threading", "time", "urllib.request"),
}

# The files that may start a task, because they keep it: elsewhere a task is lost to the garbage
# collector, unseen when it fails, and leaked on shutdown. A TaskGroup's own `create_task` is fine.
TASK_OWNERS: Final = {"proxy.kit.singleflight", "proxy.upstream.auth.tokens"}

MODULES: Final = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "proxy").rglob("*.py"))
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
        ("proxy.oci.manifest", "from proxy.service import blobs"),
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
        ("proxy.serving", "from proxy.app import open_services\nimport uvloop"),
    ],
)
def test_what_is_allowed_is_not_a_violation(module: str, source: str) -> None:
    assert violations(module, source) == []
