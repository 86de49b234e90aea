"""The progress of a scrub: a bar on a terminal, lines elsewhere; and its result."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from time import monotonic
from typing import TYPE_CHECKING, Final

import click

from proxy.kit.human import human

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.cli.store_report import Progress

# The interval of lines, in seconds.
_LINE_EVERY: Final = 10.0


def show(steps: Iterator[Progress], *, as_json: bool = False) -> Progress:
    """Run all `steps` and print the result; the last step."""
    if sys.stderr.isatty():
        last = _as_bar(steps)
    elif as_json:
        *_, last = steps
    else:
        last = _as_lines(steps)
    if as_json:
        click.echo(json.dumps(asdict(last), indent=2))
        return last
    for damaged in last.damaged:
        click.echo(f"damaged: {damaged}")
    click.echo(
        f"{last.seen} blobs, {human(last.read)}, and {last.derived} derived manifests verified: "
        f"{len(last.damaged) or 'none'} damaged"
    )
    return last


def _as_bar(steps: Iterator[Progress]) -> Progress:
    last = next(steps)
    with click.progressbar(
        length=last.size,
        label="verifying",
        file=sys.stderr,
        item_show_func=lambda step: None if step is None else _share(step),
    ) as bar:
        shown = 0
        # A scrub yields one object, which it changes.
        for last in steps:
            bar.update(last.read - shown, last)
            shown = last.read
    return last


def _share(step: Progress) -> str:
    return f"{human(step.read)} of {human(step.size)}"


def _as_lines(steps: Iterator[Progress]) -> Progress:
    last = next(steps)
    due = monotonic() + _LINE_EVERY
    click.echo(f"verifying {last.blobs} blobs, {human(last.size)}")
    for last in steps:
        if monotonic() >= due:
            due += _LINE_EVERY
            click.echo(
                f"{last.seen} of {last.blobs} blobs, {_share(last)}, {len(last.damaged)} damaged"
            )
    return last
