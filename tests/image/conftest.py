"""The image for every machine, built once for all tests of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import tools
from tests.kit.image_build import Buildah
from tests.kit.stand_in import MACHINES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kit.image_build import Image


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """buildah, and the stand-ins of what the image is built from."""
    tools.require_root("buildah")
    tools.require("stand-in")
    directory = tmp_path_factory.mktemp("buildah")
    builder = Buildah(directory)
    yield builder
    builder.remove()


@pytest.fixture(scope="session")
def built(builder: Buildah) -> dict[str, Image]:
    """The image for each machine, built by this one."""
    return {machine: builder.build(machine) for machine in MACHINES}
