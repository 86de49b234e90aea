"""How the image is built for one machine, so that the same sources make the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
MACHINES: Final = ("amd64", "arm64")


@dataclass(frozen=True, slots=True)
class Source:
    """What is built: a version, the commit that it is made of, and that commit's time.

    `epoch` is in seconds, as `SOURCE_DATE_EPOCH` is: every file gets it, and so does the image.
    """

    version: str
    revision: str
    epoch: int

    @property
    def created(self) -> str:
        """The time, as RFC 3339 writes it."""
        return datetime.fromtimestamp(self.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def build_arguments(source: Source, machine: str, name: str, *more: str) -> list[str]:
    """What makes buildah build the image `name` for `machine`; `more` are options of its own.

    Only docker's format has room for a health check.
    """
    return [
        *("build", "--format=docker", "--identity-label=false", f"--timestamp={source.epoch}"),
        *(f"--platform=linux/{machine}", f"--build-arg=VERSION={source.version}"),
        *(f"--build-arg=REVISION={source.revision}", f"--build-arg=CREATED={source.created}"),
        *(*more, f"--tag={name}", str(ROOT)),
    ]
