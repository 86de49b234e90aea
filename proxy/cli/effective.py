"""`lighterage config`: each effective setting, and where it comes from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from proxy.cli.group import AS_JSON, CONFIG, load_with_origins, main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.config import Loaded, Section

_HIDDEN: Final = "(hidden)"
_DEFAULT: Final = "the default"


@main.command()
@CONFIG
@click.option("--origin", is_flag=True, help="Also say where each setting comes from.")
@AS_JSON
def config(config: Path | None, *, origin: bool, as_json: bool) -> None:
    """Print each effective setting: `NAME = VALUE`. Durations are in seconds, sizes in bytes.

    Passwords are hidden.
    """
    found = list(_settings(load_with_origins(config)))
    if as_json:
        document = {
            name: {"value": value, "origin": where} if origin else value
            for name, value, where in found
        }
        click.echo(json.dumps(document, indent=2))
        return
    lines = [f"{name} = {json.dumps(value)}" for name, value, _ in found]
    width = min(60, max(map(len, lines)))
    for line, (_, _, where) in zip(lines, found, strict=True):
        click.echo(f"{line:{width}}  {where}" if origin else line)


def _settings(loaded: Loaded) -> Iterator[tuple[str, Any, str]]:
    """The name, value and origin of every setting."""
    values = loaded.settings.model_dump(mode="json")
    for place, value in _leaves(loaded.settings, values, ()):
        origin = loaded.source.exactly(place) or _DEFAULT
        yield ".".join(map(str, place)), value, origin


def _leaves(
    section: Section, values: dict[str, Any], above: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    from proxy.config import Section  # noqa: PLC0415 -- see the package's docstring

    for name, field in type(section).model_fields.items():
        value, place = getattr(section, name), (*above, name)
        groups = _groups(value)
        if groups:
            for key, group in groups.items():
                below = values[name] if key is None else values[name][key]
                at = place if key is None else (*place, key)
                assert isinstance(group, Section)  # noqa: S101 -- see _groups
                yield from _leaves(group, below, at)
        else:
            is_secret = not field.repr and value not in (None, ())
            yield place, _HIDDEN if is_secret else values[name]


def _groups(value: object) -> dict[str | int | None, object]:
    """The groups of settings in a value, by their keys; None for one that is itself a group."""
    from proxy.config import Section  # noqa: PLC0415

    if isinstance(value, Section):
        return {None: value}
    found: dict[str | int | None, object] = {}
    if isinstance(value, dict):
        found = dict(value)
    elif isinstance(value, tuple):
        found = dict(enumerate(value))
    return found if found and all(isinstance(each, Section) for each in found.values()) else {}
