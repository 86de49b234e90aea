"""What `lighterage warm` shows: a bar at a terminal, a line an image elsewhere; and the summary."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from proxy.kit.human import human

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.cli.warming import Warmed, Warming

# How often the bar is drawn, in seconds.
_TICK = 0.2


def run(warming: Warming, *, is_quiet: bool) -> list[Warmed]:
    """Pull everything, and show how it goes; in the order in which the images were named."""
    if sys.stderr.isatty():
        done = _as_bar(warming)
    else:
        done = []
        for warmed in warming.run():
            done.append(warmed)
            if not is_quiet:
                click.echo(_line(warmed))
    order = {image.text: number for number, image in enumerate(warming.images)}
    return sorted(done, key=lambda warmed: order[warmed.image.text])


def document(warmed: list[Warmed]) -> dict[str, Any]:
    """The result as JSON has it."""
    return {
        "images": [
            {
                "image": each.image.text,
                "digest": each.digest or None,
                "manifests": len(each.manifests),
                "blobs": len(each.blobs),
                "fetched": each.fetched,
                "stored_before": each.here,
                "kept": each.kept,
                "error": each.error,
            }
            for each in warmed
        ],
        "fetched": sum(each.fetched for each in warmed),
        "stored_before": sum(each.here for each in warmed),
        "failed": sum(each.error is not None for each in warmed),
    }


def lines(warmed: list[Warmed]) -> Iterator[str]:
    """The summary."""
    failed = [each for each in warmed if each.error is not None]
    if sys.stderr.isatty():
        yield from map(_line, failed)
    fetched = human(sum(each.fetched for each in warmed))
    here = human(sum(each.here for each in warmed))
    yield (
        f"{len(warmed) - len(failed)} of {len(warmed)} images are in the cache: {fetched} fetched, "
        f"{here} stored before"
    )


def _line(warmed: Warmed) -> str:
    if warmed.error is not None:
        return f"{warmed.image.text}: failed: {warmed.error}"
    kept = ", and kept" if warmed.kept else ""
    sizes = f"{human(warmed.fetched)} fetched, {human(warmed.here)} stored before"
    return f"{warmed.image.text}: {sizes}{kept}"


def _as_bar(warming: Warming) -> list[Warmed]:
    done: list[Warmed] = []

    def say(_: Warming | None) -> str:
        return f"{human(warming.done)} of {human(warming.expected)}"

    length, label = len(warming.images), "warming"
    with click.progressbar(
        length=length, label=label, file=sys.stderr, show_pos=True, item_show_func=say
    ) as bar:
        for warmed in warming.ticks(_TICK):
            if warmed is not None:
                done.append(warmed)
            bar.update(int(warmed is not None), warming)
            bar.render_progress()
    return done
