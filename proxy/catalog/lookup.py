"""The result of a look-up, passed on so that no store is asked again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.oci.derivation import Origin
    from proxy.oci.manifest import Manifest
    from proxy.ports.catalog import Claim, Grant, TagEntry


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the catalog knows of a tag, or of a manifest's digest, in one repository.

    `access` is why the repository may serve the content: its grant, or a claim that suffices.
    `manifest` is verified, and set only with `access`. `raw` are the bytes wherever they came
    from, unverified. `delivered` says that another repository of the same upstream has been
    granted the content.
    """

    entry: TagEntry | None = None
    access: Grant | Claim | None = None
    manifest: Manifest | None = None
    raw: bytes | None = None
    delivered: bool = False
    # What a derived manifest was made from, where that was found with it.
    origin: Origin | None = None
    # The layers, by distance, that have nothing of the repository: they are not asked again.
    ignorant: frozenset[int] = frozenset()
    # Whether that is all of them.
    is_of_new_repository: bool = False


UNKNOWN = Lookup()
