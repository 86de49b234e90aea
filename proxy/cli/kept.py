"""`lighterage kept`: the images that are never evicted."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from proxy.cli.group import AS_JSON, CONFIG, main
from proxy.cli.questions import IMAGE
from proxy.cli.running import ADMIN, ask_proxy
from proxy.kit.human import ago, human

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@main.command("kept")
@click.option("--forget", metavar=IMAGE, help="Keep this image no longer.")
@ADMIN
@CONFIG
@AS_JSON
def list_kept(forget: str | None, admin: str | None, config: Path | None, *, as_json: bool) -> None:
    """List the images that `warm --keep` excludes from eviction.

    With --forget, the image is evicted like any other from now on. Exit status 2 if it was not
    kept.
    """
    if forget is None:
        answer = ask_proxy("/kept", admin, config)
        text = "\n".join(_table(answer))
    else:
        answer = ask_proxy("/kept", admin, config, {"image": forget}, method="DELETE")
        text = f"{_name(answer)} is kept no longer"
    click.echo(json.dumps(answer, indent=2) if as_json else text)


def _table(answer: dict[str, Any]) -> Iterator[str]:
    now = time.time()
    for image in answer["images"]:
        since = ago(now - image["at"])
        yield f"{_name(image)}  {human(image['size'])}, {image['blobs']} blobs, since {since}"
    limit = "" if answer["limit"] is None else f"; they may take {human(answer['limit'])}"
    yield f"{len(answer['images']) or 'no'} images are kept{limit}"


def _name(image: dict[str, Any]) -> str:
    mark = "@" if ":" in image["reference"] else ":"
    return f"{image['repository']}{mark}{image['reference']}"
