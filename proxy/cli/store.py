"""The store looked after: `gc` and `scrub`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from proxy.cli.group import CONFIG, DATA, fail, from_arguments, load, main

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config import Settings


@main.command()
@CONFIG
@DATA
@click.option("--max-size", metavar="SIZE", help="Another limit than the settings have.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def gc(config: Path | None, data: Path | None, max_size: str | None, *, dry_run: bool) -> None:
    """Remove the blobs that are too much, those that were not used for longest first.

    A proxy that serves does so by itself. Both may run at once.
    """
    blobs = {} if max_size is None else {"blobs": {"max_size": max_size}}
    settings = _on_disk(load(config, **from_arguments(data=data), **blobs))
    import asyncio  # noqa: PLC0415 -- see the package's docstring

    from proxy.cli.store_report import collected, would_go  # noqa: PLC0415

    try:
        for line in would_go(settings) if dry_run else asyncio.run(collected(settings)):
            click.echo(line)
    except OSError as error:
        fail(f"cannot look after {settings.data}: {error}")


@main.command()
@CONFIG
@DATA
@click.option("--rate", metavar="SIZE", default="50MiB", show_default=True, help="A second.")
def scrub(config: Path | None, data: Path | None, rate: str) -> None:
    """Verify all that is stored against its digest; exit status 1 if something is damaged.

    What is damaged is put aside, and fetched again when somebody asks for it. A proxy may serve
    meanwhile.
    """
    settings = _on_disk(load(config, **from_arguments(data=data), blobs={"scrub_rate": rate}))
    import structlog  # noqa: PLC0415

    from proxy.cli.progress import show  # noqa: PLC0415
    from proxy.cli.store_report import scrubbed  # noqa: PLC0415

    # What the log would say is in the report.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    try:
        report = show(scrubbed(settings))
    except OSError as error:
        fail(f"cannot verify {settings.data}: {error}")
    if report.damaged:
        sys.exit(1)


def _on_disk(settings: Settings) -> Settings:
    """The settings, if what they say where blobs are is a disk."""
    if settings.blobs.store != "disk":
        fail(
            f"blobs.store is {settings.blobs.store}: a bucket looks after what it keeps, and a "
            "lifecycle rule bounds it"
        )
    return settings
