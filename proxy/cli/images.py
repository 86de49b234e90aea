"""`lighterage images`: what is stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from proxy.cli.group import AS_JSON, CONFIG, DATA, USAGE, fail, from_arguments, load, main

if TYPE_CHECKING:
    from pathlib import Path


@main.command()
@click.argument("pattern", required=False)
@CONFIG
@DATA
@AS_JSON
def images(pattern: str | None, config: Path | None, data: Path | None, *, as_json: bool) -> None:
    """List the stored images: tag, digest, form, size and last use.

    PATTERN is a part of REPOSITORY:TAG, or a shell pattern for all of it. Works without a
    running proxy. Exit status 2 if nothing matches PATTERN.
    """
    settings = load(config, **from_arguments(data=data))
    index = settings.data / "index.sqlite3"
    if not index.exists():
        fail(f"there is no index {index.absolute()}: no proxy has stored anything there", USAGE)
    from proxy.cli.image_list import table  # noqa: PLC0415 -- slow to import
    from proxy.errors import StoreError  # noqa: PLC0415
    from proxy.stores.sqlite.stored_images import stored_images  # noqa: PLC0415

    try:
        found = list(stored_images(index, pattern))
    except StoreError as error:
        fail(str(error))
    if pattern is not None and not found:
        fail(f"no stored image matches {pattern!r}", USAGE)
    if as_json:
        click.echo(json.dumps([image.document() for image in found], indent=2))
    else:
        click.echo("\n".join(table(found)))
