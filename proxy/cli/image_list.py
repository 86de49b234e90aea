"""Stored images as a table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from proxy.kit.human import ago, human

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxy.stores.sqlite.stored_images import StoredImage


def table(images: Sequence[StoredImage]) -> Iterator[str]:
    """Format as lines of columns, with a heading."""
    now = time.time()
    rows = [("IMAGE", "DIGEST", "FORM", "SIZE", "LAST USED")]
    for image in images:
        size = "" if image.size is None else human(image.size)
        name = f"{image.repository}:{image.tag}"
        rows.append((name, image.digest[:19], image.form, size, ago(now - image.used_at)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
