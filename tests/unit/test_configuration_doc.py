"""The configuration reference has every setting, as the code has it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy.config import schema
from tests.kit import configuration_page as reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# `blobs.max_size`, and what stands in parentheses behind it: `tags.ttl` (60 s).
_NAMED: Final = re.compile(r"`([a-z_]+(?:\.[a-z_0-9]+)+)`(?: \((\d+) (ms|s|minutes|days|%)\))?")
_UNITS: Final = {"minutes": "m", "days": "d"}


def test_the_page_is_what_make_docs_writes() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run `make docs`"


def test_every_setting_of_the_code_is_on_the_page() -> None:
    page = reference.page()
    names = set(_names(schema(), schema(), ()))
    assert len(names) > 120
    assert {name for name in names if f"| `{name}` |" not in page} == set()


def _names(
    part: Mapping[str, Any], whole: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[str]:
    """The settings below a part of the schema, by the name that the page has for each."""
    part = _resolve(part, whole)
    if isinstance(part.get("additionalProperties"), dict) and path == ("upstreams",):
        yield from _names(part["additionalProperties"], whole, (*path, "NAME"))
        return
    if "properties" not in part or ".".join(path) in reference.ENTRIES.values():
        yield ".".join(path)
        return
    for key, below in part["properties"].items():
        yield from _names(below, whole, (*path, key))


def _resolve(part: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference, also one of several alternatives, leads to."""
    for choice in (part, *part.get("anyOf", ()), *part.get("allOf", ())):
        if "$ref" in choice:
            found: Mapping[str, Any] = whole["$defs"][choice["$ref"].rpartition("/")[2]]
            return found
    return part


def test_comments_are_those_above_their_settings() -> None:
    found = {setting.name: setting for setting in reference.settings()}
    assert found["listen"].default == "0.0.0.0:5000"
    assert found["listen"].comment.startswith("Where clients connect.")
    assert found["upstreams.NAME.url"].default == "https://registry-1.docker.io"
    assert found["blobs"].default is None
    assert found["limits.per_client"].comment.startswith("Fixed limits for each address")


def test_a_section_within_a_section_keeps_its_comment() -> None:
    assert "| `limits.per_client` | a section | Fixed limits for each address" in reference.page()


def test_every_setting_and_every_key_of_an_entry_is_explained() -> None:
    rows = [line for line in reference.page().splitlines() if line.startswith("| `")]
    assert len(rows) > 170
    assert [row for row in rows if row.endswith("|  |")] == []
    for name, keys in reference.KEYS.items():
        assert set(keys) <= set(schema()["$defs"][name]["properties"])


def test_pages_name_settings_that_exist_and_their_defaults() -> None:
    settings = {setting.name: setting.default for setting in reference.settings()}
    sections = {name.partition(".")[0] for name in settings}
    source = "".join(path.read_text() for path in (ROOT / "proxy").rglob("*.py"))
    found = 0
    for page in PAGES:
        for name, number, unit in _NAMED.findall(page.read_text()):
            if name.partition(".")[0] not in sections or name.endswith((".py", ".yaml")):
                continue
            # Log events and subjects of warnings look alike.
            assert name in settings or f'"{name}"' in source, (page.name, name)
            if number:
                found += 1
                assert settings[name] == number + _UNITS.get(unit, unit), (page.name, name)
    assert found > 10
