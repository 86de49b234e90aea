"""What of the chart is made from something else: the README's table, and the settings' schema.

Run as a program, this writes both anew; a test fails where they are not what it would write.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from proxy.config import schema as settings_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHART: Final = Path(__file__).parents[2] / "helm"
VALUES: Final = CHART / "values.yaml"
README: Final = CHART / "README.md"
SCHEMA: Final = CHART / "values.schema.json"
OTHER_NAMES: Final = CHART / "files/other-names.yaml"

_BEGIN: Final = "<!-- values: written by `make chart` -->\n"
_END: Final = "<!-- end of values -->\n"
# Definitions that are the chart's own, beside those of the settings.
_OWN: Final = "chart."


class UndocumentedError(Exception):
    """A value without a comment."""


@dataclass(frozen=True, slots=True)
class Value:
    """One of values.yaml, with the comment above it."""

    path: str
    default: object
    comment: str

    def row(self) -> str:
        """Of the README's table."""
        default = json.dumps(self.default, ensure_ascii=False).replace("|", "\\|")
        return f"| `{self.path}` | {self.comment} | `{default}` |\n"


def values() -> Iterator[Value]:
    """Every value that is documented, in the file's order; UndocumentedError if one is not.

    A key is a section, and not a value, if the keys below it have comments.
    """
    everything = yaml.safe_load(VALUES.read_text())
    comment = ""
    documented: list[Value] = []
    keys: list[str] = []
    for line in VALUES.read_text().splitlines():
        if found := re.match(r" *# -- (.+)", line):
            comment = found[1]
        elif found := re.match(r"( *)([\w]+):", line):
            del keys[len(found[1]) // 2 :]
            keys.append(found[2])
            if comment:
                documented.append(Value(".".join(keys), _at(everything, keys), comment))
            comment = ""
    missing = set(_leaves(everything)) - {value.path for value in documented}
    known = tuple(f"{value.path}." for value in documented)
    if missing := {path for path in missing if not path.startswith(known)}:
        raise UndocumentedError(", ".join(sorted(missing)))
    yield from documented


def readme() -> str:
    """README.md with its table as it should be."""
    text = README.read_text()
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    table = "".join(value.row() for value in values())
    head = "| value | what it is | default |\n|---|---|---|\n"
    return f"{before}{_BEGIN}\n{head}{table}\n{_END}{after}"


def other_names() -> dict[str, str]:
    """Names that other charts have for values, as paths, and what this chart says of each."""
    found = yaml.safe_load(OTHER_NAMES.read_text())
    return {**found["called"], **found["without"]}


def schema() -> str:
    """values.schema.json with the settings' schema as the proxy has it, and the names of others."""
    document = json.loads(SCHEMA.read_text())
    _let_through(document, other_names())
    settings = settings_schema()
    own = {name: part for name, part in document["$defs"].items() if name.startswith(_OWN)}
    document["$defs"] = {**own, **settings.pop("$defs"), "Settings": settings}
    return json.dumps(document, indent=2) + "\n"


def _let_through(document: dict[str, Any], paths: Iterable[str]) -> None:
    """Allow these paths, whatever their values are: a template says what is wrong with them."""
    sections: dict[str, list[str]] = {}
    for path in paths:
        section, _, name = path.rpartition(".")
        sections.setdefault(section, []).append(name)
    for section, names in sections.items():
        part = document
        for key in filter(None, section.split(".")):
            part = part["properties"][key]
            if "$ref" in part:
                part = document["$defs"][part["$ref"].rpartition("/")[2]]
        part["patternProperties"] = {
            **({} if section else {"^enabled$": {"type": "boolean"}}),
            f"^({'|'.join(sorted(names))})$": {},
        }


def _leaves(tree: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def _at(tree: Any, keys: list[str]) -> object:
    for key in keys:
        tree = tree[key]
    return tree


if __name__ == "__main__":
    README.write_text(readme())
    SCHEMA.write_text(schema())
