"""Maintenance of the store: `gc` and `scrub`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from proxy.cli.group import (
    AS_JSON,
    CONFIG,
    DATA,
    NOT_WELL,
    USAGE,
    fail,
    from_arguments,
    load_with_origins,
    main,
)
from proxy.kit.human import human

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config import Loaded, Settings


@main.command()
@CONFIG
@DATA
@click.option("--max-size", metavar="SIZE", help="Override blobs.max_size.")
@click.option("--dry-run", is_flag=True, help="Print what would be evicted, and evict nothing.")
@AS_JSON
def gc(
    config: Path | None,
    data: Path | None,
    max_size: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Evict the least recently used blobs until the store is within its limit.

    A serving proxy does so once a minute. Both may run at once.
    """
    blobs = {} if max_size is None else {"blobs": {"max_size": max_size}}
    settings = _require_store(load_with_origins(config, **from_arguments(data=data), **blobs))
    import asyncio  # noqa: PLC0415 -- see the package's docstring

    from proxy.cli.store_report import collect, plan_eviction  # noqa: PLC0415

    try:
        if dry_run:
            plan = plan_eviction(settings)
            click.echo(
                json.dumps(plan.document(), indent=2) if as_json else "\n".join(plan.lines())
            )
            return
        swept = asyncio.run(collect(settings))
    except OSError as error:
        fail(f"cannot clean up {settings.data}: {error.strerror}")
    if as_json:
        click.echo(json.dumps(asdict(swept), indent=2))
        return
    click.echo(
        f"removed {swept.blobs} blobs and {swept.spools} unfinished transfers, {human(swept.freed)}"
    )


@main.command()
@CONFIG
@DATA
@click.option("--rate", metavar="SIZE", default="50MiB", show_default=True, help="Bytes a second.")
@AS_JSON
def scrub(config: Path | None, data: Path | None, rate: str, *, as_json: bool) -> None:
    """Verify all stored content against its digests; exit status 3 if something is damaged.

    Damaged files are quarantined, and fetched again on the next request. A proxy may serve
    meanwhile.
    """
    limits = {"blobs": {"scrub_rate": rate}}
    settings = _require_store(load_with_origins(config, **from_arguments(data=data), **limits))
    import structlog  # noqa: PLC0415

    from proxy.cli.progress import show  # noqa: PLC0415
    from proxy.cli.store_report import verify  # noqa: PLC0415

    # The report has what the log would say.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    try:
        report = show(verify(settings), as_json=as_json)
    except OSError as error:
        fail(f"cannot verify {settings.data}: {error.strerror}")
    if report.damaged:
        sys.exit(NOT_WELL)


def _require_store(loaded: Loaded) -> Settings:
    """The settings; end the command if blobs are not on a disk, or there are none."""
    settings = loaded.settings
    if settings.blobs.store != "disk":
        fail(
            f"blobs.store is {settings.blobs.store}: this command is for a disk; a lifecycle rule "
            "bounds a bucket"
        )
    from proxy.cli.store_report import root_of  # noqa: PLC0415 -- see the package's docstring
    from proxy.stores.disk.layout import Layout  # noqa: PLC0415

    root = root_of(settings)
    place = ("data",) if settings.blobs.path is None else ("blobs", "path")
    if not root.is_dir():
        fail(loaded.refusal(place, f"there is no directory {root.absolute()}"), USAGE)
    layout = Layout(root)
    if not layout.presence.exists() and not layout.blobs.is_dir():
        message = f"{root.absolute()} is not a data directory: no proxy has stored anything there"
        fail(loaded.refusal(place, message), USAGE)
    return settings
