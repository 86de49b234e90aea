"""What lies in a bucket and beside it, for the tests of stores that keep things there."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from proxy.oci.reference import Digest
from tests.kit.s3_gateway import objects

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.s3_gateway import Gateway

# So many parts that some are under way while others wait.
BIG: Final = random.Random(8).randbytes(48 * 2**20)  # noqa: S311 -- bytes that nothing guesses
BIG_DIGEST: Final = Digest.of(BIG)


def left(gateway: Gateway, tmp_path: Path) -> set[str]:
    """The objects of this test, and all that unfinished uploads have left."""
    found = objects(gateway.bucket())
    return {name for name in found if name.startswith((tmp_path.name, ".sgwtmp"))}


def spooled(store_path: Path) -> list[str]:
    """What is on its way, on the disk."""
    return sorted(path.name for path in (store_path / "spool").glob("*/*"))


def is_big(content: bytes | None) -> bool:
    """Without pytest's account of the difference, which takes minutes."""
    return content == BIG
