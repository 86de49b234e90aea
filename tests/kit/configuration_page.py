"""`docs/configuration.md`, made of `config/lighterage.yaml` and of the settings' schema.

Run as a program, this writes it; a test fails where it is not what this would write.
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
    from collections.abc import Iterator, Mapping

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "config" / "lighterage.yaml"
PAGE: Final = ROOT / "docs" / "configuration.md"

_KEY: Final = re.compile(r"( *)([a-z0-9_.]+):(?: (.*))?")
_TITLE: Final = """# Configuration reference

Every setting, with its default and when to change it. This page is written by `make docs` from
`config/lighterage.yaml`, which says the same as a file that you can copy. Settings come from these
places, each overriding the ones before it:

1. the defaults, which this page states;
2. the file that `--config` or `LIGHTERAGE_CONFIG` names;
3. the secrets directory, `/run/secrets/lighterage` or `LIGHTERAGE_SECRETS_DIR`, with a file for
   each setting: `upstreams__docker.io__credentials__password`;
4. the environment: `blobs.max_size` is `LIGHTERAGE_BLOBS__MAX_SIZE`;
5. the arguments of `lighterage serve`.

`lighterage config --origin` shows what is in effect, and where it comes from. `lighterage
check-config` says, with file, line and column, why `serve` would not start. Changes of `tags`,
`negative_cache`, `budget`, `access` (but for `access.audit`) and an upstream's `offline` are
applied while the proxy runs, within seconds; others need a restart.

Durations are `500ms`, `60s`, `5m`, `1h30m`, `30d`. Sizes are bytes, or `KiB`, `MiB`, `GiB` and
`TiB`; `Gi` is `GiB`.
"""
_LISTS: Final = """
## Entries of lists

Some settings are lists of entries, or sections that are empty by default. These are their keys.
"""
# Definitions that only lists, or settings that are null, have; and where they are used.
ENTRIES: Final[Mapping[str, str]] = {
    "CredentialSettings": "upstreams.NAME.credentials",
    "MirrorSettings": "upstreams.NAME.mirrors",
    "TagRule": "tags.rules",
    "AccessRule": "access.rules",
    "IssuerSettings": "access.issuers",
}
# What the file has no comments for: the keys of these entries.
KEYS: Final[Mapping[str, Mapping[str, str]]] = {
    "CredentialSettings": {
        "username": "Not with a docker_config_file, which has it.",
        "password": "The password itself. Prefer a file.",
        "password_file": "A file with the password, in one line.",
        "token_file": "A file with an identity token.",
        "docker_config_file": "What `docker login` writes, or a Secret's .dockerconfigjson.",
    },
    "MirrorSettings": {
        "url": "The address of the mirror.",
        "tags": "Whether the mirror is asked what a tag names while the registry is down.",
    },
    "TagRule": {
        "match": "A pattern for registry/name:tag or name:tag; * matches slashes, too.",
        "ttl": "As `tags.ttl`.",
        "stale_if_error": "As `tags.stale_if_error`; null: the value of that.",
    },
    "AccessRule": {
        "match": "A pattern for UPSTREAM/NAME; with mode: deny also for UPSTREAM/NAME:TAG.",
        "mode": "docs/access.md explains each.",
        "users": "With mode: basic. Empty, together with groups: every user.",
        "groups": "With mode: basic. Names of `access.groups`, or namespace:NAME.",
        "reason": "With mode: deny, which requires it. The client is shown it.",
    },
    "IssuerSettings": {
        "issuer": "The `iss` of its tokens.",
        "audience": "What the `aud` of its tokens must contain.",
        "jwks_url": "Where its public keys are. Either this or jwks_file.",
        "jwks_file": "A file with its public keys.",
        "ca_file": "With jwks_url: certificates to trust besides the system's.",
        "bearer_file": "With jwks_url: a file with the token that it wants.",
        "groups": "A prefix of group names, and the claim that each is made of.",
    },
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, or a section if there is no `default`; the comment is the one above it."""

    path: tuple[str, ...]
    comment: str
    default: str | None

    @property
    def name(self) -> str:
        """With dots; the name of an upstream is yours."""
        return ".".join("NAME" if part == "docker.io" else part for part in self.path)


def settings() -> Iterator[Setting]:
    """Every key of the file, in its order; one comment may be for several in a row."""
    comment: list[str] = []
    above: list[str] = []
    for line in SOURCE.read_text().splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.removeprefix("#").removeprefix(" "))
        elif not stripped:
            comment = []
        elif found := _KEY.fullmatch(line):
            depth = len(found[1]) // 2
            above[depth:] = [found[2]]
            yield Setting(tuple(above), _prose(comment), found[3])
            comment = []


def page() -> str:
    """The whole page."""
    return "".join((_TITLE, *_sections(), _LISTS, *_entries()))


def _sections() -> Iterator[str]:
    is_table = False
    for setting in settings():
        if len(setting.path) == 1:
            is_table = False
            yield f"\n## {setting.name}\n\n"
            if setting.comment and setting.default is None:
                yield f"{setting.comment}\n\n"
        if setting.default is None and (len(setting.path) == 1 or not setting.comment):
            continue
        if not is_table:
            is_table = True
            yield "| setting | default | |\n|---|---|---|\n"
        yield _row(setting.name, setting.default, setting.comment or "See above.")


def _entries() -> Iterator[str]:
    for name, definition in settings_schema()["$defs"].items():
        if name not in ENTRIES:
            continue
        yield f"\n### {ENTRIES[name]}\n\n{definition['description']}\n\n"
        yield "| key | default | |\n|---|---|---|\n"
        for key, about in definition["properties"].items():
            default = "required" if key in definition.get("required", ()) else _default(about)
            yield _row(key, default, _about(name, key, about))


def _row(name: str, default: str | None, comment: str) -> str:
    text = comment.replace("|", "\\|")
    shown = {None: "a section", "required": "required"}.get(default, f"`{default}`")
    return f"| `{name}` | {shown} | {text} |\n"


def _default(about: Mapping[str, Any]) -> str:
    default = about.get("default", {} if about.get("type") == "object" else None)
    if isinstance(default, float):  # the file has durations as text
        return f"{default:g}s"
    return "null" if default is None else json.dumps(default, ensure_ascii=False).strip('"') or '""'


def _about(entry: str, key: str, about: Mapping[str, Any]) -> str:
    """What the key of an entry is; a mirror has most of the settings of its upstream."""
    text = KEYS[entry].get(key) or f"As `upstreams.NAME.{key}`."
    choices = ", ".join(f"`{choice}`" for choice in about.get("enum", ()))
    return f"{choices}. {text}" if choices else text


def _prose(lines: list[str]) -> str:
    """The comment in one line; patterns and lists of it are code."""
    text = " ".join(line.strip() for line in lines if line.strip())
    text = re.sub(r"(?<!`)(\[\{.*?\}\]|\{[^`]*?\})(?!`)", r"`\1`", text)
    return text.replace("<", "&lt;")


def main() -> None:
    """Write the page."""
    yaml.safe_load(SOURCE.read_text())
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
