"""OCI's conformance suite: what passes against a registry passes through the proxy, too."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

import pytest

from tests import tools
from tests.kit.processes import Proxy
from tests.kit.registry import Registry
from tests.kit.router import Router

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT: Final = 170.0
_SETTINGS: Final = {
    "OCI_TLS": "disabled",
    # The spec's registries may do without; a pull-through proxy does.
    "OCI_API_BLOBS_DELETE": "false",
    "OCI_API_MANIFESTS_DELETE": "false",
    "OCI_API_TAGS_DELETE": "false",
}
# What the suite has just pushed must be seen at once.
_FRESH: Final = {
    "tags": {"ttl": "0s", "stale_while_revalidate": "0s", "revalidation_timeout": "30s"},
    "negative_cache": {"not_found": "0s", "denied": "0s"},
}
# distribution 2.8 passes this many; were most of them skipped, the comparison would be empty.
_PASSED_AT_LEAST: Final = 350

_QUOTED: Final = 500


@dataclass(slots=True)
class _Case:
    """How often the case of one name has passed, and what was said of it otherwise."""

    passed: int = 0
    others: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def program() -> Path:
    return tools.require("conformance")


async def _run(program: Path, registry: str, results: Path) -> dict[str, _Case]:
    """Each case by its name. Cases of one name are counted, for their order is Go's maps'."""
    process = await asyncio.create_subprocess_exec(
        program,
        cwd=results.parent,
        env={
            **os.environ,
            **_SETTINGS,
            "OCI_REGISTRY": registry,
            "OCI_RESULTS_DIR": str(results),
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_TIMEOUT):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    cases: dict[str, _Case] = defaultdict(_Case)
    for case in ET.parse(results / "junit.xml").iter("testcase"):  # noqa: S314 -- our own file
        found = cases[str(case.get("name"))]
        if case.get("status") == "passed":
            found.passed += 1
        else:
            found.others.append(_message(case))
    return cases


def _message(case: ET.Element) -> str:
    """Of a case that has failed or was skipped: what follows its title, which the name is."""
    text = "".join(child.get("message") or child.text or "" for child in case)
    return f"{case.get('status')}: {text[-_QUOTED:]}"


async def test_what_passes_directly_passes_through_the_proxy(program: Path, tmp_path: Path) -> None:
    with (
        Registry(tmp_path / "direct") as direct,
        Registry(tmp_path / "behind") as behind,
        Proxy(tmp_path / "proxy", upstream=behind.url, settings=_FRESH) as proxy,
    ):
        expected = await _run(program, direct.host, tmp_path / "results")
        async with Router(reads=proxy.url, writes=behind.url) as router:
            found = await _run(program, router.host, tmp_path / "through")
    assert sum(case.passed for case in expected.values()) >= _PASSED_AT_LEAST
    worse = {
        name: (case.passed, found[name])
        for name, case in expected.items()
        if found[name].passed < case.passed
    }
    assert worse == {}
